"""Detection over rows of black boxes of ids, of which is known what interacts; q-values."""

import numpy as np
import pytest
import torch
from scipy import stats

from zoo import Batch
from zoo.data.batch import take
from zoo.glider.perturb import OnOff
from zoo.glider.walsh import SharedMasks
from zoo.glider.walsh.detector import WalshRows
from zoo.glider.walsh.search import WalshConfig
from zoo.glider.walsh.summary import summarise_effects

FIELDS, IDS, ROWS = 12, 20, 16
CONFIG = WalshConfig(masks=400, held_out=150)
NEIGHBOURS = OnOff(torch.zeros(0))


def black_box(seed, planted, noise=None):
    """Effects of ids that are on, products of signs of planted sets, and noise of the row."""
    random, shape, columns = np.random.default_rng(seed), (FIELDS, IDS), np.arange(FIELDS)
    effects, signs = random.normal(size=shape) / 4, random.choice([-1.0, 1.0], shape)
    weights = random.normal(size=shape)

    def scores(rows):
        ids = rows.categorical.numpy()
        on = ids >= 0
        y = (effects[columns, ids] * on).sum(1)
        for features, strength in planted.items():
            y += strength * (signs[columns, ids] * on)[:, list(features)].prod(1)
        if noise:
            u = np.sin((weights[columns, ids] * on).sum(1) * 1e3) * 43758.5453 % 1
            y += noise(u.clip(1e-9, 1 - 1e-9))
        return torch.from_numpy(y)

    return scores


def significant(scores, seed):
    ids = np.random.default_rng((seed, 1)).integers(0, IDS, (ROWS, FIELDS))
    rows = Batch(torch.zeros(ROWS, 0), torch.from_numpy(ids).int(), torch.zeros(ROWS))
    masks = SharedMasks(FIELDS, CONFIG, seed)
    each = [take(rows, slice(i, i + 1)) for i in range(ROWS)]
    fits = masks.fits(np.stack([masks.scores(scores, row, NEIGHBOURS) for row in each]))
    found = WalshRows.of(range(ROWS), fits, [[] for _ in fits])
    table = summarise_effects(found, masks, [str(i) for i in range(FIELDS)], range(ROWS))
    return [tuple(map(int, row["fields"])) for row in table["interactions"] if row["q"] < 0.05]


@pytest.mark.parametrize("noise", [None, lambda u: 0.2 * stats.norm.ppf(u)])
@pytest.mark.parametrize("ratio", [1.0, 0.5])
def test_two_pairs_are_significant_and_their_union_is_not(ratio, noise):
    """Their signs depend on the ids, so that their mean effects need not be far from 0."""
    for seed in range(3):
        box = black_box(seed, {(0, 1): 0.8, (1, 2): 0.8 * ratio}, noise)
        assert sorted(significant(box, seed)) == [(0, 1), (1, 2)]


def test_a_planted_three_is_significant_with_its_parts():
    """Where all three are on: the coefficients of it and of its pairs are equal."""
    found = significant(black_box(0, {(2, 5, 7): 2.0}, lambda u: 0.1 * stats.norm.ppf(u)), 0)
    assert sorted(found) == [(2, 5), (2, 5, 7), (2, 7), (5, 7)]


@pytest.mark.parametrize(
    "noise", [lambda u: 0.5 * stats.norm.ppf(u), lambda u: 0.2 * stats.t.ppf(u, 2)]
)
def test_nothing_is_significant_where_nothing_interacts(noise):
    """20 black boxes with normal noise, and with noise whose variance is infinite."""
    runs = [bool(significant(black_box(seed, {}, noise), seed)) for seed in range(20)]
    assert sum(runs) <= 1
