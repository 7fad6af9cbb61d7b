"""GLIDER's surrogates: networks trained side by side, and NID's strengths."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.explaining import SMALL

from zoo import ZooError
from zoo.glider.perturb import bernoulli_masks, generator
from zoo.glider.surrogates.networks import SurrogateConfig, SurrogateNetworks
from zoo.glider.surrogates.nid import Candidate, gradient_nid, influence, nid, nid_pairs, outermost
from zoo.glider.surrogates.training import Samples, error, fit, standardise


def network(*weights, activation="relu", linear=None):
    """One network of given weights [in, out], without biases."""
    settings = SurrogateConfig(tuple(w.shape[1] for w in weights[:-1]), activation=activation)
    layers = [(w[None], torch.zeros(1, 1, w.shape[1])) for w in weights]
    return SurrogateNetworks(settings, layers, linear)


# Strengths


def test_nid_by_hand():
    first = torch.tensor([[3.0, 0.0], [-2.0, 1.0], [0.5, -4.0]])  # [d, H]
    net = network(first, torch.tensor([[-2.0], [1.0]]))
    assert influence(net).tolist() == [[2.0, 1.0]]
    ranking = [*nid(net)[0]]
    # unit 0 gives {0,1}: 2 * 2 and {0,1,2}: 2 * 0.5, unit 1 gives {1,2}: 1 and {0,1,2}: 0
    expected = {(0, 1): 4.0, (0, 1, 2): 1.0, (1, 2): 1.0}
    assert dict(ranking) == expected
    assert ranking[0] == Candidate((0, 1), 4.0)
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


def test_networks_are_ranked_beside_others_as_alone():
    networks = SurrogateNetworks.random(7, SMALL, [generator(i) for i in range(4)])
    for k, ranking in enumerate(nid(networks)):
        (alone,) = nid(networks[k : k + 1])
        assert dict(ranking) == pytest.approx(dict(alone), rel=1e-5)


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
    ranking = [Candidate(f, 1.0) for f in [(0, 1), (0, 1, 2), (1, 2), (2, 3), (0, 2)]]
    assert [i.features for i in outermost(ranking)] == [(0, 1, 2), (2, 3)]


def samples(function, features=6, count=1200, seed=0):
    x = bernoulli_masks(count, features, generator(seed))[None]
    return Samples(x, function(x))


# Training


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
        SurrogateConfig(hidden_units=(32, 16), max_epochs=20, bf16=bf16),
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
    from zoo.glider.surrogates import training as module

    original = module._train_epoch

    def spy(networks, *rest):
        sizes.append(len(networks))
        original(networks, *rest)

    monkeypatch.setattr(module, "_train_epoch", spy)
    networks, errors = fit(
        both,
        both,
        SurrogateConfig((8,), max_epochs=60, l1=0.0, patience=3),
        [generator(0), generator(1)],
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
    parameters = SurrogateConfig((8, 5), activation, linear, l1=0.01)
    networks = SurrogateNetworks.random(4, parameters, [generator(i) for i in range(3)])
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
        networks, _ = fit(
            train, train, SurrogateConfig((16,), max_epochs=10, l1=l1), [generator(0)]
        )
        sums.append(networks.layers[0][0][:, 2:].abs().sum().item())  # of features without effect
    assert sums[1] < sums[0] / 2


def test_constant_targets_become_zero():
    train = samples(lambda x: 0 * x[..., 0] + 7.1)
    (found,) = standardise(train)
    assert not found.y.any()
