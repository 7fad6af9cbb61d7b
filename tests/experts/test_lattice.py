"""The lattice of subsets, and layers that keep each expert to its own."""

import itertools
from contextlib import nullcontext

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.expertise import DIAMOND, NAMES, SCHEMA, changed, model, random_batch, subsets

from zoo import InterpretableMLP, ZooError
from zoo.experts.lattice import Lattice
from zoo.experts.layers import MaskedLinear, Restriction
from zoo.experts.mixture import GATES, auxiliary_loss, gem_loss, log_selection, silence_loss
from zoo.nn.device import as_on_gpu

each_way = pytest.mark.parametrize("way", [nullcontext, as_on_gpu])  # of CPUs, of GPUs

# Lattice


def test_inclusion_follows_from_names_and_groups():
    lattice = Lattice(SCHEMA, DIAMOND)
    assert lattice.fields[2] == ("n0", "c0", "c1", "c2")
    assert lattice.below == ((), (), (0, 1), (0, 1, 2))
    assert lattice.children == ((), (), (0, 1), (2,))
    assert lattice.unused == ()


def test_without_subsets_there_is_one_expert_that_sees_all():
    lattice = Lattice(SCHEMA)
    assert lattice.names == ("all",)
    assert list(lattice.fields[0]) == NAMES


def test_the_block_mask_is_that_of_equation_14():
    mask = Lattice(SCHEMA, {"a": ["n0"], "b": ["n1"], "ab": ["n0", "n1"]}).block_mask(
        [1, 2, 1], [2, 1, 1]
    )
    expected = [[1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 1, 0], [1, 1, 1, 1]]
    assert mask.int().tolist() == expected


@given(subsets)
def test_the_hasse_diagram_has_the_edges_that_no_other_edges_imply(given_subsets):
    lattice = Lattice(SCHEMA, given_subsets)
    sets = [set(fields) for fields in lattice.fields]
    for i, j in itertools.permutations(range(len(sets)), 2):
        between = any(sets[j] < sets[k] < sets[i] for k in range(len(sets)))
        assert (j in lattice.below[i]) == (sets[j] < sets[i])
        assert (j in lattice.children[i]) == (sets[j] < sets[i] and not between)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"a": ["nonsense"]}, "a names nonsense, which is neither a field nor a group"),
        ({"a": []}, "a is empty"),
        ({}, "at least one subset"),
        ({"a": ["c1", "c2"], "b": ["item"]}, "a and b hold the same fields"),
    ],
)
def test_subsets_that_make_no_sense_are_named(bad, message):
    with pytest.raises(ZooError, match=message):
        Lattice(SCHEMA, bad)


def test_fields_in_no_subset_are_reported():
    with pytest.warns(UserWarning, match="fields in no subset: n1, c1, c2"):
        InterpretableMLP(SCHEMA, subsets={"user": ["user"]}, hidden_units=[2])


# Layers


@given(subsets, st.integers(0, 99))
@settings(deadline=None)
def test_a_masked_layer_is_the_full_matrix_times_its_mask(given_subsets, seed):
    lattice = Lattice(SCHEMA, given_subsets)
    torch.manual_seed(seed)
    inputs, outputs = [2] * len(lattice), [3] * len(lattice)
    layer = MaskedLinear(lattice, inputs, outputs)
    full = torch.zeros(sum(outputs), sum(inputs))
    for i, inside in enumerate(lattice.below):
        blocks = layer.experts[i].weight.split([inputs[j] for j in (i, *inside)], 1)
        for j, block in zip((i, *inside), blocks, strict=True):
            full[i * 3 : i * 3 + 3, j * 2 : j * 2 + 2] = block.detach()
    assert torch.equal(full != 0, lattice.block_mask(outputs, inputs))
    stored = sum(expert.weight.numel() for expert in layer.experts)
    assert stored == int(lattice.block_mask(outputs, inputs).sum())
    features = [torch.randn(4, 2) for _ in inputs]
    bias = torch.cat([expert.bias for expert in layer.experts])
    expected = torch.cat(features, 1) @ full.T + bias
    torch.testing.assert_close(torch.cat(layer(features), 1), expected)


def test_the_first_layer_sees_the_columns_of_its_subset():
    layer = Restriction([[0, 1, 4], [0, 1, 2, 3, 4]], [2, 1])
    x = torch.randn(3, 5)
    first, second = layer(x)
    expert = layer.experts[0]
    torch.testing.assert_close(first, x[:, [0, 1, 4]] @ expert.weight.T + expert.bias)
    expert = layer.experts[1]
    torch.testing.assert_close(second, x @ expert.weight.T + expert.bias)


def expert_gradients(network, batch, expert):
    """z of an expert, and the gradients of its part of all losses."""
    network.zero_grad()
    z = network.outputs_of(network.embedding(batch))
    log_alpha = log_selection(z.detach(), network.inclusion, network.gate)
    part = torch.zeros(len(network.lattice))
    part[expert] = 1
    one = log_alpha + part.log()  # weight zero for all others
    loss = gem_loss(z, batch.label, one)
    mine = torch.where(part.bool(), z, z.detach())  # the others' silence is constant
    loss = loss + auxiliary_loss(mine, batch.label)
    (loss + silence_loss(mine, network.inclusion, network.gate)).backward()
    gradients = {n: p.grad.clone() for n, p in network.named_parameters() if p.grad is not None}
    return z[:, expert].detach().clone(), gradients


# Restriction is exact


@each_way
@given(
    subsets,
    st.sampled_from(GATES),
    st.booleans(),
    st.integers(0, 99),
    st.one_of(st.none(), st.lists(st.integers(1, 6), min_size=5, max_size=5)),
)
@settings(deadline=None, max_examples=40)
def test_inputs_outside_its_subset_change_no_bit_of_an_expert(
    way, given_subsets, gate, norm, seed, widths
):
    options = {"gate": gate, "layer_norm": norm}
    if widths:
        options["hidden_units"] = {
            name: [w, 2] for name, w in zip(given_subsets, widths, strict=False)
        }
    network = model(given_subsets, seed, **options)
    batch = random_batch(seed=seed)
    for i, fields in enumerate(network.lattice.fields):
        outside = set(NAMES) - set(fields)
        with way():
            z, gradients = expert_gradients(network, batch, i)
            other, others = expert_gradients(network, changed(batch, outside), i)
        assert torch.equal(z, other)
        assert gradients.keys() == others.keys()
        for name, gradient in gradients.items():
            assert torch.equal(gradient, others[name]), name


@each_way
@given(subsets, st.integers(0, 99))
@settings(deadline=None, max_examples=40)
def test_an_expert_gives_no_gradient_to_those_it_builds_on(way, given_subsets, seed):
    network = model(given_subsets, seed)
    batch = random_batch(seed=seed)
    for i in range(len(network.lattice)):
        with way():
            _, gradients = expert_gradients(network, batch, i)
        for name, gradient in gradients.items():
            if ".experts." in name and f".experts.{i}." not in name:
                assert not gradient.any(), name


def test_a_subset_may_have_widths_of_its_own():
    units = {"all": [9, 4], "user": [3, 2], "item": [1, 1], "both": [5, 3]}
    network = model(DIAMOND, hidden_units=units)
    first, second = network.layers
    assert [expert.out_features for expert in first.experts] == [3, 1, 5, 9]
    sizes = [(expert.in_features, expert.out_features) for expert in second.experts]
    assert sizes == [(3, 2), (1, 1), (5 + 3 + 1, 3), (9 + 3 + 1 + 5, 4)]


def test_gradient_reaches_every_parameter():
    network = model(DIAMOND, layer_norm=True)
    network.training_step(random_batch(200)).backward()
    assert [n for n, p in network.named_parameters() if p.grad is None or not p.grad.any()] == []
