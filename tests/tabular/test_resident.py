"""Rows that a device keeps: what they take, how they come there, and in which order."""

import threading
from dataclasses import replace
from unittest import mock

import numpy as np
import pytest
import torch

from datamodules.prepared.arrays import Arrays
from datamodules.prepared.lists import ListArrays
from datamodules.tabular import loader, resident
from datamodules.tabular.loader import BatchLoader
from datamodules.tabular.resident import DrawnAhead, kept_bytes, permutation
from zoo.data.errors import ZooError
from zoo.data.lists import Lists

CPU, META, CUDA = map(torch.device, ("cpu", "meta", "cuda"))
CRITEO = 45_840_617  # rows


def rows(n=1000):
    """Rows of every part that a batch may have."""
    random = np.random.default_rng(0)
    lengths = torch.from_numpy(random.integers(0, 4, (n, 2)))
    offsets = (lengths.flatten().cumsum(0) - lengths.flatten()).view(n, 2)
    values = torch.arange(int(lengths.sum()), dtype=torch.int32)
    lists = ListArrays.of([Lists(values, offsets, lengths)])
    return Arrays(
        numerical=random.normal(size=(n, 3)).astype(np.float32),
        categorical=random.integers(0, 99, (n, 4)).astype(np.int32),
        label=random.integers(0, 2, n).astype(np.float32),
        row=np.arange(n) + 10**10,
        crosses=(
            random.integers(0, 9, n).astype(np.uint16),
            ListArrays.of([Lists(values, offsets, lengths)]),
        ),
        lists=lists,
        weight=random.random(n).astype(np.float32),
        group=random.integers(0, 9, n),
    )


def bytes_of(batch):
    return sum(p.nbytes for p in (*batch._replace(lists=None), *batch.lists) if p is not None)


def parts_of(batch):
    """The tensors of a batch, by name; of lists also what is in them."""
    found = {name: part for name, part in batch._asdict().items() if isinstance(part, torch.Tensor)}
    if batch.lists:
        values, number = batch.lists.flat()
        found |= {"values": values, "number": number, "lengths": batch.lists.lengths}
    return found


def empty(n, width, kind):
    """Zeros that take no memory."""
    return np.broadcast_to(np.zeros((1, *width), kind), (n, *width))


def criteo(n=CRITEO):
    """Arrays as large as those of Criteo."""
    return Arrays(
        numerical=empty(n, (13,), np.float32),
        categorical=empty(n, (26,), np.int32),
        label=empty(n, (), np.float32),
        row=empty(n, (), np.int64),
    )


# Bytes


def test_criteo_and_the_order_of_an_epoch_fit_8_gigabytes():
    plain = kept_bytes(criteo(), CUDA, shuffle=True)
    narrow = kept_bytes(criteo(), CUDA, torch.float16, shuffle=True)
    assert plain == CRITEO * (13 * 4 + 26 * 4 + 4 + 4) < 8e9
    assert narrow == CRITEO * (13 * 2 + 26 * 4 + 4 + 4) < 6.4e9


@pytest.mark.parametrize("numbers", [torch.float32, torch.float16])
@pytest.mark.parametrize("device", [CPU, META])
@pytest.mark.parametrize("options", [{}, {"shuffle": True, "with_row": True}])
def test_the_bytes_that_are_counted_are_those_that_are_kept(device, numbers, options):
    arrays = rows()
    batches = BatchLoader(arrays, 64, device=device, numbers=numbers, **options)
    held = bytes_of(batches.resident)
    if options:
        held += batches._order(0).nbytes
    assert kept_bytes(arrays, device, numbers, **options) == held


def test_what_fits_is_a_quarter_of_the_free_memory():
    with mock.patch("torch.cuda.mem_get_info", return_value=(800, 1000)):
        assert [resident.fits(size, CUDA) for size in (200, 201)] == [True, False]


def test_the_memory_of_the_host_stays_bounded(monkeypatch):
    """Rows go to a device piece by piece, of 64 MB each."""
    largest = []

    def read(self, piece):
        batch = _batch(self, piece)
        largest.append(
            sum(p.nbytes for p in (*batch._replace(lists=None), *batch.lists) if p is not None)
        )
        return batch

    with (
        mock.patch.object(BatchLoader, "_batch", read),
        mock.patch.object(loader, "BYTES_AT_ONCE", 1 << 13),
    ):
        BatchLoader(rows(), 64, device=META)
    assert len(largest) > 10
    assert max(largest) < 1.5 * (1 << 13)


_batch = BatchLoader._batch


# Rows


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("at_once", [1, 64, 999, 1000, 5000])
def test_rows_that_come_in_pieces_are_all_rows(at_once, shuffle):
    arrays = rows()
    whole = BatchLoader(arrays, 64, device=CPU, with_row=True, shuffle=shuffle)
    pieces = BatchLoader(arrays, 64, device=CPU, with_row=True, shuffle=shuffle)
    values = len(whole.resident.lists.values)
    pieces.resident = resident.keep(pieces._batch, 1000, CPU, values=values, at_once=at_once)
    for found, wanted in zip(pieces, whole, strict=True):
        parts = parts_of(wanted)
        assert parts_of(found).keys() == parts.keys()
        for name, part in parts_of(found).items():
            assert part.dtype == parts[name].dtype
            assert torch.equal(part, parts[name])


@pytest.mark.parametrize("shuffle", [False, True])
def test_numbers_of_16_bits_are_batches_of_32(shuffle):
    arrays = rows()
    exact = BatchLoader(arrays, 64, device=CPU, shuffle=shuffle)
    narrow = BatchLoader(arrays, 64, device=CPU, shuffle=shuffle, numbers=torch.float16)
    assert narrow.resident.numerical.dtype == torch.float16
    for found, wanted in zip(narrow, exact, strict=True):
        assert found.numerical.dtype == torch.float32
        assert torch.equal(found.numerical, wanted.numerical.half().float())
        assert torch.equal(found.categorical, wanted.categorical)


def test_only_the_numbers_of_training_rows_are_rounded(shared_criteo):
    data = shared_criteo(resident_numbers="float16", scaling="log", resident=True)
    data.prepare_data()
    data.setup("fit")
    kept = {
        s: getattr(data, f"{s}_dataloader")().resident.numerical.dtype for s in ("train", "val")
    }
    assert kept == {"train": torch.float16, "val": torch.float32}
    assert next(iter(data.train_dataloader())).numerical.dtype == torch.float32


def test_a_number_too_large_for_16_bits_is_named(shared_criteo):
    data = shared_criteo(resident_numbers="float16")
    data.setup("fit")
    found = data._arrays["train"]
    numbers = np.array(found.numerical)
    numbers[5, 3] = -70_000
    data._arrays["train"] = replace(found, numerical=numbers)
    message = (
        "data.resident_numbers: float16 holds numbers up to 65,504, and the field I4 has -70000: "
        "give float32, or scale the field"
    )
    with pytest.raises(ZooError, match=message):
        data.train_dataloader()


def test_another_type_is_named(shared_criteo):
    with pytest.raises(ZooError, match="takes float32 or float16, got int8"):
        shared_criteo(resident_numbers="int8")


# Order


@pytest.mark.parametrize("kind", [torch.int32, torch.int64])
def test_an_order_is_that_of_the_cpu_whatever_its_type(kind):
    generator = torch.Generator().manual_seed(7)
    assert torch.equal(permutation(5000, 7, kind).long(), torch.randperm(5000, generator=generator))


def test_batches_of_a_device_come_in_the_order_of_a_cpu():
    arrays, epoch = rows(), [0]
    options = {"shuffle": True, "seed": 3, "epoch": lambda: epoch[0], "with_row": True}
    of_cpu = BatchLoader(arrays, 64, device=CPU, **options)
    elsewhere = BatchLoader(arrays, 64, device=META, **options)
    assert elsewhere.ahead.of(0).dtype == torch.int32
    for epoch[0] in (0, 1, 1, 5):  # an epoch that is repeated or skipped, too
        order = elsewhere.ahead.of(epoch[0])
        parts = [batch.row for batch in of_cpu]
        assert torch.equal(of_cpu.resident.row[order.long()], torch.cat(parts))
        ahead = [len(batch.label) for batch in elsewhere]
        assert ahead == [len(part) for part in parts]
    of_cpu.ahead = elsewhere.ahead  # whose numbers of rows are int32
    assert torch.equal(torch.cat([batch.row for batch in of_cpu]), torch.cat(parts))


def test_the_order_of_the_next_epoch_is_drawn_while_one_lasts():
    drawn, begun = [], threading.Event()

    def draw(epoch):
        drawn.append((epoch, threading.current_thread() is threading.main_thread()))
        if epoch == 4:
            begun.set()
        return torch.tensor([epoch])

    orders = DrawnAhead(draw, 3)
    assert orders.of(3).item() == 3
    assert begun.wait(60)  # nobody has asked for it yet
    assert orders.of(4).item() == 4
    assert orders.of(9).item() == 9
    assert drawn[:2] == [(3, False), (4, False)]


def test_an_error_of_the_thread_is_that_of_the_epoch():
    with pytest.raises(MemoryError):
        DrawnAhead(mock.Mock(side_effect=MemoryError), 0).of(0)
