"""The metrics that decide over a fit: which there are is known before it has trained."""

import sys

import pytest
import torch
from support.fitting import arguments, fit
from support.own_data import RowsInMemory
from support.running import QUIET, SMALL, command, error_of

from zoo import DeepFM

LONG = ["--trainer.max_epochs=100000", "--early_stopping.patience=null"]
OWN = ["--data=support.own_data.RowsInMemory", *SMALL, *QUIET, "--name=own"]


class RowsOfOneClass(RowsInMemory):
    """Whose validation rows are all negative."""

    def val_dataloader(self):
        return Negative(self._loader())


class Negative:
    def __init__(self, batches):
        self.batches = batches

    def __iter__(self):
        return (batch._replace(label=torch.zeros(20)) for batch in self.batches)


class Chatty(DeepFM):
    """Logs what no shipped model does, and some of it not in the sanity check."""

    def on_train_epoch_end(self):
        super().on_train_epoch_end()
        self.log("train/norm", self.bias.norm())

    def on_validation_epoch_end(self):
        super().on_validation_epoch_end()
        if not self.trainer.sanity_checking:
            self.log("val/norm", self.bias.norm())


@pytest.fixture
def own(workplace, monkeypatch):
    monkeypatch.setitem(sys.modules, "chatty", sys.modules[__name__])
    return ["fit", "--model=chatty.Chatty", *OWN]


@pytest.mark.usefixtures("prepared_rows")
@pytest.mark.parametrize(
    ("given", "option"),
    [
        (["--monitor=val/aucc"], "monitor"),
        (["--monitor=train/loglos"], "monitor"),
        (["--monitor=val/hr@10"], "monitor"),  # these are no lists
        (["--monitor=train/auc", "--model.train_metrics=false"], "monitor"),
        (["--early_stopping.monitor=val/aucc", "--early_stopping.patience=1"], "early_stopping."),
        (
            ["--trainer.callbacks=EarlyStopping", "--trainer.callbacks.monitor=val/aucc"],
            "trainer.callbacks: monitor of EarlyStopping",
        ),
        (
            ["--trainer.callbacks=ModelCheckpoint", "--trainer.callbacks.monitor=val/aucc"],
            "trainer.callbacks: monitor of ModelCheckpoint",
        ),
        (
            [
                "--model.plateau_decay=0.1",
                "--trainer.limit_val_batches=0",
                "--monitor=train/auc",
            ],
            "the schedule of the learning rate",
        ),
        (["--monitor=val/aucc", "--trainer.num_sanity_val_steps=0"], "monitor"),
    ],
)
def test_a_metric_that_is_not_logged_is_reported_before_training(criteo_file, given, option):
    message = error_of(*arguments("fit", criteo_file, *LONG, *given))
    assert message.startswith(f"error: {option}")
    assert "this fit logs no" in message
    assert "choose one of train/" in message or "choose one of val/" in message


@pytest.mark.usefixtures("prepared_rows")
@pytest.mark.parametrize("interval", ["1.0", "0.5"])
def test_metrics_of_the_training_rows_can_decide(criteo_file, interval):
    watched = ["--monitor=train/logloss", "--early_stopping.patience=1", "--data.batch_size=4000"]
    run = fit(
        criteo_file, *watched, "--trainer.max_epochs=2", f"--trainer.val_check_interval={interval}"
    )
    best = torch.load(run / "checkpoints/best.ckpt", weights_only=True)
    assert best["epoch"] == 1  # training rows are learned ever better
    assert best["global_step"] == 8


def test_what_another_model_logs_can_decide(own):
    for metric in ("val/norm", "train/norm"):
        command(*own, f"--monitor={metric}", "--trainer.max_epochs=2")


def test_what_another_model_does_not_log_is_reported(own):
    message = error_of(*own, *LONG, "--monitor=val/aucc")
    assert message.startswith("error: monitor: this fit logs no val/aucc; choose one of train/auc,")
    for metric in ("val/other", "train/other"):
        message = error_of(*own, *LONG, f"--monitor={metric}")
        assert message.startswith(f"error: monitor: this fit logs no {metric}; choose one of")
        assert "val/norm" in message


def test_a_metric_that_is_no_number_chooses_nothing(workplace):
    data = f"--data={__name__}.RowsOfOneClass"
    line = ["fit", "--model=WideDeep", *OWN, data, *LONG, "--monitor=val/auc"]
    assert error_of(*line) == (
        "error: val/auc is NaN in epoch 1, so that no checkpoint is best (an AUC needs rows of "
        "both classes): choose another --monitor"
    )


def test_averages_that_no_checkpoint_holds_are_named(own, capsys):
    averages = "StochasticWeightAveraging"
    rates = [
        f"--trainer.callbacks.{name}"
        for name in ("swa_lrs=0.01", "swa_epoch_start=1", "device=cpu")
    ]
    command(*own, f"--trainer.callbacks={averages}", *rates, "--trainer.max_epochs=2")
    assert f"{averages} gives the model its averages when the fit" in capsys.readouterr().err
