"""Networks over listening sessions: restriction, layers, padding."""

import math
from contextlib import nullcontext

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.session_networks import (
    NAMES,
    SCHEMA,
    SUBSETS,
    T_NEXT,
    T,
    build,
    changed,
    each_model,
    ends,
    random_batch,
)

from zoo import InterpretableGRU, InterpretableTransformer
from zoo.data.batch import take
from zoo.experts.attention import MaskedAttention, _attend, _attend_by_steps
from zoo.experts.lattice import Lattice
from zoo.experts.mixture import GATES, auxiliary_loss, gem_loss, log_selection
from zoo.experts.stacked import StackedLinear, StackedNorm
from zoo.nn.device import as_on_gpu

each_way = pytest.mark.parametrize("way", [nullcontext, as_on_gpu])  # of CPUs, of GPUs
# the right side of a subset must not be empty
subsets = st.lists(
    st.sets(st.sampled_from(NAMES)).map(lambda s: sorted(s | {"position"})),
    min_size=1,
    max_size=5,
    unique_by=tuple,
).map(lambda sets: {f"s{i}": fields for i, fields in enumerate(sets)})


def expert_gradients(network, batch, expert):
    """z of an expert over the tracks that exist, and the gradients of its part of the loss."""
    network.zero_grad()
    known = network.scored(batch)
    z = network.expert_outputs(batch)[known]
    log_alpha = log_selection(z.detach(), network.inclusion, network.gate)
    part = torch.full((len(network.lattice),), -math.inf)
    part[expert] = 0
    gem_loss(z, batch.label[known], log_alpha + part).backward()  # weight zero for all others
    gradients = {n: p.grad.clone() for n, p in network.named_parameters()}
    return z[:, expert].detach().clone(), gradients


def assert_the_same_bits(found, expected):
    assert torch.equal(found[0], expected[0])
    for name, gradient in expected[1].items():
        assert torch.equal(found[1][name], gradient), name


# Restriction is exact


@each_model
@each_way
@given(subsets, st.sampled_from(GATES), st.integers(0, 99))
@settings(deadline=None, max_examples=25)
def test_inputs_outside_its_subset_change_no_bit_of_an_expert(
    model_class, way, given_subsets, gate, seed
):
    network = build(model_class, given_subsets, seed, gate=gate)
    batch = random_batch(seed=seed)
    for i, fields in enumerate(network.lattice.fields):
        outside = set(NAMES) - set(fields)
        with way():
            expected = expert_gradients(network, batch, i)
            assert_the_same_bits(expert_gradients(network, changed(batch, outside), i), expected)


@each_model
def test_inputs_inside_its_subset_reach_an_expert(model_class):
    network = build(model_class)
    batch = random_batch(past=[T] * 5)
    for i, fields in enumerate(network.lattice.fields):
        z, _ = expert_gradients(network, batch, i)
        for field in fields:
            assert not torch.equal(z, expert_gradients(network, changed(batch, [field]), i)[0])


@each_model
@each_way
@given(subsets, st.integers(0, 99), st.sampled_from([1e3, math.inf, math.nan]))
@settings(deadline=None, max_examples=25)
def test_padding_changes_no_bit(model_class, way, given_subsets, seed, noise):
    network = build(model_class, given_subsets, seed)
    batch = random_batch(seed=seed)
    past, future = batch.past.clone(), batch.future.clone()
    past[~batch.past_mask] = noise
    future[~batch.future_mask] = noise
    padded = batch._replace(past=past, future=future, label=batch.label)
    for i in range(len(network.lattice)):
        with way():
            expected = expert_gradients(network, batch, i)
            assert all(g.isfinite().all() for g in expected[1].values())
            assert_the_same_bits(expert_gradients(network, padded, i), expected)


@each_model
@each_way
@given(subsets, st.integers(0, 99))
@settings(deadline=None, max_examples=25)
def test_an_expert_gives_no_gradient_to_those_it_builds_on(model_class, way, given_subsets, seed):
    network = build(model_class, given_subsets, seed)
    batch = random_batch(seed=seed)
    for i in range(len(network.lattice)):
        with way():
            _, gradients = expert_gradients(network, batch, i)
        for name, module in network.named_modules():
            if isinstance(module, StackedLinear):
                assert not gradients[f"{name}.blocks"][module.rows != i].any()
                gradients[f"{name}.bias"][:, i] = 0
                assert not gradients[f"{name}.bias"].any()
            elif isinstance(module, StackedNorm):
                for parameter in ("weight", "bias"):
                    gradients[f"{name}.{parameter}"][i] = 0
                    assert not gradients[f"{name}.{parameter}"].any()
        for name, gradient in gradients.items():
            if ".restriction." in name and f".experts.{i}." not in name:
                assert not gradient.any(), name


@each_model
def test_gradient_reaches_every_parameter(model_class):
    network = build(model_class)
    network.training_step(random_batch(200)).backward()
    without = [n for n, p in network.named_parameters() if not p.grad.any()]
    assert without == []


def twice_as_long(part):
    """A part of sessions with as much padding as it has events."""
    return torch.cat([part, torch.zeros_like(part)], 1)


@each_model
def test_longer_padding_changes_nothing(model_class):
    network = build(model_class).eval()
    batch = random_batch(past=[0, 1, 2, 3, 4])
    parts = ("past", "past_mask", "future", "future_mask", "label")
    twice = {name: twice_as_long(getattr(batch, name)) for name in parts}
    longer = batch._replace(**twice)
    expected, found = network(batch), network(longer)[:, :T_NEXT]
    assert expected.isfinite().all()
    torch.testing.assert_close(found[batch.future_mask], expected[batch.future_mask])
    alone = network(take(batch, slice(2, 3)))
    torch.testing.assert_close(alone, expected[2:3])


@each_model
@each_way
def test_tracks_without_a_label_are_neither_learned_nor_scored(model_class, way):
    network = build(model_class, fallback=True, auxiliary=0.5)
    batch = random_batch(future=[3, 3, 3, 3, 3])
    label = batch.label.clone()
    label[:, 1] = math.nan
    with way():
        found = network.training_step(batch._replace(label=label))
    known = batch.future_mask.clone()
    known[:, 1] = False
    z = network.expert_outputs(batch)[known]
    selected = log_selection(z, network.inclusion, "abs", fallback=list(SUBSETS).index("all"))
    expected = gem_loss(z, batch.label[known], selected)
    expected = expected + 0.5 * auxiliary_loss(z, batch.label[known])
    torch.testing.assert_close(found, expected)
    assert network.metrics["train/"].counts.tolist() == [10, 5, 5, 10]


# Layers


@each_way
@given(subsets, st.integers(1, 3), st.integers(0, 99))
@settings(deadline=None)
def test_a_stacked_layer_is_the_full_matrix_times_its_mask(way, given_subsets, parts, seed):
    torch.manual_seed(seed)
    lattice = Lattice(SCHEMA, given_subsets)
    layer = StackedLinear(lattice, 2, 3, parts)
    mask = lattice.block_mask([3] * len(lattice), [2] * len(lattice)).repeat(parts, 1)
    matrix = layer.matrix()
    assert torch.equal(matrix != 0, mask)
    assert layer.blocks.numel() == int(mask.sum())
    x = torch.randn(4, 5, 2 * len(lattice), requires_grad=True)
    with way():
        y = layer(x)
        torch.testing.assert_close(y, x @ matrix.T + layer.bias.flatten())
        g = torch.randn_like(y)
        y.backward(g)
    own = torch.block_diag(*[torch.ones(3, 2)] * len(lattice)).repeat(parts, 1)
    torch.testing.assert_close(x.grad, g @ (matrix.detach() * own))
    of_matrix = (g.flatten(0, 1).T @ x.detach().flatten(0, 1)).view(
        parts, len(lattice), 3, len(lattice), 2
    )
    for block, i, j in zip(layer.blocks.grad, layer.rows, layer.columns, strict=True):
        torch.testing.assert_close(block, of_matrix[:, i, :, j])
    torch.testing.assert_close(layer.bias.grad.flatten(), g.sum((0, 1)))


def test_each_expert_is_normalised_by_itself():
    norm = StackedNorm(3, 4)
    torch.nn.init.normal_(norm.weight)
    torch.nn.init.normal_(norm.bias)
    x = torch.randn(2, 5, 12)
    found = norm(x).unflatten(2, (3, 4))
    for i, part in enumerate(x.split(4, 2)):
        expected = torch.nn.functional.layer_norm(part, (4,), norm.weight[i], norm.bias[i])
        torch.testing.assert_close(found[:, :, i], expected)


@each_way
@pytest.mark.parametrize("cross", [False, True])
def test_attention_of_one_subset_is_that_of_torch(cross, way):
    torch.manual_seed(0)
    ours = MaskedAttention(Lattice(SCHEMA), 24, 4)
    theirs = torch.nn.MultiheadAttention(24, 4, batch_first=True)
    for parameter in ours.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    layers = (ours.query, ours.memory)
    with torch.no_grad():
        theirs.in_proj_weight.copy_(torch.cat([layer.matrix() for layer in layers]))
        theirs.in_proj_bias.copy_(torch.cat([layer.bias.flatten() for layer in layers]))
        theirs.out_proj.weight.copy_(ours.output.matrix())
        theirs.out_proj.bias.copy_(ours.output.bias.flatten())
    memory = torch.randn(6, 7, 24)
    query = torch.randn(6, 5, 24) if cross else memory
    mask = ends([1, 2, 3, 5, 6, 7], 7)
    expected, _ = theirs(query, memory, memory, key_padding_mask=~mask, need_weights=False)
    with way():
        torch.testing.assert_close(ours(query, memory, mask), expected, rtol=1e-5, atol=1e-5)


def test_attention_by_steps_is_the_fused_one():
    q, k, v = (torch.randn(3, time, 4, 5, requires_grad=True) for time in (6, 7, 7))
    mask = ends([1, 4, 7], 7)
    results = [attend(q, k, v, mask) for attend in (_attend, _attend_by_steps)]
    torch.testing.assert_close(results[0], results[1])
    gradients = [torch.autograd.grad(result.square().sum(), (q, k, v)) for result in results]
    torch.testing.assert_close(gradients[0], gradients[1])


@each_way
def test_a_gru_of_one_subset_is_that_of_torch(way):
    network = build(InterpretableGRU, None, width=6)
    batch = random_batch(past=[T] * 5, future=[T_NEXT] * 5)
    states = None
    for ours, x in ((network.past, batch.past), (network.future, batch.future)):
        theirs = torch.nn.GRU(x.shape[2], 6, batch_first=True)
        (first,) = ours.inputs.restriction.experts
        torch.nn.init.normal_(first.bias)
        torch.nn.init.normal_(ours.hidden.bias)
        with torch.no_grad():
            theirs.weight_ih_l0.copy_(first.weight)
            theirs.bias_ih_l0.copy_(first.bias)
            theirs.weight_hh_l0.copy_(ours.hidden.matrix())
            theirs.bias_hh_l0.copy_(ours.hidden.bias.flatten())
        features, states = theirs(x, states)
    with way():
        torch.testing.assert_close(network.encode(batch), features)


def test_one_subset_is_the_plain_network():
    network = build(InterpretableTransformer, None, width=8, heads=2, feed_forward=16)
    batch = random_batch()
    torch.testing.assert_close(network(batch), 2 * network.expert_outputs(batch)[..., 0])
