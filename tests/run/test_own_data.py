"""Data of one's own: what is not as the contract says is reported in a sentence."""

from pathlib import Path

import pytest
from support.own_data import RowsInMemory, RowsToMeasureWithoutLabels
from support.running import QUIET, SMALL, command, error_of

RUN = Path("runs/own/version_0")
FIT = ["--model=WideDeep", *SMALL, *QUIET, "--trainer.max_epochs=1", "--name=own"]


def given(data):
    return [f"--data=support.own_data.{data}", *FIT]


def scored():
    return ["--config", RUN / "config.yaml", "--ckpt_path", RUN / "checkpoints/best.ckpt", *QUIET]


@pytest.fixture
def fitted(workplace):
    """The current folder, with the run of a fit on rows in memory."""
    command("fit", *given("RowsInMemory"))


def test_a_datamodule_needs_no_arguments(fitted, capsys):
    command("predict", *scored())
    assert "40 rows scored" in capsys.readouterr().out
    checkpoint = RUN / "checkpoints/best.ckpt"
    command("inspect", checkpoint, "--config", RUN / "config.yaml", "--split=predict", "--sample=9")
    assert "quality on the predict rows" in capsys.readouterr().out


def test_inspect_takes_the_bare_name_that_fit_takes(fitted, capsys):
    command("inspect", RUN / "checkpoints/best.ckpt", "--data=RowsInMemory", "--sample=0")
    assert "quality on the val rows" in capsys.readouterr().out
    message = error_of("inspect", RUN / "checkpoints/best.ckpt", "--data=RowsTooWid")
    assert message == "error: data: no class and no file RowsTooWid; did you mean RowsTooWide?"


def test_predictions_in_another_order_are_refused(fitted):
    message = error_of("predict", *scored(), "--data=support.own_data.RowsBackwards")
    assert "the batches to predict are not in the order of the file" in message


@pytest.mark.usefixtures("workplace")
@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("RowsTooWide", "batch.numerical has 2 columns, but the schema has 1"),
        ("RowsOfLargeIds", "batch.categorical holds the id 4 of the field c: its cardinality in"),
        ("RowsWithoutLabels", "2 of the 20 rows of a batch of train_dataloader have no lab"),
        ("RowsToMeasureWithoutLabels", "2 of the 20 rows of a batch of val_dataloader have no lab"),
        ("RowsInAList", "RowsInAList.train_dataloader gives a list: give an iterable of batches"),
        ("RowsToMeasureInAList", "RowsToMeasureInAList.val_dataloader gives a list: give an it"),
        ("RowsAsPairs", "a dataloader gives a list: batches must be zoo.Batch, or zoo.SessionB"),
    ],
)
def test_batches_are_compared_with_the_schema(data, message):
    assert message in error_of("fit", *given(data))


def test_rows_without_a_label_are_not_counted():
    assert vars(RowsInMemory().size("val")) == {"rows": 40, "positives": 20}
    assert vars(RowsToMeasureWithoutLabels().size("val")) == {"rows": 38, "positives": 19}
