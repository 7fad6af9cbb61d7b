"""Pooled fields of lists, against loops over rows and values."""

import pytest
import torch
from deepctr_torch.layers import AttentionSequencePoolingLayer
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from zoo import (
    DCN,
    AutoInt,
    Batch,
    DeepFM,
    FiBiNET,
    Field,
    InterHAt,
    InterpretableMLP,
    Schema,
    WideDeep,
    xDeepFM,
)
from zoo.data.errors import ZooError
from zoo.data.lists import Lists
from zoo.nn.embedding import FusedEmbedding
from zoo.nn.pooling import ActivationUnit

SCHEMA = Schema(
    (
        Field("x", "numerical"),
        Field("item", "categorical", 7),
        Field("genres", "multi", 5),
        Field("site", "categorical", 4),
        Field("history", "sequence", 7, vocabulary="item"),
    )
)
DIM = 3
FIRST = {"item": 0, "site": 7, "genres": 11, "history": 0}  # rows of the one table
values = st.tuples(
    st.integers(0, 6),
    st.integers(0, 3),
    st.lists(st.integers(0, 4), max_size=4),
    st.lists(st.integers(0, 6), max_size=5),
)


def batch_of(rows):
    """Rows of (item, site, genres, history)."""
    n = len(rows)
    flat, offsets, lengths = [], [], []
    for row in rows:
        for mine in row[2:]:
            offsets.append(len(flat))
            lengths.append(len(mine))
            flat += mine
    shape = (n, 2)
    lists = Lists(
        torch.tensor(flat, dtype=torch.int32),
        torch.tensor(offsets).view(shape),
        torch.tensor(lengths).view(shape),
    )
    ids = torch.tensor([row[:2] for row in rows], dtype=torch.int32)
    return Batch(torch.linspace(-1, 1, n).unsqueeze(1), ids, torch.ones(n), lists=lists)


def pooled_by_hand(module, how, rows):
    """[B, 4, D + 1]: the vectors and weights of item, site, genres, history."""
    table, out = module.table, []
    for item, site, *lists in rows:
        parts = [table[FIRST["item"] + item], table[FIRST["site"] + site]]
        for name, mine in zip(("genres", "history"), lists, strict=True):
            if not mine:
                parts.append(table.new_zeros(DIM + 1))
                continue
            found = torch.stack([table[FIRST[name] + i] for i in mine])
            vector, weight = found[:, :DIM], found[:, DIM:]
            if how.get(name) == "sum":
                parts.append(torch.cat((vector.sum(0), weight.sum(0))))
            elif how.get(name) == "attention":
                unit = module.pooling.units["1"]
                query = table[FIRST["item"] + item, :DIM].expand_as(vector)
                scores = unit(query, vector)
                parts.append(torch.cat((scores @ vector, weight.mean(0))))
            else:
                parts.append(torch.cat((vector.mean(0), weight.mean(0))))
        out.append(torch.stack(parts))
    return torch.stack(out)


@pytest.mark.parametrize(
    "how", [{}, {"genres": "sum"}, {"history": "attention"}, {"genres": "sum", "history": "sum"}]
)
@given(rows=st.lists(values, min_size=1, max_size=5), sparse=st.booleans())
@settings(max_examples=25, deadline=None)
def test_pooling_is_that_of_a_loop(how, rows, sparse):
    """Vectors, first-order part and all gradients; empty lists and repeated values included."""
    torch.manual_seed(0)
    module = FusedEmbedding(SCHEMA, DIM, init_std=1.0, pooling=how)
    module.sparse = sparse
    expected = pooled_by_hand(module, how, rows)
    batch = batch_of(rows)
    found = module(batch)
    torch.testing.assert_close(found.vectors, expected[..., :DIM])
    linear = expected[..., DIM].sum(1) + batch.numerical @ module.numerical_weight
    torch.testing.assert_close(found.linear, linear)
    torch.testing.assert_close(
        found.flat, torch.cat((expected[..., :DIM].flatten(1), batch.numerical), 1)
    )
    parameters = [*module.parameters()]
    mine = torch.autograd.grad(_mixed(found.vectors, found.flat, found.linear), parameters)
    other = _mixed(expected[..., :DIM], found.flat.detach(), linear)
    other = other + (_weights(found.flat)[:, : 4 * DIM] * expected[..., :DIM].flatten(1)).sum()
    theirs = torch.autograd.grad(other, parameters, allow_unused=True, materialize_grads=True)
    for a, b in zip(mine, theirs, strict=True):
        torch.testing.assert_close(a.to_dense() if a.is_sparse else a, b)


def _weights(x):
    return torch.arange(x.numel()).reshape(x.shape).sin()


def _mixed(*parts):
    return sum((_weights(part) * part).sum() for part in parts)


def test_fields_that_share_a_vocabulary_share_rows():
    module = FusedEmbedding(SCHEMA, DIM, init_std=1.0)
    assert module.table.shape == (7 + 4 + 5, DIM + 1)
    vectors = module(batch_of([(3, 0, [], [3])])).vectors
    assert torch.equal(vectors[0, 0], vectors[0, 3])


def test_attention_is_that_of_another_implementation():
    """deepctr-torch's DIN layer, over padded sequences with a mask."""
    torch.manual_seed(0)
    layer = AttentionSequencePoolingLayer(
        att_hidden_units=(80, 40),
        att_activation="relu",
        weight_normalization=False,
        supports_masking=False,
        embedding_dim=DIM,
    )
    module = FusedEmbedding(SCHEMA, DIM, init_std=1.0, pooling={"history": "attention"})
    unit = module.pooling.units["1"]
    assert isinstance(unit, ActivationUnit)
    theirs = [m for m in layer.modules() if isinstance(m, nn.Linear)]
    for mine, other in zip(
        [m for m in unit.modules() if isinstance(m, nn.Linear)], theirs, strict=True
    ):
        nn.init.normal_(other.weight)
        mine.load_state_dict(other.state_dict())
    rows = [(2, 0, [], [1, 5, 5]), (6, 1, [1], [2]), (0, 2, [], [])]
    found = module(batch_of(rows)).vectors[:, 3]
    keys = torch.zeros(3, 4, DIM)
    for b, row in enumerate(rows):
        for t, i in enumerate(row[3]):
            keys[b, t] = module.table[i, :DIM].detach()
    query = torch.stack([module.table[row[0], :DIM].detach() for row in rows]).unsqueeze(1)
    lengths = torch.tensor([[len(row[3])] for row in rows])
    torch.testing.assert_close(found, layer(query, keys, lengths).squeeze(1))


@pytest.mark.parametrize(
    "model", [WideDeep, DeepFM, DCN, xDeepFM, AutoInt, FiBiNET, InterHAt, InterpretableMLP]
)
def test_an_empty_list_adds_nothing_to_any_model(model):
    """A model of a schema with a list that is empty in all rows scores as the same without it."""
    rows = [(1, 2, [1, 3], []), (0, 3, [], [])]
    torch.manual_seed(0)
    other = model(SCHEMA, pooling="sum").eval()
    out = other(batch_of(rows))
    changed = model(SCHEMA, pooling="sum").eval()
    changed.load_state_dict(other.state_dict())
    with torch.no_grad():  # which no row reads
        changed.embedding.table[FIRST["genres"] + 4] += 1
    assert torch.equal(out, changed(batch_of(rows)))
    assert out.isfinite().all()
    more = [(1, 2, [1, 3], [4]), (0, 3, [], [])]
    found = other(batch_of(more))
    assert found[0] != out[0]
    torch.testing.assert_close(found[1], out[1])


@pytest.mark.parametrize(
    ("pooling", "message"),
    [
        ("max", "pooling must be one of mean, sum, attention, got 'max'"),
        ({"genres": "max"}, "pooling must be one of mean, sum, attention, got 'max'"),
        ({"item": "sum"}, "'item' is not a field of lists; these are genres, history"),
        ({"genres": "attention"}, "attention of the field 'genres' is to a candidate"),
    ],
)
def test_message_of_a_wrong_pooling(pooling, message):
    with pytest.raises(ZooError, match=message):
        DeepFM(SCHEMA, pooling=pooling)
