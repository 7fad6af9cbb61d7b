"""Shipped configs: their names, and when their fits stop."""

import csv
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from support.fitting import fit
from support.running import ROOT, command, error_of

from zoo.data.errors import ZooError
from zoo.run import configs
from zoo.run.early_stopping import EarlyStopping, PatientStopping, early_stopping

LOGLOSS, NDCG = ("val/logloss", "min"), ("val/ndcg@10", "max")
# metric, its mode and the patience, as each config once listed them among its callbacks
STOPPING = {
    "demo": (*LOGLOSS, 1),
    **{
        f"{data}/{model}": (*metric, patience)
        for data, metric, patience in [
            ("criteo", LOGLOSS, 2),
            ("avazu", LOGLOSS, 2),
            ("demo", LOGLOSS, 1),
            ("movielens", NDCG, 3),
        ]
        for model in (
            "additive_network",
            "autoint",
            "dcn",
            "deepfm",
            "fibinet",
            "interhat",
            "wide_deep",
            "xdeepfm",
        )
    },
    "demo/interpretable_mlp": (*LOGLOSS, 1),
    "movielens/interpretable_mlp": (*NDCG, 3),
    "movielens/ncf_mlp": (*NDCG, 3),
    "examples/flights": (*LOGLOSS, 1),
    "examples/flights_by_time": (*LOGLOSS, 2),
    "examples/promotions": (*LOGLOSS, 2),
    "sessions/interpretable_gru": (*LOGLOSS, 3),
    "sessions/interpretable_transformer": (*LOGLOSS, 3),
    "sessions/transformer": (*LOGLOSS, 3),
    "sessions/deezer": None,
    "sessions/demo": None,
    "sessions/last": None,
    "sessions/mean": None,
    "sessions/sufficiency": None,
    "toy/interpretable_mlp": None,
}
OVERLAYS = {"plateau", "gpu"}


def stopping_of(name):
    content = yaml.safe_load((configs.folder() / f"{name}.yaml").read_text())
    given = {"patience": None, "monitor": None} | content.get("early_stopping", {})
    options = SimpleNamespace(
        monitor=content.get("monitor", "val/logloss"), early_stopping=SimpleNamespace(**given)
    )
    found = [c for c in early_stopping(options, []) if isinstance(c, EarlyStopping)]
    assert "EarlyStopping" not in str(content)  # which would replace that of the options
    return [(c.monitor, c.mode, c.patience) for c in found]


@pytest.mark.parametrize("name", sorted(set(configs.names()) - OVERLAYS))
def test_the_fit_of_a_shipped_config_stops_as_ever(name):
    assert stopping_of(name) == ([STOPPING[name]] if STOPPING[name] else [])


def test_every_config_has_its_line_in_the_list():
    assert set(configs.names()) == set(STOPPING) | OVERLAYS
    shown = subprocess.run(
        [sys.executable, "-m", "zoo.run.configs"],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    ).stdout.splitlines()
    assert [line.split()[0] for line in shown] == configs.names()
    assert all(len(line.split()) > 3 for line in shown)


# the options of early stopping

SHORT = ("--model.learning_rate=0.1", "--data.batch_size=100", "--trainer.max_epochs=9")


@pytest.fixture
def rows(make_file, criteo_lines, workplace):
    """A file of 1,000 rows, which a model soon overfits."""
    return make_file(criteo_lines)


def validations(run):
    """The metrics of each epoch; the last line is that of the best checkpoint."""
    with (run / "metrics.csv").open() as file:
        lines = [line for line in csv.DictReader(file) if line["val/logloss"]][:-1]
    return {name: [float(line[name]) for line in lines] for name in ("val/logloss", "val/auc")}


def stops_after(values, patience, sign=1):
    """The number of validations after which `patience` in a row brought no progress."""
    best, waited = float("inf"), 0
    for done, value in enumerate((sign * v for v in values), 1):
        best, waited = (value, 0) if value < best else (best, waited + 1)
        if waited >= patience:
            return done
    return None


def test_a_fit_stops_without_progress_of_its_metric(rows):
    by_logloss = validations(fit(rows, *SHORT, "--early_stopping.patience=2"))
    assert stops_after(by_logloss["val/logloss"], 2) == len(by_logloss["val/logloss"]) < 9
    options = ("--early_stopping.patience=1", "--early_stopping.monitor=val/auc")
    by_auc = validations(fit(rows, *SHORT, *options))
    assert stops_after(by_auc["val/auc"], 1, sign=-1) == len(by_auc["val/auc"]) < 9


def test_early_stopping_among_the_callbacks_replaces_the_options(rows):
    listed = ("--trainer.callbacks=EarlyStopping", "--trainer.callbacks.monitor=val/logloss")
    patience = "--trainer.callbacks.patience=1"
    old = fit(rows, *SHORT, *listed, patience, "--early_stopping.patience=5")
    new = fit(rows, *SHORT, "--early_stopping.patience=1")
    assert validations(old) == validations(new)
    assert yaml.safe_load((new / "config.yaml").read_text())["early_stopping"]["patience"] == 1


def test_a_metric_that_is_not_logged_is_named(rows):
    config = ["fit", "--config", ROOT / "configs/criteo/deepfm.yaml", "--data.path", rows]
    small = ["--trainer.limit_train_batches=1", "--trainer.limit_val_batches=1"]
    message = error_of(*config, *small, "--early_stopping.monitor=val/acc")
    logged = "val/auc, val/logloss"
    assert message.startswith("error: early_stopping.monitor: this fit logs no val/acc; choose one")
    assert logged in message
    message = error_of(*config, *small, "--monitor=val/acc")
    assert message.startswith("error: monitor: this fit logs no val/acc; choose one of")
    message = error_of(*config, "--early_stopping.patience=-1")
    assert "early_stopping.patience" in message


# names

SHIPPED = str(configs.folder() / "criteo/deepfm.yaml")


@pytest.mark.parametrize(
    "name", ["criteo/deepfm", "criteo/deepfm.yaml", "configs/criteo/deepfm.yaml"]
)
@pytest.mark.usefixtures("workplace")
def test_a_shipped_config_goes_by_its_name(name):
    plateau = str(configs.folder() / "plateau.yaml")
    given = ["fit", "--config", name, f"--config={name}", "-c", "plateau", "--name", name]
    wanted = ["fit", "--config", SHIPPED, f"--config={SHIPPED}", "-c", plateau, "--name", name]
    assert configs.resolve(given) == wanted


def test_a_file_comes_before_a_name(workplace):
    Path("demo").write_text("name: mine")
    (workplace / "toy").mkdir()
    unchanged = ["--config", "demo", "-c={name: x}", "--config=s3://bucket/c.yaml", "--config"]
    assert configs.resolve(unchanged) == unchanged
    with pytest.raises(ZooError, match="no file and no shipped config toy; "):
        configs.resolve(["--config", "toy"])


@pytest.mark.parametrize(
    ("config", "hint"),
    [
        ("criteo/deepfn", "did you mean criteo/deepfm"),
        ("configs/plato.yaml", "did you mean plateau"),
        (f"{os.sep}nowhere{os.sep}x.yaml", "`python -m zoo.run.configs` lists"),
    ],
)
@pytest.mark.parametrize("subcommand", [["fit"], ["inspect", "x.ckpt"]], ids=["fit", "inspect"])
@pytest.mark.usefixtures("workplace")
def test_an_unknown_config_is_named(subcommand, config, hint):
    message = error_of(*subcommand, "--config", config)
    assert message.startswith(f"error: config: no file and no shipped config {config}; ")
    assert hint in message


def test_a_resumed_fit_has_the_patience_of_its_option():
    before, after = (PatientStopping("val/auc", patience=n, mode="max") for n in (1, 9))
    after.load_state_dict({**before.state_dict(), "wait_count": 1})
    assert (after.patience, after.wait_count) == (9, 1)
    assert after.state_key == EarlyStopping("val/auc", mode="max").state_key


def test_values_of_a_config_may_refer_to_others_and_to_the_environment(
    workplace, criteo_file, monkeypatch, capsys
):
    monkeypatch.setenv("CLICKS", str(criteo_file))
    Path("own.yaml").write_text(
        "seed_everything: 3\n"
        "model: {class_path: zoo.DeepFM, init_args: {embedding_dim: '${seed_everything}'}}\n"
        "data: {class_path: datamodules.Criteo, init_args: {path: '${oc.env:CLICKS}'}}\n"
    )
    with pytest.raises(SystemExit):
        command("fit", "--config=own.yaml", "--print_config")
    printed = yaml.safe_load(capsys.readouterr().out)
    assert printed["model"]["init_args"]["embedding_dim"] == 3
    assert printed["data"]["init_args"]["path"] == str(criteo_file)
