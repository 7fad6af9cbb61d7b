"""Short fits of a DeepFM on generated Criteo rows, for the tests of the command line."""

from pathlib import Path

import torch
from support.running import QUIET, ROOT, SMALL, command

import datamodules
from zoo import DeepFM


def arguments(subcommand, path, *more):
    config = ROOT / "configs/criteo/deepfm.yaml"
    given = [subcommand, "--config", str(config), "--data.path", str(path), *SMALL, *QUIET]
    return [*given, "--name=t", *map(str, more)]


def fit(path, *more):
    command(*arguments("fit", path, *more))
    return Path(sorted(Path("runs/t").iterdir())[-1])


def criteo(path):
    """The data as the config prepares them."""
    return datamodules.Criteo(str(path), scaling="log")


def scored_test_split(run, path):
    """The test rows and the probabilities that the run's best checkpoint gives them."""
    data = criteo(path)
    data.prepare_data()
    data.setup("test")
    model = DeepFM.load_from_checkpoint(run / "checkpoints/best.ckpt", weights_only=True).eval()
    arrays = data._arrays["test"]
    (batch,) = list(datamodules.tabular.loader.BatchLoader(arrays, len(arrays)))
    with torch.no_grad():
        return arrays, model(batch).double().sigmoid().numpy()
