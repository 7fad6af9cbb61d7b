"""A model and a dataset of a package outside this repository: no command knows that they are.

All commands run in one process of its own, as the package's classes would stay in this one.
"""

import json
import os
import shutil
import subprocess
import sys
import tomllib
from typing import NamedTuple

import pyarrow.parquet as pq
import pytest
from support.running import QUIET, ROOT, error_of

import zoo
from zoo.models.registry import model_class

PACKAGE = ROOT / "examples/own_package"
MODELS = ("Tempered", "Products")
SETTINGS = ["--model.embedding_dim=4", "--model.learning_rate=0.1", "--trainer.accelerator=cpu"]
# Runs command lines, and says of each what it printed and with what it ended
RUN = """
import contextlib, io, json, sys
from dataclasses import replace
import zoo.run.main
from zoo.glider.surrogates.madex import DETECTORS
few = {name: replace(config, hidden_units=(64, 32)) for name, config in DETECTORS.items()}
DETECTORS.update(few)
answers = {}
for name, line in json.load(open("lines.json")).items():
    sys.argv, code = ["interpretable-zoo", *line], 0
    with contextlib.redirect_stdout(io.StringIO()) as out:
        try:
            zoo.run.main.main()
        except SystemExit as exit_:
            code = exit_.code
    answers[name] = {"out": out.getvalue(), "code": code}
import torch
from own_clicks.data import AgreeingRows
from zoo.models.registry import model_class
data = AgreeingRows()
answers["positives"] = sum(float(batch.label.sum()) for batch in data.train_dataloader())
answers["entry point"] = model_class("Products").__module__
for name in ("Tempered", "Products"):
    path = f"runs/{name}/version_0/checkpoints/best.ckpt"
    model = model_class(f"own_clicks.models.{name}").load_from_checkpoint(path, weights_only=True)
    with torch.no_grad():
        scores = [model.eval()(batch).sigmoid() for batch in data.predict_dataloader()]
    answers[f"scores {name}"] = torch.cat(scores).tolist()
json.dump(answers, open("answers.json", "w"))
"""


class Place(NamedTuple):
    """Where the commands ran, what they answered, and the environment with the package."""

    folder: os.PathLike
    answers: dict
    environment: dict

    def run_of(self, model):
        return self.folder / "runs" / model / "version_0"


def install(site):
    """Puts the example's package into a folder as an installer does."""
    shutil.copytree(PACKAGE / "own_clicks", site / "own_clicks")
    info = site / "own_clicks-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: own-clicks\nVersion: 1.0\n")
    project = tomllib.loads((PACKAGE / "pyproject.toml").read_text())["project"]
    lines = [
        line
        for group, points in project["entry-points"].items()
        for line in (f"[{group}]", *(f"{name} = {value}" for name, value in points.items()))
    ]
    (info / "entry_points.txt").write_text("\n".join(lines) + "\n")


def lines():
    """The command lines, by name."""
    short = ["--trainer.max_epochs=1", "--name=short"]
    made = {
        "bare names": [
            *("fit", "--model=Products", "--data=AgreeingRows"),
            *SETTINGS, *QUIET, *short,
        ],
        "misspelt": ["fit", "--model=Prodcts", "--data=AgreeingRows"],
    }  # fmt: skip
    for model in MODELS:
        names = [f"--model=own_clicks.models.{model}", "--data=own_clicks.data.AgreeingRows"]
        epochs = ["--trainer.max_epochs=3", f"--name={model}"]
        run = f"runs/{model}/version_0"
        checkpoint = f"{run}/checkpoints/best.ckpt"
        given = ["--config", f"{run}/config.yaml", "--ckpt_path", checkpoint, *QUIET]
        scored = [checkpoint, "--config", f"{run}/config.yaml", "--html", f"{model}.html"]
        made |= {
            f"fit {model}": ["fit", *names, *SETTINGS, *QUIET, *epochs],
            f"validate {model}": ["validate", *given],
            f"test {model}": ["test", *given],
            f"predict {model}": ["predict", *given],
            f"detect {model}": ["detect", *given, "--instances=6", f"--output={model}.json"],
            f"prepare {model}": ["prepare", *given[:2]],
            f"inspect {model}": ["inspect", *scored],
        }
    checkpoints = [f"runs/{model}/version_0/checkpoints/best.ckpt" for model in MODELS]
    config = ["--config", "runs/Tempered/version_0/config.yaml", "--html", "two.html"]
    return made | {"compare": ["inspect", *checkpoints, *config]}


def in_process(place, *words):
    """What another Python process prints, with the package on its path."""
    line = [sys.executable, *map(str, words)]
    return subprocess.run(
        line, cwd=place.folder, env=place.environment, capture_output=True, text=True, check=True
    ).stdout


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """The folder in which all commands have run."""
    site, folder = tmp_path_factory.mktemp("site"), tmp_path_factory.mktemp("foreign")
    install(site)
    paths = [str(site), str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    found = Place(folder, {}, os.environ | {"PYTHONPATH": os.pathsep.join(paths)})
    (folder / "lines.json").write_text(json.dumps(lines()))
    in_process(found, "-c", RUN)
    found.answers.update(json.loads((folder / "answers.json").read_text()))
    return found


@pytest.mark.parametrize("name", sorted(lines().keys() - {"misspelt"}))
def test_every_command_ends_well(name, place):
    assert place.answers[name]["code"] == 0


@pytest.mark.parametrize("model", MODELS)
def test_fit_learns_and_measures_both_splits(model, place):
    metrics = json.loads((place.run_of(model) / "metrics.json").read_text())
    assert metrics["val/auc"] > 0.9
    assert metrics["test/auc"] > 0.9
    assert not (place.run_of(model) / "encoder").exists()  # these data encode nothing


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize(("command", "split"), [("validate", "val"), ("test", "test")])
def test_validate_and_test_measure_the_checkpoint(command, split, model, place):
    metrics = json.loads((place.run_of(model) / "metrics.json").read_text())
    assert f"{metrics[f'{split}/logloss']:.4f}"[:5] in place.answers[f"{command} {model}"]["out"]


@pytest.mark.parametrize("model", MODELS)
def test_predict_writes_a_line_for_each_row(model, place):
    table = pq.read_table(place.run_of(model) / "predictions/predictions.parquet")
    assert table["row"].to_pylist() == list(range(300))
    expected = place.answers[f"scores {model}"]
    assert table["probability"].to_pylist() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("model", MODELS)
def test_prepare_counts_what_the_data_do_not_say(model, place):
    positives = int(place.answers["positives"])
    assert f"│ train │  300 │ {positives:>9} │" in place.answers[f"prepare {model}"]["out"]


@pytest.mark.parametrize("model", MODELS)
def test_detect_finds_the_pair(model, place):
    found = json.loads((place.folder / f"{model}.json").read_text())
    assert found["model"] == model
    assert found["interactions"][0]["fields"] == ["user", "item"]


@pytest.mark.parametrize("model", MODELS)
def test_inspect_alone_needs_not_import_it(model, place):
    code = (
        "import sys; from zoo.run.main import main; main(); "
        "assert not [name for name in sys.modules if name.startswith('own_clicks')]"
    )
    checkpoint = place.run_of(model) / "checkpoints/best.ckpt"
    found = json.loads(in_process(place, "-c", code, "inspect", checkpoint, "--json"))
    assert found["architecture"]["model"] == f"own_clicks.models.{model}"
    assert [field["name"] for field in found["fields"]] == ["hour", "user", "item"]
    assert found["effects"]["linear"]  # its first-order weights, from where `RowModule` has them
    assert [field["rows"]["unknown"] for field in found["fields"][1:]] == [False, False]


@pytest.mark.parametrize("model", MODELS)
def test_inspect_with_data_explains_it(model, place):
    out = place.answers[f"inspect {model}"]["out"]
    assert "quality on the val rows" in out
    assert "importance" in out
    assert f"own_clicks.models.{model}: " in (place.folder / f"{model}.html").read_text()


def test_two_are_compared(place):
    out = place.answers["compare"]["out"]
    assert "own_clicks.models.Products" in out
    assert "rows in which they differ most" in out
    assert "<title>" in (place.folder / "two.html").read_text()


def test_an_entry_point_gives_a_bare_name(place):
    assert (place.folder / "runs/short/version_0/checkpoints/best.ckpt").is_file()
    assert place.answers["entry point"] == "own_clicks.models"
    assert place.answers["misspelt"]["code"] == 2


# What is not installed is not imported


def test_a_module_beside_the_checkpoint_is_not_imported(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend("")
    (tmp_path / "sent_along.py").write_text("raise SystemExit('code of somebody else has run')")
    with pytest.raises(zoo.ZooError, match=r"'sent_along.Mine', whose module is not installed"):
        model_class("sent_along.Mine")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("antigravity.Mine", "whose module is not installed"),
        ("no_such_package.Mine", "whose module is not installed"),
        ("zoo.models.base.nothing", "not a subclass of zoo.ZooModule"),
        ("torch.nn.Linear", "not a subclass of zoo.ZooModule"),
        ("Nothing", "which this version of interpretable-zoo does not know; it knows Additive"),
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
def test_a_class_of_lightning_alone_is_refused_in_a_sentence(option, found, base):
    message = error_of("fit", "--model=DeepFM", "--data=GaussianClusters", f"--{option}={found}")
    assert message == f"error: {option}: {found} is not a subclass of zoo.{base}"
