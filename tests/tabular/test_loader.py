"""Batches: every row once, on one rank, in an order of the seed and the epoch alone."""

import csv
import math
from unittest import mock

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from support.preparation import ready

from datamodules import Avazu, Criteo
from datamodules.prepared import share
from datamodules.prepared.arrays import ARRAYS, Arrays
from datamodules.tabular.loader import BatchLoader
from zoo.data.errors import ZooError

CPU = torch.device("cpu")
ORDERS = {
    "in order, mapped": {},
    "in order, resident": {"device": CPU},
    "shuffled, mapped": {"shuffle": True},
    "shuffled, resident": {"shuffle": True, "device": CPU},
}
EVERY_ORDER = pytest.mark.parametrize("options", ORDERS.values(), ids=ORDERS)
EVERY_SHUFFLE = pytest.mark.parametrize("device", [None, CPU], ids=["mapped", "resident"])


def numbered(n, label=None):
    """n rows that hold their number in every column; labelled by parity unless given."""
    row = np.arange(n)
    return Arrays(
        numerical=np.stack([row, -row], 1).astype(np.float32),
        categorical=np.stack([row, row + 1, row + 2], 1).astype(np.int32),
        label=(row % 2 if label is None else label).astype(np.float32),
        row=row + 10**10,
    )


def rows_of(batches):
    """Row numbers in the order of the batches."""
    return torch.cat([batch.categorical[:, 0] for batch in batches]).tolist()


sizes = st.fixed_dictionaries(
    {
        "rows": st.integers(1, 400),
        "batch_size": st.integers(1, 130),
        "world_size": st.integers(1, 5),
    }
).filter(lambda size: size["rows"] >= size["world_size"])
EDGE = {"rows": 17, "batch_size": 8, "world_size": 2}  # one rank has a row more than the other


def for_every_size(test):
    """Runs a test for many sizes, in every order."""
    test = given(size=sizes, epoch=st.integers(0, 10**6))(example(size=EDGE, epoch=0)(test))
    return EVERY_ORDER(settings(max_examples=60, deadline=None)(test))


def epochs_of(size, epoch, options):
    """The batches of every rank, as lists; several blocks and windows in a few hundred rows."""
    arrays, ranks = numbered(size["rows"]), range(size["world_size"])
    common = {"world_size": len(ranks), "epoch": lambda: epoch, **options}
    with mock.patch.multiple(share, ROWS_PER_BLOCK=8, ROWS_PER_WINDOW=50):
        return [list(BatchLoader(arrays, size["batch_size"], rank=r, **common)) for r in ranks]


@for_every_size
def test_every_row_comes_once_over_all_ranks(size, epoch, options):
    found = [row for batches in epochs_of(size, epoch, options) for row in rows_of(batches)]
    assert sorted(found) == list(range(size["rows"]))


@for_every_size
def test_all_ranks_make_the_same_number_of_steps(size, epoch, options):
    steps = {len(batches) for batches in epochs_of(size, epoch, options)}
    rows, world_size = size["rows"], size["world_size"]
    # as many as one process makes of larger batches, unless a process would have none
    wanted = math.ceil(rows / (world_size * size["batch_size"]))
    assert steps == {min(wanted, rows // world_size)}


@for_every_size
def test_batches_differ_by_a_row_at_most(size, epoch, options):
    for batches in epochs_of(size, epoch, options):
        sizes = [len(batch.label) for batch in batches]
        assert max(sizes) - min(sizes) <= 1
        assert 1 <= max(sizes) <= max(size["batch_size"], 2)


@for_every_size
def test_columns_stay_together(size, epoch, options):
    for batch in (b for batches in epochs_of(size, epoch, options) for b in batches):
        row = batch.categorical[:, 0]
        together = torch.stack(
            [
                batch.numerical[:, 0] == row,
                batch.numerical[:, 1] == -row,
                batch.categorical[:, 2] == row + 2,
                batch.label == row % 2,
            ]
        )
        assert together.all()


@EVERY_ORDER
def test_len_is_the_number_of_batches(options):
    batches = BatchLoader(numbered(1000), 64, **options)
    assert len(batches) == len(list(batches)) == 16


@pytest.mark.parametrize("device", [None, CPU])
def test_unshuffled_batches_are_in_file_order(device):
    assert rows_of(BatchLoader(numbered(1000), 64, device=device)) == list(range(1000))


# The batch contract


@EVERY_ORDER
def test_types_of_a_batch(options):
    batch = next(iter(BatchLoader(numbered(100), 10, **options)))
    types = (batch.numerical.dtype, batch.categorical.dtype, batch.label.dtype)
    assert types == (torch.float32, torch.int32, torch.float32)


@EVERY_ORDER
def test_shapes_of_a_batch(options):
    batch = next(iter(BatchLoader(numbered(100), 10, **options)))
    assert (*batch.numerical.shape, *batch.categorical.shape, *batch.label.shape) == (
        *(10, 2),
        *(10, 3),
        10,
    )


@EVERY_ORDER
def test_row_numbers_come_where_asked(options):
    batch = next(iter(BatchLoader(numbered(100), 10, with_row=True, **options)))
    assert torch.equal(batch.row, batch.categorical[:, 0].long() + 10**10)


@EVERY_ORDER
def test_row_numbers_come_only_where_asked(options):
    assert next(iter(BatchLoader(numbered(100), 10, **options))).row is None


def test_a_mapped_batch_can_be_written_to(tmp_path):
    np.save(tmp_path / "label.npy", np.zeros(100, np.float32))
    mapped = np.load(tmp_path / "label.npy", mmap_mode="r")
    arrays = numbered(100)
    batch = next(iter(BatchLoader(Arrays(arrays.numerical, arrays.categorical, mapped, mapped), 9)))
    batch.label.fill_(1)
    assert mapped.max() == 0


# Shuffling


@EVERY_SHUFFLE
def test_the_same_epoch_has_the_same_order(device):
    arrays = numbered(3000)
    one, other = (
        rows_of(BatchLoader(arrays, 64, shuffle=True, seed=5, epoch=lambda: 3, device=device))
        for _ in range(2)
    )
    assert one == other


@EVERY_SHUFFLE
def test_a_resumed_loader_goes_on_as_the_unbroken_one(device):
    """What came before leaves no trace in the order."""
    epoch, arrays = [0], numbered(3000)
    unbroken = BatchLoader(arrays, 64, shuffle=True, epoch=lambda: epoch[0], device=device)
    list(unbroken)
    epoch[0] = 1
    resumed = BatchLoader(arrays, 64, shuffle=True, epoch=lambda: 1, device=device)
    assert rows_of(unbroken) == rows_of(resumed)


@settings(max_examples=60, deadline=None)
@given(sizes.filter(lambda size: size["batch_size"] > 1), st.integers(0, 9))
def test_ranks_share_the_batches_of_one_process(size, epoch):
    order = {"shuffle": True, "device": CPU}
    ranks = epochs_of(size, epoch, order)
    large = {**size, "world_size": 1, "batch_size": size["batch_size"] * size["world_size"]}
    (alone,) = epochs_of(large, epoch, order)
    assert [rows_of(step) for step in zip(*ranks, strict=True)] == [rows_of([b]) for b in alone]


@EVERY_SHUFFLE
@pytest.mark.parametrize("rows", [400, 401, 415])
@pytest.mark.parametrize("accumulate", [2, 3])
def test_accumulated_batches_are_those_of_a_larger_size(device, rows, accumulate):
    arrays, order = numbered(rows), {"shuffle": True, "device": device}
    small = [*BatchLoader(arrays, 16, accumulate=accumulate, **order)]
    large = [*BatchLoader(arrays, 16 * accumulate, **order)]
    steps = [small[i : i + accumulate] for i in range(0, len(small), accumulate)]
    assert [rows_of(step) for step in steps] == [rows_of([batch]) for batch in large]


@EVERY_ORDER
@pytest.mark.parametrize("trained", [0, 1, 7, 46, 47])
def test_an_epoch_goes_on_after_the_batches_trained_on(options, trained):
    """Without those before it being assembled; the next epoch is whole."""
    arrays = numbered(3000)
    state = {"trained": trained, "batches": 47}
    with mock.patch.multiple(share, ROWS_PER_BLOCK=8, ROWS_PER_WINDOW=300):
        whole = [rows_of([batch]) for batch in BatchLoader(arrays, 64, **options)]
        resumed = BatchLoader(arrays, 64, trained=lambda: trained, **options)
        assert resumed.state_dict() == state
        resumed.load_state_dict(state)
        with mock.patch.object(BatchLoader, "_batch", autospec=True, side_effect=_batch) as read:
            found = [rows_of([batch]) for batch in resumed]
        assert found == whole[trained:]
        if "device" not in options:
            assert read.call_count <= len(found)
        assert [rows_of([batch]) for batch in resumed] == whole


_batch = BatchLoader._batch


@EVERY_SHUFFLE
@pytest.mark.parametrize("change", [{"seed": 1}, {"epoch": lambda: 1}], ids=["seed", "epoch"])
def test_another_seed_or_epoch_has_another_order(device, change):
    arrays = numbered(3000)
    one, other = (
        rows_of(BatchLoader(arrays, 64, shuffle=True, device=device, **options))
        for options in ({}, change)
    )
    assert one != other


def test_a_resident_shuffle_is_a_uniform_permutation():
    """Positions of row 0 over 2,000 epochs of 10 rows."""
    epoch = [0]
    batches = BatchLoader(numbered(10), 10, shuffle=True, epoch=lambda: epoch[0], device=CPU)
    found = np.zeros(10)
    for epoch[0] in range(2000):
        found[rows_of(batches).index(0)] += 1
    assert np.all(np.abs(found - 200) < 4.5 * math.sqrt(2000 * 0.09))


@EVERY_SHUFFLE
def test_every_batch_of_a_sorted_file_has_both_classes_in_proportion(device):
    """30 % positives, all at the end, in four windows.

    A window draws 256 of 1024 blocks, a batch 1024 rows of its window: the standard deviation
    of a batch's share is 0.029 from disk and 0.014 from memory.
    """
    n = 4 * share.ROWS_PER_WINDOW
    arrays = numbered(n, label=np.arange(n) >= 0.7 * n)
    batches = BatchLoader(arrays, 1024, shuffle=True, device=device)
    shares = np.array([float(batch.label.mean()) for batch in batches])
    assert np.abs(shares - 0.3).max() < (0.14 if device is None else 0.07)


@EVERY_SHUFFLE
def test_neighbours_in_the_file_are_no_neighbours_in_the_order(device):
    rows = np.array(rows_of(BatchLoader(numbered(30_000), 1000, shuffle=True, device=device)))
    # chance: 2 * 29,999 / 30,000 pairs
    assert (np.abs(np.diff(rows)) == 1).sum() < 15


# Work


class Counted:
    """An array that counts how often it is sliced."""

    def __init__(self, array):
        self.array = array
        self.slices = 0

    def __len__(self):
        return len(self.array)

    def __getitem__(self, rows):
        self.slices += 1
        return self.array[rows]


def slices_of(n, batch_size, **options):
    """Slices of each array in one epoch, those of the loader's making included."""
    found = numbered(n)
    arrays = Arrays(**{name: Counted(getattr(found, name)) for name in ARRAYS})
    assert len(rows_of(BatchLoader(arrays, batch_size, **options))) == n
    return arrays.label.slices


def test_one_slice_a_batch_in_order():
    assert slices_of(100_000, 1000) == 100


def test_one_slice_a_block_when_shuffling_from_disk():
    """Windows of 65 batches may cut a block in two."""
    assert slices_of(100_000, 1000, shuffle=True) <= math.ceil(100_000 / share.ROWS_PER_BLOCK) + 1


@pytest.mark.parametrize("shuffle", [False, True])
def test_one_slice_in_all_from_memory(shuffle):
    assert slices_of(100_000, 1000, shuffle=shuffle, device=CPU) == 1


def test_too_few_rows_for_the_processes():
    with pytest.raises(ZooError, match="3 rows cannot be dealt to 4 processes"):
        BatchLoader(numbered(3), 8, world_size=4)


# Through a datamodule


@pytest.fixture(scope="module")
def data(shared_criteo):
    datamodule = shared_criteo(batch_size=256)
    datamodule.setup("fit")
    return datamodule


def test_training_batches_hold_the_training_rows(data):
    held = sum(len(batch.label) for batch in data.train_dataloader())
    assert held == data.manifest.splits["train"]["rows"]


def test_training_batches_are_shuffled(data):
    labels = torch.cat([batch.label for batch in data.train_dataloader()])
    assert not np.array_equal(labels, data.train_dataloader().arrays.label)


@pytest.mark.parametrize("split", ["val", "test"])
def test_measured_batches_are_in_file_order(data, split):
    batches = getattr(data, f"{split}_dataloader")()
    labels = torch.cat([batch.label for batch in batches])
    np.testing.assert_array_equal(labels, batches.arrays.label)


@pytest.mark.parametrize(("resident", "kept"), [(True, True), (False, False), ("auto", True)])
def test_resident_is_an_option(shared_criteo, resident, kept):
    """20,000 rows fill less than a quarter of any memory."""
    datamodule = shared_criteo(resident=resident)
    datamodule.setup("fit")
    assert (datamodule.train_dataloader().resident is not None) == kept


def test_ids_are_below_their_cardinality(data):
    highest = torch.stack([batch.categorical.amax(0) for batch in data.train_dataloader()]).amax(0)
    assert all(
        int(most) < field.cardinality
        for most, field in zip(highest, data.schema.categorical, strict=True)
    )


# Real samples


@pytest.fixture(scope="module")
def real_criteo(shared_data, tmp_path_factory):
    path = str(shared_data / "criteo" / "train_10k.txt")
    return ready(Criteo(path, prepared=str(tmp_path_factory.mktemp("real"))))


@pytest.fixture(scope="module")
def real_avazu(shared_data, tmp_path_factory):
    path = str(shared_data / "avazu" / "train_8k.csv")
    return ready(Avazu(path, prepared=str(tmp_path_factory.mktemp("real"))))


def test_real_criteo_has_13_numbers_and_26_categories(real_criteo):
    schema = real_criteo.schema
    assert (len(schema.numerical), len(schema.categorical)) == (13, 26)


def test_real_criteo_is_read_whole(real_criteo, shared_data):
    lines = (shared_data / "criteo" / "train_10k.txt").read_text().splitlines()
    splits = real_criteo.manifest.splits.values()
    found = (sum(s["rows"] for s in splits), sum(s["positives"] for s in splits))
    assert found == (10_000, sum(line[0] == "1" for line in lines))


def test_real_avazu_has_24_categories(real_avazu):
    schema = real_avazu.schema
    assert (len(schema.numerical), len(schema.categorical)) == (0, 24)


def test_real_avazu_is_read_whole(real_avazu, shared_data):
    with open(shared_data / "avazu" / "train_8k.csv") as file:
        clicks = [row["click"] for row in csv.DictReader(file)]
    splits = real_avazu.manifest.splits.values()
    found = (sum(s["rows"] for s in splits), sum(s["positives"] for s in splits))
    assert found == (8087, clicks.count("1"))


def test_real_avazu_is_of_one_hour(real_avazu):
    """Unknown, missing, and the one value."""
    time = [field.cardinality for field in real_avazu.schema.fields if field.group == "time"]
    assert time == [3, 3, 3]


def test_real_samples_hold_no_malformed_row(real_criteo, real_avazu):
    assert (real_criteo.manifest.rejected, real_avazu.manifest.rejected) == ({}, {})
