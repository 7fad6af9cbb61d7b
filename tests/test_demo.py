"""The demo, as the README runs it: how far it gets towards what the planted truth allows."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

import train

ROOT = Path(train.__file__).parent

pytestmark = pytest.mark.slow


def demo(folder, *options):
    """The metrics of one run of the demo."""
    folders = [f"--data.path={folder}/rows.txt", f"--data.prepared={folder}", f"--runs={folder}"]
    command = [sys.executable, "train.py", "fit", "--config", "configs/demo.yaml"]
    done = subprocess.run([*command, *folders, *options], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (metrics,) = folder.glob("demo/version_0/metrics.json")
    return json.loads(metrics.read_text())


@pytest.fixture(scope="module")
def metrics(tmp_path_factory):
    return demo(tmp_path_factory.mktemp("demo"))


def test_the_demo_comes_close_to_the_ceiling(metrics):
    gained = metrics["test/auc"] - 0.5
    assert gained >= 0.9 * (metrics["ceiling/auc"] - 0.5)


def test_a_file_sorted_by_label_trains_as_well_from_disk(metrics, tmp_path):
    by_label = demo(tmp_path, "--data.synthetic.sort_by_label=true", "--data.resident=false")
    # other rows fall into its test split, whose ceiling differs: the shortfalls are compared
    shortfall = by_label["ceiling/auc"] - by_label["test/auc"]
    assert shortfall == pytest.approx(metrics["ceiling/auc"] - metrics["test/auc"], abs=0.005)
