"""Training and scoring DataFrames from Python: the command line's numbers, and no files."""

import json
import os
import pickle
import random
import shutil
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from support.python_runs import MODEL, fit, table
from support.running import QUIET, command

import zoo
from zoo import ZooError


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


def test_a_run_of_a_frame_is_as_any_other(fitted, home, capsys):
    run = Path("runs/table/version_0")
    assert fitted.path == run.resolve()
    command("test", "--config", run / "config.yaml", *QUIET)
    assert f"{fitted.metrics['test/auc']:.10f}"[:10] in capsys.readouterr().out
    assert len([*Path("prepared").glob("frame-*.parquet")]) == 1  # equal rows are one file
    assert not [*Path("prepared").glob(".*partial")]


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
    sent = pickle.loads(pickle.dumps(fitted))  # to another process
    np.testing.assert_array_equal(sent.predict(frame), found)


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


# mistakes


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: f.to_numpy(), "rows must be a DataFrame of pandas, got numpy.ndarray"),
        (lambda f: f[:0], "the DataFrame is empty: it holds no rows"),
        (lambda f: f.drop(columns="price"), "the DataFrame has no column 'price' (field price): "),
        (lambda f: f.set_index("ts"), "the DataFrame has 'ts' as its index, not as a column: give"),
        (lambda f: f.rename(columns={"stock": 7}), "the DataFrame has a column named 7, which is "),
        (lambda f: pd.concat([f, f.item], axis=1), "the DataFrame has two columns named 'item'"),
        (lambda f: f.assign(price=True), "the DataFrame: its column 'price' (field price) holds t"),
        (
            lambda f: f.assign(user=[1, "a"] * 5),
            "the column 'user' of the DataFrame holds values that are not of one type: give it ",
        ),
        (
            lambda f: f.assign(item=pd.period_range("2024", periods=10)),
            "the DataFrame: its column 'item' (field item) holds values of a type that no field "
            "reads: leave it out of data",
        ),
    ],
)
def test_frames_that_cannot_be_scored(fitted, change, message):
    with pytest.raises(ZooError) as error:
        fitted.predict(change(table(10)))
    assert str(error.value).startswith(message)


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
        zoo.load(LEGACY / dataset).predict(pd.DataFrame({"user": [1]}))


def test_bins_and_encodings_of_numbers_are_those_of_the_command_line(workplace):
    price = {"column": "price", "kind": "numerical"}
    fields = [{"name": "bin", **price, "transform": "quantile"}, {"name": "price", **price}]
    model = {**MODEL, "numerical_encoding": "piecewise_linear", "numerical_bins": 5}
    run = fit(table(), fields=fields, model=model)
    frame = table(50).drop(columns="rating")
    frame.to_parquet("new.parquet", index=False)
    command(
        "predict", f"--config={run.path}/config.yaml", "--data.predict_path=new.parquet", *QUIET
    )
    expected = pq.read_table(run.path / "predictions/new.parquet")["probability"].to_numpy()
    np.testing.assert_array_equal(run.predict(frame).to_numpy(), expected)
    np.testing.assert_array_equal(zoo.load(run.path).predict(frame).to_numpy(), expected)


# attribution


@pytest.mark.filterwarnings("ignore:expert .* has the largest attribution")
def test_the_attribution_is_that_of_the_command(workplace):
    subsets = {"what": ["item"], "all": ["*"]}
    run = fit(table(300), model={"class_path": "InterpretableMLP", "subsets": subsets})
    rows = table(40)
    found = run.attribution(rows.set_index(rows.index + 7))
    assert [*found.columns] == ["what", "all"]
    assert [*found.index] == [*range(7, 47)]
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-6)
    rows.to_parquet("rows.parquet")
    config = f"--config={run.path}/config.yaml"
    command("predict", config, "--data.predict_path=rows.parquet", *QUIET)
    written = pq.read_table(run.path / "predictions/rows.parquet")
    for name in subsets:
        np.testing.assert_array_equal(found[name], written[f"attribution_{name}"])


def test_a_model_without_experts_has_no_attribution(fitted, home):
    with pytest.raises(ZooError, match=r"^DeepFM is no mixture of experts, .*; explain says"):
        fitted.attribution(table(3))
