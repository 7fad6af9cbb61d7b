"""GLIDER's neighbours: samplers, and features that are on or off."""

import math

import numpy as np
import pytest
import scipy.stats
import torch
from support.explaining import QUICK, instance

from zoo import DeepFM, Field, Schema, ZooError, xDeepFM
from zoo.data.lists import Lists
from zoo.glider.perturb import (
    OnOff,
    TruncatedNormal,
    bernoulli_masks,
    generator,
    lime_masks,
    lime_weights,
)
from zoo.glider.surrogates.madex import madex

SCHEMA = Schema(
    (
        Field("n0", "numerical"),
        Field("n1", "numerical"),
        Field("c0", "categorical", 7),
        Field("c1", "categorical", 11),
    )
)


# Samplers


def test_bernoulli_features_are_independent_and_fair():
    masks = bernoulli_masks(20_000, 6, generator(0))
    assert set(masks.unique().tolist()) == {0.0, 1.0}
    torch.testing.assert_close(masks.mean(0), torch.full((6,), 0.5), atol=0.02, rtol=0)
    correlation = torch.corrcoef(masks.T) - torch.eye(6)
    assert correlation.abs().max() < 0.04


def test_lime_switches_off_a_uniform_number_of_features():
    masks = lime_masks(20_000, 5, generator(0))
    shares = torch.bincount((5 - masks.sum(1)).long(), minlength=6) / len(masks)
    torch.testing.assert_close(
        shares, torch.tensor([0, 0.2, 0.2, 0.2, 0.2, 0.2]), atol=0.02, rtol=0
    )
    assert masks.mean(0).std() < 0.01  # no feature is preferred


def test_lime_weights_fall_with_the_cosine_distance():
    masks = torch.tensor([[1.0, 1, 1, 1], [1, 0, 0, 0]])
    expected = [1.0, math.sqrt(math.exp(-(0.5**2) / 0.25**2))]
    assert lime_weights(masks).tolist() == pytest.approx(expected)


def test_the_truncated_normal_keeps_to_its_region_and_its_variance():
    x = torch.tensor([1.0, -2.0, 0.0])
    z, points = TruncatedNormal(sigma=0.6).draw(x, 50_000, generator(0))
    torch.testing.assert_close(points, x + 0.6 * z)
    assert z.abs().max() <= 1
    # the variance of a standard normal cut off at 1: 1 - 2 phi(1) / (2 Phi(1) - 1)
    density, mass = math.exp(-0.5) / math.sqrt(2 * math.pi), math.erf(1 / math.sqrt(2))
    assert z.var(0).tolist() == pytest.approx([1 - 2 * density / mass] * 3, abs=0.01)
    assert z.mean(0).abs().max() < 0.01


def test_the_truncated_normal_ends_where_the_data_end():
    x, sigma, low = torch.tensor([1.0, -0.9, 0.2]), 2.0, torch.tensor([-1.0, -1.0, -9.0])
    _, points = TruncatedNormal(sigma, low=low, high=1).draw(x, 20_000, generator(0))
    for column, centre, first in zip(points.T, x.tolist(), low.tolist(), strict=True):
        start, end = max(-1, (first - centre) / sigma), min(1, (1 - centre) / sigma)
        expected = scipy.stats.truncnorm(start, end, loc=centre, scale=sigma)
        assert scipy.stats.kstest(column.numpy(), expected.cdf).pvalue > 0.001
    with pytest.raises(ZooError, match=r"outside of low and high: \[1.0, -2.0, 0.0\]"):
        TruncatedNormal(low=-1, high=1).draw(torch.tensor([1.0, -2, 0]), 10, generator(0))
    with pytest.raises(ZooError, match=r"must be numbers or \[3\], got \[2\] and \[\]"):
        TruncatedNormal(low=np.zeros(2)).draw(torch.ones(3), 10, generator(0))


def test_a_seed_gives_the_same_neighbours_again():
    draws = [OnOff(torch.zeros(2)).draw(instance(), 10, generator(3, s))[0] for s in (1, 1, 2)]
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])


# On and off


def test_off_is_the_mean_of_a_number_and_minus_one_for_an_id():
    row = instance()
    masks, rows = OnOff(torch.tensor([5.0, 6.0])).draw(row, 200, generator(0))
    on = masks > 0.5
    assert torch.equal(
        rows.numerical, torch.where(on[:, :2], row.numerical, torch.tensor([5.0, 6]))
    )
    assert torch.equal(rows.categorical, torch.where(on[:, 2:], row.categorical, -1))


@pytest.mark.parametrize("model_class", [DeepFM, xDeepFM])
def test_a_field_that_is_off_has_a_zero_embedding_and_no_weight(model_class):
    torch.manual_seed(0)
    model = model_class(SCHEMA, embedding_dim=4, embedding_std=1.0, hidden_units=[8]).eval()
    batch = instance()
    off = batch._replace(categorical=torch.tensor([[-1, int(batch.categorical[0, 1])]]))
    found = model(off)
    with torch.no_grad():
        model.embedding.table[batch.categorical[0, 0]] = 0
    torch.testing.assert_close(found, model(batch))


def with_lists():
    """A row of two lists, and the list of their cross and of one with c0."""
    values = torch.tensor([2, 3, 4, 5, 2, 3, 2, 3])
    offsets, lengths = torch.tensor([[0, 2, 3, 5]]), torch.tensor([[2, 1, 2, 3]])
    return instance()._replace(lists=Lists(values, offsets, lengths))


def test_a_field_of_lists_is_off_where_it_is_empty():
    row = with_lists()
    # features: n0, n1, c0, c1, and the two lists; c0 is a member of a cross of ids too
    neighbours = OnOff(torch.zeros(2), crosses=((0, 3),), list_crosses=((4, 5), (2, 5)))
    row = row._replace(categorical=torch.cat((row.categorical, torch.tensor([[3]])), 1).int())
    masks, rows = neighbours.draw(row, 300, generator(0))
    assert masks.shape == (300, 6)
    on = masks > 0.5
    expected = torch.stack((on[:, 4], on[:, 5], on[:, 4] & on[:, 5], on[:, 2] & on[:, 5]), 1)
    assert torch.equal(rows.lists.lengths, torch.where(expected, row.lists.lengths, 0))
    assert torch.equal(rows.lists.offsets, row.lists.offsets.expand(300, 4))
    assert torch.equal(rows.categorical[:, 2] == -1, ~(on[:, 0] & on[:, 3]))
    assert torch.equal(rows.numerical != 0, on[:, :2])


def test_an_interaction_with_a_field_of_lists_is_found():
    """A black box that multiplies what is in a list with an id."""
    row = instance()._replace(
        lists=Lists(torch.tensor([2, 3]), torch.tensor([[0]]), torch.tensor([[2]]))
    )

    def scores(rows):
        total = rows.lists.lengths[:, 0].float()
        return 2 * total * (rows.categorical[:, 1] >= 0) + rows.numerical[:, 0]

    found = madex(scores, row, OnOff(torch.zeros(2)), QUICK)
    assert found.interactions[0].features == (3, 4)
