"""The demo, as the README runs it: how far it gets towards what the planted truth allows."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

import train

ROOT = Path(train.__file__).parent

SMALL = ["--data.synthetic.rows=200000", "--trainer.max_epochs=2"]  # three windows of shuffling

pytestmark = pytest.mark.slow


def demo(folder, *options):
    """The metrics of one run of the demo."""
    folders = [f"--data.path={folder}/rows.txt", f"--data.prepared={folder}", f"--runs={folder}"]
    command = [sys.executable, "train.py", "fit", "--config", "configs/demo.yaml"]
    done = subprocess.run([*command, *folders, *options], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (metrics,) = folder.glob("demo/version_0/metrics.json")
    return json.loads(metrics.read_text())


def test_the_demo_comes_close_to_the_ceiling(tmp_path):
    metrics = demo(tmp_path)
    gained = metrics["test/auc"] - 0.5
    assert gained >= 0.9 * (metrics["ceiling/auc"] - 0.5)


def test_a_file_sorted_by_label_trains_as_well_from_disk(tmp_path):
    shortfalls = []
    for name, options in {
        "mixed": [],
        "sorted": ["--data.synthetic.sort_by_label=true", "--data.resident=false"],
    }.items():
        found = demo(tmp_path / name, *SMALL, *options)
        # other rows fall into its test split, whose ceiling differs: the shortfalls are compared
        shortfalls.append(found["ceiling/auc"] - found["test/auc"])
    assert shortfalls[1] == pytest.approx(shortfalls[0], abs=0.005)
