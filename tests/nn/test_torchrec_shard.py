"""What stands around TorchRec, with a stand-in for it: a kernel that steps rows going backward.

`tests/support/torchrec_parity.py` does so with TorchRec, where it is installed.
"""

import copy
import sys
from types import SimpleNamespace
from typing import NamedTuple

import pytest
import torch
from torch import Tensor, distributed, nn

from zoo import Batch, Field, Schema
from zoo.data.partition import Partition
from zoo.nn import torchrec_shard
from zoo.nn.embedding import FusedEmbedding
from zoo.nn.optim import Adagrad
from zoo.nn.shard import Shard
from zoo.nn.torchrec_shard import TorchRecShard

SCHEMA = Schema((Field("n", "numerical"), Field("c", "categorical", 150)))
COLUMNS, WIDE = 3, 4


class Asked(NamedTuple):
    """What TorchRec calls a KeyedJaggedTensor."""

    keys: list[str]
    values: Tensor
    lengths: Tensor


class Kernel:
    """What FBGEMM has of a table on one process."""

    def __init__(self, rows):
        self.weights, self.squares = torch.rand(rows, WIDE), torch.rand(rows * WIDE)
        self.options = {"eps": 1e-8}

    def split_embedding_weights(self):
        return [self.weights]

    def split_optimizer_states(self):
        return [[self.squares]]

    def set_learning_rate(self, rate):
        self.options["lr"] = rate

    def update_hyper_parameters(self, options):
        self.options |= options


class Stepping(torch.autograd.Function):
    """Rows, and Adagrad's step of them, with the rate of the forward pass."""

    @staticmethod
    def forward(ctx, _, positions, kernel):
        ctx.positions, ctx.kernel, ctx.options = positions, kernel, dict(kernel.options)
        return kernel.weights[positions]

    @staticmethod
    def backward(ctx, gradient):
        squares = ctx.kernel.squares.view(-1, WIDE)
        squares[ctx.positions] += gradient.square()
        root = squares[ctx.positions].sqrt() + ctx.options["eps"]
        ctx.kernel.weights[ctx.positions] -= ctx.options["lr"] * gradient / root
        return None, None, None


class Collection:
    """What TorchRec has of a table on one process."""

    def __init__(self, partition, columns, *_):
        self.kernel = Kernel(partition.rows_per_part * partition.parts)
        self._lookups = [SimpleNamespace(_emb_modules=[SimpleNamespace(emb_module=self.kernel)])]

    def __call__(self, asked):
        assert asked.lengths.tolist() == [len(asked.values)]
        found = Stepping.apply(torch.zeros((), requires_grad=True), asked.values, self.kernel)
        return SimpleNamespace(wait=lambda: {"ids": SimpleNamespace(values=lambda: found)})


@pytest.fixture
def alone(monkeypatch):
    """A group of one process, with a stand-in for TorchRec."""
    monkeypatch.setattr(torchrec_shard, "_collection", Collection)
    monkeypatch.setitem(sys.modules, "torchrec", SimpleNamespace(KeyedJaggedTensor=Asked))
    store = distributed.HashStore()
    distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    yield
    distributed.destroy_process_group()


def made(torchrec):
    """An embedding whose table is shared, in one way or the other, and its optimizer."""
    torch.manual_seed(0)
    embedding = FusedEmbedding(SCHEMA, COLUMNS - 1, init_std=0.1)
    embedding.sparse = True
    partition, cpu = Partition(SCHEMA.table_rows), torch.device("cpu")
    if torchrec:
        shard = TorchRecShard(partition, 0, COLUMNS, cpu, "adagrad")
    else:
        shard = Shard(partition, 0)
    embedding.share(shard, cpu, 0)
    optimizer = Adagrad(embedding.parameters(), lr=0.1, eps=1e-3)
    if torchrec:
        shard.join(optimizer, embedding.table)
    return embedding, optimizer


def train(embedding, optimizer, steps):
    """Trains with another learning rate in each step."""
    for step in steps:
        random = torch.Generator().manual_seed(step)
        ids = torch.randint(SCHEMA.table_rows, (20, 1), generator=random)
        batch = Batch(torch.ones(20, 1), ids, torch.zeros(20))
        for group in optimizer.param_groups:
            group["lr"] = 0.1 / (1 + step)
        found = embedding(batch)
        (found.flat.sin().sum() + found.linear.sum()).backward()
        optimizer.step()
        optimizer.zero_grad()


def close(one, other):
    """Compares tables and optimizers."""
    torch.testing.assert_close(one[0].table, other[0].table)
    states = [optimizer.state_dict()["state"] for _, optimizer in (one, other)]
    torch.testing.assert_close(*states)


def test_rows_step_as_by_the_own_exchange(alone):
    """And go on from the state of the other, also where the optimizer has another tensor for it."""
    theirs, ours = made(True), made(False)
    close(theirs, ours)
    train(*theirs, range(3))
    train(*ours, range(3))
    close(theirs, ours)
    went_on = made(True)
    with torch.no_grad():
        went_on[0].load_state_dict(ours[0].state_dict())
    went_on[1].load_state_dict(copy.deepcopy(ours[1].state_dict()))
    train(*went_on, range(3, 6))
    train(*ours, range(3, 6))
    close(went_on, ours)


def test_rows_that_were_moved_are_exchanged_by_ourselves(alone):
    """As after a fit on a GPU, whose weights Lightning brings back."""
    embedding, _ = made(True)
    before = embedding.table.detach().clone()
    embedding.table = nn.Parameter(before + 1)
    batch = Batch(torch.ones(2, 1), torch.tensor([[0], [149]]), torch.zeros(2))
    expected = before[embedding.shard.partition.positions(torch.tensor([0, 149]))] + 1
    torch.testing.assert_close(embedding(batch).vectors[:, -1], expected[:, :-1])
