"""Toy tasks with many seeds at once: the networks of each seed alone."""

import importlib

import pytest
import torch
from support.running import ROOT

CONFIG = (ROOT / "configs/toy/interpretable_mlp.yaml").read_text()


@pytest.mark.parametrize("options", [[], ["model.gate=sufficiency", "model.silence=0"]])
def test_stacked_networks_are_those_of_the_seeds(options, monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    together = importlib.import_module("toy_together")
    file = tmp_path / "toy.yaml"
    file.write_text(CONFIG.replace("decay: 0.998", "decay: 0.9"))  # of 60 steps
    small = ["data.rows=512", "data.task=a", *options]
    found = together.train_together(file, [3, 4], small)
    assert [set(data.truth["test"]) for _, data in found] == [{0, 1}] * 2
    weights = {
        name: torch.stack([model.get_parameter(name).detach() for model, _ in found])
        for name, _ in found[0][0].named_parameters()
    }
    batches = [next(iter(data.loader("test"))) for _, data in found]
    x = torch.stack([batch.numerical for batch in batches])
    z, d = together._judged(found[0][0], weights, x)
    for i, (model, _) in enumerate(found):
        own, own_d = model.judged_outputs(batches[i])
        mine = slice(i * len(own), (i + 1) * len(own))
        torch.testing.assert_close(z[mine], own)
        if d is not None:
            torch.testing.assert_close(d[mine], own_d)
        right = (model(batches[i]) > 0) == (batches[i].label > 0.5)
        assert right.float().mean() > 0.8
