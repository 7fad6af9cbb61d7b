"""What MLflow, Weights & Biases, TensorBoard and metrics.csv hold of a fit."""

import csv
import json
import re
from pathlib import Path
from unittest import mock

import pandas as pd
import pytest
import wandb
import yaml
from support.fitting import arguments, fit
from support.running import QUIET, command, error_of
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from zoo.ctr.deepfm import DeepFM
from zoo.run import loggers
from zoo.run.sweeping.child import Pruned
from zoo.run.tracking import _key

pytestmark = [
    pytest.mark.usefixtures("prepared_rows"),
    # MLflow uses what SQLAlchemy 2.1 deprecates
    pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SADeprecationWarning"),
]
SHORT = ["--trainer.max_epochs=2", "--trainer.log_every_n_steps=2", "--data.batch_size=1000"]
MLFLOW = "--trainer.logger=MLFlowLogger"


@pytest.fixture(autouse=True)
def _offline(monkeypatch):
    """Nothing is sent."""
    for name in ("MLFLOW_DISABLE_TELEMETRY", "DO_NOT_TRACK"):
        monkeypatch.setenv(name, "true")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_ERROR_REPORTING", "false")
    monkeypatch.setenv("WANDB_SILENT", "true")


def runs_of(experiment="t", uri="sqlite:///mlflow.db"):
    """The client of MLflow's local store, and its runs, the first one first."""
    from mlflow.tracking import MlflowClient

    client = MlflowClient(uri)
    found = client.get_experiment_by_name(experiment)
    runs = client.search_runs([found.experiment_id], order_by=["attributes.start_time"])
    return client, runs


@pytest.mark.slow
def test_all_trackers_hold_the_run(criteo_file):
    listed = [
        {"class_path": "MLFlowLogger", "init_args": {"log_model": True}},
        {"class_path": "WandbLogger", "init_args": {"offline": True}},
        {"class_path": "TensorBoardLogger", "init_args": {"save_dir": "mine"}},
    ]
    Path("loggers.yaml").write_text(yaml.safe_dump({"trainer": {"logger": listed}}))
    made = fit(criteo_file, "--config=loggers.yaml", "--report=true", *SHORT)
    metrics = json.loads((made / "metrics.json").read_text())

    client, (run,) = runs_of()
    assert run.info.status == "FINISHED"
    assert run.info.run_name == "t/version_0"
    assert run.data.tags["status"] == "finished"
    assert run.data.tags["run_directory"] == str(made.absolute())
    params = run.data.params
    assert params["model.class_path"] == "zoo.DeepFM"
    assert params["data.path"] == str(criteo_file)
    assert (params["trainer.max_epochs"], params["data.batch_size"]) == ("2", "1000")
    for name, value in metrics.items():
        assert run.data.metrics[f"best/{name}"] == pytest.approx(value)
    losses = client.get_metric_history(run.info.run_id, "train/loss")
    steps = metrics["epochs"] * -(-16_000 // 1000)
    assert [m.step for m in losses] == [*range(1, steps, 2)]
    epochs = client.get_metric_history(run.info.run_id, "val/logloss")
    assert len(epochs) == 2 + 1  # and that of the best checkpoint
    assert min(m.value for m in epochs) == pytest.approx(metrics["val/logloss"])
    (artifacts,) = Path("mlruns").glob("*/*/artifacts")
    sent = {p.relative_to(artifacts) for p in artifacts.rglob("*") if p.is_file()}
    kept = {p.relative_to(made) for p in made.rglob("*") if p.is_file()}
    not_sent = {Path("checkpoints/last.ckpt"), Path("metrics.csv"), Path("hparams.yaml")}
    assert sent == kept - not_sent
    assert all((artifacts / p).read_bytes() == (made / p).read_bytes() for p in sent)
    scored = artifacts / "predictions.parquet"
    options = [f"--data.predict_path={criteo_file}", f"--data.predict_output={scored}", *QUIET]
    command("predict", f"--config={artifacts / 'config.yaml'}", *options)
    assert len(pd.read_parquet(scored)) == 20_000  # they are a run directory

    (offline,) = Path("wandb").glob("offline-run-*")
    (held,) = offline.glob("*.wandb")
    held = held.read_bytes()
    for word in (b"train/loss", b"best/val/logloss", b"model.class_path", b"run_directory"):
        assert word in held
    assert b"t/version_0" in held
    assert wandb.run is None  # which the next fit of this process would go on with

    (folder,) = Path("mine").glob("**/version_0")
    events = EventAccumulator(str(folder)).Reload()
    assert [e.step for e in events.Scalars("train/loss")] == [m.step for m in losses]
    with (made / "metrics.csv").open() as file:
        found = [float(line["train/loss"]) for line in csv.DictReader(file) if line["train/loss"]]
    assert found == pytest.approx([m.value for m in losses])

    wandb.teardown()
    statuses(criteo_file, run.info.run_id, made)


def statuses(criteo_file, run_id, made):
    """How fits end, and how a run goes on, in the same store."""
    ends = {
        "FAILED": (RuntimeError("it broke"), RuntimeError, "failed"),
        "KILLED": (KeyboardInterrupt(), SystemExit, "interrupted"),
    }
    for status, (error, raised, word) in ends.items():
        stops = mock.patch.object(DeepFM, "on_train_epoch_end", side_effect=error, create=True)
        with stops, pytest.raises(raised):
            fit(criteo_file, MLFLOW, *SHORT)
        _, runs = runs_of()
        assert (runs[-1].info.status, runs[-1].data.tags["status"]) == (status, word)
        assert "best/val/auc" not in runs[-1].data.metrics
    stops = mock.patch.object(DeepFM, "on_train_epoch_end", side_effect=Pruned(), create=True)
    with stops, pytest.raises(Pruned):
        fit(criteo_file, MLFLOW, *SHORT)
    assert runs_of()[1][-1].data.tags["status"] == "pruned"
    last = made / "checkpoints/last.ckpt"
    more = ["--trainer.max_epochs=3", f"--ckpt_path={last}", f"--trainer.logger.run_id={run_id}"]
    fit(criteo_file, MLFLOW, *SHORT, *more)
    client, runs = runs_of()
    run = client.get_run(run_id)
    assert len(runs) == 4
    assert (run.info.status, run.data.tags["resumed_from"]) == ("FINISHED", str(last))
    steps = [m.step for m in client.get_metric_history(run_id, "train/loss")]
    assert steps == [*range(1, 3 * 16, 2)]
    assert run.data.params["trainer.max_epochs"] == "2"  # as it began


def test_no_logger_writes_for_nobody(criteo_file):
    fit(criteo_file, "--trainer.max_epochs=1", "--trainer.logger=false")
    assert not [*Path().glob("mlflow.db"), *Path().glob("mlruns"), *Path().glob("wandb")]


def test_a_missing_package_is_named(criteo_file):
    def found(name):
        return None if name in ("mlflow", "wandb") else mock.DEFAULT

    with mock.patch.object(loggers, "find_spec", side_effect=found):
        message = error_of(*arguments("fit", criteo_file), MLFLOW)
    assert message == (
        "error: trainer.logger: MLFlowLogger needs the package mlflow: "
        'pip install "interpretable-zoo[track]"'
    )


def test_what_a_tracker_refuses_is_one_sentence(criteo_file):
    message = error_of(
        *arguments("fit", criteo_file), MLFLOW, "--trainer.logger.tracking_uri=nope://x"
    )
    assert message.startswith("error: trainer.logger: ")
    offline = ["--trainer.logger=WandbLogger", "--trainer.logger.offline=true"]
    message = error_of(*arguments("fit", criteo_file), *offline, "--trainer.logger.log_model=true")
    assert "log_model" in message


def test_names_of_parameters_are_those_that_mlflow_takes():
    assert _key("trainer.callbacks[0].class_path") == "trainer.callbacks.0.class_path"
    assert re.fullmatch(r"[\w\-. :/]+", _key("model.subsets.a+b (c)"))
    assert len(_key("x" * 999)) <= 250
