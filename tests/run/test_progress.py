"""What is printed while a command runs: lines in a file, a bar in a terminal."""

import csv
import re
import sys
from pathlib import Path

import pytest
from pytorch_lightning.callbacks import TQDMProgressBar
from support.fitting import arguments
from support.running import command

from zoo.run import progress as module
from zoo.run.progress import EpochBar, EpochLines, progress

pytestmark = pytest.mark.usefixtures("prepared_rows")
LINE = re.compile(
    r"epoch (\d) of 3: loss ([\d.]+), val/auc ([\d.]+), val/logloss ([\d.]+), "
    r"([\d,]+) samples/s(, best)?"
)


def fit(path, *more):
    given = arguments("fit", path, "--trainer.max_epochs=3", *more)
    command(*(word for word in given if "progress_bar" not in word))


def test_a_line_for_each_epoch(criteo_file, capsys):
    fit(criteo_file, "--model.learning_rate=0.5", "--early_stopping.patience=null")
    out = capsys.readouterr().out
    lines = [LINE.fullmatch(line) for line in out.splitlines() if line.startswith("epoch")]
    assert [line[1] for line in lines] == ["1", "2", "3"]
    with open("runs/t/version_0/metrics.csv") as file:
        logged = [row for row in csv.DictReader(file) if row["val/logloss"]][:3]
    for line, row in zip(lines, logged, strict=True):
        assert float(line[3]) == pytest.approx(float(row["val/auc"]), abs=1e-5)
        assert float(line[4]) == pytest.approx(float(row["val/logloss"]), abs=1e-5)
    losses = [float(row["val/logloss"]) for row in logged]
    best = [loss == min(losses[: i + 1]) for i, loss in enumerate(losses)]
    assert [bool(line[6]) for line in lines] == best
    assert "\x1b" not in out
    assert "v_num" not in out


def test_lines_within_a_long_epoch(criteo_file, capsys, monkeypatch):
    monkeypatch.setattr(module, "SECONDS", -1.0)
    fit(criteo_file, "--trainer.limit_train_batches=2", "--trainer.num_sanity_val_steps=0")
    lines = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"epoch 1 of 3, batch 1 of 2, loss [\d.]+", lines[0])
    assert re.fullmatch(r"epoch 1 of 3, batch 2 of 2, loss [\d.]+", lines[1])
    assert re.fullmatch(r"validation, batch 1 of 2, loss [\d.]+", lines[2])


@pytest.mark.parametrize("batches", [1, 3])
def test_the_loss_is_the_mean_of_the_batches(criteo_file, capsys, batches):
    still = ["--model.learning_rate=1e-20", "--model.optimizer=sgd", "--trainer.max_epochs=1"]
    fit(criteo_file, *still, f"--trainer.accumulate_grad_batches={batches}")
    line = re.search(r"epoch 1 of 1: loss ([\d.]+)", capsys.readouterr().out)
    with open("runs/t/version_0/metrics.csv") as file:
        (logged,) = [row["train/logloss"] for row in csv.DictReader(file) if row["train/logloss"]]
    # of a model that does not change, but for the last batch, which is smaller
    assert float(line[1]) == pytest.approx(float(logged), abs=2e-3)


def test_a_line_of_an_epoch_that_was_resumed_in_its_midst(criteo_file, capsys, tmp_path):
    kept = ["every_n_train_steps=2", "filename=midst", f"dirpath={tmp_path}/steps"]
    steps = ["--trainer.callbacks=ModelCheckpoint", *(f"--trainer.callbacks.{x}" for x in kept)]
    fit(criteo_file, "--data.batch_size=2000", "--trainer.max_steps=2", *steps)
    capsys.readouterr()
    fit(criteo_file, "--data.batch_size=2000", f"--ckpt_path={tmp_path}/steps/midst.ckpt")
    lines = [x for x in capsys.readouterr().out.splitlines() if x.startswith("epoch")]
    assert [LINE.match(line)[1] for line in lines] == ["1", "2", "3"]


def test_lines_go_on_after_a_learning_rate_was_found(criteo_file, capsys):
    tried = "--trainer.callbacks.num_training_steps=20"
    fit(criteo_file, "--trainer.callbacks=LearningRateFinder", tried)
    lines = [x for x in capsys.readouterr().out.splitlines() if x.startswith("epoch")]
    assert [LINE.match(line)[1] for line in lines] == ["1", "2", "3"]


def test_nothing_where_it_is_not_wanted(criteo_file, capsys):
    command(*arguments("fit", criteo_file, "--trainer.max_epochs=1"))
    assert "epoch 1" not in capsys.readouterr().out
    assert Path("runs/t/version_0/metrics.json").is_file()


def test_a_bar_in_a_terminal_and_that_of_the_user(monkeypatch):
    assert [type(shown) for shown in progress([])] == [EpochLines]
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert [type(shown) for shown in progress([])] == [EpochBar]
    assert progress([TQDMProgressBar()]) == []


COLOUR = re.compile(r"\x1b\[[\d;]*\b(3[0-8]|4[0-8]|9[0-7]|10[0-7])\b[\d;]*m")


@pytest.mark.parametrize("is_set", [False, True])
def test_no_colour_where_none_is_wanted(criteo_file, capsys, monkeypatch, is_set):
    """https://no-color.org: whatever its value; bold and dim are no colours."""
    monkeypatch.setenv("FORCE_COLOR", "1")  # of what is no terminal
    monkeypatch.setenv("TERM", "xterm-256color")
    if is_set:
        monkeypatch.setenv("NO_COLOR", "1")
    fit(criteo_file, "--trainer.callbacks=pytorch_lightning.callbacks.RichProgressBar")
    out = capsys.readouterr().out
    assert "\x1b[" in out
    assert bool(COLOUR.search(out)) is not is_set
