"""Gates, selections and the loss of a mixture of experts."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.expertise import DIAMOND, SCHEMA, model, random_batch, subsets

from zoo import ZooError
from zoo.experts.lattice import Lattice
from zoo.experts.mixture import (
    GATES,
    NORMALIZATIONS,
    AttributionMetrics,
    attribution,
    auxiliary_loss,
    gem_loss,
    log_gate,
    log_selection,
    mixture_logit,
    silence_loss,
)


@pytest.mark.parametrize("gate", GATES)
@pytest.mark.parametrize("p", [1.5, 3, 8])
def test_gates_equal_their_formulas(gate, p):
    z = torch.linspace(-4, 4, 101, dtype=torch.float64)
    f = z.tanh().abs()
    expected = {"abs": f, "square": f**2, "smooth": 2 * f**p / (1 + f ** (p - 1))}[gate]
    log_g, log_rest = log_gate(z, gate, p)
    torch.testing.assert_close(log_g.exp(), expected, atol=1e-11, rtol=1e-9)
    torch.testing.assert_close(log_rest.exp(), 1 - expected, atol=1e-11, rtol=1e-9)


@pytest.mark.parametrize("gate", GATES)
def test_nothing_of_a_confident_expert_is_rounded_away(gate):
    """1 - tanh(30) is 0 in floating point, and 2 e^-60 in truth."""
    _, log_rest = log_gate(torch.tensor([30.0]), gate)
    factor = {"abs": 1, "square": 2, "smooth": 2}[gate]  # of smooth (p + 1) / 2
    assert log_rest.item() == pytest.approx(math.log(2 * factor) - 60, rel=1e-6)


@given(subsets, st.sampled_from(GATES), st.integers(0, 999))
@settings(deadline=None)
def test_selections_have_the_papers_three_properties(given_subsets, gate, seed):
    lattice = Lattice(SCHEMA, given_subsets)
    generator = torch.Generator().manual_seed(seed)
    z = 3 * torch.randn(8, len(lattice), generator=generator, dtype=torch.float64)
    inclusion = lattice.inclusion().double()
    alpha = log_selection(z, inclusion, gate).exp()
    g = log_gate(z, gate)[0].exp()
    assert ((alpha >= 0) & (alpha <= 1)).all()  # probability
    for i, inside in enumerate(lattice.below):
        assert (alpha[:, i] <= (1 - g[:, list(inside)]).prod(1) + 1e-12).all()  # deselection
        moved = z.clone()  # blindness to all but itself and what lies inside
        others = [j for j in range(len(lattice)) if j != i and j not in inside]
        moved[:, others] += 1
        torch.testing.assert_close(
            log_selection(moved, inclusion, gate).exp()[:, i], alpha[:, i], rtol=1e-12, atol=0
        )


def test_three_experts_by_hand():
    """Gates 0.5, 0.2 and 0.9, the third over the first two: 0.9 * 0.5 * 0.8 = 0.36."""
    f = torch.tensor([[0.5, -0.2, 0.9]], dtype=torch.float64)
    z = f.atanh()
    lattice = Lattice(SCHEMA, {"a": ["n0"], "b": ["n1"], "ab": ["n0", "n1"]})
    log_alpha = log_selection(z, lattice.inclusion().double(), "abs")
    torch.testing.assert_close(log_alpha.exp(), torch.tensor([[0.5, 0.2, 0.36]]).double())
    p = (0.5 * 0.75 + 0.2 * 0.4 + 0.36 * 0.95) / 1.06
    assert mixture_logit(z, log_alpha).sigmoid().item() == pytest.approx(p)
    assert attribution(log_alpha)[0].tolist() == pytest.approx(
        [0.5 / 1.06, 0.2 / 1.06, 0.36 / 1.06]
    )
    bce = [-math.log(0.75), -math.log(0.4), -math.log(0.95)]
    alpha = [0.5, 0.2, 0.36]
    none = sum(a * b for a, b in zip(alpha, bce, strict=True))
    expected = {"none": none, "sample": none / 1.06, "expert": sum(bce) / 3}
    for normalization in NORMALIZATIONS:
        loss = gem_loss(z, torch.ones(1).double(), log_alpha, normalization).item()
        assert loss == pytest.approx(expected[normalization], rel=1e-5)


def test_a_fallback_takes_what_those_inside_it_leave_by_hand():
    """Gates 0.5 and 0.2, and one in place of 0.9: 0.5 * 0.8 = 0.4 is left, confident or not."""
    z = torch.tensor([[0.5, -0.2, 0.9], [0.5, -0.2, 0.0]], dtype=torch.float64).atanh()
    lattice = Lattice(SCHEMA, {"a": ["n0"], "b": ["n1"], "ab": ["n0", "n1"]})
    assert lattice.greatest == 2
    log_alpha = log_selection(z, lattice.inclusion().double(), "abs", fallback=2)
    torch.testing.assert_close(log_alpha.exp(), torch.tensor([[0.5, 0.2, 0.4]] * 2).double())


@given(subsets)
@settings(deadline=None)
def test_the_greatest_subset_is_the_one_that_holds_all_others(given_subsets):
    lattice = Lattice(SCHEMA, given_subsets)
    sets = [set(fields) for fields in lattice.fields]
    holders = [i for i, s in enumerate(sets) if all(other <= s for other in sets)]
    assert lattice.greatest == (holders[0] if holders else None)


def test_every_expert_learns_from_every_row_by_the_auxiliary_loss():
    """f 0.75, 0.4 and 0.95 of a click: the mean of the three, whatever is selected."""
    z = torch.tensor([[0.5, -0.2, 0.9]], dtype=torch.float64).atanh()
    expected = -(math.log(0.75) + math.log(0.4) + math.log(0.95)) / 3
    assert auxiliary_loss(z, torch.ones(1).double()).item() == pytest.approx(expected)


def test_fallback_and_auxiliary_loss_are_options_of_the_model():
    plain, helped = (
        model(DIAMOND, prior=0.2, **options).eval()
        for options in ({}, {"fallback": True, "auxiliary": 0.5})
    )
    helped.load_state_dict(plain.state_dict())
    batch = random_batch()
    z = plain.expert_outputs(batch)
    selected = log_selection(z, plain.inclusion, "abs", fallback=list(DIAMOND).index("all"))
    torch.testing.assert_close(helped.explain(batch)[1], attribution(selected))
    evidence = z + math.log(0.25) / 2
    expected = gem_loss(evidence, batch.label, selected)
    expected = expected + 0.5 * auxiliary_loss(evidence, batch.label)
    torch.testing.assert_close(helped.training_step(batch), expected)


def test_a_fallback_must_hold_all_the_others():
    with pytest.raises(ZooError, match=r"model\.fallback needs a subset that holds all"):
        model({"user": ["n0"], "item": ["n1"]}, fallback=True)


def test_selections_are_held_constant_in_the_loss():
    z = torch.randn(5, 2, requires_grad=True)
    log_alpha = log_selection(z, torch.tensor([[0.0, 0.0], [1.0, 0.0]]), "abs")
    gem_loss(z, torch.ones(5), log_alpha).backward()
    expected = log_alpha.exp().detach() * 2 * ((2 * z).sigmoid() - 1) / 5
    torch.testing.assert_close(z.grad, expected.detach())


@pytest.mark.parametrize("gate", GATES)
def test_silence_costs_an_expert_what_its_children_have_decided(gate):
    """KL(1/2 || f) times how confident the children are by their gates; nothing else costs."""
    f = torch.tensor([[0.5, -0.2, 0.9]], dtype=torch.float64)
    z = f.atanh().requires_grad_()
    lattice = Lattice(SCHEMA, {"a": ["n0"], "b": ["n1"], "ab": ["n0", "n1"]})
    loss = silence_loss(z, lattice.inclusion().double(), gate)
    a, b = (log_gate(z[0, i].detach(), gate)[0].exp().item() for i in (0, 1))
    divergence = 0.5 * math.log(0.5 / 0.95) + 0.5 * math.log(0.5 / 0.05)
    assert loss.item() == pytest.approx((1 - (1 - a) * (1 - b)) * divergence)
    loss.backward()
    assert z.grad[0, :2].tolist() == [0, 0]
    assert z.grad[0, 2] > 0  # towards zero


def test_experts_without_evidence_predict_the_prior_and_are_not_selected():
    network = model(DIAMOND, prior=0.2)
    with torch.no_grad():
        for head in network.head.experts:
            head.weight.zero_()
            head.bias.zero_()
    batch = random_batch()
    torch.testing.assert_close(network(batch).sigmoid(), torch.full((6,), 0.2))
    alpha = log_selection(network.expert_outputs(batch), network.inclusion, "abs").exp()
    assert alpha.max() < 1e-6
    # an expert with evidence e has the odds of the prior times exp(2 e)
    with torch.no_grad():
        network.head.experts[0].bias.fill_(0.7)
    odds = 0.25 * math.exp(1.4)
    torch.testing.assert_close(network(batch).sigmoid(), torch.full((6,), odds / (1 + odds)))


def test_extreme_and_zero_outputs_stay_finite():
    z = torch.tensor([[0.0, 0.0], [500.0, -500.0], [1e-30, -1e-30]], requires_grad=True)
    inclusion = torch.tensor([[0.0, 0.0], [1.0, 0.0]])
    for gate in GATES:
        log_alpha = log_selection(z, inclusion, gate)
        logit = mixture_logit(z, log_alpha)
        assert logit.isfinite().all()
        assert logit[0].abs() < 1e-6
        loss = gem_loss(z, torch.ones(3), log_alpha)
        assert loss.isfinite()
        assert silence_loss(z, inclusion, gate).isfinite()


@pytest.mark.parametrize("experts", [1, 3])
def test_the_logit_is_that_of_the_averaged_probability(experts):
    z = torch.randn(50, experts, dtype=torch.float64)
    log_alpha = torch.randn(50, experts, dtype=torch.float64)
    weights = log_alpha.exp()
    p = (weights * (z.tanh() + 1) / 2).sum(1) / weights.sum(1)
    torch.testing.assert_close(mixture_logit(z, log_alpha).sigmoid(), p)


def test_attribution_metrics_are_exact_in_any_batches():
    a = torch.rand(30, 3).softmax(1)
    whole, first, second = (AttributionMetrics(3) for _ in range(3))
    whole.update(a)
    first.update(a[:7])
    second.update(a[7:])
    first.merge_state(second)
    found = whole.compute()
    torch.testing.assert_close(found["mean"], a.double().mean(0))
    assert found["largest"].sum() == pytest.approx(1)
    entropy = -(a * a.log()).sum(1).mean()
    assert found["entropy"].item() == pytest.approx(entropy.item(), rel=1e-5)
    for name, value in first.compute().items():
        torch.testing.assert_close(value, found[name])
