"""Fits on the command line: configs, run directories, checkpoints, resumption."""

import contextlib
import errno
import functools
import io
import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
import yaml
from support.fitting import arguments, criteo, fit, scored_test_split
from support.running import QUIET, ROOT, SMALL, command, error_of

import datamodules
from zoo import DeepFM

PLATEAU, GPU = (ROOT / f"configs/{name}.yaml" for name in ("plateau", "gpu"))  # go over another
CONFIGS = sorted({*ROOT.glob("configs/**/*.yaml")} - {PLATEAU, GPU})
CLICKS = [path for path in CONFIGS if path.parent.name in ("criteo", "avazu", "demo", "configs")]
TRAINED = [path for path in CONFIGS if path.stem not in ("last", "mean")]  # with options, that is
pytestmark = pytest.mark.usefixtures("prepared_rows")


def weights(path):
    return torch.load(path, weights_only=True)["state_dict"]


@functools.cache
def printed(*configs):
    """What `--print_config` prints of configs, one over the other, as text."""
    words = [word for config in configs for word in ("--config", str(config))]
    with contextlib.redirect_stdout(io.StringIO()) as out, pytest.raises(SystemExit) as exit_:
        command("fit", *words, "--print_config")
    assert exit_.value.code == 0
    return out.getvalue()


def laid_over(config, overlay):
    """The options of a config with those of another over them."""
    plain, over = yaml.safe_load(printed(config)), yaml.safe_load(overlay.read_text())
    for section in ("model", "data"):
        plain[section]["init_args"] |= over.pop(section)["init_args"]
    for section, options in over.items():
        plain[section] |= options
    return plain


@pytest.mark.parametrize("config", CONFIGS, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_every_shipped_config_is_accepted(config):
    assert yaml.safe_load(printed(config))["model"]["class_path"].startswith("zoo.")


def test_every_model_has_a_config_for_every_dataset():
    models = {
        "wide_deep",
        "deepfm",
        "dcn",
        "xdeepfm",
        "autoint",
        "fibinet",
        "interhat",
        "additive_network",
    }
    for dataset in ("criteo", "avazu", "demo", "movielens"):
        assert {path.stem for path in ROOT.glob(f"configs/{dataset}/*.yaml")} >= models


@pytest.mark.parametrize("config", TRAINED, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_the_plateau_settings_go_over_every_config(config):
    assert yaml.safe_load(printed(config, PLATEAU)) == laid_over(config, PLATEAU)


@pytest.mark.parametrize("config", CLICKS, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_the_settings_of_a_gpu_go_over_every_config_of_clicks(config):
    assert yaml.safe_load(printed(config, GPU)) == laid_over(config, GPU)


def test_a_fit_takes_the_settings_of_a_gpu(criteo_file):
    on_cpu = ("--trainer.accelerator=cpu", "--trainer.max_epochs=1")
    run = fit(criteo_file, "--config", GPU, *on_cpu)
    assert (
        yaml.safe_load((run / "config.yaml").read_text())["data"]["init_args"]["batch_size"]
        == 16384
    )
    assert json.loads((run / "metrics.json").read_text())["test/logloss"] < 1


def test_a_fit_writes_a_report_where_that_is_asked_for(criteo_file, capsys):
    run = fit(criteo_file, "--trainer.max_epochs=1", "--report=true")
    assert capsys.readouterr().out.splitlines()[-1] == str(run / "report.html")
    page = (run / "report.html").read_text()
    assert "/runs/t/version_0/checkpoints/best.ckpt</title>" in page
    auc = json.loads((run / "metrics.json").read_text())["val/auc"]
    assert f"<td>{auc:.4f}</td>" in page
    again = fit(criteo_file, "--trainer.max_epochs=1")
    assert not (again / "report.html").exists()


@pytest.mark.parametrize(
    ("room", "error", "reason"),
    [
        (
            "zoo.inspect.report.write_text",
            OSError(errno.ENOSPC, "No space left on device"),
            "No space",
        ),
        ("zoo.inspect.scores.score", ValueError(), "ValueError"),
    ],
)
def test_a_report_that_fails_leaves_the_run_complete(room, error, reason, criteo_file, capsys):
    def fail(*args, **kwargs):
        raise error

    with mock.patch("zoo.run.record.RunRecord.finish"), mock.patch(room, fail):
        run = fit(criteo_file, "--trainer.max_epochs=1", "--report=true")
    told = capsys.readouterr().err.splitlines()[-1]
    assert told.startswith(f"{run}/report.html was not written: ")
    assert reason in told
    assert (run / "checkpoints/best.ckpt").is_file()
    assert not list(run.glob("*report*"))


@pytest.mark.filterwarnings("ignore:.*of a Tensor that is not a leaf", "ignore:.*instantiated")
def test_a_fit_can_be_compiled(criteo_file):
    backend = mock.patch("torch.compile", functools.partial(torch.compile, backend="aot_eager"))
    with backend:
        compiled = fit(criteo_file, "--trainer.max_epochs=1", "--compile=true")
    plain = fit(criteo_file, "--trainer.max_epochs=1")
    found, expected = (weights(run / "checkpoints/best.ckpt") for run in (compiled, plain))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_a_run_directory_is_complete(run):
    files = {p.relative_to(run).as_posix() for p in run.rglob("*") if p.is_file()}
    wanted = {
        "config.yaml",
        "metrics.csv",
        "metrics.json",
        "checkpoints/best.ckpt",
        "checkpoints/last.ckpt",
        "encoder/encoder.json",
        "encoder/vocabulary.parquet",
    }
    assert wanted <= files
    assert any(file.startswith("events.out.tfevents") for file in files)


def test_metrics_json_is_flat_and_those_of_the_best_checkpoint(run, criteo_file):
    metrics = json.loads((run / "metrics.json").read_text())
    assert {"val/auc", "val/logloss", "test/auc", "test/logloss", "seconds"} <= set(metrics)
    assert metrics["samples_per_second"] > 0
    arrays, p = scored_test_split(run, criteo_file)
    positive, negative = p[arrays.label == 1], p[arrays.label == 0]
    # the definition of AUC, pair by pair
    higher = (positive[:, None] > negative).mean() + 0.5 * (positive[:, None] == negative).mean()
    assert metrics["test/auc"] == pytest.approx(higher, abs=1e-6)
    logloss = -np.log(np.where(arrays.label == 1, p, 1 - p)).mean()
    assert metrics["test/logloss"] == pytest.approx(logloss, abs=1e-6)


def test_metrics_json_is_of_the_mean_weights_where_they_are_averaged(criteo_file):
    averaged = fit(criteo_file, "--trainer.callbacks=EMAWeightAveraging")
    metrics = json.loads((averaged / "metrics.json").read_text())
    arrays, p = scored_test_split(averaged, criteo_file)
    logloss = -np.log(np.where(arrays.label == 1, p, 1 - p)).mean()
    assert metrics["test/logloss"] == pytest.approx(logloss, abs=1e-6)


def test_metrics_json_is_of_best_ckpt_whatever_else_is_kept(criteo_file, capsys):
    others = ["--trainer.callbacks=ModelCheckpoint", "--trainer.callbacks.every_n_train_steps=1"]
    fast = ["--model.learning_rate=0.3", "--early_stopping.patience=null"]  # the first is best
    kept = fit(criteo_file, *others, *fast, "--trainer.max_epochs=3")
    metrics = json.loads((kept / "metrics.json").read_text())
    arrays, p = scored_test_split(kept, criteo_file)
    logloss = -np.log(np.where(arrays.label == 1, p, 1 - p)).mean()
    assert metrics["test/logloss"] == pytest.approx(logloss, abs=1e-6)
    best, last = (
        torch.load(kept / f"checkpoints/{name}.ckpt", weights_only=True)["global_step"]
        for name in ("best", "last")
    )
    assert best < last
    command("test", "--config", kept / "config.yaml")  # without a warning of Lightning's
    assert f"{metrics['test/logloss']:.9f}" in capsys.readouterr().out


def test_the_saved_config_repeats_the_run(run, criteo_file):
    command("fit", "--config", str(run / "config.yaml"))
    again = run.with_name("version_1")
    torch.testing.assert_close(
        weights(again / "checkpoints/last.ckpt"),
        weights(run / "checkpoints/last.ckpt"),
        rtol=0,
        atol=0,
    )


def test_the_saved_config_is_resolved(run, criteo_file):
    config = yaml.safe_load((run / "config.yaml").read_text())
    assert config["model"]["init_args"]["learning_rate"] == 0.01  # a default
    assert config["data"]["init_args"]["path"] == str(criteo_file)


def test_resuming_gives_the_weights_of_an_unbroken_run(criteo_file):
    unbroken = fit(criteo_file, "--trainer.max_epochs=3")
    stopped = fit(criteo_file, "--trainer.max_epochs=1")
    last = stopped / "checkpoints/last.ckpt"
    resumed = fit(criteo_file, "--trainer.max_epochs=3", "--ckpt_path", last)
    torch.testing.assert_close(
        weights(resumed / "checkpoints/last.ckpt"),
        weights(unbroken / "checkpoints/last.ckpt"),
        rtol=0,
        atol=0,
    )
    assert (resumed / "checkpoints/best.ckpt").is_file()


@pytest.mark.parametrize(("interval", "epoch"), [("1.0", 2), ("0.5", 1)])
def test_the_last_checkpoint_is_that_of_the_last_epoch(criteo_file, interval, epoch):
    still = ["--model.learning_rate=1e-20"]  # no epoch is better than the first
    after = [f"--trainer.val_check_interval={interval}", "--trainer.max_epochs=3"]
    checkpoints = fit(criteo_file, *still, *after) / "checkpoints"
    best, last = (
        torch.load(checkpoints / f"{n}.ckpt", weights_only=True) for n in ("best", "last")
    )
    assert last["epoch"] == epoch  # the early stopping waits for two validations
    assert best["global_step"] < last["global_step"]


def test_resuming_keeps_the_best_checkpoint_of_before(criteo_file):
    before = fit(criteo_file, "--trainer.max_epochs=2")
    last = before / "checkpoints/last.ckpt"
    checkpoint = torch.load(last, weights_only=True)
    checkpoint["state_dict"]["bias"].fill_(-30.0)  # the worst model so far, and it stays so
    checkpoint["optimizer_states"][0]["param_groups"][0]["lr"] = 1e-9
    torch.save(checkpoint, last)
    after = fit(criteo_file, "--trainer.max_epochs=3", "--ckpt_path", last)
    assert weights(after / "checkpoints/last.ckpt")["bias"] < -29
    torch.testing.assert_close(
        weights(after / "checkpoints/best.ckpt"), weights(before / "checkpoints/best.ckpt")
    )


def test_a_fit_that_diverges_at_once_fails(criteo_file):
    message = error_of(*arguments("fit", criteo_file, "--model.learning_rate=1e30"))
    assert "the training diverged: val/logloss is NaN in epoch 1; a smaller" in message
    assert not list(Path("runs").rglob("*.ckpt"))
    assert not list(Path("runs").rglob("metrics.json"))


@pytest.mark.parametrize("interval", ["1.0", "0.5"])
def test_a_fit_that_diverges_later_keeps_the_best_of_before(criteo_file, capfd, interval):
    before = fit(criteo_file, "--trainer.max_epochs=1")
    last = before / "checkpoints/last.ckpt"
    checkpoint = torch.load(last, weights_only=True)
    checkpoint["state_dict"]["bias"].fill_(torch.nan)
    torch.save(checkpoint, last)
    more = ("--trainer.max_epochs=4", f"--trainer.val_check_interval={interval}")
    after = fit(criteo_file, *more, "--ckpt_path", last)
    assert "the training diverged: val/logloss is NaN in epoch 2;" in capfd.readouterr().err
    assert [path.name for path in (after / "checkpoints").iterdir()] == ["best.ckpt"]
    torch.testing.assert_close(
        weights(after / "checkpoints/best.ckpt"), weights(before / "checkpoints/best.ckpt")
    )
    first, second = (json.loads((run / "metrics.json").read_text()) for run in (before, after))
    assert second["epochs"] == 2
    assert second["test/logloss"] == first["test/logloss"]


def test_a_reloaded_checkpoint_predicts_as_before_saving(criteo_file):
    data = datamodules.Criteo(str(criteo_file))
    data.prepare_data()
    model = DeepFM(data.schema, embedding_dim=4, hidden_units=[8])
    trainer = pl.Trainer(max_epochs=1, accelerator="cpu", logger=False, enable_checkpointing=False)
    trainer.fit(model, data)
    trainer.save_checkpoint("x.ckpt")
    batch = next(iter(data.val_dataloader()))
    model.eval()
    loaded = DeepFM.load_from_checkpoint("x.ckpt", weights_only=True).eval()
    torch.testing.assert_close(loaded(batch), model(batch), rtol=0, atol=0)


@pytest.fixture(scope="module")
def two_processes(tmp_path_factory, criteo_file):
    """The run of a fit by two processes, in Python processes of its own, by bare names."""
    folder = tmp_path_factory.mktemp("two")
    two = ["--trainer.devices=2", "--trainer.strategy=ddp", "--trainer.max_epochs=1"]
    names = ["fit", "--model=DeepFM", "--data=Criteo", "--data.scaling=log", "--name=t"]
    given = [*names, f"--data.path={criteo_file}", *SMALL, *QUIET, *two, "--report=true"]
    line = [sys.executable, str(ROOT / "train.py"), *given]
    done = subprocess.run(line, capture_output=True, text=True, timeout=300, cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder / "runs/t/version_0"


def test_the_data_need_no_module_path(two_processes):
    config = yaml.safe_load((two_processes / "config.yaml").read_text())
    assert config["data"]["class_path"] == "datamodules.Criteo"
    assert config["model"]["class_path"] == "zoo.DeepFM"


def test_two_processes_and_one_measure_the_same(criteo_file, two_processes):
    run = two_processes
    assert [path.name for path in run.parent.iterdir()] == ["version_0"]
    measured = json.loads((run / "metrics.json").read_text())
    data = criteo(criteo_file)
    model = DeepFM.load_from_checkpoint(run / "checkpoints/best.ckpt", weights_only=True)
    trainer = pl.Trainer(accelerator="cpu", logger=False, enable_progress_bar=False)
    (alone,) = trainer.validate(model, data, verbose=False)
    assert alone["val/auc"] == pytest.approx(measured["val/auc"], abs=1e-6)
    assert alone["val/logloss"] == pytest.approx(measured["val/logloss"], abs=1e-6)


def test_one_of_two_processes_writes_the_report(two_processes):
    assert "quality on the val rows" in (two_processes / "report.html").read_text()


def test_generated_data_show_their_ceiling(tmp_path):
    rows = ["--data=datamodules.SyntheticCriteo", "--data.synthetic.rows=3000"]
    run = fit(tmp_path / "made.txt", *rows, "--data.scaling=log", "--trainer.max_epochs=1")
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["ceiling/auc"] > metrics["test/auc"]
    assert metrics["ceiling/logloss"] < metrics["test/logloss"]


# prepare and interruptions


def test_prepare_prints_the_manifest(criteo_file, capsys):
    config = ROOT / "configs/criteo/deepfm.yaml"
    command("prepare", "--config", str(config), "--data.path", str(criteo_file))
    shown = capsys.readouterr().out
    assert "train" in shown
    assert "C26" in shown
    assert "0 malformed rows" in shown


def test_an_interrupted_fit_can_be_resumed(criteo_file):
    line = [sys.executable, str(ROOT / "train.py")]
    line += arguments("fit", criteo_file, "--trainer.max_epochs=100000")
    line += ["--early_stopping.patience=null"]
    last = Path("runs/t/version_0/checkpoints/last.ckpt")
    with subprocess.Popen(
        line, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            wait_for(last.is_file)
            process.send_signal(signal.SIGINT)
            _, shown = process.communicate(timeout=60)
        finally:
            process.kill()  # it would train for hours
    assert process.returncode != 0
    assert f"--ckpt_path {last}" in shown
    epochs = torch.load(last, weights_only=True)["epoch"] + 1
    resumed = fit(criteo_file, f"--trainer.max_epochs={epochs + 1}", "--ckpt_path", last)
    assert torch.load(resumed / "checkpoints/last.ckpt", weights_only=True)["epoch"] == epochs


def wait_for(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


# mistakes


def test_a_fit_starts_at_the_click_rate(criteo_file):
    data = datamodules.Criteo(str(criteo_file))
    data.prepare_data()
    model = DeepFM(data.schema, hidden_units=[8], learning_rate=1e-12)
    trainer = pl.Trainer(max_steps=1, accelerator="cpu", logger=False, enable_checkpointing=False)
    trainer.fit(model, data)
    labels = data._arrays["train"].label
    assert model.bias.sigmoid().item() == pytest.approx(labels.mean(), abs=1e-6)
