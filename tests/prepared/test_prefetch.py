"""Batches on their way to a GPU: order, state and errors are those of their loader."""

from types import SimpleNamespace
from unittest import mock

import pytest
import torch
from lightning_utilities.core.apply_func import apply_to_collection
from support.preparation import ready
from support.resuming import Diary, SmallRows, fit, state_of

from datamodules.prepared import prefetch
from datamodules.prepared.prefetch import Copies, Prefetched
from zoo import Batch, ZooError
from zoo.data.lists import Lists

pytestmark = pytest.mark.filterwarnings("ignore:.*does not have many workers")
CPU, CUDA = torch.device("cpu"), torch.device("cuda")


class LateCopies:
    """Copies on a CPU whose content comes when it is waited for, not before.

    Attributes:
        events: What was done, in this order.
    """

    def __init__(self, device=CPU):
        self.events = []
        self.queued = []

    def begin(self, batch):
        """A batch of zeros."""
        self.events.append("begin")
        copy = apply_to_collection(batch, torch.Tensor, torch.zeros_like)
        self.queued.append((copy, batch))
        assert len(self.queued) == 1, "one batch ahead, no more"
        return copy

    def finish(self):
        """Its content."""
        self.events.append("finish")
        for copy, batch in self.queued:
            for there, here in zip(tensors(copy), tensors(batch), strict=True):
                there.copy_(here)
        self.queued.clear()


def tensors(batch):
    found = []
    apply_to_collection(batch, torch.Tensor, found.append)
    return found


def rows(numbers):
    n = torch.as_tensor(numbers, dtype=torch.float32)
    lists = Lists(torch.arange(3), torch.zeros(len(n), 1).long(), torch.ones(len(n), 1).long())
    return Batch(n[:, None], n[:, None].int(), n % 2, lists=lists)


def firsts(batches):
    return [batch.numerical[0].item() for batch in batches]


@pytest.mark.parametrize("count", [0, 1, 2, 7])
def test_all_batches_come_in_their_order(count):
    batches = [rows([i, i + 1]) for i in range(count)]
    found = [*Prefetched(batches, "train", LateCopies())]
    for one, other in zip(found, batches, strict=True):
        assert all(map(torch.equal, tensors(one), tensors(other)))
    assert len(Prefetched(batches, "train", LateCopies())) == count


def test_the_next_batch_is_on_its_way_while_one_is_used():
    copies, used = LateCopies(), []
    for batch in Prefetched([rows([i]) for i in range(3)], "train", copies):
        used.append((firsts([batch])[0], [*copies.events]))
    ahead = ["begin", "finish", "begin"]
    assert used == [
        (0, ahead),
        (1, [*ahead, "finish", "begin"]),
        (2, [*ahead, "finish", "begin", "finish"]),
    ]


def test_an_error_comes_after_the_batches_before_it():
    def broken():
        yield rows([0])
        yield rows([1])
        raise OSError("the disk")

    found = []
    with pytest.raises(OSError, match="the disk"):
        found += Prefetched(broken(), "train", LateCopies())
    batches = iter(Prefetched(broken(), "train", LateCopies()))
    assert firsts([next(batches), next(batches)]) == [0, 1]
    with pytest.raises(OSError, match="the disk"):
        next(batches)


def test_a_loader_that_is_left_in_its_midst_is_closed():
    closed = []

    def loader():
        try:
            yield from (rows([i]) for i in range(9))
        finally:
            closed.append(True)

    batches = iter(Prefetched(loader(), "train", LateCopies()))
    next(batches)
    del batches
    assert closed == [True]


@pytest.mark.parametrize(("split", "refused"), [("train", True), ("val", True), ("predict", False)])
def test_rows_without_a_label_are_refused_while_they_are_on_the_cpu(split, refused):
    unlabelled = rows([1, 2])._replace(label=torch.tensor([1.0, torch.nan]))
    batches = iter(Prefetched([rows([0]), unlabelled], split, LateCopies()))
    next(batches)
    if refused:
        with pytest.raises(ZooError, match=f"1 of the 2 rows of a batch of {split}_dataloader"):
            next(batches)
    else:
        assert next(batches).label.isnan().any()


class RowsAhead(SmallRows):
    """Rows on disk, fetched as for a GPU."""

    def loader(self, split, **options):
        """Batches that are late."""
        return Prefetched(super().loader(split, **options), split, LateCopies())


@pytest.mark.parametrize("resident", [True, False])
def test_a_fit_goes_on_from_any_checkpoint(resident, tmp_path):
    """What is on its way when a checkpoint is saved has not been trained on."""
    options = {"max_epochs": 2, "num_sanity_val_steps": 0, "val_check_interval": 2}
    plain, unbroken = Diary(), Diary(tmp_path)
    expected = state_of(fit(plain, data=SmallRows(resident=resident), **options))
    found = state_of(fit(unbroken, data=RowsAhead(resident=resident), **options))
    assert unbroken.events == plain.events
    torch.testing.assert_close(found, expected, rtol=0, atol=0)
    batches = [(path, n) for path, n in unbroken.checkpoints if "batch" in path.name]
    for path, events in batches[::3]:
        resumed = Diary()
        found = state_of(fit(resumed, path, RowsAhead(resident=resident), **options))
        assert resumed.events == unbroken.events[events:]
        torch.testing.assert_close(found, expected, rtol=0, atol=0)


def test_an_epoch_of_another_length_is_refused():
    batches = RowsAhead(batch_size=16).loader("train")
    assert batches.state_dict() == {"trained": 0, "batches": 5}
    with pytest.raises(ZooError, match="of the 4 batches of an epoch, which has 5 here"):
        batches.load_state_dict({"trained": 1, "batches": 4})


# Which loaders


def splits_of(data, device, monkeypatch):
    """The dataloaders of a fit on a device."""
    monkeypatch.setattr(prefetch, "Copies", LateCopies)
    progress = SimpleNamespace(is_last_batch=False, current=SimpleNamespace(ready=0))
    data.trainer = SimpleNamespace(
        strategy=SimpleNamespace(root_device=device),
        lightning_module=None,
        global_rank=0,
        world_size=1,
        accumulate_grad_batches=1,
        current_epoch=0,
        fit_loop=SimpleNamespace(epoch_loop=SimpleNamespace(batch_progress=progress)),
    )
    try:
        return data.train_dataloader(), data.val_dataloader()
    finally:
        data.trainer = None


@pytest.mark.parametrize("kind", ["rows", "resident rows", "sessions", "pairs"])
def test_what_a_gpu_does_not_keep_is_fetched_ahead(kind, request, monkeypatch):
    if kind == "sessions":
        data = request.getfixturevalue("shared_sessions")
    elif kind == "pairs":
        make, ratings = map(request.getfixturevalue, ("movielens", "planted_ratings"))
        data = make(ratings)
    else:
        data = SmallRows(resident="resident" in kind)
    ready(data).setup("fit")
    for ahead, plain in zip(
        splits_of(data, CUDA, monkeypatch), splits_of(data, CPU, monkeypatch), strict=True
    ):
        assert isinstance(ahead, Prefetched) == (kind != "resident rows")
        assert not isinstance(plain, Prefetched)
        assert len(ahead) == len(plain)
        for one, other in zip(ahead, plain, strict=True):
            assert all(map(torch.equal, tensors(one), tensors(other)))


def test_the_streams_of_a_gpu_wait_for_each_other():
    """Of CUDA, calls alone: computing, then the copy, then computing with it; nothing else."""
    calls, cuda = mock.Mock(), mock.MagicMock()
    computing, own = cuda.current_stream.return_value, cuda.Stream.return_value
    computing.wait_stream.side_effect = lambda stream: calls.computing_waits(stream is own)
    own.wait_stream.side_effect = lambda stream: calls.copies_wait(stream is computing)
    cuda.stream.return_value.__enter__.side_effect = lambda: calls.enter()
    cuda.stream.return_value.__exit__.side_effect = lambda *_: calls.leave()

    class Pinned:
        def __init__(self, part):
            self.part = part

        def to(self, device, non_blocking):
            calls.to(device, non_blocking)
            return self.part

    pinned = mock.patch.object(torch.Tensor, "pin_memory", lambda part: Pinned(part))
    with mock.patch("torch.cuda", cuda), pinned:
        copies = Copies(CUDA)
        batch = copies.begin(rows([1, 2]))
        copies.finish()
    parts = [mock.call.to(CUDA, True)] * len(tensors(rows([1])))
    assert calls.mock_calls == [
        mock.call.copies_wait(True),
        mock.call.enter(),
        *parts,
        mock.call.leave(),
        mock.call.computing_waits(True),
    ]
    assert isinstance(batch, Batch)
    assert isinstance(batch.lists, Lists)
    cuda.stream.assert_called_once_with(own)
