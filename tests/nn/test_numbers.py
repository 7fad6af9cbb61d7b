"""Encodings of numbers against their formulas."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from zoo import Batch, Field, Schema
from zoo.data.errors import ZooError
from zoo.data.module import quantiles
from zoo.nn.embedding import FusedEmbedding
from zoo.nn.numbers import LearnedBins, PiecewiseLinear, encoding_of

NUMBERS = st.integers(-5, 5).map(float) | st.floats(-10, 10, width=32).map(lambda x: round(x, 2))


def fitted(kind, rows, bins):
    module = kind(rows.shape[1], bins)
    module.fit(quantiles(rows, bins))
    return module.double()


def edges_of(column, bins):
    """The edges of a number, each once, in plain Python."""
    ordered = sorted(column.tolist())
    at = (max(math.ceil(len(ordered) * k / bins - 1e-9), 1) for k in range(bins + 1))
    return sorted({ordered[i - 1] for i in at})


def piecewise_linear(x, edges):
    """Equation 1 of the paper, in which bins count from 1."""
    found, last = [], len(edges) - 1
    for t in range(1, last + 1):
        if x < edges[t - 1] and t > 1:
            found.append(0.0)
        elif x >= edges[t] and t < last:
            found.append(1.0)
        else:
            found.append((x - edges[t - 1]) / (edges[t] - edges[t - 1]))
    return found


@given(
    rows=st.lists(st.tuples(NUMBERS, NUMBERS), min_size=1, max_size=40),
    bins=st.integers(2, 6),
    x=st.tuples(NUMBERS, NUMBERS),
)
@settings(deadline=None, max_examples=60)
def test_a_piecewise_linear_encoding_is_that_of_the_paper(rows, bins, x):
    rows = np.array(rows, np.float32)
    module = fitted(PiecewiseLinear, rows, bins)
    (found,) = module(torch.tensor([x], dtype=torch.double)).tolist()
    for n, column in enumerate(rows.T):
        wanted = piecewise_linear(x[n], edges_of(column, bins))
        assert found[n] == pytest.approx(wanted + [0] * (bins - len(wanted)))


def test_its_gradient_is_the_slope_of_the_bin_that_a_number_lies_in():
    rows = np.array([[0.0], [1], [3], [7], [15]], np.float32)
    module = fitted(PiecewiseLinear, rows, 4)
    x = torch.tensor([[-2.0], [0.5], [2], [6], [8], [20]], dtype=torch.double, requires_grad=True)
    assert torch.autograd.gradcheck(module, x)
    (found,) = torch.autograd.grad(module(x).sum(), x)
    assert module.bin_edges.tolist() == [[0, 1, 3, 7, 15]]
    # beyond the outermost edges the first and the last bin go on
    wanted = [1, 1, 1 / 2, 1 / 4, 1 / 8, 1 / 8]
    assert found.flatten().tolist() == pytest.approx(wanted)


def test_a_number_of_one_value_has_no_bins():
    module = fitted(PiecewiseLinear, np.full((9, 1), 3.5, np.float32), 4)
    assert module(torch.tensor([[3.5], [-1e9]], dtype=torch.double)).tolist() == [[[0.0] * 4]] * 2


def soft_bins(u, cuts, tau):
    """Equation 1 of Deep Neural Decision Trees."""
    offsets = [-sum(cuts[:t]) for t in range(len(cuts) + 1)]
    scores = [((t + 1) * u + c) / tau for t, c in enumerate(offsets)]
    total = sum(math.exp(score - max(scores)) for score in scores)
    return [math.exp(score - max(scores)) / total for score in scores]


@given(x=NUMBERS, cuts=st.lists(st.floats(0, 1), min_size=1, max_size=5))
@settings(deadline=None, max_examples=60)
def test_learned_bins_are_soft_bins_of_the_place_among_the_rows(x, cuts):
    bins = len(cuts) + 1
    rows = np.arange(-4, 5, dtype=np.float32)[:, None]
    module = fitted(LearnedBins, rows, bins)
    with torch.no_grad():
        module.bias.copy_(-torch.tensor([0, *cuts]).cumsum(0))
    shares = piecewise_linear(x, edges_of(rows[:, 0], bins))
    place = sum(min(max(share, 0), 1) for share in shares) / bins
    found = module(torch.tensor([[x]], dtype=torch.double)).flatten().tolist()
    assert found == pytest.approx(soft_bins(place, cuts, 1 / (4 * bins)), abs=1e-5)


def test_learned_bins_begin_at_the_quantiles():
    rows = np.random.default_rng(0).lognormal(0, 2, (1000, 1)).astype(np.float32)
    module = fitted(LearnedBins, rows, 10)
    mine = module(torch.from_numpy(rows).double()).argmax(2).flatten().numpy()
    edges = np.quantile(rows, np.arange(1, 10) / 10, method="inverted_cdf")
    between = ~np.isin(rows.flatten(), edges)
    wanted = np.searchsorted(edges, rows.flatten())
    np.testing.assert_array_equal(mine[between], wanted[between])


@pytest.mark.parametrize("embed_numerical", [False, True])
@pytest.mark.parametrize("encoding", ["piecewise_linear", "learned_bins"])
def test_encodings_stand_beside_the_plain_values(embed_numerical, encoding):
    torch.manual_seed(0)
    schema = Schema(
        (Field("a", "numerical"), Field("c", "categorical", 4), Field("b", "numerical"))
    )
    bins = encoding_of(encoding, 2, 3)
    bins.fit(quantiles(torch.randn(50, 2).numpy(), 3))
    embedding = FusedEmbedding(schema, 5, embed_numerical, init_std=1.0, encoding=bins).double()
    x, ids = torch.randn(6, 2).double(), torch.randint(4, (6, 1))
    found = embedding(Batch(x, ids, torch.zeros(6)))
    p = bins(x)
    if embed_numerical:
        own = x[:, :, None] * embedding.numerical_vectors
        own = own + sum(p[:, :, t, None] * embedding.bin_vectors[:, t] for t in range(3))
        torch.testing.assert_close(found.vectors[:, :2], own)
    flat = torch.cat((found.vectors.flatten(1), x, p[:, 0], p[:, 1]), 1)
    torch.testing.assert_close(found.flat, flat)
    assert embedding.flat_dim == flat.shape[1]
    for n, name in enumerate("ab"):
        columns = flat[:, embedding.columns(schema, [name])]
        parts = [found.vectors[:, n]] if embed_numerical else []
        torch.testing.assert_close(columns, torch.cat((*parts, x[:, n : n + 1], p[:, n]), 1))
    both = embedding.columns(schema, ["a", "b", "c"])
    assert both == [*range(flat.shape[1])]


def test_options_out_of_range_are_refused():
    with pytest.raises(ZooError, match=r"numerical_encoding must be one of .*, got 'ple'"):
        encoding_of("ple", 2, 3)
    with pytest.raises(ZooError, match="numerical_bins must be at least 2, got 1"):
        encoding_of("piecewise_linear", 2, 1)
    assert encoding_of("learned_bins", 0, 3) is None
