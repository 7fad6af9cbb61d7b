"""Walsh regression, against coefficients that are known."""

import itertools
from unittest import mock

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from zoo import Batch, ZooError
from zoo.data.batch import concatenate
from zoo.glider.perturb import OnOff
from zoo.glider.walsh import SharedMasks, walsh
from zoo.glider.walsh.detector import WalshDetector, WalshRows
from zoo.glider.walsh.search import WalshConfig
from zoo.run.trainer import ZooTrainer

FEATURES = 8  # three numbers, five ids
ROW = Batch(torch.ones(1, 3), torch.ones(1, 5).int(), torch.zeros(1))
NEIGHBOURS = OnOff(torch.zeros(3))
CONFIG = WalshConfig(masks=400, held_out=200)


def switches(rows):
    """[N, d] -1 where a feature is off, 1 where it is on."""
    return 2 * torch.cat((rows.numerical != 0, rows.categorical >= 0), 1).double() - 1


def polynomial(coefficients):
    """The function of these Walsh coefficients."""

    def scores(rows):
        z = switches(rows)
        parts = [c * z[:, list(s)].prod(1) for s, c in coefficients.items()]
        return torch.stack([torch.zeros(len(z)), *parts]).sum(0)

    return scores


def explained(scores, config=CONFIG, seed=0):
    (found,) = walsh(scores, [ROW], NEIGHBOURS, config, seed)
    return found


def values(found):
    every = (found.intercept, *found.mains, *found.interactions)
    return {c.features: c.value for c in every}


sets = st.integers(0, 3).flatmap(
    lambda n: st.sets(st.integers(0, FEATURES - 1), min_size=n, max_size=n)
)


@given(st.dictionaries(sets.map(sorted).map(tuple), st.floats(0.5, 2), min_size=3, max_size=8))
@settings(max_examples=25, deadline=None)
def test_coefficients_are_those_of_the_function(coefficients):
    """Those of sets that a pair, or one inside them, leads to; exact where the fit has them all."""
    pairs = {s for s in coefficients if len(s) == 2}
    reached = {s for s in coefficients if len(s) < 3 or any(set(p) < set(s) for p in pairs)}
    coefficients = {s: c for s, c in coefficients.items() if s in reached}
    found = explained(polynomial(coefficients))
    wanted = dict.fromkeys([(), *((i,) for i in range(FEATURES))], 0.0) | coefficients
    assert values(found) == pytest.approx(wanted, abs=1e-4)
    assert found.rest == pytest.approx(0, abs=1e-3)
    masks = SharedMasks(FEATURES, CONFIG, 0).masks[1 : 1 + CONFIG.masks]
    total = float(polynomial(coefficients)(NEIGHBOURS.apply(ROW, masks)).var())
    for c in found.interactions:
        assert c.share == pytest.approx(coefficients[c.features] ** 2 / total, rel=0.01)


def test_any_function_of_few_features_has_the_coefficients_of_its_enumeration():
    """A network of four features: all 16 coefficients by the mean over all 16 masks."""
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Tanh(), torch.nn.Linear(8, 1))
    network.double()

    def scores(rows):
        with torch.no_grad():
            return network(3 * switches(rows)[:, :4]).squeeze(1)

    z = torch.tensor(list(itertools.product([-1.0, 1.0], repeat=4)), dtype=torch.float64)
    with torch.no_grad():
        y = network(3 * z).squeeze(1)
    exact = {
        s: float((y * z[:, list(s)].prod(1)).mean())
        for n in range(5)
        for s in itertools.combinations(range(4), n)
    }
    found = explained(scores, WalshConfig(masks=2000, held_out=500))
    mine = {c.features: c for c in (found.intercept, *found.mains, *found.interactions)}
    variance = sum(c**2 for s, c in exact.items() if s)
    for s, c in exact.items():
        if s in mine:
            assert mine[s].value == pytest.approx(c, abs=5 * mine[s].error + 1e-5)
        else:
            assert c**2 / variance < 3e-3 or len(s) > 2
    assert found.score == pytest.approx(float(y[-1]), abs=1e-5)


def test_errors_cover_the_truth():
    """In 1,000 draws of noise, 95 % of intervals of two standard errors hold the coefficient."""
    shared = SharedMasks(5, WalshConfig(masks=60, held_out=20), 0)
    z, random = 2 * shared.masks[1:].numpy() - 1, np.random.default_rng(0)
    truth = 1 + 2 * z[:, 0] - z[:, 1] + 0.5 * z[:, 0] * z[:, 2]
    inside = []
    for _ in range(1000):
        y = truth + random.normal(size=len(z))
        found = shared.explain(np.concatenate(([0.0], y)))
        # 1.96 of a normal, 2.02 of Student's t with 60 - 16 degrees of freedom
        wanted = (1, 2, -1, 0, 0, 0)
        pairs = zip((found.intercept, *found.mains), wanted, strict=True)
        inside += [abs(c.value - w) <= 2.015 * c.error for c, w in pairs]
    assert 0.93 <= np.mean(inside) <= 0.97


@pytest.mark.parametrize("ratio", [1.0, 0.5])
def test_two_pairs_with_a_common_feature_are_no_triple(ratio):
    random = np.random.default_rng(0)
    for noise in (0.0, 0.3):

        def scores(rows, noise=noise):
            z = switches(rows)
            y = z[:, 3] * z[:, 4] + ratio * z[:, 4] * z[:, 5] + z[:, 0]
            return y + torch.from_numpy(noise * random.normal(size=len(y)))

        found = explained(scores)
        assert sorted(c.features for c in found.interactions) == [(3, 4), (4, 5)]


def test_an_and_of_three_has_all_its_parts():
    """AND(a, b, c) = (1 + a)(1 + b)(1 + c) / 8: every coefficient is 1 / 8."""

    def scores(rows):
        return (switches(rows)[:, [1, 4, 6]] > 0).all(1).double()

    found = explained(scores)
    parts = [c.features for c in found.interactions]
    assert sorted(parts) == [(1, 4), (1, 4, 6), (1, 6), (4, 6)]
    assert [c.value for c in found.interactions] == pytest.approx([1 / 8] * 4, abs=1e-5)
    assert found.r2[2] == pytest.approx(1)


@pytest.mark.parametrize(("features", "masks"), [(30, 250), (200, None), (1000, None)])
def test_pairs_among_more_features_than_masks_allow(features, masks):
    """A pursuit finds them, and the triple of one of them; here with noise of a fifth."""
    random = np.random.default_rng(features)
    sets = [tuple(sorted(random.choice(features, 2, replace=False).tolist())) for _ in range(5)]
    triple = tuple(sorted({*sets[0], next(i for i in range(features) if i not in sets[0])}))
    wanted = {*sets, triple}
    shared = SharedMasks(features, WalshConfig(masks), seed=1)
    assert not shared.design.has_pairs
    assert len(shared.masks) == 1 + (masks or max(1500, 4 * features)) + 499
    z = 2 * shared.masks.double().numpy() - 1
    y = z[:, 0] + sum(z[:, list(s)].prod(1) for s in wanted) / 2 + 0.2 * random.normal(size=len(z))
    found = shared.explain(y)
    assert {c.features for c in found.interactions} == wanted
    for c in found.interactions:
        assert c.value == pytest.approx(0.5, abs=5 * c.error)
    assert found.r2[2] > 0.95


def test_three_features_that_act_together_alone():
    """No pair of them has a term; among 39 features, with noise of a fifth."""
    random = np.random.default_rng(0)
    shared = SharedMasks(39, WalshConfig(), seed=0)
    z = 2 * shared.masks.double().numpy() - 1
    y = z[:, 5] + 0.3 * z[:, [3, 17, 38]].prod(1) + 0.2 * random.normal(size=len(z))
    (found,) = shared.explain(y).interactions
    assert found.features == (3, 17, 38)
    assert found.value == pytest.approx(0.3, abs=4 * found.error)


def test_noise_is_no_interaction():
    """Additive with noise, 100 draws: at a level of 1 % of rows, no more than a few of them."""
    random, false = np.random.default_rng(1), 0
    for seed in range(100):

        def scores(rows):
            z = switches(rows)
            return z @ torch.arange(8.0).double() / 8 + torch.from_numpy(
                random.standard_t(5, len(z))
            )

        false += bool(explained(scores, WalshConfig(300, 100), seed).interactions)
    assert false <= 4


@pytest.mark.parametrize("value", [0.0, 3.0])
def test_a_constant_has_no_effect(value):
    found = explained(lambda rows: torch.full((len(rows.label),), value))
    assert found.interactions == ()
    assert found.intercept.value == pytest.approx(value)
    assert found.r2[1] == pytest.approx(1)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"masks": 10}, "masks: 10 are too few for 8 fields: take 12 at least"),
        ({"masks": 1}, "masks must be at least 2, got 1"),
        ({"min_gain": 1.0}, "min_gain and level must be shares"),
    ],
)
def test_message_of_a_wrong_option(config, message):
    with pytest.raises(ZooError, match=message):
        explained(polynomial({(): 1.0}), WalshConfig(**config))


def test_detection_by_walsh_regression(tmp_path):
    """Of each row what was found in its scores, and in scores without interactions."""
    rows = concatenate([ROW._replace(numerical=ROW.numerical * k) for k in (1, 2, 3)])

    def scores(batch):
        z = switches(batch)
        broken = (batch.numerical[:, 0] == 3).any()  # the third row
        y = z[:, 0] + z[:, 1] * z[:, 5] + 0.5 * z[:, 1] * z[:, 5] * z[:, 6]
        return y.masked_fill(broken, torch.nan)

    options = (scores, rows, NEIGHBOURS, CONFIG, tmp_path, 2, 1)
    detector = WalshDetector(*options)
    for first in (0, 1):
        detector.write(tmp_path / f"{first}.npz", range(first, first + first + 1))
    found, left_out = WalshRows.read(tmp_path)
    assert left_out == 1
    assert found.instance.tolist() == [0, 1]
    assert found.fidelity[:, 2] == pytest.approx(1, abs=1e-6)
    for row in found.sets:
        assert [features for features, *_ in row["kept"]] == [[1, 5], [1, 5, 6]]
        assert row["null"] == [[], []]
        assert row["tried"] == [[1, 5, 6]]


@pytest.mark.parametrize(
    "option", [{"patience": 3}, {"sampler": "lime"}, {"bf16": True}, {"region_points": 3}]
)
def test_message_of_an_option_of_other_detectors(option):
    (name,) = option
    with pytest.raises(ZooError, match=f"{name} is an option of nid and gradient_nid: leave it"):
        ZooTrainer.detect(mock.Mock(), None, None, "a.ckpt", detector="walsh", **option)
