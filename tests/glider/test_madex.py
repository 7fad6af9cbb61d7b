"""MADEX: the interactions of one instance of anything that can be called."""

import dataclasses
import math

import pytest
import torch
from support.explaining import QUICK, SMALL, instance

from zoo import Batch, ZooError
from zoo.data.batch import concatenate
from zoo.glider.perturb import OFF, OnOff, TruncatedNormal, generator, lime_weights
from zoo.glider.surrogates import madex as madex_module
from zoo.glider.surrogates.madex import MadexConfig, madex
from zoo.glider.surrogates.networks import NID, SurrogateConfig
from zoo.glider.surrogates.training import fit

ON_OFF_LIME = OnOff(torch.zeros(0), "lime")


def one_row(numbers, ids):
    """A batch of one row."""
    return Batch(
        numerical=torch.tensor([numbers]), categorical=torch.tensor([ids]), label=torch.zeros(1)
    )


def pairs_of(explanation):
    return [i.features for i in explanation.interactions]


def test_madex_finds_the_planted_terms_of_any_callable():
    # a sum of unanimity games: its interactions are its terms
    def scores(rows):
        on = (rows.categorical >= 0).float()
        return on @ torch.tensor([1.0, -2.0]) + 3 * rows.numerical[:, 0] * on[:, 1]

    row = one_row([2.0, 1.0], [3, 4])
    found = madex(scores, row, OnOff(torch.zeros(2)), QUICK)
    assert pairs_of(found)[0] == (0, 3)
    assert found.fidelity[2] > 0.95 > found.fidelity[1]


def test_an_additive_black_box_has_no_interaction():
    def scores(rows):
        return rows.numerical.sum(1) + 2 * (rows.categorical >= 0).float().sum(1)

    assert madex(scores, instance(), OnOff(torch.zeros(2)), QUICK).interactions == []


def test_a_constant_black_box_has_no_interaction():
    found = madex(
        lambda rows: torch.zeros(len(rows.label)), instance(), OnOff(torch.zeros(2)), QUICK
    )
    assert found.interactions == []


@pytest.mark.parametrize("detector", ["nid", "gradient_nid"])
def test_madex_explains_continuous_black_boxes(detector):
    explainer = SurrogateConfig((32, 16), "softplus", linear=True, l1=0.0, max_epochs=15)
    settings = MadexConfig(
        detector, explainer if detector == "gradient_nid" else SMALL, samples=(1000, 200, 200)
    )
    found = madex(
        lambda x: 10 * x[:, 1] * x[:, 2] + x.sum(1), torch.rand(5), TruncatedNormal(), settings
    )
    assert found.ranking[0].features == (1, 2)


def test_a_three_way_interaction_replaces_the_pairs_inside_it():
    """x0 x1 x2 away from the origin: its pairs explain much, the triple explains all."""

    def scores(x):
        return 10 * x[:, 0] * x[:, 1] * x[:, 2] + x[:, 3:].sum(1)

    instance, neighbours = torch.tensor([0.5, -0.6, 0.4, 0.1, 0.0]), TruncatedNormal(sigma=2.0)
    explainer = dataclasses.replace(NID, linear=True)
    found = madex(scores, instance, neighbours, MadexConfig("nid", explainer, prune_subsets=True))
    assert found.interactions[0].features == (0, 1, 2)
    assert not any(set(i.features) < {0, 1, 2} for i in found.interactions)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_scores_that_are_not_finite_are_refused(bad):
    def scores(rows):
        return torch.where(rows.categorical[:, 0] < 0, bad, 1.0)

    with pytest.raises(ZooError, match=r"NaN or infinite scores for \d+ of 1400 rows"):
        madex(scores, instance(), OnOff(torch.zeros(2)), QUICK)


def test_scores_of_another_shape_are_refused():
    with pytest.raises(ZooError, match=r"scores of shape \[1400, 2\] for 1400 rows"):
        madex(
            lambda rows: torch.zeros(len(rows.label), 2), instance(), OnOff(torch.zeros(2)), QUICK
        )


@pytest.mark.parametrize("weighted", [False, True])
def test_networks_learn_by_limes_weights_if_asked_to(monkeypatch, weighted):
    learned = []

    def spy(train, val, *rest):
        learned.extend((train, val))
        return fit(train, val, *rest)

    monkeypatch.setattr(madex_module, "fit", spy)
    row = one_row([], [0] * 10)
    chosen = dataclasses.replace(QUICK, lime_weights=weighted)
    found = madex(lambda batch: (batch.categorical[:, :2] == 0).all(1), row, ON_OFF_LIME, chosen)
    assert pairs_of(found) == [(0, 1)]
    for part in learned:
        if weighted:
            torch.testing.assert_close(part.weight, lime_weights(part.x))
        else:
            assert part.weight is None


def test_lime_weights_need_neighbours_that_are_on_or_off():
    with pytest.raises(ZooError, match="lime_weights are of on/off neighbours"):
        madex(lambda x: x[:, 0], torch.zeros(3), TruncatedNormal(), MadexConfig(lime_weights=True))


def test_a_single_feature_cannot_interact():
    with pytest.raises(ZooError, match="two features"):
        madex(lambda x: x.sum(1), torch.zeros(1), TruncatedNormal(), QUICK)


def test_an_unknown_detector_is_named():
    with pytest.raises(ZooError, match=r"detector must be one of .* got 'magic'"):
        MadexConfig(detector="magic")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"patience": 0}, "patience must be at least 1, got 0"),
        ({"max_order": 1}, "max_order must be at least 2, got 1"),
        ({"detector": "gradient_nid", "max_order": 3}, "gradient_nid finds pairs alone"),
    ],
)
def test_settings_that_make_no_sense_are_refused(options, message):
    with pytest.raises(ZooError, match=message):
        MadexConfig(**options)


def test_a_point_may_be_an_array_or_of_whole_numbers():
    def scores(x):
        return 10 * x[:, 1] * x[:, 2] + x.sum(1)

    point, settings = (
        torch.tensor([1.0, 2.0, 3.0]),
        MadexConfig("nid", SMALL, samples=(1000, 200, 200)),
    )
    expected = madex(scores, point, TruncatedNormal(2.0), settings)
    assert expected.ranking[0].features == (1, 2)
    for same in (point.int(), point.numpy(), [1, 2, 3]):
        assert madex(scores, same, TruncatedNormal(2.0), settings) == expected


def test_instances_that_are_none_are_refused():
    rows = concatenate([instance()] * 2)
    with pytest.raises(ZooError, match="a batch of one row, got 2"):
        madex(lambda rows: rows.label, rows, OnOff(torch.zeros(2)), QUICK)
    with pytest.raises(ZooError, match="the rows have 2 numerical fields"):
        madex(lambda rows: rows.label, instance(), OnOff(torch.zeros(3)), QUICK)
    with pytest.raises(ZooError, match=r"a point \[d\], got the shape \[1, 3\]"):
        madex(lambda x: x[:, 0], torch.zeros(1, 3), TruncatedNormal(), QUICK)
    with pytest.raises(ZooError, match=r"sampler must be one of .* got 'gauss'"):
        OnOff(torch.zeros(2), "gauss")


def test_a_cross_field_is_on_where_its_members_are():
    """Features: number 0, ids 1 and 2; the third id column crosses features 0 and 2."""
    row = one_row([5.0], [3, 4, 7])
    neighbours = OnOff(torch.zeros(1), crosses=((0, 2),))
    masks, rows = neighbours.draw(row, 500, generator(0))
    assert masks.shape == (500, 3)
    assert neighbours.centre(row).shape == (3,)
    both = (rows.numerical[:, 0] == 5) & (rows.categorical[:, 1] == 4)
    assert torch.equal(rows.categorical[:, 2] == 7, both)
    assert torch.equal(rows.categorical[:, 2] == OFF, ~both)
