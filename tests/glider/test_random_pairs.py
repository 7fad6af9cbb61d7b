"""Walsh regression with fewer masks than pairs, which are taken for random then."""

from itertools import combinations

import numpy as np
import pytest
from scipy import stats

from zoo.glider.walsh import SharedMasks
from zoo.glider.walsh.fit import Design, products
from zoo.glider.walsh.search import WalshConfig

FEATURES, MASKS = 12, 120
PAIRS = list(combinations(range(FEATURES), 2))


def masks(seed=0, count=MASKS):
    return np.random.default_rng(seed).choice([-1.0, 1.0], (count, FEATURES))


def test_generalised_least_squares_the_long_way():
    """With V of the pairs that are not fitted, inverted as it stands."""
    z, held_out, further = masks(), masks(1, 30), ((0, 1), (2, 5), (0, 1, 2))
    design, random = Design(z, held_out), np.random.default_rng(2)
    y, y_held_out = random.normal(size=MASKS), random.normal(size=30)
    (fit,) = design.fits(y[None], y_held_out[None])
    fit = fit.with_sets(further)
    others = [pair for pair in PAIRS if pair not in further]
    scale = design.random * len(PAIRS)
    e, e_held_out = products(z, others), products(held_out, others)
    inverse = np.linalg.inv(scale * np.eye(MASKS) + design.random * e @ e.T)
    x = products(z, fit.sets)
    covariance = np.linalg.inv(x.T @ inverse @ x)
    wanted = covariance @ x.T @ inverse @ y
    left = inverse @ (y - x @ wanted)
    assert fit.values == pytest.approx(wanted)
    assert fit.errors / fit.deviation == pytest.approx(np.sqrt(covariance.diagonal()))
    assert fit.residual == pytest.approx(left)
    predicted = products(held_out, fit.sets) @ wanted + design.random * e_held_out @ (e.T @ left)
    assert fit.rest == pytest.approx(y_held_out - predicted)
    e = products(z, PAIRS)
    whole = np.linalg.inv(scale * np.eye(MASKS) + design.random * e @ e.T)
    assert np.trace(whole) == pytest.approx(MASKS)


def test_what_a_pair_has_that_is_not_fitted():
    """The residual times the gain is, within some per cent, the estimate of a fit with the pair."""
    z, random = masks(), np.random.default_rng(3)
    y = random.normal(size=(20, MASKS))
    shown, fitted = [], []
    for fit in Design(z, z).fits(y, y):
        scale = fit.design.gain(fit.free) / fit.free
        for pair in PAIRS:
            shown.append(float(products(z, [pair])[:, 0] @ fit.residual * scale))
            fitted.append(fit.with_sets([pair]).values[-1])
    slope = np.dot(shown, fitted) / np.dot(fitted, fitted)
    assert slope == pytest.approx(1, abs=0.05)
    assert np.corrcoef(shown, fitted)[0, 1] > 0.99


def test_errors_cover_the_truth_among_many_small_pairs():
    """In 500 functions of random pairs with noise: of the intercept, features and a large pair."""
    shared = SharedMasks(FEATURES, WalshConfig(masks=MASKS, held_out=40, max_order=2), 0)
    assert not shared.design.has_pairs
    z, random, inside = 2 * shared.masks.numpy() - 1, np.random.default_rng(4), []
    x, least = products(z, PAIRS), stats.t.isf(0.025, MASKS - 2 - FEATURES)
    for _ in range(500):
        small = random.normal(size=len(PAIRS)) / 10
        small[0] = 1.5
        y = 1 + 2 * z[:, 3] + x @ small + random.normal(size=len(z)) * 0.8
        found = shared.explain(y)
        (pair,) = (c for c in found.interactions if c.features == (0, 1))
        wanted = {(): 1.0, (3,): 2.0, (0, 1): 1.5}
        for c in (found.intercept, *found.mains, pair):
            inside.append(abs(c.value - wanted.get(c.features, 0.0)) <= least * c.error)
    assert 0.93 <= np.mean(inside) <= 0.97


def test_small_pairs_are_predicted_together():
    """None is large enough to be found; R^2 of all is that of their sum too."""
    shared = SharedMasks(FEATURES, WalshConfig(masks=150, held_out=400, min_gain=0.1), 0)
    z = 2 * shared.masks.numpy() - 1
    y = products(z, PAIRS) @ np.random.default_rng(5).normal(size=len(PAIRS))
    found = shared.explain(y + 3 * z[:, 0])
    every, mains, joined = found.r2
    assert found.interactions == ()
    assert joined == mains < 0.3
    assert every > 0.7
