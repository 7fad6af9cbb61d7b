"""Fits of several machines, by whatever launcher: one run directory, the same metrics."""

import json
import os
import subprocess
import sys

import pytest
import torch
from support.running import ROOT

LAUNCHERS = ("lightning", "slurm", "torchrun")


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Runs by one process and by each launcher."""
    folder = tmp_path_factory.mktemp("launches")
    line = [sys.executable, str(ROOT / "tests/support/launches.py"), str(folder)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(line, capture_output=True, text=True, timeout=500, env=environment)
    assert done.returncode == 0, done.stderr
    return folder / "runs"


def measured(runs, name):
    found = json.loads((runs / name / "version_0/metrics.json").read_text())
    return {key: value for key, value in found.items() if "/" in key}


def weights(runs, name):
    path = runs / name / "version_0/checkpoints/best.ckpt"
    return torch.load(path, weights_only=True)["state_dict"]


def test_a_launcher_makes_one_run_directory(runs):
    made = {path.name: [run.name for run in path.iterdir()] for path in runs.iterdir()}
    assert made == {name: ["version_0"] for name in ("alone", *LAUNCHERS)}


def test_all_launchers_come_to_the_same(runs):
    first = LAUNCHERS[0]
    for name in LAUNCHERS[1:]:
        assert measured(runs, name) == measured(runs, first)
        torch.testing.assert_close(weights(runs, name), weights(runs, first), rtol=0, atol=0)
    assert measured(runs, first) == pytest.approx(measured(runs, "alone"), abs=1e-5)
