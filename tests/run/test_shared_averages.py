"""Averages of weights whose tables processes share."""

import os

import pytest
import torch
from pytorch_lightning.callbacks import StochasticWeightAveraging
from support.inspection import lightning_warnings
from support.resuming import Diary, fit
from torch import distributed

from zoo.run import sharded

pytestmark = [lightning_warnings, pytest.mark.filterwarnings("ignore:It is recommended to use")]


@pytest.fixture
def one_process(monkeypatch):
    """A group of this process alone, while a test lasts."""
    with monkeypatch.context() as patched:
        patched.setattr(os, "environ", os.environ.copy())
        distributed.init_process_group("gloo", store=distributed.HashStore(), rank=0, world_size=1)
        yield
        distributed.destroy_process_group()


def test_stochastic_weight_averaging(tmp_path, one_process):
    """What Lightning's StochasticWeightAveraging keeps is shared too: a fit without the strategy
    goes on from it, and both end with the weights of a fit that was never stopped."""
    options = {"max_epochs": 4, "num_sanity_val_steps": 0, "strategy": sharded.NAME}
    unbroken = fit(Diary(tmp_path), callbacks=[_averaging()], **options)
    paths = [path for path, _ in unbroken.callbacks[-1].checkpoints]
    content = {path: torch.load(path, weights_only=True)["callbacks"] for path in paths}
    averages = {
        path: (x.get("StochasticWeightAveraging") or {}).get("average_model_state")
        for path, x in content.items()
    }
    path = [path for path in averages if averages[path] and "end" in path.name][-2]
    assert averages[path]["embedding.table"].is_meta
    expected = unbroken.lightning_module.state_dict()["embedding.table"]
    ids = unbroken.strategy.shards["embedding.table"].partition.ids(torch.arange(len(expected)))
    for strategy in ("auto", sharded.NAME):
        again = options | {"strategy": strategy}
        resumed = fit(Diary(), path, callbacks=[_averaging()], **again).lightning_module
        found = resumed.state_dict()["embedding.table"]
        if strategy == sharded.NAME:
            assert torch.equal(found, expected)
        else:
            assert torch.equal(found, expected[ids < len(found)])


def _averaging():
    return StochasticWeightAveraging(0.05, swa_epoch_start=1, annealing_epochs=1)
