"""The k-threshold of MADEX, on samples whose terms are known."""

import itertools

import pytest
import torch

from zoo.glider.perturb import bernoulli_masks, generator
from zoo.glider.surrogates.nid import Candidate
from zoo.glider.surrogates.threshold import threshold
from zoo.glider.surrogates.training import Samples

SETTINGS = {"min_gain": 1e-3, "patience": 1, "pure": True}
either = pytest.mark.parametrize("pure", [False, True])


def split(x, y, weight=None):
    """Training, validation and test samples."""
    parts = slice(0, 500), slice(500, 600), slice(600, 700)
    return [Samples(x[s], y[s], None if weight is None else weight[s]) for s in parts]


def games(*terms, features=6, samples=700):
    """A sum of unanimity games over main effects."""
    x = bernoulli_masks(samples, features, generator(0))
    return split(x, x.sum(1) + sum(2 * x[:, list(term)].prod(1) for term in terms))


def walsh(coefficients, features=6):
    """A sum of products of on/off features, coded as 1 and -1, over main effects."""
    x = bernoulli_masks(700, features, generator(0))
    z = 2 * x - 1
    return split(x, z.sum(1) + sum(c * z[:, list(s)].prod(1) for s, c in coefficients.items()))


def kept(parts, ranking, **options):
    """What the k-threshold keeps of a ranking, and R^2 without and with that."""
    ranked = [Candidate(features, 1.0) for features in ranking]
    train, val, test = parts
    found, *fidelity = threshold(train, val, test, ranked, **(SETTINGS | options))
    return [interaction.features for interaction in found], fidelity


@either
def test_a_union_of_interactions_gives_way_to_them(pure):
    chain, union = [(0, 1), (1, 2)], (0, 1, 2)
    for ranking in itertools.permutations([*chain, union]):
        found, (without, with_k) = kept(games(*chain), ranking, pure=pure)
        assert sorted(found) == chain
        assert with_k > 0.999 > without


@pytest.mark.parametrize("union", [(0, 1, 2), (0, 1, 2, 3), (0, 1, 2, 3, 4)])
def test_the_parts_of_a_union_take_its_place(union):
    """A ranking that holds the union alone: the paper's threshold keeps it."""
    chain = [(0, 1), (1, 2)]
    parts = walsh(dict.fromkeys(chain, 1.0))
    found, (_, with_k) = kept(parts, [union])
    assert sorted(found) == chain
    assert with_k > 0.999
    assert kept(parts, [union], pure=False)[0] == [union]


@pytest.mark.parametrize("share", [5e-4, 2e-3])
def test_a_set_stays_where_its_walsh_coefficient_reaches_the_gain(share):
    """Variance 1 of each main effect and of two pairs; 8 in all, or a bit more."""
    chain, union = [(0, 1), (1, 2)], (0, 1, 2)
    parts = walsh({**dict.fromkeys(chain, 1.0), union: (8 * share) ** 0.5})
    found, _ = kept(parts, [union, (0, 5)])
    assert sorted(found) == ([(0, 1), union, (1, 2)] if share > 1e-3 else chain)


def test_a_large_set_without_a_term_of_its_own_goes():
    """Of more features than have their parts tried, beside a pair and alone."""
    union = tuple(range(6))
    parts = walsh({(0, 1): 1.0}, features=7)
    assert kept(parts, [(0, 1), union])[0] == [(0, 1)]
    assert kept(parts, [union])[0] == []
    found, (_, with_k) = kept(games(union, samples=700), [union], min_gain=1e-5)
    assert found == [union]
    assert with_k > 0.999


@pytest.mark.parametrize("samples", [0.0, 1.0])
def test_a_union_of_continuous_pairs_goes_wherever_the_features_lie(samples):
    """x0 x1 + x1 x2 of features whose mean is not 0, beside the product of three."""
    x = torch.rand(700, 4, generator=generator(1)) + samples
    chain, union = [(0, 1), (1, 2)], (0, 1, 2)
    found, _ = kept(split(x, x[:, 0] * x[:, 1] + x[:, 1] * x[:, 2]), [union])
    assert sorted(found) == chain
    found, (_, with_k) = kept(split(x, 10 * (x[:, :3] - samples - 0.5).prod(1)), [union])
    assert union in found
    assert with_k > 0.999


@either
def test_a_part_of_what_is_kept_does_not_end_the_search(pure):
    parts = games((0, 1, 2), (3, 4))
    found, _ = kept(parts, [(0, 1, 2), (0, 1), (1, 2), (3, 4)], pure=pure)
    assert found == [(0, 1, 2), (3, 4)]
    # what lies inside nothing does
    found, _ = kept(parts, [(0, 1, 2), (0, 5), (3, 4)], pure=pure)
    assert found == [(0, 1, 2)]


@either
def test_samples_of_no_weight_do_not_count(pure):
    parts = games((0, 1))
    spoilt = []
    for part in parts:
        weight = torch.ones(len(part.y))
        weight[::3] = 0
        y = torch.where(weight == 0, 100 * torch.randn(len(weight), generator=generator(3)), part.y)
        spoilt.append(Samples(part.x, y, weight))
    found, (without, with_k) = kept(spoilt, [(0, 1)], pure=pure)
    assert found == [(0, 1)]
    assert with_k > 0.999 > without


@either
@pytest.mark.parametrize("patience", [1, 2, 3])
def test_k_stops_where_products_stop_helping(patience, pure):
    x = bernoulli_masks(700, 4, generator(0))
    y = x @ torch.tensor([1.0, 2, 3, 4]) + 2 * x[:, 0] * x[:, 1]
    for ranking in itertools.permutations([(0, 1), (2, 3), (1, 2)]):
        found, (_, with_k) = kept(split(x, y), ranking, patience=patience, pure=pure)
        assert found == ([(0, 1)] if ranking.index((0, 1)) < patience else [])
        assert with_k <= 1
