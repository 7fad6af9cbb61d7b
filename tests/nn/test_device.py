"""The ways of GPUs: no step waits for what the data are, and all give what those of CPUs give."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.calls_of_aten import kernels
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.func import functional_call
from torch.nn.functional import binary_cross_entropy_with_logits
from torch.optim import Adam

import zoo
from zoo import Batch, Field, Schema
from zoo.nn.captured import DeviceRates
from zoo.nn.clipping import clip_by_norm
from zoo.nn.device import as_on_gpu
from zoo.nn.optim import Adagrad, LazyAdam
from zoo.nn.row_sums import sum_by_row, sum_in_place

NUMBERS = tuple(Field(f"n{i}", "numerical") for i in range(3))
SCHEMA = Schema((*NUMBERS, *(Field(f"c{i}", "categorical", 50) for i in range(4))))
MODELS = (
    "AdditiveNetwork",
    "AutoInt",
    "DCN",
    "DeepFM",
    "FiBiNET",
    "InterHAt",
    "InterpretableMLP",
    "WideDeep",
    "xDeepFM",
)


def rows():
    random = torch.Generator().manual_seed(0)
    return Batch(
        torch.randn(64, 3, generator=random),
        torch.randint(0, 50, (64, 4), generator=random, dtype=torch.int32),
        torch.randint(0, 2, (64,), generator=random).float(),
    )


@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize("optimizer", [Adagrad, LazyAdam, Adam])
@pytest.mark.parametrize("name", MODELS)
def test_a_step_asks_nothing_of_the_data(name, optimizer, train):
    """Fake tensors have no data: whatever would have to be read of them is an error."""
    model = getattr(zoo, name)(SCHEMA).train(train)
    model.embedding.sparse = optimizer is not Adam
    weights = {key: p.detach() for key, p in model.named_parameters()}
    with as_on_gpu(), FakeTensorMode() as mode:
        fake = {key: nn.Parameter(mode.from_tensor(p)) for key, p in weights.items()}
        buffers = {key: mode.from_tensor(b) for key, b in model.named_buffers()}
        batch = Batch(*(mode.from_tensor(part) for part in rows()[:3]))
        steps = optimizer(fake.values(), lr=0.1)
        rates = DeviceRates(steps, torch.device("cpu"))
        for _ in range(2 if train else 1):
            logits = functional_call(model, {**fake, **buffers}, (batch,))
            if train:
                binary_cross_entropy_with_logits(logits, batch.label).backward()
                clip_by_norm(fake.values(), 1.0)
                with rates.read():
                    steps.step()
                steps.zero_grad()
    assert logits.shape == (64,)


@given(st.lists(st.integers(0, 9), min_size=1, max_size=40))
def test_sums_in_place_are_those_of_the_distinct_ids(ids):
    ids = torch.tensor(ids)
    values = torch.randn(len(ids), 2, dtype=torch.float64)
    found, sums, places = sum_in_place(ids, values, 10)
    first = places == torch.arange(len(ids))
    distinct, expected = sum_by_row(ids, values, 10)
    assert torch.equal(found[first], distinct.to(found.dtype))
    torch.testing.assert_close(sums[first], expected)
    assert not sums[~first].any()


@settings(max_examples=25)
@given(st.lists(st.lists(st.integers(0, 9), min_size=1, max_size=20), min_size=1, max_size=4))
@pytest.mark.parametrize("optimizer", [Adagrad, LazyAdam])
@pytest.mark.parametrize("maximize", [False, True])
def test_sparse_steps_are_those_of_cpus(optimizer, maximize, batches):
    tables = []
    for way in (False, True):
        torch.manual_seed(0)
        table = nn.Parameter(torch.randn(10, 3, dtype=torch.float64))
        steps = optimizer([table], lr=0.1, maximize=maximize)
        for ids in batches:
            values = torch.randn(len(ids), 3, dtype=torch.float64)
            with torch.sparse.check_sparse_tensor_invariants(False):
                table.grad = torch.sparse_coo_tensor(
                    torch.tensor([ids]), values, (10, 3), check_invariants=False
                )
            if way:
                with as_on_gpu():
                    steps.step()
            else:
                steps.step()
        tables.append(table.detach())
    torch.testing.assert_close(*tables)


@pytest.mark.parametrize("name", MODELS)
def test_logits_are_those_of_cpus(name):
    model = getattr(zoo, name)(SCHEMA).eval()
    batch = rows()
    batch.categorical[3, 1] = -1
    expected = model(batch)
    with as_on_gpu():
        torch.testing.assert_close(model(batch), expected, rtol=1e-5, atol=1e-5)


# calls of a step before anything was done for GPUs, of its row-wise optimizer too: 148 of DeepFM,
# 1,254 of AutoInt and 18,982 of xDeepFM (which grew with the batch)
@pytest.mark.parametrize(
    ("name", "most"),
    [
        ("AdditiveNetwork", 100),
        ("WideDeep", 100),
        ("DeepFM", 100),
        ("DCN", 100),
        ("AutoInt", 200),
        ("xDeepFM", 300),
        ("FiBiNET", 300),
        ("InterHAt", 300),
    ],
)
@pytest.mark.parametrize("optimizer", ["adagrad", "adam", "lazy_adam"])
def test_a_step_makes_few_calls(name, most, optimizer):
    """Forward, loss, backward and the step of the optimizer, of the size of the paper's models."""
    model = getattr(zoo, name)(SCHEMA, optimizer=optimizer)
    model.embedding.sparse = optimizer != "adam"
    steps = model.configure_optimizers()["optimizer"]
    rates = DeviceRates(steps, torch.device("cpu"))

    def step():
        take_step(model, rates, rows())

    with as_on_gpu():
        step()
    assert kernels(step) <= most + 10 * (optimizer == "lazy_adam")


def take_step(model, rates, batch):
    model.losses(batch)[0].backward()
    with rates.read():
        rates.optimizer.step()
    rates.optimizer.zero_grad()
