"""Training and scoring DataFrames from Python: the command line's numbers, and no files."""

import inspect
import json
import os
import random
import re
import shutil
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch
from support import tables
from support.running import QUIET, ROOT, command

import zoo
from datamodules.tabular.declared import TableField
from datamodules.tabular.label import Label
from zoo import ZooError

LABEL = {"column": "rating", "positive": ">= 4"}
MODEL = {"class_path": "DeepFM", "embedding_dim": 4, "hidden_units": [8]}
TRAINER = {
    "max_epochs": 1,
    "accelerator": "cpu",
    "enable_progress_bar": False,
    "enable_model_summary": False,
}
FIELDS = [{"name": "item", "kind": "categorical"}, {"name": "price", "kind": "numerical"}]


def table(rows=tables.ROWS):
    """Of which the label is one column."""
    return tables.table(rows).drop(columns="click")


def fit(rows, label=LABEL, model=MODEL, **options):
    return zoo.fit(rows, label, model, **{"trainer": TRAINER, **options})


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    """A run that was trained on a DataFrame, whose path is relative."""
    folder = tmp_path_factory.mktemp("python")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        found = {"format": 1, "interactions": [{"fields": ["price", "item"]}]}
        Path("found.json").write_text(json.dumps(found))
        return fit(table(), data={"crosses": "found.json", "cross_min_share": 0.001})


@pytest.fixture
def home(fitted, monkeypatch):
    """The folder in which that was, as the current one."""
    monkeypatch.chdir(fitted.path.parents[2])
    return Path.cwd()


# fit


def test_a_fit_from_python_is_that_of_the_command_line(workplace):
    before = random.getstate(), torch.get_rng_state()
    found = fit(table(), seed=3)
    assert random.getstate() == before[0]
    assert torch.get_rng_state().equal(before[1])
    table().to_parquet("rows.parquet", index=False)
    command("describe", "rows.parquet", "--label=rating", "--output=table.yaml")
    given = ["--model.embedding_dim=4", "--model.hidden_units=[8]", "--seed_everything=3"]
    given += ["--name=again", "--trainer.max_epochs=1", "--trainer.accelerator=cpu", *QUIET]
    command("fit", "--config=table.yaml", f"--data.label={json.dumps(LABEL)}", *given)
    again = zoo.load("runs/again/version_0")
    for mine, theirs in zip(found.model.parameters(), again.model.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=0)
    for metrics in (first := dict(found.metrics), second := dict(again.metrics)):
        for speed in ("seconds", "samples_per_second"):
            metrics.pop(speed)
    assert first == second
    assert first["test/auc"] is not None


def test_a_run_of_a_frame_is_as_any_other(fitted, home, capsys):
    run = Path("runs/table/version_0")
    assert fitted.path == run.resolve()
    command("test", "--config", run / "config.yaml", *QUIET)
    assert f"{fitted.metrics['test/auc']:.10f}"[:10] in capsys.readouterr().out
    assert len([*Path("prepared").glob("frame-*.parquet")]) == 1  # equal rows are one file
    assert not [*Path("prepared").glob(".*partial")]


def test_declared_fields_and_paths(workplace):
    table(80).to_parquet("a.parquet", index=False)
    table(300).to_csv("b.csv", index=False)
    fields = [TableField("item", "categorical"), TableField("age", "numerical")]
    found = fit("b.csv", Label("rating", ">= 4"), "WideDeep", fields=fields)
    assert [field.name for field in found.data.schema.fields] == ["item", "age"]
    assert type(found.model).__name__ == "WideDeep"
    assert repr(found).startswith(f"WideDeep of {found.path} (val/auc=")
    assert found.predict(table(9)).between(0, 1).all()


# predict


def test_predictions_are_those_of_the_command_line(fitted, home, monkeypatch):
    frame = table(3000).drop(columns="rating")  # more than a batch
    frame.index = random.Random(0).sample(range(10_000), 3000)
    found = fitted.predict(frame)
    frame.to_parquet("new.parquet", index=False)
    run = Path("runs/table/version_0")
    command("predict", f"--config={run}/config.yaml", "--data.predict_path=new.parquet", *QUIET)
    expected = pq.read_table(run / "predictions/new.parquet")["probability"].to_numpy()
    assert found.dtype == expected.dtype == np.float32
    np.testing.assert_array_equal(found.to_numpy(), expected)
    assert found.index.equals(frame.index)
    assert found.nunique() > 100
    one = [fitted.predict(frame.iloc[[i]]).item() for i in range(3)]
    np.testing.assert_allclose(one, expected[:3], atol=1e-6)


def test_five_rows_take_less_than_a_second_and_no_files(fitted, home, tmp_path, monkeypatch):
    run = zoo.load("runs/table/version_0/checkpoints/last.ckpt")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    before = sorted(home.rglob("*"))
    frame = table(5)
    start = time.perf_counter()
    run.predict(frame)
    assert time.perf_counter() - start < 1
    assert sorted(home.rglob("*")) == before
    assert os.listdir(tmp_path) == []


def test_repeated_indices_and_labels_without_a_value(fitted):
    frame = table(4)
    frame.index = ["a", "b", "a", "b"]
    frame["rating"] = [1.0, None, "x", 5]
    found = fitted.predict(frame)
    assert found.index.tolist() == ["a", "b", "a", "b"]
    assert found.notna().all()
    frame["probability"] = found
    assert frame.probability.tolist() == found.tolist()


def test_a_row_that_cannot_be_used_gets_nan(fitted):
    frame = table(4).set_axis(list("abcd"))
    frame.loc["c", "ts"] = None
    frame = frame.astype({"price": str})
    frame.loc["b", "price"] = "dear"
    with pytest.warns(UserWarning, match="2 of 4 rows cannot be used and get NaN") as warned:
        found = fitted.predict(frame)
    assert found.isna().tolist() == [False, True, True, False]
    (said,) = warned
    assert said.filename == __file__
    for part in (
        "2 of 4 rows cannot be used and get NaN",
        "1: price is not a number",
        "row 2, 'b'",
    ):
        assert part in str(said.message)
    with pytest.warns(UserWarning, match="1 of 1 rows"):
        assert fitted.predict(frame.loc[["c"]]).isna().all()


def test_the_page_on_python_does_what_it_says(workplace, monkeypatch):
    monkeypatch.setattr("zoo.run.fit.EPOCHS", 1)
    made, page = ((ROOT / "docs" / name).read_text() for name in ("your_data.md", "python.md"))
    blocks = re.compile(r"^```python\n(.*?)^```", re.DOTALL | re.MULTILINE)
    exec(blocks.findall(made)[0].replace("rows = 200_000", "rows = 4_000"), {})
    code = "\n".join(blocks.findall(page)).replace("150_000", "3_000").replace("50_000", "1_000")
    assert len(blocks.findall(page)) == 4
    found = {}
    exec(code, found)
    assert found["ratings"].probability.between(0, 1).all()
    assert {path.name for path in Path("runs").iterdir()} == {"table", "dcn", "week", "next_week"}
    taken = {*inspect.signature(zoo.fit).parameters}
    assert {name for name in taken if f"`{name}`" not in page} == set()


# mistakes


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: f.to_numpy(), "rows must be a DataFrame of pandas, got a ndarray"),
        (lambda f: f[:0], "the DataFrame is empty: it holds no rows"),
        (lambda f: f.drop(columns="price"), "the DataFrame has no column 'price' (field price): "),
        (lambda f: f.rename(columns={"stock": 7}), "the DataFrame has a column named 7, which is "),
        (lambda f: pd.concat([f, f.item], axis=1), "the DataFrame has two columns named 'item'"),
        (lambda f: f.assign(price=True), "the DataFrame: its column 'price' (field price) holds t"),
        (
            lambda f: f.assign(user=[1, "a"] * 5),
            "the column 'user' of the DataFrame holds values that are not of one type: give it ",
        ),
        (
            lambda f: f.assign(item=pd.period_range("2024", periods=10)),
            "the DataFrame: its column 'item' (field item) holds values of a type that no field",
        ),
    ],
)
def test_frames_that_cannot_be_scored(fitted, change, message):
    with pytest.raises(ZooError) as error:
        fitted.predict(change(table(10)))
    assert str(error.value).startswith(message)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model": "DeepFN"}, "model: no class and no file DeepFN; did you mean DeepFM?"),
        ({"model": {**MODEL, "dims": 3}}, "unknown option model.dims; --help lists all options"),
        ({"model": {"embedding_dim": 3}}, "model must be the name of a model, or a mapping of cl"),
        ({"trainer": {"max_epoch": 1}}, "unknown option trainer.max_epoch; did you mean trainer.m"),
        ({"trainer": {"fast_dev_run": True}}, "trainer.fast_dev_run makes no run: give trainer"),
        ({"trainer": {"callbacks": [print]}}, "<built-in function print> is a builtin_function_or"),
        ({"data": {"splits": "time"}}, "unknown option data.splits; did you mean data.split?"),
        ({"data": {"batch_size": 0}}, "data.batch_size must be at least 1, got 0"),
        ({"fields": [{"name": "item"}]}, 'Parser key "data": '),
        (
            {"fields": [{"name": "itm", "kind": "categorical"}]},
            "the DataFrame has no column 'itm' ",
        ),
        ({"label": "ratin"}, "there is no column 'ratin' (label): there are ts, user, item"),
        (
            {"label": "ratin", "fields": FIELDS},
            "the DataFrame has no column 'ratin' (data.l",
        ),
        (
            {"label": "stock", "fields": [{"name": "stock", "kind": "categorical"}]},
            "data.fields: t",
        ),
        ({"label": "rating", "fields": FIELDS}, "229 of 300 rows are malformed, more than "),
        ({"rows": table(10).set_axis(range(8), axis=1)}, "the DataFrame has a column named 0"),
        ({"rows": table()[:0]}, "the DataFrame is empty: it holds no rows"),
        ({"rows": "gone.parquet"}, "no such file: gone.parquet (data.path)"),
        ({"monitor": "val/acu", "fields": FIELDS}, "monitor: this fit logs no val/acu; choose one"),
        ({"patience": -1}, "early_stopping.patience must be a whole number that is not negative"),
    ],
)
def test_mistakes_of_a_fit(workplace, options, message):
    with pytest.raises(ZooError) as error:
        fit(**{"rows": table(300), **options})
    assert str(error.value).startswith(message)
    assert not [*Path().glob("runs/*/*")]


def test_what_is_no_run(fitted, workplace, tmp_path):
    Path("empty").mkdir()
    with pytest.raises(ZooError, match="empty is no run directory with a checkpoint: there is no "):
        zoo.load("empty")
    with pytest.raises(ZooError, match="no such checkpoint: gone"):
        zoo.load("gone")
    alone = Path("alone/checkpoints/best.ckpt")
    alone.parent.mkdir(parents=True)
    alone.write_bytes(fitted.checkpoint.read_bytes())
    with pytest.raises(
        ZooError, match=r"best.ckpt lies in no run directory, which has the encoder"
    ):
        zoo.load(alone)


def test_a_run_runs_no_code_of_its_own(fitted, workplace):
    """A module beside the run, which its config names, is not imported."""
    shutil.copytree(fitted.path, "sent")
    Path("sent/evil.py").write_text("raise SystemExit('imported')\n")
    Path("evil.py").write_text("raise SystemExit('imported')\n")
    config = Path("sent/config.yaml")
    text = config.read_text()
    config.write_text(text.replace("class_path: datamodules.Table", "class_path: evil.Table"))
    assert config.read_text() != text
    with pytest.raises(ZooError, match=r"data names evil.Table, which is not imported: its module"):
        zoo.load("sent")


LEGACY = Path(__file__).parents[1] / "legacy/runs"


@pytest.mark.parametrize("dataset", ["Criteo", "Avazu"])
@pytest.mark.parametrize("text", [True, False], ids=["text", "numbers"])
def test_runs_of_criteo_and_avazu_score_their_columns(dataset, text):
    """As 0.1.0 scored the lines of the raw file."""
    named = [f"I{i}" for i in range(1, 14)] + [f"C{i}" for i in range(1, 27)]
    criteo = {"sep": "\t", "names": named} if dataset == "Criteo" else {}
    rows = next((LEGACY / dataset).glob("rows.*"))
    frame = pd.read_csv(rows, **criteo, dtype=str, keep_default_na=False, na_values=[""])
    if not text:
        numbers = named[:13] if dataset == "Criteo" else ["hour"]
        frame[numbers] = frame[numbers].apply(pd.to_numeric)
    found = zoo.load(LEGACY / dataset).predict(frame)
    expected = json.loads((LEGACY / dataset / "expected.json").read_text())["probability"]
    np.testing.assert_allclose(found, expected, rtol=1e-6)


@pytest.mark.parametrize("dataset", ["MovieLens", "SkipSessions"])
def test_runs_of_data_that_read_no_frames(dataset):
    with pytest.raises(ZooError, match=f"{dataset} reads no DataFrame: write the rows to a file"):
        zoo.load(LEGACY / dataset)
