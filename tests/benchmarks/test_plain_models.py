"""The plain models that benchmarks compare with are ours, with equal weights."""

import importlib

import pytest
import torch
from support.running import ROOT

import zoo
from zoo import Batch, Field, Schema

NUMBERS = tuple(Field(f"n{i}", "numerical") for i in range(3))
SCHEMA = Schema((*NUMBERS, *(Field(f"c{i}", "categorical", 9) for i in range(5))))
# as in `train_throughput.py`
OPTIONS = {
    "DCN": {"first_order": True},
    "AutoInt": {"first_order": True, "embed_numerical": False, "attention_dim": None},
}


@pytest.fixture
def plain(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    return importlib.import_module("plain")


@pytest.mark.parametrize("name", ["AutoInt", "DCN", "DeepFM", "WideDeep", "xDeepFM"])
def test_logits_loss_and_steps_are_ours(name, plain):
    torch.manual_seed(0)
    shared = {"embedding_dim": 16, "hidden_units": (8, 6), "embedding_std": 0.3}
    ours = getattr(zoo, name)(SCHEMA, **shared, **OPTIONS.get(name, {})).double()
    with torch.no_grad():
        for parameter in ours.parameters():  # biases too
            parameter.add_(torch.rand_like(parameter) / 10)
    theirs = plain.make_plain(name, SCHEMA, 16, (8, 6), sparse=False).double()
    plain.take_weights(theirs, ours)
    count = sum(p.numel() for p in ours.parameters())
    assert sum(p.numel() for p in theirs.parameters()) == count
    rows = Batch(
        torch.randn(32, 3).double(), torch.randint(9, (32, 5)).int(), torch.rand(32).round()
    )
    rows = rows._replace(label=rows.label.double())
    torch.testing.assert_close(theirs(rows.numerical, rows.categorical), ours(rows))
    for model in (ours, theirs):
        optimizer = torch.optim.Adagrad(model.parameters(), lr=0.1)
        for _ in range(2):
            if model is ours:
                optimizer.zero_grad()
                model.losses(rows)[0].backward()
                optimizer.step()
            else:
                plain.train_plainly(model, optimizer, rows, 32)
    torch.testing.assert_close(theirs(rows.numerical, rows.categorical), ours(rows))
