"""The gate of sufficiency: what it selects, what teaches it, and what it finds."""

import math
from contextlib import nullcontext

import pytest
import pytorch_lightning as pl
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support import expertise, session_networks
from support.calls_of_aten import kernels
from support.resuming import QUIET
from support.running import ROOT

from datamodules import GaussianClusters
from zoo import InterpretableGRU, InterpretableMLP, InterpretableTransformer, ZooError
from zoo.data.batch import take
from zoo.experts.mixture import attribution, log_selected
from zoo.experts.sufficiency import LEAST, Shortfall, held_out, log_sufficiency
from zoo.nn.device import as_on_gpu

each_way = pytest.mark.parametrize("way", [nullcontext, as_on_gpu])  # of CPUs, of GPUs
DIAMOND = expertise.DIAMOND


def judge(given_subsets=DIAMOND, seed=0, **options):
    """A perceptron with the gate of sufficiency, one of whose experts sees all fields."""
    if not any("*" in f or len(f) == len(expertise.NAMES) for f in given_subsets.values()):
        given_subsets = given_subsets | {"all": ["*"]}
    return expertise.model(given_subsets, seed, gate="sufficiency", **options)


# The gate


def test_the_gate_equals_its_formula():
    d = torch.tensor([[[0.01, 0.02], [0.5, 0.001], [1e-4, 1e-5]]], dtype=torch.float64)
    log_g, log_rest = log_sufficiency(d.log(), tolerance=0.02, power=3.0)
    expected = [1 / 2, 1 / (1 + 25**3), 1 / (1 + 0.005**3)]
    assert log_g.exp()[0].tolist() == pytest.approx(expected, rel=1e-9)
    assert log_rest.exp()[0].tolist() == pytest.approx([1 - g for g in expected], rel=1e-6)


def test_the_widest_expert_takes_what_the_others_leave_by_hand():
    """Gates 1/2 and 1/9 below, and one of all: 1/2 * 8/9."""
    network = judge({"a": ["n0"], "b": ["n1"]}, tolerance=0.02, power=3.0)
    d = torch.tensor([[0.02, 0.04, 9.0]]).unsqueeze(2).expand(1, 3, 2)
    alpha = network.log_selection(torch.zeros(1, 3), d.log()).exp()
    torch.testing.assert_close(alpha, torch.tensor([[1 / 2, 1 / 9, 1 / 2 * 8 / 9]]))


def test_predictions_are_the_mixture_by_sufficiency():
    network = judge(inference_power=5.0).eval()
    z, missed = network.judged_outputs(expertise.random_batch())
    gates = log_sufficiency(missed, network.tolerance, 5.0)
    alpha = log_selected(*gates, network.inclusion, list(DIAMOND).index("all")).exp()
    logits, attributed = network.explain(expertise.random_batch())
    expected = (alpha * (2 * z).sigmoid()).sum(1) / alpha.sum(1)
    torch.testing.assert_close(logits.sigmoid(), expected)
    torch.testing.assert_close(attributed, attribution(alpha.log()))
    torch.testing.assert_close(network.selection(expertise.random_batch()), alpha.log())


def test_a_single_subset_is_the_plain_network():
    plain, judged = (expertise.model({"all": ["*"]}, gate=g) for g in ("abs", "sufficiency"))
    batch = expertise.random_batch()
    assert plain.state_dict().keys() == judged.state_dict().keys()
    assert torch.equal(plain.training_step(batch), judged.training_step(batch))
    torch.testing.assert_close(plain(batch), judged(batch))  # the one divides by its alpha


# What teaches it


def test_its_loss_is_least_at_what_is_missed_in_the_mean():
    torch.manual_seed(0)
    losses, of_mixture = torch.rand(400, 3).double(), torch.rand(400, 1).double() / 3
    losses[:, 2] /= 2  # the widest
    means = losses.mean(0)
    expected = means[:2, None] - torch.stack((means[2], of_mixture.mean()))
    log_d = torch.zeros(3, 2, dtype=torch.float64)
    log_d[:2] = expected.log()
    log_d.requires_grad_()
    Shortfall(3, 2, 0.02).loss(losses, of_mixture, log_d.expand(400, 3, 2), 0.02).sum().backward()
    torch.testing.assert_close(log_d.grad, torch.zeros_like(log_d), atol=1e-5, rtol=0)


def test_where_nothing_is_missed_it_stays_near_the_tolerance():
    """The widest and the mixture are worse than the other: no finite log d has that mean."""
    log_d = torch.full((1, 2, 2), math.log(LEAST * 0.02) - 10).requires_grad_()
    losses = torch.tensor([[1.0, 3.0]])
    Shortfall(2, 1, 0.02).loss(losses, torch.full((1, 1), 2.0), log_d, 0.02).sum().backward()
    assert (log_d.grad[0, 0] < 0).all()  # up
    assert not log_d.grad[0, 1].any()


@pytest.mark.parametrize("numbered", [True, False])
def test_the_same_rows_are_held_out_in_every_order(numbered):
    batch = expertise.random_batch(20_000)
    batch = batch._replace(row=torch.arange(20_000) * 3) if numbered else batch
    held = held_out(batch, 0.1)
    assert held.double().mean().item() == pytest.approx(0.1, abs=0.01)
    order = torch.randperm(20_000)
    assert torch.equal(held_out(take(batch, order), 0.1), held[order])
    assert abs(batch.label[held].mean() - 0.5) < 0.05
    assert not held_out(batch, 0.0).any()


def test_padding_does_not_decide_which_sessions_are_held_out():
    batch = session_networks.random_batch(400)
    longer = batch._replace(
        past=torch.nn.functional.pad(batch.past, (0, 0, 0, 3), value=7.0),
        past_mask=torch.nn.functional.pad(batch.past_mask, (0, 3)),
    )
    held = held_out(batch, 0.3)
    assert 0.2 < held.double().mean() < 0.4
    assert torch.equal(held_out(longer, 0.3), held)


def test_held_out_rows_teach_the_gate_alone():
    network = judge(held_out=0.5)
    batch = expertise.random_batch(200)
    held = held_out(batch, 0.5)
    for rows, learned in ((held, False), (~held, True)):
        network.zero_grad()
        network.training_step(take(batch, rows.nonzero().squeeze(1))).backward()
        for head in network.head.experts:
            assert bool(head.weight.grad[0].any()) == learned
        assert bool(network.shortfall.weight.grad.any()) != learned
    loss = network.training_step(batch)
    parts = [network.training_step(take(batch, r.nonzero().squeeze(1))) for r in (held, ~held)]
    shares = [r.double().mean() for r in (held, ~held)]  # every row weighs the same
    torch.testing.assert_close(
        loss.double(), sum(s * p for s, p in zip(shares, parts, strict=True))
    )


@pytest.mark.parametrize(("gate", "numbered"), [("sufficiency", True), ("abs", False)])
@pytest.mark.filterwarnings("ignore:.*many workers", "ignore:.*val rows")
def test_training_rows_say_which_they_are_where_it_is_asked(gate, numbered):
    seen = []

    class Seen(pl.Callback):
        def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
            seen.append(batch.row)

    data = GaussianClusters(rows=40, batch_size=10)
    network = InterpretableMLP(
        data.schema, subsets={"x1": ["x1"], "all": ["*"]}, hidden_units=[2], gate=gate
    )
    pl.Trainer(max_epochs=1, callbacks=[Seen()], enable_checkpointing=False, **QUIET).fit(
        network, data
    )
    if numbered:
        assert torch.cat(seen).sort().values.tolist() == [*range(40)]
    else:
        assert seen == [None] * 4


# Restriction is exact


def judged_part(network, batch, expert):
    """z and log d of an expert, and the gradients of a sum of both."""
    network.zero_grad()
    known = network.scored(batch)
    z, missed = (values[known] for values in network.judged_outputs(batch))
    z, missed = z[:, expert], missed[:, expert]
    signs = torch.arange(len(z)) % 2 * 2 - 1
    ((z * signs).sum() + missed.exp().sum()).backward()
    gradients = {n: p.grad.clone() for n, p in network.named_parameters() if p.grad is not None}
    return {"z": z.detach(), "log d": missed.detach()} | gradients


def assert_restricted(network, batch, changed, names, way):
    for i, fields in enumerate(network.lattice.fields):
        with way():
            expected = judged_part(network, batch, i)
            found = judged_part(network, changed(batch, set(names) - set(fields)), i)
        assert found.keys() == expected.keys()
        for name, value in expected.items():
            assert torch.equal(found[name], value), name
            if ".experts." in name and f".experts.{i}." not in name:
                assert not value.any(), name


@each_way
@given(expertise.subsets, st.integers(0, 99), st.booleans())
@settings(deadline=None, max_examples=15)
def test_inputs_outside_its_subset_change_no_bit_of_what_an_expert_says(
    way, given_subsets, seed, norm
):
    given_subsets = {"one": ["n0"]} | {n: f for n, f in given_subsets.items() if f != ["n0"]}
    network = judge(given_subsets, seed, layer_norm=norm)
    batch = expertise.random_batch(seed=seed)
    assert_restricted(network, batch, expertise.changed, expertise.NAMES, way)


@session_networks.each_model
@each_way
def test_nor_of_what_an_expert_of_sessions_says(model_class, way):
    network = session_networks.build(model_class, gate="sufficiency")
    batch = session_networks.random_batch()
    assert_restricted(network, batch, session_networks.changed, session_networks.NAMES, way)


# Cost and options


@pytest.mark.parametrize(
    ("model_class", "before"),
    [(InterpretableMLP, 140), (InterpretableGRU, 293), (InterpretableTransformer, 450)],
)
def test_a_step_makes_at_most_a_fifth_more_calls_than_steps_did_before(model_class, before):
    """Those of 0.1.0 with the gate `abs` and an auxiliary loss."""
    if model_class is InterpretableMLP:
        network = judge()
        batch = expertise.random_batch(40)._replace(row=torch.arange(40))
    else:
        network = session_networks.build(model_class, gate="sufficiency")
        batch = session_networks.random_batch()
    assert kernels(lambda: network.losses(batch)[0].backward()) <= 1.2 * before


@pytest.mark.parametrize(
    ("message", "options"),
    [
        ("tolerance must be more than 0", {"tolerance": 0.0}),
        ("held_out must be at least 0 and less than 1", {"held_out": 1.0}),
        ("silence must be 0", {"silence": 0.5}),
        (
            "inference_gate may be sufficiency only",
            {"gate": "abs", "inference_gate": "sufficiency"},
        ),
        ("gate sufficiency needs a subset that holds all", {"subsets": {"a": ["n0"], "b": ["n1"]}}),
    ],
)
def test_an_option_that_makes_no_sense_is_named(message, options):
    options = {"subsets": DIAMOND, "gate": "sufficiency", **options}
    with pytest.raises(ZooError, match=f"model.{message}"):
        expertise.model(options.pop("subsets"), **options)


def test_a_checkpoint_keeps_the_gate_and_takes_another_tolerance(tmp_path):
    network = judge()
    trainer = pl.Trainer(**{**QUIET, "max_epochs": 1})
    trainer.strategy.connect(network)
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    batch = expertise.random_batch()
    load = InterpretableMLP.load_from_checkpoint
    loaded = load(tmp_path / "a.ckpt", weights_only=True).eval()
    assert torch.equal(loaded.explain(batch)[1], network.eval().explain(batch)[1])
    tolerant = load(tmp_path / "a.ckpt", weights_only=True, tolerance=10.0).eval()
    assert tolerant.explain(batch)[1][:, -1].max() < 0.1  # of the expert of all


# What it finds


@pytest.mark.parametrize("task", ["three levels", "users by heart"])
def test_the_smallest_sufficient_subset_has_most_to_say(task, monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    from experts_tasks import SETTINGS, TaskData, fit, measured

    data = TaskData(task, rows=20_000, seed=0)
    found = measured(fit(data, 0, SETTINGS["sufficiency"]), data)
    assert found["right"] > 0.95
    assert found["irrelevant"] < 0.02
    assert found["auc"] > found["ceiling"] - 0.01
