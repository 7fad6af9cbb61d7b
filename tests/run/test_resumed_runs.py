"""Fits on the command line that go on from a checkpoint, or end before an epoch does."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from support.fitting import arguments, fit
from support.running import error_of

pytestmark = pytest.mark.usefixtures("prepared_rows")
LARGE = "--data.batch_size=2000"  # eight batches an epoch
ONE, TWO = "--trainer.max_epochs=1", "--trainer.max_epochs=2"


def content(path):
    return torch.load(path, weights_only=True)


def same_weights(one, other):
    found, expected = (content(path)["state_dict"] for path in (one, other))
    torch.testing.assert_close(found, expected, rtol=0, atol=0)


def measured(run):
    return json.loads((run / "metrics.json").read_text())


def by_steps(folder):
    """Keeps a checkpoint after every third step too."""
    kept = ["every_n_train_steps=3", "save_top_k=-1", "filename={step}", f"dirpath={folder}"]
    return ["--trainer.callbacks=ModelCheckpoint", *(f"--trainer.callbacks.{x}" for x in kept)]


@pytest.fixture
def finished(criteo_file):
    """A run of one epoch, in the current folder."""
    return fit(criteo_file, ONE, LARGE)


def test_a_fit_goes_on_in_the_midst_of_an_epoch(criteo_file, tmp_path):
    whole = fit(criteo_file, TWO, LARGE, *by_steps(tmp_path / "steps"))
    speed = measured(whole)
    rows = speed["samples_per_second"] * speed["seconds"]
    for step in (3, 12):
        before = tmp_path / f"steps/step={step}.ckpt"
        resumed = fit(criteo_file, TWO, LARGE, "--ckpt_path", before)
        same_weights(resumed / "checkpoints/last.ckpt", whole / "checkpoints/last.ckpt")
        same_weights(resumed / "checkpoints/best.ckpt", whole / "checkpoints/best.ckpt")
        speed = measured(resumed)
        trained = speed["samples_per_second"] * speed["seconds"]
        assert trained == pytest.approx(rows * (16 - step) / 16, rel=0.05)


@pytest.mark.parametrize("more", [[], ["--trainer.check_val_every_n_epoch=2"]])
def test_a_fit_of_some_steps_is_measured_after_the_last(criteo_file, more):
    run = fit(criteo_file, "--trainer.max_steps=3", LARGE, *more)
    for name in ("best", "last"):
        checkpoint = content(run / f"checkpoints/{name}.ckpt")
        assert checkpoint["global_step"] == 3
        assert checkpoint["metrics"]["val/auc"] == measured(run)["val/auc"]


def test_the_rest_of_an_epoch_that_was_cut_follows(criteo_file):
    whole = fit(criteo_file, TWO, LARGE)
    cut = fit(criteo_file, "--trainer.max_steps=11", LARGE)
    resumed = fit(criteo_file, TWO, LARGE, "--ckpt_path", cut / "checkpoints/last.ckpt")
    same_weights(resumed / "checkpoints/last.ckpt", whole / "checkpoints/last.ckpt")


def test_batches_after_the_last_validation_are_validated(criteo_file):
    run = fit(criteo_file, ONE, LARGE, "--trainer.val_check_interval=5")
    assert content(run / "checkpoints/last.ckpt")["global_step"] == 8
    run = fit(criteo_file, "--trainer.max_epochs=3", LARGE, "--trainer.check_val_every_n_epoch=2")
    assert content(run / "checkpoints/last.ckpt")["epoch"] == 2


def test_a_finished_fit_that_is_resumed_leaves_a_whole_run(criteo_file, finished, capsys):
    last = finished / "checkpoints/last.ckpt"
    again = fit(criteo_file, ONE, LARGE, "--ckpt_path", last)
    assert "nothing is left to train" in capsys.readouterr().err
    for name in ("best", "last"):
        same_weights(again / f"checkpoints/{name}.ckpt", finished / f"checkpoints/{name}.ckpt")
    found, expected = measured(again), measured(finished)
    assert found["samples_per_second"] is None
    for name in ("val/auc", "val/logloss", "test/auc", "test/logloss", "epochs"):
        assert found[name] == expected[name]


def test_a_run_that_was_moved_goes_on_with_its_best(criteo_file, finished):
    moved = Path("elsewhere")
    finished.rename(moved)
    fit(criteo_file, ONE, LARGE, "--model.embedding_dim=2")  # takes the place of the run
    still = ["--model.learning_rate=1e-20", TWO, LARGE]
    last = moved / "checkpoints/last.ckpt"
    checkpoint = content(last)
    checkpoint["state_dict"]["bias"].fill_(-30.0)  # no later epoch is better
    checkpoint["optimizer_states"][0]["param_groups"][0]["lr"] = 1e-20
    torch.save(checkpoint, last)
    resumed = fit(criteo_file, *still, "--ckpt_path", last)
    same_weights(resumed / "checkpoints/best.ckpt", moved / "checkpoints/best.ckpt")


@pytest.mark.parametrize("epochs", [ONE, TWO])
def test_a_last_checkpoint_alone_goes_on(criteo_file, finished, epochs, capsys):
    last = Path("last.ckpt")
    shutil.move(finished / "checkpoints/last.ckpt", last)
    shutil.rmtree(finished / "checkpoints")
    resumed = fit(criteo_file, epochs, LARGE, "--ckpt_path", last)
    assert "the best checkpoint of before is missing" in capsys.readouterr().err
    best = content(resumed / "checkpoints/best.ckpt")
    assert best["metrics"]["val/auc"] == measured(resumed)["val/auc"]
    if epochs == ONE:
        same_weights(resumed / "checkpoints/last.ckpt", last)
        same_weights(resumed / "checkpoints/best.ckpt", last)


@pytest.mark.parametrize(
    ("limits", "missing"),
    [
        (["--trainer.limit_test_batches=0"], "test/"),
        (["--trainer.limit_val_batches=0", "--monitor=train/logloss"], "val/"),
    ],
)
def test_a_split_of_no_batches_is_not_measured(criteo_file, limits, missing):
    names = measured(fit(criteo_file, ONE, LARGE, *limits))
    assert {name.partition("/")[0] for name in names if "/" in name} == {
        "val",
        "test",
    } - {missing[:-1]}


def test_a_fit_of_no_epoch_is_an_error(criteo_file):
    message = error_of(*arguments("fit", criteo_file, "--trainer.max_epochs=0"))
    assert "the fit ended before a checkpoint was saved: trainer.max_epochs (or" in message


@pytest.mark.parametrize("subcommand", ["validate", "test", "predict"])
def test_a_command_that_would_look_at_no_batch_is_an_error(criteo_file, finished, subcommand):
    best = finished / "checkpoints/best.ckpt"
    limit = f"trainer.limit_{'val' if subcommand == 'validate' else subcommand}_batches"
    message = error_of(*arguments(subcommand, criteo_file, "--ckpt_path", best, f"--{limit}=0"))
    assert message == f"error: {limit} is 0: {subcommand} needs at least 1"
