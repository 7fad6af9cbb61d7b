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
    (folder / "runs/killed").rename(folder / "killed")
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


def test_where_a_process_is_killed_the_others_end_and_say_how_to_go_on(runs):
    """One of these is in the midst of an exchange; another one is stuck elsewhere."""
    codes, seconds = json.loads((runs.parent / "killed.json").read_text())
    assert codes == [1, -9, 1]
    assert seconds < 30
    last = "runs/killed/version_0/checkpoints/last.ckpt"
    said = (runs.parent / "killed.said").read_text()
    sentence = "error: process 2 of 3 has ended at once, as by `kill -9` or a lack of memory"
    assert f"{sentence}; to go on, repeat the command with --ckpt_path {last}" in said
    assert said.count("error") == 1
    assert "Traceback" not in said
    assert (runs.parent / last.removeprefix("runs/")).is_file()
