"""Interaction detection: formulas by hand, planted truths, and what it says of bad black boxes."""

import dataclasses
import itertools
import math

import numpy as np
import pytest
import scipy.stats
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from zoo import Batch, DeepFM, Field, Schema, ZooError, xDeepFM
from zoo.glider import madex as madex_module
from zoo.glider.detect import (
    Detector,
    Result,
    adjust,
    order_weights,
    permutation_p_value,
    permuted,
    read_results,
    summarise,
    uniform_p_values,
)
from zoo.glider.explainer import NID, Explainer, Networks, Samples, error, fit, standardise
from zoo.glider.madex import Settings, madex
from zoo.glider.nid import Interaction, gradient_nid, influence, nid, nid_pairs, outermost
from zoo.glider.perturb import (
    OFF,
    OnOff,
    TruncatedNormal,
    bernoulli_masks,
    generator,
    lime_masks,
    lime_weights,
)

SCHEMA = Schema(
    (
        Field("n0", "numerical"),
        Field("n1", "numerical"),
        Field("c0", "categorical", 7),
        Field("c1", "categorical", 11),
    )
)
SMALL = Explainer(hidden_units=(32, 16), max_epochs=15)
QUICK = Settings(explainer=SMALL, samples=(1000, 200, 200))
ON_OFF_LIME = OnOff(torch.zeros(0), "lime")


def instance(seed=0):
    random = torch.Generator().manual_seed(seed)
    return Batch(
        torch.randn(1, 2, generator=random),
        torch.randint(1, 7, (1, 2), generator=random).int(),
        torch.zeros(1),
    )


def network(*weights, activation="relu", linear=None):
    """One network of given weights [in, out], without biases."""
    settings = Explainer(tuple(w.shape[1] for w in weights[:-1]), activation=activation)
    layers = [(w[None], torch.zeros(1, 1, w.shape[1])) for w in weights]
    return Networks(settings, layers, linear)


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


# Strengths


def test_nid_by_hand():
    first = torch.tensor([[3.0, 0.0], [-2.0, 1.0], [0.5, -4.0]])  # [d, H]
    net = network(first, torch.tensor([[-2.0], [1.0]]))
    assert influence(net).tolist() == [[2.0, 1.0]]
    ranking = [*nid(net)[0]]
    # unit 0 gives {0,1}: 2 * 2 and {0,1,2}: 2 * 0.5, unit 1 gives {1,2}: 1 and {0,1,2}: 0
    expected = {(0, 1): 4.0, (0, 1, 2): 1.0, (1, 2): 1.0}
    assert dict(ranking) == expected
    assert ranking[0] == Interaction((0, 1), 4.0)
    assert [i.features for i in nid(net, max_order=2)[0]] == [(0, 1), (1, 2)]
    pairs = nid_pairs(net)[0]
    assert pairs[0, 1] == 2 * 2 + 0
    assert pairs[1, 2] == 2 * 0.5 + 1 * 1
    assert pairs[0, 2] == 2 * 0.5


def test_influence_is_the_product_of_absolute_weights():
    torch.manual_seed(0)
    weights = [torch.randn(3, 4), torch.randn(4, 5), torch.randn(5, 6), torch.randn(6, 1)]
    expected = (weights[1].abs() @ weights[2].abs() @ weights[3].abs()).T
    torch.testing.assert_close(influence(network(*weights)), expected)


@given(st.integers(2, 6), st.integers(1, 5), st.integers(0, 100))
@settings(deadline=None, max_examples=30)
def test_greedy_ranking_equals_its_definition(features, units, seed):
    torch.manual_seed(seed)
    first, last = torch.randn(features, units), torch.randn(units, 1)
    expected = {}
    for unit in range(units):
        order = first[:, unit].abs().argsort(descending=True).tolist()
        for end in range(2, features + 1):
            strength = last[unit].abs() * first[order[end - 1], unit].abs()
            name = tuple(sorted(order[:end]))
            expected[name] = expected.get(name, 0) + strength.item()
    ranking = [*nid(network(first, last))[0]]
    assert dict(ranking) == pytest.approx(expected, rel=1e-4)
    strengths = [strength for _, strength in ranking]
    assert strengths == sorted(strengths, reverse=True)


def test_gradient_nid_is_the_squared_mixed_derivative():
    torch.manual_seed(0)
    weights = [torch.randn(3, 4), torch.randn(4, 5), torch.randn(5, 1)]
    net = network(*weights, activation="softplus", linear=torch.randn(1, 3, 1))
    points = torch.randn(1, 2, 3)
    softplus = torch.nn.functional.softplus

    def plain(x):
        return (softplus(softplus(x @ weights[0]) @ weights[1]) @ weights[2])[0]

    expected = sum(torch.autograd.functional.hessian(plain, p) ** 2 for p in points[0]) / 2
    torch.testing.assert_close(gradient_nid(net, points)[0], expected)


def test_gradient_nid_refuses_a_network_without_curvature():
    with pytest.raises(ZooError, match="needs softplus"):
        gradient_nid(network(torch.ones(2, 3), torch.ones(3, 1)), torch.zeros(1, 1, 2))


def test_interactions_inside_others_are_left_out():
    ranking = [Interaction(f, 1.0) for f in [(0, 1), (0, 1, 2), (1, 2), (2, 3), (0, 2)]]
    assert [i.features for i in outermost(ranking)] == [(0, 1, 2), (2, 3)]


# Training


def samples(function, features=6, count=1200, seed=0):
    x = bernoulli_masks(count, features, generator(seed))[None]
    return Samples(x, function(x))


@pytest.mark.parametrize("bf16", [False, True])
def test_networks_learn_each_its_own_function(bf16):
    functions = [lambda x: x[..., 0] * x[..., 1], lambda x: x[..., 2] - 3 * x[..., 3]]
    parts = [samples(f, seed=i) for i, f in enumerate(functions)]
    joined = Samples(torch.cat([p.x for p in parts]), torch.cat([p.y for p in parts]))
    train, val = standardise(
        Samples(joined.x[:, :1000], joined.y[:, :1000]),
        Samples(joined.x[:, 1000:], joined.y[:, 1000:]),
    )
    networks, errors = fit(
        train,
        val,
        Explainer(hidden_units=(32, 16), max_epochs=20, bf16=bf16),
        [generator(0), generator(1)],
    )
    assert errors.max() < 0.05
    with torch.no_grad():
        recomputed = (networks(val.x) - val.y).square().mean(1)
    # the best weights are those of the errors
    torch.testing.assert_close(
        recomputed, errors, rtol=0.3 if bf16 else 1e-4, atol=1e-2 if bf16 else 0
    )


def test_networks_that_have_finished_leave_and_change_nothing_for_the_others(monkeypatch):
    train = samples(lambda x: x[..., 0] * x[..., 1], count=200)
    constant = Samples(train.x, torch.zeros_like(train.y))
    both = Samples(torch.cat((constant.x, train.x)), torch.cat((constant.y, train.y)))
    sizes = []
    from zoo.glider import explainer as module

    original = module._train_epoch

    def spy(networks, *rest):
        sizes.append(len(networks))
        original(networks, *rest)

    monkeypatch.setattr(module, "_train_epoch", spy)
    networks, errors = fit(
        both, both, Explainer((8,), max_epochs=60, l1=0.0, patience=3), [generator(0), generator(1)]
    )
    assert sizes[0] == 2
    assert set(sizes) == {1, 2} or set(sizes) == {2}
    assert sizes == sorted(sizes, reverse=True)
    with torch.no_grad():
        torch.testing.assert_close((networks(both.x) - both.y).square().mean(1), errors)


def test_a_network_becomes_the_same_whatever_it_is_trained_beside():
    functions = [lambda x: x[..., 0] * x[..., 1], lambda x: 0 * x[..., 0], lambda x: x[..., 2]]
    parts = [samples(f, count=300, seed=i) for i, f in enumerate(functions)]
    joined = Samples(torch.cat([p.x for p in parts]), torch.cat([p.y for p in parts]))
    together, _ = fit(joined, joined, SMALL, [generator(i) for i in range(3)])
    for i, part in enumerate(parts):
        alone, _ = fit(part, part, SMALL, [generator(i)])
        for ours, theirs in zip(together[i : i + 1].tensors, alone.tensors, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("activation", ["relu", "softplus"])
@pytest.mark.parametrize("linear", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
def test_gradients_are_those_of_autograd(activation, linear, weighted):
    parameters = Explainer((8, 5), activation, linear, l1=0.01)
    networks = Networks.random(4, parameters, [generator(i) for i in range(3)])
    networks = networks.map(torch.Tensor.requires_grad_)
    random = generator(7)
    x, y, weight = (
        torch.rand(*shape, generator=random) for shape in ((3, 20, 4), (3, 20), (3, 20))
    )
    h = x
    for matrix, bias in networks.layers[:-1]:
        h = getattr(torch.nn.functional, activation)(h @ matrix + bias)
    out = h @ networks.layers[-1][0] + networks.layers[-1][1]
    out = (out + x @ networks.linear if linear else out).squeeze(2)
    share = weight / weight.sum(1, keepdim=True) if weighted else torch.full_like(y, 1 / 20)
    loss = (share * (out - y) ** 2).sum() + 0.01 * sum(w.abs().sum() for w, _ in networks.layers)
    expected = torch.autograd.grad(loss, networks.tensors)
    with torch.no_grad():
        predicted, inputs = networks.forward(x)
        samples_ = Samples(x, y, weight if weighted else None)
        networks.backward(inputs, error(predicted, samples_)[1])
    for ours, theirs in zip(networks.tensors, expected, strict=True):
        torch.testing.assert_close(ours.grad, theirs, rtol=1e-4, atol=1e-6)


def test_the_penalty_shrinks_weights():
    train = samples(lambda x: x[..., 0] * x[..., 1], count=400)
    sums = []
    for l1 in (0.0, 1e-2):
        networks, _ = fit(train, train, Explainer((16,), max_epochs=10, l1=l1), [generator(0)])
        sums.append(networks.layers[0][0][:, 2:].abs().sum().item())  # of features without effect
    assert sums[1] < sums[0] / 2


def test_constant_targets_become_zero():
    train = samples(lambda x: 0 * x[..., 0] + 7.1)
    (found,) = standardise(train)
    assert not found.y.any()


# MADEX


def pairs_of(explanation):
    return [i.features for i in explanation.interactions]


def test_madex_finds_the_planted_terms_of_any_callable():
    # a sum of unanimity games: its interactions are its terms
    def scores(rows):
        on = (rows.categorical >= 0).float()
        return on @ torch.tensor([1.0, -2.0]) + 3 * rows.numerical[:, 0] * on[:, 1]

    row = Batch(torch.tensor([[2.0, 1.0]]), torch.tensor([[3, 4]]), torch.zeros(1))
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
    explainer = Explainer((32, 16), "softplus", linear=True, l1=0.0, max_epochs=15)
    settings = Settings(
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
    found = madex(scores, instance, neighbours, Settings("nid", explainer, prune_subsets=True))
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
    row = Batch(torch.zeros(1, 0), torch.zeros(1, 10, dtype=torch.long), torch.zeros(1))
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
        madex(lambda x: x[:, 0], torch.zeros(3), TruncatedNormal(), Settings(lime_weights=True))


def test_a_single_feature_cannot_interact():
    with pytest.raises(ZooError, match="two features"):
        madex(lambda x: x.sum(1), torch.zeros(1), TruncatedNormal(), QUICK)


def test_an_unknown_detector_is_named():
    with pytest.raises(ZooError, match=r"detector must be one of .* got 'magic'"):
        Settings(detector="magic")


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
        Settings(**options)


def test_a_point_may_be_an_array_or_of_whole_numbers():
    def scores(x):
        return 10 * x[:, 1] * x[:, 2] + x.sum(1)

    point, settings = (
        torch.tensor([1.0, 2.0, 3.0]),
        Settings("nid", SMALL, samples=(1000, 200, 200)),
    )
    expected = madex(scores, point, TruncatedNormal(2.0), settings)
    assert expected.ranking[0].features == (1, 2)
    for same in (point.int(), point.numpy(), [1, 2, 3]):
        assert madex(scores, same, TruncatedNormal(2.0), settings) == expected


def test_instances_that_are_none_are_refused():
    rows = Batch(torch.zeros(2, 2), torch.zeros(2, 2, dtype=torch.long), torch.zeros(2))
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
    row = Batch(torch.tensor([[5.0]]), torch.tensor([[3, 4, 7]]), torch.zeros(1))
    neighbours = OnOff(torch.zeros(1), crosses=((0, 2),))
    masks, rows = neighbours.draw(row, 500, generator(0))
    assert masks.shape == (500, 3)
    assert neighbours.centre(row).shape == (3,)
    both = (rows.numerical[:, 0] == 5) & (rows.categorical[:, 1] == 4)
    assert torch.equal(rows.categorical[:, 2] == 7, both)
    assert torch.equal(rows.categorical[:, 2] == OFF, ~both)


def games(*terms, features=6, samples=700, weight=None):
    """Training, validation and test samples of a sum of unanimity games over main effects."""
    x = bernoulli_masks(samples, features, generator(0))
    y = x.sum(1) + sum(2 * x[:, list(term)].prod(1) for term in terms)
    parts = slice(0, 500), slice(500, 600), slice(600, 700)
    return [Samples(x[s], y[s], None if weight is None else weight[s]) for s in parts]


def kept(parts, ranking, **options):
    """What the k-threshold keeps of a ranking, and R^2 without and with that."""
    ranked = [Interaction(features, 1.0) for features in ranking]
    found, *fidelity = madex_module._threshold(*parts, ranked, Settings(**options))
    return [interaction.features for interaction in found], fidelity


def test_a_union_of_interactions_gives_way_to_them():
    chain, union = [(0, 1), (1, 2)], (0, 1, 2)
    for ranking in itertools.permutations([*chain, union]):
        found, (without, with_k) = kept(games(*chain), ranking)
        assert sorted(found) == chain
        assert with_k > 0.999 > without


def test_a_part_of_what_is_kept_does_not_end_the_search():
    found, _ = kept(games((0, 1, 2), (3, 4)), [(0, 1, 2), (0, 1), (1, 2), (3, 4)])
    assert found == [(0, 1, 2), (3, 4)]
    # what lies inside nothing does
    found, _ = kept(games((0, 1, 2), (3, 4)), [(0, 1, 2), (0, 5), (3, 4)])
    assert found == [(0, 1, 2)]


def test_samples_of_no_weight_do_not_count():
    parts = games((0, 1))
    spoilt = []
    for part in parts:
        weight = torch.ones(len(part.y))
        weight[::3] = 0
        y = torch.where(weight == 0, 100 * torch.randn(len(weight), generator=generator(3)), part.y)
        spoilt.append(Samples(part.x, y, weight))
    found, (without, with_k) = kept(spoilt, [(0, 1)])
    assert found == [(0, 1)]
    assert with_k > 0.999 > without


@pytest.mark.parametrize("patience", [1, 2, 3])
def test_k_stops_where_products_stop_helping(patience):
    x = bernoulli_masks(600, 4, generator(0))
    y = x @ torch.tensor([1.0, 2, 3, 4]) + 2 * x[:, 0] * x[:, 1]
    parts = [Samples(x[s], y[s]) for s in (slice(0, 400), slice(400, 500), slice(500, 600))]
    rankings = itertools.permutations([(0, 1), (2, 3), (1, 2)])
    for ranking in rankings:
        found, (_, with_k) = kept(parts, ranking, patience=patience)
        assert found == ([(0, 1)] if ranking.index((0, 1)) < patience else [])
    assert with_k <= 1


# Counts and p-values


def results(found, null, instances=20):
    return [Result(i, found(i), [null(i)], (1.0, 0.5, 0.9)) for i in range(instances)]


def test_counts_are_ranked_and_named():
    found = results(lambda i: [(0, 1)] + [(1, 2)] * (i < 5), lambda i: [(1, 2)] * (i < 4))
    summary = summarise(found, ["a", "b", "c"])
    rows = [(r["fields"], r["count"], r["null_count"]) for r in summary["interactions"]]
    assert rows == [(["a", "b"], 20, 0), (["b", "c"], 5, 4)]
    assert summary["fidelity"] == pytest.approx(
        {"network": 1.0, "linear": 0.5, "with_interactions": 0.9}
    )


# ab 20, abc 5, bd 4, cd 3: the larger set takes the place of the pair inside it
@pytest.mark.parametrize(
    ("top", "names"), [(1, ["ab"]), (2, ["abc", "bd"]), (9, ["abc", "bd", "cd"])]
)
def test_of_the_most_frequent_interactions_those_inside_others_can_be_left_out(top, names):
    def sets(i):
        return [(0, 1)] + [(0, 1, 2)] * (i < 5) + [(1, 3)] * (i < 4) + [(2, 3)] * (i < 3)

    kept = summarise(results(sets, lambda i: []), ["a", "b", "c", "d"], top=top)["interactions"]
    assert ["".join(row["fields"]) for row in kept] == names


@pytest.mark.parametrize("orders", [[2], [2, 2, 3]])
def test_uniform_p_values_equal_a_simulation(orders):
    features, instances = 12, 30
    random = np.random.default_rng(0)
    drawn = [
        Result(i, [tuple(range(o)) for o in orders], [], (1.0, 1.0, 1.0)) for i in range(instances)
    ]
    p_value = uniform_p_values(drawn, features)
    largest = []
    for _ in range(4000):
        counts = {}
        for order in set(orders):
            possible = math.comb(features, order)
            picks = [
                random.choice(possible, orders.count(order), replace=False)
                for _ in range(instances)
            ]
            counts[order] = np.bincount(np.concatenate(picks), minlength=possible).max()
        largest.append(max(counts.values()))
    for count in range(1, 12):
        # the counts of different interactions are slightly dependent
        assert p_value(count) == pytest.approx(np.mean(np.array(largest) >= count), abs=0.05)


def test_permutation_p_values_are_those_of_fishers_exact_test():
    for count, null in ((5, 0), (3, 2), (7, 7), (0, 4)):
        table = [[count, 20 - count], [null, 40 - null]]
        expected = scipy.stats.fisher_exact(table, alternative="greater").pvalue
        assert permutation_p_value(count, 20, null, 40) == pytest.approx(expected)
    assert permutation_p_value(5, 20, 0, 0) == 1


@given(st.lists(st.floats(1e-6, 1), min_size=1, max_size=20), st.integers(0, 30))
@settings(deadline=None)
def test_adjusted_p_values_are_benjamini_and_hochbergs(p, more):
    expected = scipy.stats.false_discovery_control(p + [1.0] * more)[: len(p)]
    np.testing.assert_allclose(adjust([x * (len(p) + more) for x in p]), expected)


@pytest.mark.parametrize("max_order", [2, 3, 6])
def test_the_false_discovery_rate_holds_over_all_orders(max_order):
    """Nothing interacts: any significant set is false, whatever its order."""
    random = np.random.default_rng(0)
    sets = [s for o in range(2, max_order + 1) for s in itertools.combinations(range(6), o)]
    falsely = 0
    for _ in range(300):
        here, there = random.random((2, 200, len(sets))) < 0.3
        found = [
            Result(
                i,
                [s for s, at in zip(sets, here[i], strict=True) if at],
                [[s for s, at in zip(sets, there[i], strict=True) if at]],
                (1.0, 1.0, 1.0),
            )
            for i in range(200)
        ]
        rows = summarise(found, [*"abcdef"], max_order)["interactions"]
        falsely += any(row["q_permutation"] < 0.05 for row in rows)
    assert falsely <= 300 * 0.05 + 2 * math.sqrt(300 * 0.05 * 0.95)


@pytest.mark.parametrize("max_order", [2, 3, 39])
def test_each_order_has_half_the_weight_of_the_one_below(max_order):
    weights = order_weights(max_order)
    assert list(weights) == list(range(2, max_order + 1))
    assert sum(weights.values()) == pytest.approx(1)
    assert all(weights[o] == pytest.approx(weights[o - 1] / 2) for o in list(weights)[1:])


def test_small_p_values_are_not_rounded_away():
    """Of 200 instances with one pair each out of 190, the same pair in 40: a binomial tail."""
    drawn = [Result(i, [(0, 1)], [], (1.0, 1.0, 1.0)) for i in range(200)]
    p_value = uniform_p_values(drawn, 20)
    tail = scipy.stats.binom.sf(39, 200, 1 / 190)
    assert p_value(40) == pytest.approx(190 * tail, rel=1e-6)
    assert 0 <= p_value(200) < 1e-300
    assert p_value(0) == 1


def test_equal_rates_are_rarely_significant():
    random = np.random.default_rng(0)
    false = 0
    for _ in range(200):
        rate = random.uniform(0.01, 0.5)
        count, null = random.binomial(100, rate, 2)
        false += permutation_p_value(count, 100, null, 100) < 0.05
    assert false <= 20  # 5 % of 200 are expected at most


def test_permuted_scores_keep_the_main_effects_alone():
    x = bernoulli_masks(4000, 4, generator(0))
    y = x @ torch.tensor([1.0, 2, 3, 4]) + 5 * x[:, 0] * x[:, 1]
    shuffled = permuted(x, y, generator(1))
    design = torch.cat((torch.ones(4000, 1), x, (x[:, 0] * x[:, 1])[:, None]), 1)
    weights = torch.linalg.lstsq(design, shuffled[:, None]).solution[:, 0]
    assert weights[1:5].tolist() == pytest.approx([3.5, 4.5, 3, 4], abs=0.4)
    assert abs(weights[5]) < 0.4
    assert shuffled.var() == pytest.approx(y.var().item(), rel=0.05)


def test_a_chunk_that_is_done_is_not_explained_again(tmp_path):
    asked = []

    def scores(rows):
        asked.append(len(rows.label))
        on = (rows.categorical >= 0).float()
        return 3 * on[:, 0] * on[:, 1]

    rows = Batch(*(torch.cat([part] * 3) for part in instance()[:3]))
    detector = Detector(scores, rows, OnOff(torch.zeros(2)), QUICK, tmp_path)
    detector.predict_step(torch.tensor(0))
    first = read_results(tmp_path)
    done = len(asked)
    detector.predict_step(torch.tensor(0))
    assert len(asked) == done
    assert [result.found for result in first] == [[(2, 3)]] * 3
    assert [len(result.null) for result in first] == [1] * 3


def test_an_instance_is_explained_alike_in_any_chunk(tmp_path):
    def scores(rows):
        on = (rows.categorical >= 0).float()
        return on[:, 0] * on[:, 1] + rows.numerical[:, 0] * rows.numerical[:, 1] * on[:, 0]

    rows = Batch(
        *(torch.cat(parts) for parts in zip(*(instance(s)[:3] for s in range(3)), strict=True))
    )
    detector = Detector(scores, rows, OnOff(torch.zeros(2)), QUICK, tmp_path)
    together, alone = detector.explain([0, 1, 2]), detector.explain([1])
    assert together[1].found == alone[0].found
