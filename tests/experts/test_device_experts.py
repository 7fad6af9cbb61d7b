"""Mixtures of experts and models of sessions on the way of GPUs: what CPUs give, and no waiting."""

import math
from unittest import mock

import pytest
import pytorch_lightning as pl
import torch
from support import expertise, session_networks
from support.calls_of_aten import kernels
from support.captured import Losses, Tape, stand_in
from support.expertise import DIAMOND
from support.resuming import QUIET
from support.session_networks import SCHEMA, Sessions, build, ends
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.func import functional_call

from zoo import InterpretableGRU, InterpretableTransformer, LastSkip, MeanSkip
from zoo.experts.mixture import AttributionMetrics
from zoo.experts.recurrence import recur
from zoo.models.metrics import SessionMetrics
from zoo.models.sessions import SessionModule
from zoo.nn.device import as_on_gpu
from zoo.nn.optim import Adagrad

RICH = {"fallback": True, "auxiliary": 0.5, "silence": 0.3, "inference_gate": "smooth"}
UNITS = {"user": [5, 3], "item": [1, 1], "both": [4, 3], "all": [7, 2]}


class Rule(SessionModule):
    """A model of one's own, whose logits of tracks that do not count are NaN."""

    def __init__(self):
        super().__init__(SCHEMA)
        self.weight = nn.Parameter(torch.ones(4))

    def forward(self, batch):
        return (batch.future @ self.weight).masked_fill(~batch.future_mask, math.nan)


# name: a model, its rows
MODELS = {
    "mlp": lambda: expertise.model(DIAMOND, hidden_units=UNITS),
    "mlp_rich": lambda: expertise.model(DIAMOND, **RICH, normalization="expert", layer_norm=True),
    "mlp_judged": lambda: expertise.model(DIAMOND, gate="sufficiency", normalization="sample"),
    "gru_judged": lambda: build(InterpretableGRU, gate="sufficiency", held_out=0.0),
    "transformer_judged": lambda: build(InterpretableTransformer, gate="sufficiency"),
    "gru": lambda: build(InterpretableGRU),
    "gru_rich": lambda: build(InterpretableGRU, **RICH, normalization="expert", dropout=0.2),
    "transformer": lambda: build(InterpretableTransformer, **RICH, normalization="sample"),
    "transformer_alone": lambda: build(InterpretableTransformer, None),
    "last": lambda: LastSkip(SCHEMA),
    "mean": lambda: MeanSkip(SCHEMA),
    "own": Rule,
}
each_name = pytest.mark.parametrize("name", MODELS)


def rows_of(name):
    """Rows; sessions without a past, of full length, with padding and labels that are not known."""
    if name.startswith("mlp"):
        return expertise.random_batch(40)
    batch = session_networks.random_batch(6, past=[0, 1, 2, 3, 4, 0], future=[1, 2, 3, 3, 3, 1])
    label = batch.label.masked_fill(~batch.future_mask, math.nan)
    label[3, 1] = math.nan
    return batch._replace(label=label)


class Step(nn.Module):
    """A step of a model, as `functional_call` needs it."""

    def __init__(self, model, split):
        super().__init__()
        self.model, self.split = model, split

    def forward(self, batch):
        return self.model._step(batch, self.split)


def metrics_of(model):
    of_experts = (getattr(model, name, {}) for name in ("attributions", "expert_losses"))
    return [*model.metrics.values(), *(metric for of in of_experts for metric in of.values())]


def fake_metrics(model, mode):
    for metric in metrics_of(model):
        for state in metric._defaults:
            if isinstance(value := getattr(metric, state), torch.Tensor):
                setattr(metric, state, mode.from_tensor(value))


@each_name
@pytest.mark.parametrize("optimizer", [Adagrad, torch.optim.Adam, None])
def test_a_step_asks_nothing_of_the_data(name, optimizer):
    """Fake tensors have no data: whatever would have to be read of them is an error."""
    model = MODELS[name]().train(optimizer is not None)
    step = Step(model, "train/" if optimizer else "val/")
    with as_on_gpu(), FakeTensorMode() as mode:
        fake = {key: nn.Parameter(mode.from_tensor(p)) for key, p in step.named_parameters()}
        buffers = {key: mode.from_tensor(b) for key, b in step.named_buffers()}
        fake_metrics(model, mode)
        rows = rows_of(name)
        batch = rows._replace(
            **{k: mode.from_tensor(v) for k, v in rows._asdict().items() if v is not None}
        )
        steps = optimizer(fake.values(), lr=0.1) if optimizer and fake else None
        for _ in range(2):
            loss = functional_call(step, {**fake, **buffers}, (batch,))
            if steps:
                loss.backward()
                steps.step()
                steps.zero_grad()
    assert loss.shape == ()


def gradients(model, batch):
    torch.manual_seed(0)  # of dropout
    model.zero_grad()
    loss = model.training_step(batch)
    loss.backward()
    return {"loss": loss.detach()} | {n: p.grad.clone() for n, p in model.named_parameters()}


def doubled(batch):
    parts = {k: v for k, v in batch._asdict().items() if v is not None and v.is_floating_point()}
    return batch._replace(**{k: v.double() for k, v in parts.items()})


@each_name
def test_loss_and_gradients_are_those_of_cpus(name):
    model, batch = MODELS[name]().double(), doubled(rows_of(name))
    if isinstance(getattr(model, "dropout", None), nn.Dropout):
        model.dropout.p = 0.0  # drawn in another order
    expected = gradients(model, batch)
    with as_on_gpu():
        found = gradients(model, batch)
    torch.testing.assert_close(found, expected)
    assert all(value.isfinite().all() for value in found.values())


@each_name
def test_metrics_are_those_of_cpus(name):
    models = [MODELS[name]().eval() for _ in range(2)]
    models[0].load_state_dict(models[1].state_dict())
    for _ in range(2):
        models[0].validation_step(rows_of(name))
        with as_on_gpu():
            models[1].validation_step(rows_of(name))
    for expected, found in zip(*map(metrics_of, models), strict=True):
        if expected.update_called:
            pair, near = (found.compute(), expected.compute()), {"rtol": 1e-5, "atol": 1e-6}
            torch.testing.assert_close(*pair, equal_nan=True, **near)


def test_a_batch_without_labels_moves_nothing():
    model, batch = build(InterpretableGRU), rows_of("gru")
    with as_on_gpu():
        found = gradients(model, batch._replace(label=torch.full_like(batch.label, math.nan)))
    assert not any(value.any() for value in found.values())


def test_the_recurrence_has_the_gradient_of_its_formula():
    torch.manual_seed(0)
    sizes = ((3, 4, 6), (3, 2), (6, 2), (6,))
    gates, state, matrix, bias = (
        torch.randn(*size, dtype=torch.float64, requires_grad=True) for size in sizes
    )
    mask = ends([0, 2, 4], 4)

    def states(gates, state, matrix, bias):
        return recur(gates, mask, state, matrix, matrix.detach(), bias)

    torch.autograd.gradcheck(states, (gates, state, matrix, bias))
    found = states(gates, state, matrix, bias)
    assert torch.equal(found[:, 0], state[0].expand(4, 2))  # padding leaves it as it is


def test_mixed_precision_goes_the_way_of_gpus():
    for name in ("mlp", "gru", "transformer"):
        model, batch = MODELS[name](), rows_of(name)
        expected = gradients(model, batch)["loss"]
        with as_on_gpu(), torch.autocast("cpu", torch.bfloat16):
            found = gradients(model, batch)["loss"]
        torch.testing.assert_close(found, expected, rtol=0.05, atol=0.05)


# Calls


@pytest.mark.parametrize(("name", "most"), [("mlp", 140), ("gru", 290), ("transformer", 540)])
def test_a_step_makes_few_calls(name, most):
    """Of forward, loss and backward; with a product for each block they were 209, 480 and 623."""
    model, batch = MODELS[name](), rows_of(name)
    with mock.patch.object(type(model), "_score"):  # which has no part in a graph
        assert kernels(lambda: model._step(batch, "train/").backward()) <= most


def test_metrics_make_few_calls():
    logits, scored = torch.randn(6, 3), torch.ones(6, 3, dtype=torch.bool)
    labels, attributed = torch.ones(6, 3), torch.rand(18, 4)
    sessions, attributions = SessionMetrics(), AttributionMetrics(4)
    assert kernels(lambda: sessions.update(logits, labels, scored)) <= 52
    assert kernels(lambda: attributions.update(attributed, scored.flatten())) <= 16


# Recorded steps


@pytest.mark.filterwarnings("ignore:.*many workers", "ignore:.*val rows", "ignore:.*no optimizer")
def test_recorded_steps_of_sessions_are_plain_ones(capsys):
    """Those of models without parameters are not recorded."""
    with stand_in():
        for name in ("gru", "transformer", "last"):
            losses = []
            for recorded in (False, True):
                model, seen = MODELS[name](), Losses()
                model.cuda_graphs = "auto" if recorded else False
                Tape.replays = 0
                pl.Trainer(max_epochs=2, callbacks=[seen], enable_checkpointing=False, **QUIET).fit(
                    model, Sessions()
                )
                losses.append(torch.tensor(seen.losses))
            assert Tape.replays == (0 if name == "last" else 5)  # 3 are plain
            torch.testing.assert_close(*losses, rtol=1e-6, atol=1e-6)
    assert "LastSkip has no parameters to train" in capsys.readouterr().err
