"""A model and a dataset of a package outside this repository: no command knows that they are."""

import json
import shutil
import sys
import tomllib
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
from support.running import QUIET, ROOT, command, error_of

import zoo
from zoo.models.registry import model_class

PACKAGE = ROOT / "examples/own_package"
SETTINGS = ["--model.embedding_dim=4", "--model.learning_rate=0.1", "--trainer.accelerator=cpu"]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A folder with the example's package, installed, on Python's path."""
    folder = tmp_path_factory.mktemp("site")
    shutil.copytree(PACKAGE / "own_clicks", folder / "own_clicks")
    info = folder / "own_clicks-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: own-clicks\nVersion: 1.0\n")
    project = tomllib.loads((PACKAGE / "pyproject.toml").read_text())["project"]
    lines = [
        line
        for group, points in project["entry-points"].items()
        for line in (f"[{group}]", *(f"{name} = {value}" for name, value in points.items()))
    ]
    (info / "entry_points.txt").write_text("\n".join(lines) + "\n")
    sys.path.insert(0, str(folder))
    yield folder
    sys.path.remove(str(folder))
    for name in [name for name in sys.modules if name.startswith("own_clicks")]:
        del sys.modules[name]


@pytest.fixture(scope="module")
def runs(site, tmp_path_factory):
    """The run directories of both models, by name."""
    folder = tmp_path_factory.mktemp("foreign")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for model in ("Tempered", "Products"):
            names = [f"--model=own_clicks.models.{model}", "--data=own_clicks.data.AgreeingRows"]
            command("fit", *names, *SETTINGS, *QUIET, f"--name={model}", "--trainer.max_epochs=3")
    return {model: folder / "runs" / model / "version_0" for model in ("Tempered", "Products")}


@pytest.fixture(params=["Tempered", "Products"])
def run(request, runs, tmp_path, monkeypatch):
    """The run of each model; the current folder is the test's own."""
    monkeypatch.chdir(tmp_path)
    return runs[request.param]


def of(run):
    return ["--config", run / "config.yaml", "--ckpt_path", run / "checkpoints/best.ckpt", *QUIET]


def test_fit_learns_and_measures_both_splits(run):
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["val/auc"] > 0.9
    assert metrics["test/auc"] > 0.9
    assert not (run / "encoder").exists()  # these data encode nothing


@pytest.mark.parametrize(("command_name", "split"), [("validate", "val"), ("test", "test")])
def test_validate_and_test_measure_the_checkpoint(command_name, split, run, capsys):
    command(command_name, *of(run))
    logloss = json.loads((run / "metrics.json").read_text())[f"{split}/logloss"]
    assert f"{logloss:.4f}"[:5] in capsys.readouterr().out


def test_predict_writes_a_line_for_each_row(run):
    command("predict", *of(run))
    table = pq.read_table(run / "predictions/predictions.parquet")
    assert table["row"].to_pylist() == list(range(300))
    model = model_class(f"own_clicks.models.{run.parent.name}")
    model = model.load_from_checkpoint(run / "checkpoints/best.ckpt", weights_only=True).eval()
    data = sys.modules["own_clicks.data"].AgreeingRows()
    with torch.no_grad():
        expected = torch.cat([model(batch).sigmoid() for batch in data.predict_dataloader()])
    torch.testing.assert_close(torch.tensor(table["probability"].to_pylist()), expected)


def test_detect_finds_the_pair(run, capsys):
    command("detect", *of(run), "--instances=6", "--output=found.json")
    found = json.loads(Path("found.json").read_text())
    assert found["model"] == run.parent.name
    assert found["interactions"][0]["fields"] == ["user", "item"]


def test_prepare_counts_what_the_data_do_not_say(run, capsys):
    command("prepare", "--config", run / "config.yaml")
    out = capsys.readouterr().out
    assert "AgreeingRows" in out
    positives = sum(
        batch.label.sum() for batch in sys.modules["own_clicks.data"].AgreeingRows()._batches(0)
    )
    assert f"│ train │  300 │ {int(positives):>9} │" in out


def test_inspect_alone_needs_not_import_it(run, capsys):
    before = dict(sys.modules)
    for name in [name for name in sys.modules if name.startswith("own_clicks")]:
        del sys.modules[name]
    try:
        command("inspect", run / "checkpoints/best.ckpt", "--json")
        assert "own_clicks" not in sys.modules
    finally:
        sys.modules.update(before)
    found = json.loads(capsys.readouterr().out)
    assert found["architecture"]["model"] == f"own_clicks.models.{run.parent.name}"
    assert [field["name"] for field in found["fields"]] == ["hour", "user", "item"]
    assert found["effects"]["linear"]  # its first-order weights, from where `RowModule` has them
    assert [field["rows"]["unknown"] for field in found["fields"][1:]] == [False, False]


def test_inspect_with_data_explains_it(run, capsys):
    options = ["--config", run / "config.yaml", "--html", "page.html"]
    command("inspect", run / "checkpoints/best.ckpt", *options)
    out = capsys.readouterr().out
    assert "quality on the val rows" in out
    assert "importance" in out
    assert "<title>" in Path("page.html").read_text()


def test_two_are_compared(runs, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    checkpoints = [run / "checkpoints/best.ckpt" for run in runs.values()]
    options = ["--config", runs["Tempered"] / "config.yaml", "--html", "page.html"]
    command("inspect", *checkpoints, *options)
    out = capsys.readouterr().out
    assert "own_clicks.models.Products" in out
    assert "rows in which they differ most" in out


def test_an_entry_point_gives_a_bare_name(site, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert model_class("Products").__module__ == "own_clicks.models"
    command(
        "fit",
        "--model=Products",
        "--data=AgreeingRows",
        *SETTINGS,
        *QUIET,
        "--trainer.max_epochs=1",
    )
    assert Path("runs/experiment/version_0/checkpoints/best.ckpt").is_file()
    message = error_of("fit", "--model=Prodcts", "--data=AgreeingRows")
    assert message == "error: model: no class and no file Prodcts; did you mean Products?"


# What is not installed is not imported


def test_a_module_beside_the_checkpoint_is_not_imported(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend("")
    (tmp_path / "sent_along.py").write_text("raise SystemExit('code of somebody else has run')")
    with pytest.raises(zoo.ZooError, match=r"'sent_along.Tempered', whose module is not installed"):
        model_class("sent_along.Tempered")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("antigravity.Tempered", "whose module is not installed"),
        ("no_such_package.Tempered", "whose module is not installed"),
        ("zoo.models.base.nothing", "not a subclass of zoo.ZooModule"),
        ("torch.nn.Linear", "not a subclass of zoo.ZooModule"),
        ("Nothing", "which this version of interpretable-zoo does not know; it knows AutoInt"),
    ],
)
def test_what_is_no_model_is_refused(name, message):
    with pytest.raises(zoo.ZooError, match=message):
        model_class(name)


@pytest.mark.parametrize(
    ("option", "found", "base"),
    [
        ("model", "pytorch_lightning.LightningModule", "ZooModule"),
        ("data", "pytorch_lightning.LightningDataModule", "ZooDataModule"),
    ],
)
def test_a_class_of_lightning_alone_is_refused_in_a_sentence(option, found, base, site):
    message = error_of("fit", "--model=Products", "--data=AgreeingRows", f"--{option}={found}")
    assert message == f"error: {option}: {found} is not a subclass of zoo.{base}"
