"""Interpretable experts: nothing outside its subset reaches an expert, in either direction."""

import itertools
import json
import math
import warnings
from pathlib import Path
from unittest import mock

import numpy as np
import pyarrow.parquet as pq
import pytest
import pytorch_lightning as pl
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import binary_cross_entropy_with_logits
from torch.utils.data import DataLoader

import train
from datamodules import GaussianClusters
from zoo import Batch, Field, InterpretableMLP, Schema, ZooError
from zoo.experts.lattice import Lattice
from zoo.experts.layers import MaskedLinear, Restriction
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

ROOT = Path(train.__file__).parent
QUIET = ["--trainer.enable_progress_bar=false", "--trainer.enable_model_summary=false"]
FIELDS = (
    Field("n0", "numerical", group="user"),
    Field("n1", "numerical"),
    Field("c0", "categorical", 5, "user"),
    Field("c1", "categorical", 7, "item"),
    Field("c2", "categorical", 4, "item"),
)
SCHEMA = Schema(FIELDS)
NAMES = [field.name for field in FIELDS]
DIAMOND = {"user": ["user"], "item": ["item"], "both": ["user", "item"], "all": ["*"]}

subsets = st.lists(
    st.sets(st.sampled_from(NAMES), min_size=1).map(sorted), min_size=1, max_size=5, unique_by=tuple
).map(lambda sets: {f"s{i}": fields for i, fields in enumerate(sets)})


def random_batch(rows=6, seed=0):
    generator = torch.Generator().manual_seed(seed)
    ids = [torch.randint(f.cardinality, (rows,), generator=generator) for f in SCHEMA.categorical]
    return Batch(
        torch.randn(rows, 2, generator=generator),
        torch.stack(ids, 1),
        torch.randint(2, (rows,), generator=generator).float(),
    )


def model(given_subsets, seed=0, **options):
    torch.manual_seed(seed)
    quiet = {"hidden_units": [5, 3], "embedding_dim": 3, "embedding_std": 0.5, **options}
    with pytest.warns() if len(covered(given_subsets)) < 5 else nothing():
        return InterpretableMLP(SCHEMA, subsets=given_subsets, **quiet)


class nothing:
    def __enter__(self):
        return None

    def __exit__(self, *_):
        return None


def command(*args):
    with mock.patch("sys.argv", ["train.py", *map(str, args)]), warnings.catch_warnings():
        train.main()


def covered(given_subsets):
    groups = {"user": ["n0", "c0"], "item": ["c1", "c2"], "*": NAMES}
    return {n for s in given_subsets.values() for e in s for n in groups.get(e, [e])}


# Lattice


def test_inclusion_follows_from_names_and_groups():
    lattice = Lattice(SCHEMA, DIAMOND)
    assert lattice.fields[2] == ("n0", "c0", "c1", "c2")
    assert lattice.below == ((), (), (0, 1), (0, 1, 2))
    assert lattice.children == ((), (), (0, 1), (2,))
    assert lattice.levels == (0, 0, 1, 2)
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


def test_the_picture_shows_every_subset_and_edge():
    figure = Lattice(SCHEMA, DIAMOND).figure()
    lines = [trace for trace in figure.data if trace.mode == "lines"]
    assert len(lines) == 3
    assert list(figure.data[-1].text) == list(DIAMOND)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"a": ["nonsense"]}, "a names nonsense, which is neither a field nor a group"),
        ({"a": []}, "a is empty"),
        ({}, "at least one subset"),
        ({"a": ["c1", "c2"], "b": ["item"]}, "a and b hold the same fields"),
    ],
)
def test_subsets_that_make_no_sense_are_told(bad, message):
    with pytest.raises(ZooError, match=message):
        Lattice(SCHEMA, bad)


def test_fields_in_no_subset_are_said_aloud():
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


# Restriction is exact


def expert_gradients(network, batch, expert):
    """z of an expert, and the gradients of its part of all losses."""
    network.zero_grad()
    z = network.experts(network.embedding(batch))
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


def changed(batch, field):
    numerical, categorical = batch.numerical.clone(), batch.categorical.clone()
    names = [f.name for f in SCHEMA.numerical]
    if field in names:
        numerical[:, names.index(field)] += 1.5
    else:
        c = [f.name for f in SCHEMA.categorical].index(field)
        cardinality = SCHEMA.categorical[c].cardinality
        categorical[:, c] = (categorical[:, c] + 1) % cardinality
    return Batch(numerical, categorical, batch.label)


@given(
    subsets,
    st.sampled_from(GATES),
    st.booleans(),
    st.integers(0, 99),
    st.one_of(st.none(), st.lists(st.integers(1, 6), min_size=5, max_size=5)),
)
@settings(deadline=None, max_examples=40)
def test_inputs_outside_its_subset_change_no_bit_of_an_expert(
    given_subsets, gate, norm, seed, widths
):
    options = {"gate": gate, "layer_norm": norm}
    if widths:
        options["hidden_units"] = {
            name: [w, 2] for name, w in zip(given_subsets, widths, strict=False)
        }
    network = model(given_subsets, seed, **options)
    batch = random_batch(seed=seed)
    for i, fields in enumerate(network.lattice.fields):
        z, gradients = expert_gradients(network, batch, i)
        for field in set(NAMES) - set(fields):
            other, others = expert_gradients(network, changed(batch, field), i)
            assert torch.equal(z, other)
            assert gradients.keys() == others.keys()
            for name, gradient in gradients.items():
                assert torch.equal(gradient, others[name]), name


@given(subsets, st.integers(0, 99))
@settings(deadline=None, max_examples=40)
def test_an_expert_gives_no_gradient_to_those_it_builds_on(given_subsets, seed):
    network = model(given_subsets, seed)
    batch = random_batch(seed=seed)
    for i in range(len(network.lattice)):
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


# Gates, selections, loss


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
def test_sure_experts_round_nothing_away(gate):
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
    """Gates 0.5 and 0.2, and one in place of 0.9: 0.5 * 0.8 = 0.4 is left, sure or not."""
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
    z = plain.opinions(batch)
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
    """KL(1/2 || f) where one child has the gate g is sure to that degree; nothing else costs."""
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


def test_experts_that_know_nothing_predict_the_prior_and_say_nothing():
    network = model(DIAMOND, prior=0.2)
    with torch.no_grad():
        for head in network.head.experts:
            head.weight.zero_()
            head.bias.zero_()
    batch = random_batch()
    torch.testing.assert_close(network(batch).sigmoid(), torch.full((6,), 0.2))
    alpha = log_selection(network.opinions(batch), network.inclusion, "abs").exp()
    assert alpha.max() < 1e-6
    # an expert with evidence e has the odds of the prior times exp(2 e)
    with torch.no_grad():
        network.head.experts[0].bias.fill_(0.7)
    odds = 0.25 * math.exp(1.4)
    torch.testing.assert_close(network(batch).sigmoid(), torch.full((6,), odds / (1 + odds)))


def test_extreme_and_empty_opinions_stay_finite():
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


# Model


@pytest.fixture
def run(criteo_file, tmp_path, monkeypatch):
    """The run directory of a short fit on generated Criteo rows."""
    monkeypatch.chdir(tmp_path)
    subsets = '{numbers: [numerical], ids: [categorical], all: ["*"]}'
    command(
        *["fit", "--config", ROOT / "configs/criteo/deepfm.yaml", "--model=zoo.InterpretableMLP"],
        *[f"--model.subsets={subsets}", "--model.hidden_units=[8]", "--model.embedding_dim=4"],
        *["--data.path", criteo_file, "--trainer.max_epochs=1", "--name=t", *QUIET],
    )
    return Path("runs/t/version_0")


def test_a_fit_logs_who_has_what_to_say_and_reloads(run):
    metrics = json.loads((run / "metrics.json").read_text())
    for split in ("val", "test"):
        shares = [metrics[f"{split}/attribution/{name}"] for name in ("numbers", "ids", "all")]
        assert sum(shares) == pytest.approx(1)
        assert 0 <= metrics[f"{split}/entropy"] <= math.log(3)
    loaded = InterpretableMLP.load_from_checkpoint(run / "checkpoints/best.ckpt", weights_only=True)
    assert loaded.lattice.names == ("numbers", "ids", "all")


def test_predictions_of_a_file_hold_the_attribution(run, criteo_file):
    checkpoint = run / "checkpoints/best.ckpt"
    command(
        *["predict", "--config", run / "config.yaml", "--ckpt_path", checkpoint, *QUIET],
        *["--data.predict_path", criteo_file],
    )
    table = pq.read_table(run / f"predictions/{criteo_file.stem}.parquet").to_pandas()
    attributed = table[["attribution_numbers", "attribution_ids", "attribution_all"]]
    assert len(table) == 20_000
    assert attributed.sum(axis=1).to_numpy() == pytest.approx(1, abs=1e-5)


def test_an_expert_that_takes_all_is_told():
    network = model({"n": ["n0"], "all": ["*"]})
    data = DataLoader([random_batch(20)], batch_size=None)
    with torch.no_grad():
        for head, bias in zip(network.head.experts, (0.0, 9.0), strict=True):
            head.weight.zero_()
            head.bias.fill_(bias)
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    trainer = pl.Trainer(accelerator="cpu", **quiet)
    with pytest.warns(UserWarning, match="expert all has most to say in 100.0% of the val rows"):
        trainer.validate(network, data, verbose=False)


def test_the_clusters_are_where_the_paper_has_them():
    data = GaussianClusters(8000)
    arrays, truth = data.arrays["train"], data.truth["train"]
    x1, x2 = arrays.numerical.T
    outer = truth == 2
    assert np.mean((x1 > 0)[truth == 0] == arrays.label[truth == 0]) > 0.999
    assert np.mean((x2 > 0)[truth == 1] == arrays.label[truth == 1]) > 0.999
    assert np.mean(((x1 > 0) != (x2 > 0))[outer] == arrays.label[outer]) > 0.999
    assert np.abs(x1[outer]).mean() == pytest.approx(2, abs=0.02)
    assert arrays.label.mean() == pytest.approx(0.5, abs=0.03)


def test_one_subset_is_the_plain_network():
    network = model({"all": ["*"]})
    batch = random_batch()
    x = network.embedding(batch).flat
    for layer in network.layers:
        x = torch.relu((layer(x) if layer is network.layers[0] else layer([x]))[0])
    torch.testing.assert_close(network(batch), 2 * network.head([x])[0].squeeze(1))
    assert torch.equal(network.explain(batch)[1], torch.ones(6, 1))


@pytest.mark.parametrize("gate", GATES)
@pytest.mark.parametrize("normalization", NORMALIZATIONS)
def test_one_subset_is_trained_by_plain_cross_entropy(gate, normalization):
    options = {"fallback": True, "auxiliary": 1.0}
    network = model({"all": ["*"]}, gate=gate, normalization=normalization, prior=0.2, **options)
    batch = random_batch()
    plain = binary_cross_entropy_with_logits(network(batch), batch.label)
    torch.testing.assert_close(network.training_step(batch), plain)


def test_predictions_come_with_their_attribution():
    network = model(DIAMOND).eval()
    found = network.predict_step(random_batch())
    total = sum(found[f"attribution_{name}"] for name in DIAMOND)
    torch.testing.assert_close(total, torch.ones(6))
    torch.testing.assert_close(found["probability"], network(random_batch()).sigmoid())


def test_predictions_may_be_gated_more_steeply_than_the_loss():
    options = {"gate": "smooth", "power": 3.0, "normalization": "sample", "prior": 0.2}
    alike, steeper = (model(DIAMOND, **options, inference_power=p).eval() for p in (None, 8.0))
    batch = random_batch()
    assert torch.equal(alike.training_step(batch), steeper.training_step(batch))
    z = steeper.opinions(batch)
    for network, power in ((alike, 3.0), (steeper, 8.0)):
        expected = attribution(log_selection(z, network.inclusion, "smooth", power))
        torch.testing.assert_close(network.explain(batch)[1], expected)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("hidden_units", []),
        ("hidden_units", [0]),
        ("hidden_units must name the subsets user, item, both, all", {"user": [3], "others": [3]}),
        ("hidden_units must be as many", {name: [3] * i for i, name in enumerate(DIAMOND, 1)}),
        ("hidden_units must be positive", {"user": [0], "item": [1], "both": [1], "all": [1]}),
        ("hidden_units must name at least one", {name: [] for name in DIAMOND}),
        ("dropout", -0.1),
        ("gate", "soft"),
        ("inference_gate", "soft"),
        ("normalization", "batch"),
        ("auxiliary", -1.0),
        ("silence", -1.0),
        ("prior", 0.0),
        ("power", 1.0),
        ("inference_power", 0.0),
    ],
)
def test_an_option_that_makes_no_sense_is_named(option, value):
    with pytest.raises(ZooError, match=f"model.{option}"):
        model(DIAMOND, **{option.split()[0]: value})
