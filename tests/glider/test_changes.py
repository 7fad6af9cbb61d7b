"""What the interactions of two black boxes differ in: planted coefficients, all known."""

import json
import math
from dataclasses import asdict

import numpy as np
import pytest

from zoo.glider.changes import changes
from zoo.glider.walsh import SharedMasks
from zoo.glider.walsh.fit import products
from zoo.glider.walsh.search import WalshConfig

NAMES = [f"f{i}" for i in range(8)]
ROWS = 30
MASKS = SharedMasks(8, WalshConfig(masks=300, held_out=150), 0)
MAINS = {(i,): 1.0 for i in range(8)}


def scores(coefficients, noise=0.05, seed=0):
    """[R, 1 + N + M] scores whose coefficients are the same numbers, or given row by row."""
    random = np.random.default_rng(seed)
    z = 2 * MASKS.masks.numpy().astype(float) - 1
    x = products(z, [*coefficients])
    values = np.stack([np.broadcast_to(c, ROWS) for c in coefficients.values()], 1)
    return values @ x.T + noise * random.standard_normal((ROWS, len(x)))


def found(first, second, **more):
    listed = changes(MASKS, scores(MAINS | first), scores(MAINS | second, seed=1, **more), NAMES)
    return {tuple(NAMES.index(name) for name in c.fields): c for c in listed}


def test_what_became_of_each_interaction():
    """Some sets in both, one of three features, with signs that differ from row to row."""
    sign = np.where(np.arange(ROWS) % 2, 1.0, -1.0)
    half = np.where(np.arange(ROWS) % 4 < 2, 1.0, 0.0)
    first = {(0, 1): 0.4, (2, 3): 0.3, (4, 5): 0.6, (6, 7): 0.4 * sign, (0, 2): 0.5}
    second = {(2, 3): 0.6, (4, 5): 0.3, (6, 7): -0.4 * sign, (0, 2): 0.5, (1, 7): 0.4}
    first |= {(1, 5): 0.5 * half, (0, 1, 4): 0.3, (3, 4): 0.4}
    second |= {(1, 5): 0.5 * (1 - half), (2, 3, 5): 0.4, (3, 4): 0.4}
    listed = found(first, second)
    assert {s: change.what for s, change in listed.items()} == {
        **{(0, 1): "vanished", (1, 7): "appeared", (2, 3): "grew", (4, 5): "shrank"},
        **{(6, 7): "changed sign", (0, 2): "same", (3, 4): "same", (1, 5): "moved"},
        **{(0, 1, 4): "vanished", (2, 3, 5): "appeared"},
    }
    assert [*listed][-2:] in ([(0, 2), (3, 4)], [(3, 4), (0, 2)])  # what is the same comes last
    shares = [c.difference.share for c in listed.values() if c.what != "same"]
    assert shares == sorted(shares, reverse=True)


def test_the_difference_is_that_of_the_coefficients():
    """Exactly, whatever sets are fitted beside; and near the truth, with its error."""
    first = {(0, 1): 0.4, (0, 1, 4): 0.3}
    second = {(0, 1): 0.9, (0, 1, 6): 0.4}
    both = np.stack([scores(MAINS | c)[:, 1:301] for c in (first, second)])
    variance = both.var(2).mean()  # of the masks that are fitted
    for s, change in found(first, second).items():
        truth = [c.get(s, 0.0) for c in (first, second)]
        sides = change.first, change.second, change.difference
        assert change.difference.effect == pytest.approx(sides[1].effect - sides[0].effect)
        for side, true in zip(sides, (*truth, truth[1] - truth[0]), strict=True):
            assert side.effect_low < true < side.effect_high
            assert side.size == pytest.approx(abs(true), abs=0.03)
        count = 300 if len(s) == 2 else 150  # masks: larger sets are measured on those held out
        share = (truth[1] ** 2 - truth[0] ** 2) / variance
        assert change.growth_low < share < change.growth_high
        for row in change.rows:
            assert (row.first, row.second) == pytest.approx(tuple(truth), abs=0.05)
            assert row.error == pytest.approx(0.05 * math.sqrt(2 / count), rel=0.5)


def test_rows_that_differ_most_come_first():
    growing = np.arange(ROWS) / ROWS
    change = found({(0, 1): 0.1}, {(0, 1): growing})[0, 1]
    assert [row.row for row in change.rows] == [29, 28, 27]


def test_the_same_model_has_not_changed():
    same = found({(0, 1): 0.4, (2, 3): 0.002}, {(0, 1): 0.4, (2, 3): 0.002})
    assert {s: change.what for s, change in same.items()} == {(0, 1): "same"}
    y = scores(MAINS | {(0, 1): 0.4})
    (exact,) = changes(MASKS, y, y, NAMES)
    assert (exact.what, exact.difference.q, exact.growth) == ("same", 1.0, 0.0)
    json.dumps(asdict(exact), allow_nan=False)


def test_a_model_that_says_nothing_has_no_interaction():
    (only,) = changes(MASKS, scores(MAINS | {(0, 1): 0.4}), scores({(0,): 0.0}, 0.0), NAMES)
    assert (only.fields, only.what) == (("f0", "f1"), "vanished")
    constant = scores({(0,): 0.0}, 0.0)
    assert changes(MASKS, constant, constant, NAMES) == []


def test_noise_alone_changes_nothing():
    """Two black boxes without interactions, whose noise is a function of the mask: 20 pairs."""
    random = np.random.default_rng(5)
    falsely = 0
    for _ in range(20):
        both = [scores(MAINS, 0) + 0.3 * random.standard_normal(len(MASKS.masks)) for _ in range(2)]
        falsely += bool(changes(MASKS, *both, NAMES))
    assert falsely <= 3  # 5 % at most are expected; more than 3 of 20 in 2 % of such tests


def test_many_features_are_compared_by_pursuit():
    """Too few masks for all pairs: those that explain the residuals are found in both."""
    masks = SharedMasks(30, WalshConfig(masks=200, held_out=100), 0)
    assert not masks.design.has_pairs
    z = 2 * masks.masks.numpy().astype(float) - 1
    random = np.random.default_rng(0)
    mains = z @ random.standard_normal(30)
    noise = 0.05 * random.standard_normal((2, 10, len(z)))
    one = mains + 1.5 * z[:, 3] * z[:, 4] + noise[0]
    two = mains - 1.5 * z[:, 3] * z[:, 4] + z[:, 7] * z[:, 9] + noise[1]
    names = [f"f{i}" for i in range(30)]
    listed = {c.fields: c.what for c in changes(masks, one, two, names)}
    assert listed == {("f3", "f4"): "changed sign", ("f7", "f9"): "appeared"}
