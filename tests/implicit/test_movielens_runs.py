"""MovieLens on the command line: fits, predictions, `prepare`."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import pytorch_lightning as pl
import torch
import yaml
from support.ratings import USERS, opened
from support.running import QUIET, ROOT, command, error_of

from datamodules import MovieLens
from zoo import DeepFM


def fit_arguments(path, *more):
    config = ROOT / "configs/movielens/deepfm.yaml"
    small = ["--model.hidden_units=[16]", "--model.learning_rate=0.01", "--trainer.accelerator=cpu"]
    return ["fit", "--config", config, "--data.path", path, *small, *QUIET, "--name=t", *more]


def test_a_fit_ranks_far_better_than_chance_and_predicts(
    tmp_path, monkeypatch, planted_ratings, capsys
):
    monkeypatch.chdir(tmp_path)
    made = tmp_path / "made.zip"
    synthetic = ["--data.synthetic.users=300", "--data.synthetic.items=220"]
    synthetic = ["--data=datamodules.SyntheticMovieLens", *synthetic]
    command(*fit_arguments(made, "--trainer.max_epochs=4", *synthetic))
    assert made.read_bytes() == planted_ratings.read_bytes()
    run = Path("runs/t/version_0")
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["test/hr@10"] > 0.25
    assert metrics["val/ndcg@10"] > 0.1
    # best.ckpt is that of the highest val/ndcg@10
    epochs = np.genfromtxt(run / "metrics.csv", delimiter=",", names=True, deletechars="")
    assert metrics["val/ndcg@10"] == pytest.approx(np.nanmax(epochs["val/ndcg@10"][:-1]))
    # the saved config serves the other commands, once the raw file is gone
    checkpoint = ["--config", run / "config.yaml", "--ckpt_path", run / "checkpoints/best.ckpt"]
    command("validate", *checkpoint)
    assert yaml.safe_load((run / "config.yaml").read_text())["monitor"] == "val/ndcg@10"
    made.unlink()
    shutil.rmtree("prepared")
    Path("pairs.csv").write_text("user,movie\n1,3\n1\t4\n99999,3\noops\n1,99999\n")
    command("predict", *checkpoint, "--data.predict_path=pairs.csv", "--data.max_bad_rows=0.5")
    scored = pq.read_table(run / "predictions/pairs.parquet").to_pandas()
    carried = [*checkpoint, "--data.predict_path=pairs.csv", "--data.max_bad_rows=0.5"]
    command("predict", *carried, "--data.predict_columns=movie")
    named = pq.read_table(run / "predictions/pairs.parquet").to_pandas()
    assert named.movie[[0, 1, 2, 4]].tolist() == ["3", "4", "3", "99999"]
    assert named.drop(columns="movie").equals(scored)
    assert scored.row.tolist() == [0, 1, 2, 3, 4]
    assert scored.probability.isna().tolist() == [False, False, False, True, False]
    capsys.readouterr()
    message = error_of("predict", *checkpoint, "--data.predict_path=pairs.csv")
    assert "1 of 5 rows are malformed" in message
    assert "the first is line 5 of pairs.csv: it is not user,movie" in message
    assert "give --data.predict_path FILE" in error_of("predict", *checkpoint)


def test_predictions_are_those_of_the_lists(movielens, planted_ratings, tmp_path):
    data = movielens(planted_ratings)
    _, splits = opened(data)
    pairs = tmp_path / "pairs.csv"
    user, item = (column[:50] for column in splits["test"])
    pairs.write_text("".join(f"{u},{i}\n" for u, i in zip(user, item, strict=True)))
    data.save_encoder(tmp_path / "encoder")
    new = MovieLens("gone.zip", encoder=str(tmp_path / "encoder"), predict_path=str(pairs))
    new.setup("predict")
    (found,) = new.predict_dataloader()
    expected = next(iter(data.test_dataloader()))
    assert new.schema == data.schema
    assert torch.equal(found.categorical, expected.categorical[:50])
    assert torch.equal(found.numerical, expected.numerical[:50])
    assert found.row.tolist() == list(range(50))


def test_prepare_reports_what_was_left_out(tmp_path, monkeypatch, movielens, capsys):
    monkeypatch.chdir(tmp_path)
    data = movielens(users=USERS[1:])
    config = ROOT / "configs/movielens/deepfm.yaml"
    command("prepare", "--config", config, "--data.path", data.path, "--data.eval_negatives=1")
    shown = " ".join(capsys.readouterr().out.split())
    assert "2: its user has fewer than 3 interactions" in shown
    assert "1 users of the ratings are missing from the table of users" in shown


def test_an_unknown_metric_to_monitor_is_named(tmp_path, monkeypatch, planted_ratings):
    monkeypatch.chdir(tmp_path)
    message = error_of(*fit_arguments(planted_ratings, "--monitor=val/hr@5"))
    assert message.startswith("error: monitor: this fit logs no val/hr@5; choose one of ")
    assert "val/hr@10" in message


@pytest.mark.slow
def test_two_processes_and_one_measure_the_same(tmp_path, planted_ratings):
    options = ["--trainer.devices=2", "--trainer.strategy=ddp", "--trainer.max_epochs=1"]
    line = [sys.executable, ROOT / "train.py", *fit_arguments(planted_ratings, *options)]
    done = subprocess.run(line, capture_output=True, text=True, timeout=300, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    run = tmp_path / "runs/t/version_0"
    measured = json.loads((run / "metrics.json").read_text())
    data = MovieLens(str(planted_ratings), prepared=str(tmp_path / "prepared"))
    model = DeepFM.load_from_checkpoint(run / "checkpoints/best.ckpt", weights_only=True)
    trainer = pl.Trainer(accelerator="cpu", logger=False, enable_progress_bar=False)
    (alone,) = trainer.test(model, data, verbose=False)
    for name in ("test/hr@10", "test/ndcg@10", "test/auc"):
        assert alone[name] == pytest.approx(measured[name], abs=1e-6)
