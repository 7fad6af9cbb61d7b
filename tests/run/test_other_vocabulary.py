"""A checkpoint is never given the ids of another vocabulary, nor the best score of other rows."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from sklearn.metrics import roc_auc_score
from support.fitting import arguments, criteo, fit
from support.running import command, error_of

from zoo import DeepFM
from zoo.data.encoder import encoder_checksums
from zoo.data.errors import ZooError

pytestmark = pytest.mark.usefixtures("workplace")

ROWS = 1500
ONE_EPOCH = ["--trainer.max_epochs=1", "--model.learning_rate=0.1", "--data.batch_size=100"]


def clicks(path, hot, seed):
    """Rows whose C1 is hot (nine of ten clicked) or cold (one of ten), a share `hot` of them hot.

    The more frequent value gets the smaller id: which one that is, the share decides.
    """
    random = np.random.default_rng(seed)
    is_hot = random.random(ROWS) < hot
    label = (random.random(ROWS) < np.where(is_hot, 0.9, 0.1)).astype(int)
    values = np.where(is_hot, "hot", "cold")
    rest = "\t".join(["1"] * 13), "\t".join(["x"] * 25)
    rows = zip(label, values, strict=True)
    path.write_text("".join(f"{y}\t{rest[0]}\t{value}\t{rest[1]}\n" for y, value in rows))
    return label, is_hot


@pytest.fixture(scope="module")
def two_days(tmp_path_factory):
    """A run on one day, the next day's file, in which the other value is the frequent one, and
    that day's labels and values."""
    folder = tmp_path_factory.mktemp("days")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        clicks(folder / "monday.txt", 0.7, 0)
        run = folder / fit(folder / "monday.txt", *ONE_EPOCH)
        tuesday = folder / "tuesday.txt"
        return run, tuesday, *clicks(tuesday, 0.3, 1)


def truth(label, is_hot, split, prepared="prepared"):
    """The AUC of a model that has learned that hot is clicked, on the rows of a split."""
    (rows,) = (
        np.load(path)
        for path in Path(prepared).glob(f"*/{split}/row.npy")
        if len(np.load(path)) and "tuesday" in (path.parents[1] / "manifest.json").read_text()
    )
    return roc_auc_score(label[rows], is_hot[rows])


def printed(capsys, metric):
    return float(re.search(rf"{metric}\W+([\d.]+)", capsys.readouterr().out)[1])


@pytest.mark.parametrize(("subcommand", "split"), [("validate", "val"), ("test", "test")])
def test_another_file_gets_the_ids_of_the_run(two_days, capsys, subcommand, split):
    run, tuesday, label, is_hot = two_days
    command(*arguments(subcommand, tuesday, "--ckpt_path", run / "checkpoints/best.ckpt"))
    right = truth(label, is_hot, split)
    assert right > 0.8
    assert printed(capsys, f"{split}/auc") == pytest.approx(right, abs=1e-6)


def test_inspect_gives_another_file_the_ids_of_the_run(two_days, capsys):
    run, tuesday, label, is_hot = two_days
    given = ["--config", run / "config.yaml", f"--data.path={tuesday}", "--json", "--sample=0"]
    command("inspect", run / "checkpoints/best.ckpt", *given)
    found = json.loads(capsys.readouterr().out)["scores"]["overall"]
    assert found["auc"] == pytest.approx(truth(label, is_hot, "val"), abs=1e-6)


def test_a_fit_goes_on_with_the_rows_of_another_day(two_days, capsys):
    run, tuesday, label, is_hot = two_days
    further = ["--trainer.max_epochs=2", "--ckpt_path", run / "checkpoints/last.ckpt"]
    new = fit(tuesday, *ONE_EPOCH[1:], *further)
    said = " ".join(capsys.readouterr().err.split())
    assert "the validation rows are not those of the checkpoint" in said
    assert encoder_checksums(new / "encoder") == encoder_checksums(run / "encoder")
    found = json.loads((new / "metrics.json").read_text())
    assert found["val/auc"] == pytest.approx(truth(label, is_hot, "val"), abs=1e-6)
    best = DeepFM.load_from_checkpoint(new / "checkpoints/best.ckpt", weights_only=True)
    old = DeepFM.load_from_checkpoint(run / "checkpoints/best.ckpt", weights_only=True)
    assert not best.embedding.table.equal(old.embedding.table)


def test_an_epoch_that_was_begun_on_other_rows_is_begun_again(two_days, monkeypatch):
    """Of its five batches of Monday, two had been trained; Tuesday's have all to be."""
    run, tuesday, *_ = two_days
    monkeypatch.chdir(run.parents[2])
    batches = ["--data.batch_size=250", "--trainer.max_steps=7"]  # of 1,200 rows
    cut = fit(run.parents[2] / "monday.txt", *ONE_EPOCH[1:2], *batches, "--trainer.max_epochs=-1")
    further = ["--ckpt_path", cut / "checkpoints/last.ckpt", "--trainer.max_epochs=2"]
    for path, steps in ((run.parents[2] / "monday.txt", 10), (tuesday, 12)):
        new = fit(path, *ONE_EPOCH[1:2], "--data.batch_size=250", *further)
        content = torch.load(new / "checkpoints/last.ckpt", weights_only=True)
        trained = content["loops"]["fit_loop"]["epoch_loop.batch_progress"]["current"]["processed"]
        assert (content["global_step"], trained) == (steps, 5)


def test_the_rows_of_the_run_are_not_prepared_again(two_days, capsys, monkeypatch):
    run, *_ = two_days
    monkeypatch.chdir(run.parents[2])
    before = sorted(Path("prepared").glob("*/manifest.json"))
    command("validate", "--config", run / "config.yaml")
    assert sorted(Path("prepared").glob("*/manifest.json")) == before
    expected = json.loads((run / "metrics.json").read_text())["val/auc"]
    assert printed(capsys, "val/auc") == pytest.approx(expected, abs=1e-6)


def test_a_checkpoint_without_its_run_refuses_another_vocabulary(two_days):
    run, tuesday, *_ = two_days
    shutil.copy(run / "checkpoints/best.ckpt", "alone.ckpt")
    for subcommand in ("validate", "test", "fit"):
        message = error_of(*arguments(subcommand, tuesday, "--ckpt_path=alone.ckpt"))
        assert "trained with another encoder than that of these data" in message, subcommand
    given = ["--config", run / "config.yaml", f"--data.path={tuesday}", "--data.prepared=own"]
    message = error_of("inspect", "alone.ckpt", *given)
    assert "alone.ckpt: the model was trained with another encoder" in message


def test_a_notebook_refuses_another_vocabulary(two_days):
    run, tuesday, *_ = two_days
    checkpoint = run / "checkpoints/best.ckpt"
    model = DeepFM.load_from_checkpoint(checkpoint, weights_only=True)
    trainer = pl.Trainer(logger=False, enable_progress_bar=False, accelerator="cpu")
    with pytest.raises(ZooError, match="trained with another encoder"):
        trainer.validate(model, criteo(tuesday), ckpt_path=checkpoint, weights_only=True)
    with pytest.raises(ZooError, match="trained with another encoder"):
        trainer.validate(model, criteo(tuesday))  # whose weights have been loaded before
    trainer.validate(model, criteo(run.parents[2] / "monday.txt"), verbose=False)


def test_a_notebook_refuses_another_vocabulary_after_a_fit(two_days):
    run, tuesday, *_ = two_days
    monday = criteo(run.parents[2] / "monday.txt")
    monday.prepare_data()
    model = DeepFM(monday.schema, hidden_units=[4], embedding_dim=2)
    quiet = {"logger": False, "enable_progress_bar": False, "enable_checkpointing": False}
    trainer = pl.Trainer(**quiet, accelerator="cpu", max_steps=1, limit_val_batches=0)
    trainer.fit(model, monday)
    with pytest.raises(ZooError, match="trained with another encoder"):
        trainer.test(model, criteo(tuesday))


def test_equal_files_have_equal_encoders(two_days):
    run, *_ = two_days
    shutil.copy(run.parents[2] / "monday.txt", "copy.txt")
    data = criteo("copy.txt")
    data.prepare_data()
    data.setup("fit")
    assert data.checksums()["encoder"] == encoder_checksums(run / "encoder")["encoder"]


@pytest.mark.parametrize("file", ["vocabulary.parquet", "encoder.json"])
@pytest.mark.parametrize("with_list", [True, False], ids=["its own list", "the checkpoint"])
def test_a_flipped_bit_of_the_encoder_is_found(two_days, tmp_path, file, with_list):
    shutil.copytree(two_days[0], tmp_path / "run")
    content = bytearray((tmp_path / "run/encoder" / file).read_bytes())
    place = content.index(b"hot") if b"hot" in content else content.index(b"Criteo") + 9
    content[place] ^= 1
    (tmp_path / "run/encoder" / file).write_bytes(content)
    if not with_list:
        (tmp_path / "run/encoder/checksums.json").unlink()
    given = ["--config", tmp_path / "run/config.yaml", f"--data.predict_path={two_days[1]}"]
    message = error_of("predict", *given)
    assert ("is damaged" if with_list else "encoder") in message


@pytest.mark.parametrize("subcommand", ["validate", "test"])
def test_random_weights_are_not_scored(two_days, subcommand):
    for more in ([], ["--ckpt_path=null"], ["--ckpt_path="]):
        message = error_of(*arguments(subcommand, two_days[1], *more))
        assert f"{subcommand} needs a checkpoint: give --ckpt_path RUN/checkpoints/best" in message


def test_the_config_of_a_resumed_run_means_its_own_checkpoint(two_days, capsys, monkeypatch):
    run, *_ = two_days
    monkeypatch.chdir(run.parents[2])
    further = ["--trainer.max_epochs=2", "--ckpt_path", run / "checkpoints/last.ckpt"]
    new = fit(run.parents[2] / "monday.txt", *ONE_EPOCH[1:], *further)
    capsys.readouterr()
    command("test", "--config", new / "config.yaml")
    expected = json.loads((new / "metrics.json").read_text())["test/logloss"]
    assert printed(capsys, "test/logloss") == pytest.approx(expected, abs=1e-6)
