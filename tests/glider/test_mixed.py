"""Mixed differences, of rows and of points, against closed forms."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from zoo import Batch, ZooError
from zoo.glider.between import Between
from zoo.glider.mixed import mixed_differences, total_interactions
from zoo.glider.perturb import OnOff, bernoulli_masks, generator
from zoo.glider.walsh import walsh
from zoo.glider.walsh.search import WalshConfig

ROW = Batch(torch.ones(1, 2), torch.ones(1, 3).int(), torch.zeros(1))


def switches(rows):
    """[N, d] of on/off rows of `ROW`."""
    return torch.cat((rows.numerical != 0, rows.categorical >= 0), 1).double()


def test_mixed_differences_are_those_of_their_definition():
    """Of any function of five switches, in all 32 contexts."""
    torch.manual_seed(0)
    table = torch.randn(32)
    values = 2.0 ** torch.arange(5).double()

    def f(masks):
        return table[(masks @ values).long()]

    contexts = torch.tensor([*itertools.product([0.0, 1.0], repeat=5)])
    found = mixed_differences(lambda r: f(switches(r)), ROW, OnOff(torch.zeros(2)), contexts)
    assert found.shape == (32, 5, 5)
    for context, mine in zip(contexts, found, strict=True):
        for a, b in itertools.product(range(5), repeat=2):
            total = 0.0
            for on_a, on_b in itertools.product([0, 1], repeat=2) if a != b else [(0, 0), (1, 1)]:
                mask = context.double().clone()
                mask[a], mask[b] = on_a, on_b
                sign = (-1) ** (on_a + on_b) if a != b else 2 * on_a - 1
                total += sign * float(f(mask[None])[0])
            assert mine[a, b] == pytest.approx(total, abs=1e-5)


def test_a_quarter_of_the_mean_square_is_the_variance_of_all_terms_of_both():
    """Walsh coefficients of the pair and of what contains it, over all contexts."""
    coefficients = {(0, 1): 1.0, (0, 1, 2): 0.5, (0, 1, 3, 4): 0.25, (0, 2): 2.0, (4,): 3.0}

    def scores(rows):
        z = 2 * switches(rows) - 1
        return torch.stack([c * z[:, list(s)].prod(1) for s, c in coefficients.items()]).sum(0)

    contexts = torch.tensor([*itertools.product([0.0, 1.0], repeat=5)])
    found = mixed_differences(scores, ROW, OnOff(torch.zeros(2)), contexts)
    squares = np.square(found / 4).mean(0)
    assert squares[0, 1] == pytest.approx(1 + 0.25 + 0.0625, abs=1e-5)
    assert squares[0, 2] == pytest.approx(0.25 + 4, abs=1e-5)
    assert squares[2, 3] == pytest.approx(0, abs=1e-9)


def test_an_and_of_many_is_seen_where_random_masks_never_see_it():
    def scores(rows):
        return rows[:, :16].all(1).double() + (rows[:, 4:20] == 0).all(1) + rows.sum(1)

    ones = torch.ones(24)
    found = mixed_differences(scores, ones, Between(torch.zeros(24)))
    a, b = np.triu_indices(24, 1)
    assert (found[0][a, b] > 0.5).tolist() == (b < 16).tolist()
    assert (found[1][a, b] > 0.5).tolist() == ((a >= 4) & (b < 20)).tolist()
    masks = bernoulli_masks(2000, 24, generator(0))
    assert not scores(masks).sub(masks.sum(1)).any()


def test_calls_are_one_and_one_for_each_feature_and_pair():
    counts = []

    def scores(rows):
        counts.append(len(rows))
        return rows.sum(1)

    point = torch.rand(7)
    assert (
        not mixed_differences(scores, point, Between(torch.rand(7)))[:, ~np.eye(7, dtype=bool)]
        .round(5)
        .any()
    )
    assert counts == [1 + 7 + 21] * 2


def test_more_rows_than_are_made_at_once(monkeypatch):
    point, other, factors = torch.rand(6), torch.rand(6), torch.rand(6, 6)

    def scores(rows):
        return torch.einsum("na,nb,ab->n", rows, rows, factors)

    whole = mixed_differences(scores, point, Between(other))
    monkeypatch.setattr("zoo.glider.mixed.SCORED", 4)
    np.testing.assert_allclose(mixed_differences(scores, point, Between(other)), whole, atol=2e-5)
    moved = (point - other).double().numpy()
    wanted = (factors + factors.T).double().numpy() * np.outer(moved, moved)
    off = ~np.eye(6, dtype=bool)
    np.testing.assert_allclose(whole[:, off], np.stack([wanted[off]] * 2), atol=2e-5)


@given(st.integers(0, 1000), st.integers(2, 5))
@settings(max_examples=20, deadline=None)
def test_walsh_coefficients_between_two_points_are_those_of_a_multilinear_function(seed, features):
    """prod_i x_i = prod_i (m_i + h_i z_i), with m the middle and h half of the way."""
    random = torch.Generator().manual_seed(seed)
    point, other = torch.rand(2, features, generator=random, dtype=torch.float64) + 0.5
    middle, half = (point + other) / 2, (point - other) / 2
    (found,) = walsh(
        lambda x: x.prod(1), [point], Between(other), WalshConfig(300, 100, min_gain=0)
    )
    for c in (found.intercept, *found.mains, *found.interactions):
        factors = torch.where(
            torch.isin(torch.arange(features), torch.tensor(c.features)), half, middle
        )
        assert c.value == pytest.approx(float(factors.prod()), abs=5 * c.error + 1e-5)
    assert found.score == pytest.approx(float(point.prod()), abs=1e-5)


def test_total_interactions_are_those_of_the_analysis_of_variance():
    """x0 x1 + x1 x2 x3 + x3 of U(-1, 1): variances 1/9, 1/27 and 1/3, by products of 1/3."""
    points = 2 * torch.rand(3000, 5, generator=generator(0)) - 1
    found = total_interactions(
        lambda x: x[:, 0] * x[:, 1] + x[:, 1:4].prod(1) + x[:, 3], points, 1500
    )
    wanted = np.diag([1 / 9, 1 / 9 + 1 / 27, 1 / 27, 1 / 27 + 1 / 3, 0])
    for (a, b), value in {(0, 1): 1 / 9, (1, 2): 1 / 27, (1, 3): 1 / 27, (2, 3): 1 / 27}.items():
        wanted[a, b] = wanted[b, a] = value
    np.testing.assert_allclose(found, wanted, rtol=0.15, atol=1e-9)


def test_points_may_be_arrays_and_seeds_repeat():
    points = np.random.default_rng(0).normal(size=(20, 3))
    found = [total_interactions(lambda x: x.prod(1), points, 5, seed) for seed in (0, 0, 1)]
    np.testing.assert_array_equal(found[0], found[1])
    assert (found[0] != found[2]).all()


def test_messages():
    with pytest.raises(ZooError, match=r"contexts must be \[K, 3\], got the shape \[2\]"):
        mixed_differences(lambda x: x[:, 0], torch.zeros(3), Between([1, 2, 3]), torch.ones(2))
    with pytest.raises(ZooError, match="the points have 3 and 2 features"):
        mixed_differences(lambda x: x[:, 0], torch.zeros(3), Between(torch.zeros(2)))
    with pytest.raises(ZooError, match="two points are needed at least, got 1"):
        total_interactions(lambda x: x[:, 0], torch.zeros(1, 3))
    with pytest.raises(ZooError, match="NaN or infinite"):
        total_interactions(lambda x: x[:, 0] / 0, torch.zeros(4, 3))
