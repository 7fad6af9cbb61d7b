"""`train.py explain`: what fields and interactions add to single predictions."""

import contextlib
import json
import shutil
from pathlib import Path
from unittest import mock

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from support.running import QUIET, ROOT, command, error_of

import zoo
from zoo.data.batch import take
from zoo.glider.explained import Explainer


@pytest.fixture(scope="module")
def trained(criteo_file, tmp_path_factory):
    """The run directory of a short fit, read-only."""
    config = ROOT / "configs/criteo/deepfm.yaml"
    small = ["--model.hidden_units=[16]", "--model.embedding_dim=4", "--trainer.accelerator=cpu"]
    given = ["--data.path", criteo_file, "--data.min_count=3", "--name=t", "--trainer.max_epochs=1"]
    with contextlib.chdir(tmp_path_factory.mktemp("trained")):
        command("fit", "--config", config, *given, *small, *QUIET)
        return Path("runs/t/version_0").absolute()


@pytest.fixture
def few(trained, criteo_file, tmp_path, monkeypatch):
    """A raw file of seven rows, in the folder where the commands run."""
    monkeypatch.chdir(tmp_path)
    lines = criteo_file.read_text().splitlines(keepends=True)[:7]
    Path("few.txt").write_text("".join(lines))
    return "few.txt"


def line(run, *more):
    prepared = f"--data.prepared={run.parents[2] / 'prepared'}"
    return ["explain", "--config", run / "config.yaml", prepared, *more]


def total(row):
    """The sum of the contributions of a row of a JSON file, and what they leave open."""
    parts = [*row["fields"], *row["interactions"], row["intercept"]]
    return sum(part["contribution"] for part in parts) + row["rest"]


def changed(run, change):
    """A copy of a run, whose weights are changed."""
    copy = Path(shutil.copytree(run, "a/b/changed")).absolute()
    Path("prepared").symlink_to(run.parents[2] / "prepared")
    file = copy / "checkpoints/best.ckpt"
    content = torch.load(file, weights_only=True)
    change(content["state_dict"])
    torch.save(content, file)
    return copy


def test_a_row_of_the_validation_split(trained, few, capsys):
    command(*line(trained, "--row=3", "--output=new/row.json"))
    out = capsys.readouterr().out
    assert "DeepFM: row 3 of the validation split" in out
    assert "(intercept)" in out
    (row,) = json.loads(Path("new/row.json").read_text())["rows"]
    data = zoo.load(trained).data
    data.setup("validate")
    batch = next(iter(data.val_dataloader()))
    assert row["label"] == batch.label[3]
    with torch.no_grad():
        logit = zoo.load(trained).model(take(batch, slice(3, 4))).item()
    assert row["logit"] == pytest.approx(logit, abs=1e-5)
    assert total(row) == pytest.approx(logit, abs=1e-5)
    assert row["probability"] == pytest.approx(1 / (1 + np.exp(-logit)), abs=1e-5)
    assert f"probability {row['probability']:.4f}" in out
    assert {field["field"] for field in row["fields"]} == {
        *(f"I{i}" for i in range(1, 14)),
        *(f"C{i}" for i in range(1, 27)),
    }


def test_the_rows_of_a_raw_file(trained, few, capsys):
    command(*line(trained, f"--rows={few}", "--output=rows.json"))
    out = capsys.readouterr().out
    assert "7 predictions of few.txt" in out
    assert "mean |contribution|" in out
    command("predict", *line(trained, f"--data.predict_path={few}", *QUIET)[1:])
    wanted = pq.read_table(trained / "predictions/few.parquet")["probability"].to_numpy()
    rows = json.loads(Path("rows.json").read_text())["rows"]
    assert [row["row"] for row in rows] == [*range(7)]
    assert [row["probability"] for row in rows] == pytest.approx(wanted, abs=1e-6)
    # the words are those of the file
    cells = Path(few).read_text().splitlines()[0].split("\t")
    values = {field["field"]: field["on"] for field in rows[0]["fields"]}
    for i, cell in enumerate(cells[14:], 1):
        assert values[f"C{i}"] in (cell or "(missing)", "(unknown)")


def test_parquet_holds_what_python_gives(trained, few):
    command(*line(trained, f"--rows={few}", "--output=rows.parquet", "--seed=5"))
    mine = pq.read_table("rows.parquet").to_pandas()
    frame = zoo_frame(few)
    theirs = zoo.load(trained).explain(frame, seed=5)
    assert [*mine.columns] == ["row", "fields", "contribution", "error", "share", "probability"]
    assert mine.row.tolist() == theirs.index.tolist()
    assert mine.fields.tolist() == theirs.fields.tolist()
    for name in ("contribution", "error", "share"):
        np.testing.assert_allclose(mine[name], theirs[name], rtol=1e-4, atol=1e-5)
    by_row = mine.groupby("row")
    logits = by_row.contribution.sum().to_numpy()
    np.testing.assert_allclose(1 / (1 + np.exp(-logits)), by_row.probability.first(), atol=1e-9)


def zoo_frame(file):
    """The rows of a raw file of Criteo, as a DataFrame."""
    import pandas as pd

    names = ["label", *(f"I{i}" for i in range(1, 14)), *(f"C{i}" for i in range(1, 27))]
    return pd.read_csv(file, sep="\t", names=names, dtype=str)


def test_a_page_opens_offline(trained, few, capsys):
    command(*line(trained, f"--rows={few}", "--row=4", "--output=row.html"))
    assert "row 4 of few.txt" in capsys.readouterr().out
    page = Path("row.html").read_text()
    assert page.count("newPlot(") >= 1
    assert "<title>DeepFM: row 4 of few.txt</title>" in page
    assert 'src="http' not in page


def test_the_same_seed_gives_the_same_file(trained, few):
    for name in ("one", "two"):
        command(*line(trained, "--row=0", f"--output={name}.json"))
    assert Path("one.json").read_bytes() == Path("two.json").read_bytes()


MISTAKES = {
    (): "explain needs rows: give --row N, the N-th row of the validation split from 0, or --rows",
    ("--row=-1",): "row must be at least 0, got -1",
    ("--row=9999999",): "row: there is no row 9999999 in the validation split: it has ",
    ("--row=9999999", "--split=test"): "there is no row 9999999 in the test split",
    ("--rows=few.txt", "--row=7"): "there is no row 7 in few.txt: it has 7, numbered from 0",
    ("--rows=few.txt", "--split=test"): "split is of the data, and --rows another file: give one",
    ("--rows=none.txt",): "no such file: none.txt",
    ("--row=0", "--output=row.txt"): "output: row.txt must name a file that ends in .json, .parq",
    ("--row=0", "--output=."): "output: . must name a file that ends in",
    ("--row=0", "--output=folder.json"): "output: folder.json must name a file that ends in",
    ("--row=0", "--masks=40"): "masks: 40 are too few for 39 fields: take 50 at least",
    ("--row=0", "--max_order=1"): "max_order must be at least 2, got 1",
    ("--row=0", "--position=0"): "position must be at least 1, got 0",
    ("--row=0", "--rwos=1"): "unknown option rwos; did you mean row",
}


@pytest.mark.parametrize("options", MISTAKES, ids=" ".join)
def test_a_mistake_is_one_sentence(options, trained, few):
    Path("folder.json").mkdir()
    before = {*Path().rglob("*")}
    assert MISTAKES[options] in error_of(*line(trained, *options))
    assert {*Path().rglob("*")} == before


def test_a_malformed_row_of_a_file(trained, few, capsys):
    lines = Path(few).read_text().splitlines()
    lines[2] = "1\tx"
    Path(few).write_text("\n".join(lines))
    options = ["--data.max_bad_rows=0.5"]
    message = error_of(*line(trained, f"--rows={few}", "--row=2", *options))
    assert message.endswith("row 2 of few.txt is malformed and cannot be explained")
    command(*line(trained, f"--rows={few}", *options))
    assert "6 predictions of few.txt" in capsys.readouterr().out


def test_weights_that_are_nan(trained, few):
    run = changed(trained, lambda weights: weights["bias"].fill_(torch.nan))
    message = error_of(*line(run, "--row=0", "--output=row.json"))
    assert "row 0 of the validation split: the model gives NaN or infinite scores" in message
    message = error_of(*line(run, f"--rows={few}", "--output=row.json"))
    assert "NaN or infinite scores around each of the 7 rows of few.txt" in message
    assert not [path for path in Path().iterdir() if path.name.startswith((".row", "row"))]


@pytest.mark.parametrize("suffix", ["json", "parquet", "html"])
def test_an_interrupted_explanation_leaves_the_file_of_before(suffix, trained, few):
    Path(f"row.{suffix}").write_text("before")
    original, asked = Explainer.explain, []

    def once(self, instance):
        if asked:
            raise KeyboardInterrupt
        asked.append(instance)
        return original(self, instance)

    stopped = mock.patch.object(Explainer, "explain", once)
    with stopped, pytest.raises(SystemExit) as ended:
        command(*line(trained, f"--rows={few}", f"--output=row.{suffix}"))
    assert ended.value.code == 130
    assert Path(f"row.{suffix}").read_text() == "before"
    assert not [path for path in Path().iterdir() if path.name.endswith(".partial")]


def test_a_page_of_too_many_rows(trained, few, monkeypatch):
    monkeypatch.setattr("zoo.run.explanation_file.MOST_ON_A_PAGE", 2)
    message = error_of(*line(trained, f"--rows={few}", "--output=rows.html"))
    assert "a page shows 2 predictions at most: give --row N" in message
    assert not Path("rows.html").exists()
