"""The wheel, used from an empty folder, without the checkout."""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SMALL = [
    "--data.synthetic.rows=2000",
    "--data.min_count=10",
    "--model.hidden_units=[16]",
    "--trainer.max_epochs=1",
    "--trainer.accelerator=cpu",
    "--trainer.enable_progress_bar=false",
]


def run(command, **options):
    done = subprocess.run(
        [str(word) for word in command], capture_output=True, text=True, **options
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The built wheel; without a network."""
    folder = tmp_path_factory.mktemp("wheel")
    build = ["wheel", "--quiet", "--no-deps", "--no-index", "--no-build-isolation"]
    run([sys.executable, "-m", "pip", *build, "--wheel-dir", folder, ROOT])
    (path,) = folder.glob("interpretable_zoo-*.whl")
    return path


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """Runs `interpretable-zoo`, or Python code, of the installed wheel in an empty folder."""
    site, empty = tmp_path_factory.mktemp("site"), tmp_path_factory.mktemp("empty")
    install = ["install", "--quiet", "--no-deps", "--no-index", "--target", site, wheel]
    run([sys.executable, "-m", "pip", *install])
    paths = [str(site), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths)}

    def call(*arguments):
        start = [site / "bin/interpretable-zoo"]
        start = [sys.executable] if arguments[0] == "-c" else start
        return run([*start, *arguments], cwd=empty, env=environment)

    call.site, call.empty = site, empty
    return call


def test_the_wheel_holds_the_packages_and_the_configs(wheel):
    held = set(zipfile.ZipFile(wheel).namelist())
    for package in ("zoo", "datamodules"):
        sources = {p.relative_to(ROOT).as_posix() for p in (ROOT / package).rglob("*.py")}
        assert sources | {f"{package}/py.typed"} <= held
    page = ROOT / "zoo/inspect/page"
    shipped = {
        p.relative_to(ROOT).as_posix() for kind in ("css", "js") for p in page.glob(f"*.{kind}")
    }
    assert len(shipped) == 5
    assert shipped <= held
    configs = {p.relative_to(ROOT).as_posix() for p in (ROOT / "configs").rglob("*.yaml")}
    assert {f"zoo/{name}" for name in configs} <= held
    first = {name.partition("/")[0] for name in held}
    assert {name for name in first if not name.endswith(".dist-info")} == {"zoo", "datamodules"}


@pytest.mark.slow
def test_the_demo_runs_from_an_empty_folder(installed):
    places = installed("-c", "import zoo, datamodules; print(zoo.__file__, datamodules.__file__)")
    assert all(Path(place).is_relative_to(installed.site) for place in places.split())
    shown = installed("fit", "--config", "demo", *SMALL)
    folder = installed.empty / "runs/demo/version_0"
    assert {"test/auc", "ceiling/auc"} <= set(json.loads((folder / "metrics.json").read_text()))
    assert "best checkpoint" in shown
    checkpoint = folder / "checkpoints/best.ckpt"
    shown = json.loads(installed("inspect", checkpoint, "--json"))
    assert len(shown["fields"]) == 13 + 26
    options = ["--config", "demo", "--split=test", "--sample=0", "--data.synthetic.rows=2000"]
    scored = json.loads(installed("inspect", checkpoint, *options, "--data.min_count=10", "--json"))
    metrics = json.loads((folder / "metrics.json").read_text())
    assert scored["scores"]["overall"]["auc"] == pytest.approx(metrics["test/auc"], abs=1e-6)


@pytest.mark.slow
def test_the_command_helps_by_its_name(installed):
    assert installed("--help").startswith("usage: interpretable-zoo ")
    assert installed("inspect", "--help").startswith("usage: interpretable-zoo inspect ")
