"""Rows of a table that one process owns, and the look-up of rows that others own."""

import copy

import pytest
import torch
from torch import distributed, nn

from zoo import Batch, DeepFM, Field, Schema
from zoo.data.partition import Partition
from zoo.nn.embedding import without_tables
from zoo.nn.shard import ROWS_PER_SEED, Shard

SCHEMA = Schema((Field("n", "numerical"), Field("c", "categorical", 300)))


@pytest.fixture
def alone():
    """A group of one process."""
    store = distributed.HashStore()
    distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    yield
    distributed.destroy_process_group()


@pytest.mark.parametrize("rows", [10, 200, 1000])
@pytest.mark.parametrize("parts", [1, 2, 3, 7])
def test_the_rows_of_all_processes_are_the_table(rows, parts):
    table = torch.randn(rows, 3)
    found = torch.full_like(table, torch.nan)
    for part in range(parts):
        shard = Shard(Partition(rows, parts), part)
        ids = torch.arange(rows)
        mine, places = shard.owned(ids)
        found[mine] = shard.of(table)[places]
    assert torch.equal(found, table)


def test_first_values_do_not_depend_on_the_number_of_processes(monkeypatch):
    monkeypatch.setattr("zoo.nn.shard.ROWS_PER_SEED", 256)
    drawn = []
    for parts in (1, 2, 3):
        shards = [Shard(Partition(3000, parts), part) for part in range(parts)]
        drawn.append(torch.cat([s.drawn(torch.empty(len(s), 2), 0.5, 7) for s in shards]))
    assert torch.equal(drawn[0], drawn[1])
    assert torch.equal(drawn[0], drawn[2])
    assert drawn[0].std().item() == pytest.approx(0.5, rel=0.03)
    assert len(drawn[0].unique()) > 5900  # no two pieces alike
    assert ROWS_PER_SEED % 64 == 0


@pytest.mark.parametrize("sparse", [True, False])
def test_rows_are_looked_up_as_in_a_whole_table(alone, sparse):
    table = torch.randn(200, 3)
    ids = torch.tensor([5, 199, 5, 64, 0])
    shard = Shard(Partition(200), 0)
    part = nn.Parameter(shard.of(table))
    rows, distinct, place = shard.look_up(part, ids, sparse)
    assert torch.equal(rows[place], table[ids])
    assert sorted(distinct.tolist()) == [0, 5, 64, 199]
    weights = torch.randn(5, 3)
    (rows[place] * weights).sum().backward()
    assert part.grad.is_sparse == sparse
    expected = torch.zeros(200, 3).index_add_(0, ids, weights)
    torch.testing.assert_close(part.grad.to_dense(), shard.of(expected))


def test_a_shared_table_scores_as_a_whole_one(alone):
    model = DeepFM(SCHEMA, embedding_dim=4, hidden_units=[8], embedding_std=1.0).eval()
    batch = Batch(
        torch.randn(6, 1), torch.tensor([[0], [299], [7], [7], [64], [-1]]), torch.ones(6)
    )
    expected = model(batch)
    model.embedding.share(Shard(Partition(SCHEMA.table_rows), 0), torch.device("cpu"), 0)
    torch.testing.assert_close(model(batch), expected)


def test_a_model_is_made_without_its_table():
    with without_tables():
        model = DeepFM(SCHEMA, embedding_dim=4)
    assert model.embedding.table.is_meta
    assert not model.bias.is_meta
    model.embedding.share(Shard(Partition(SCHEMA.table_rows, 2), 1), torch.device("cpu"), 0)
    shard = model.embedding.shard
    assert model.embedding.table.shape == (len(shard), 5)
    assert (shard.start, shard.stop) == Partition(300, 2).bounds(1)
    assert not DeepFM(SCHEMA, embedding_dim=4).embedding.table.is_meta


def test_vectors_go_to_the_process_that_owns_their_row():
    given = torch.tensor([299, 3, 150]), torch.randn(3, 4)
    whole = DeepFM(SCHEMA, embedding_dim=4).embedding
    expected = whole.table.detach().clone()
    expected[given[0], :4] = given[1]
    for part in range(2):
        embedding = copy.deepcopy(whole)
        embedding.share(Shard(Partition(300, 2), part), torch.device("cpu"), 0)
        embedding.take_vectors(*given)
        assert embedding.rows == 300
        assert torch.equal(embedding.table, embedding.shard.of(expected))
