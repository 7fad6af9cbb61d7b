"""Embeddings of several sizes against a loop over the fields."""

import pytest
import torch
from torch.testing import assert_close

from zoo import Batch, Field, Schema
from zoo.data.errors import ZooError
from zoo.data.lists import Lists
from zoo.data.module import quantiles
from zoo.nn.embedding import FusedEmbedding
from zoo.nn.numbers import encoding_of
from zoo.nn.sized import SizedEmbedding, embedding_of, flat_columns

SCHEMA = Schema(
    (
        Field("user", "categorical", 9),
        Field("n", "numerical"),
        Field("item", "categorical", 6),
        Field("sex", "categorical", 4),
        Field("history", "sequence", 6, vocabulary="item"),
        Field("tags", "multi", 5),
    )
)
SIZES = {"user": 7, "item": 2}
SIZE = {"user": 7, "item": 2, "history": 2, "sex": 3, "tags": 3}  # of each field
ROWS, BINS = 8, 3


@pytest.fixture
def batch():
    torch.manual_seed(0)
    ids = torch.stack([torch.randint(f.cardinality, (ROWS,)) for f in SCHEMA.categorical], 1)
    offsets, lengths = torch.randint(40, (ROWS, 2)), torch.randint(4, (ROWS, 2))
    lists = Lists(torch.randint(5, (50,)), offsets, lengths)
    return Batch(torch.randn(ROWS, 1), ids, torch.zeros(ROWS), lists=lists)


def list_of(batch, row, field):
    start, length = batch.lists.offsets[row, field], batch.lists.lengths[row, field]
    return batch.lists.values[start : start + length]


def sized(embed_numerical=True, **options):
    torch.manual_seed(0)
    encoding = encoding_of("piecewise_linear", 1, BINS)
    encoding.fit(quantiles(torch.randn(30, 1).numpy(), BINS))
    given = {"embed_numerical": embed_numerical, "encoding": encoding, "init_std": 1.0}
    return embedding_of(SCHEMA, 3, SIZES, pooling={"history": "sum"}, **given, **options)


def rows_of(embedding, name, ids):
    """Vectors and weights of ids."""
    part, first = embedding.place(name)
    found = part.table[first + ids]
    assert found.shape[-1] == SIZE[name] + 1
    return found[..., :-1], found[..., -1]


@pytest.mark.parametrize("embed_numerical", [False, True])
def test_each_field_has_columns_of_its_size(embed_numerical, batch):
    embedding = sized(embed_numerical)
    found, places = embedding(batch), flat_columns(SCHEMA, 3, SIZES, embed_numerical, BINS)
    assert isinstance(embedding, SizedEmbedding)
    assert sorted(c for mine in places.values() for c in mine) == [*range(embedding.flat_dim)]
    assert all(embedding.columns(SCHEMA, [name]) == places[name] for name in places)
    wanted = {name: torch.zeros(ROWS, size) for name, size in SIZE.items()}
    linear = batch.numerical @ embedding.fused[0].numerical_weight
    for b in range(ROWS):
        values = dict(zip(("user", "item", "sex"), batch.categorical[b], strict=True))
        values |= {"history": list_of(batch, b, 0), "tags": list_of(batch, b, 1)}
        for name, ids in values.items():
            vectors, weights = rows_of(embedding, name, ids.view(-1))
            divisor = max(len(weights), 1) if name == "tags" else 1
            wanted[name][b] = vectors.sum(0) / divisor
            linear[b] += weights.sum() / divisor
    for name, vectors in wanted.items():
        assert_close(found.flat[:, places[name]], vectors)
    assert_close(found.linear, linear)
    number = found.flat[:, places["n"]][:, -1 - BINS :]
    assert_close(number[:, :1], batch.numerical)
    assert_close(number[:, 1:], embedding.encoding(batch.numerical)[:, 0])


@pytest.mark.parametrize("sparse", [False, True])
def test_gradients_are_those_of_autograd(sparse, batch):
    embedding = sized()
    embedding.sparse = sparse
    found = embedding(batch)
    (found.flat.square().sum() + found.linear.sum()).backward()
    for part in embedding.fused:
        assert part.table.grad.is_sparse == sparse
    user, first = embedding.place("user")
    rows = torch.zeros(9, 8)
    vectors, _ = rows_of(embedding, "user", batch.categorical[:, 0])
    add = torch.cat((2 * vectors, torch.ones(ROWS, 1)), 1)
    rows.index_add_(0, batch.categorical[:, 0], add.detach())
    assert_close(user.table.grad.to_dense()[first : first + 9], rows)


def test_sizes_that_are_all_one_need_one_table():
    sizes = dict.fromkeys(("user", "item", "sex", "tags"), 4)
    made = embedding_of(Schema((Field("user", "categorical", 9),)), 3, {"user": 4})
    assert isinstance(made, FusedEmbedding)
    assert made.embedding_dim == 4
    assert isinstance(embedding_of(SCHEMA, 4, sizes), FusedEmbedding)


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"n": 2}, "embedding_dims must name fields of ids .*: item, sex, tags, user, got 'n'"),
        ({"history": 2}, "of their own: .*, got 'history'"),
        ({"user": 0}, "the size of user must be at least 1, got 0"),
    ],
)
def test_sizes_that_are_none_are_refused(sizes, message):
    with pytest.raises(ZooError, match=message):
        embedding_of(SCHEMA, 3, sizes)


@pytest.mark.parametrize("sparse", [False, True])
def test_frozen_vectors_have_no_gradient_but_their_weights_have(sparse, batch):
    embedding = sized(frozen=["item"])
    embedding.sparse = sparse
    part, first = embedding.place("item")
    part.is_frozen[first + 2] = True
    batch.categorical[:, 1] = torch.arange(ROWS) % 4
    found = embedding(batch)
    (found.flat.sum() + found.linear.sum()).backward()
    gradient = part.table.grad.to_dense()[first : first + 4]
    assert (gradient[2, :-1] == 0).all()
    assert (gradient[[0, 1, 3]] != 0).all()
    assert gradient[2, -1] != 0
