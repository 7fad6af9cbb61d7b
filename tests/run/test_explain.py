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
from support.browsing import plots_of
from support.python_runs import fit, table
from support.running import command, error_of

import zoo
from zoo import ZooError
from zoo.data.batch import take
from zoo.glider.explained import Explainer
from zoo.run.explaining.file import check_output
from zoo.run.trainer import ZooTrainer

FIELDS = [
    {"name": "price", "kind": "numerical", "transform": "log"},
    {"name": "item", "kind": "categorical"},
    {"name": "user", "kind": "categorical"},
    {"name": "tags", "kind": "multi"},
]
SUBSETS = {"item": ["item"], "tags": ["tags", "price"], "all": ["*"]}


def rows(count=300):
    frame = table(count)
    frame["tags"] = [["new", "old"][: i % 3] for i in range(count)]
    return frame


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The run directory of a short fit of a mixture of experts, read-only."""
    model = {"class_path": "InterpretableMLP", "embedding_dim": 4, "subsets": SUBSETS}
    with contextlib.chdir(tmp_path_factory.mktemp("trained")):
        run = fit(rows(), model=model, fields=FIELDS)
        strengthen(run.path)
        return Path(run.path).absolute()


def strengthen(run):
    """Weights so large that the model says something."""
    edit(
        run,
        lambda weights: [value.mul_(4) for value in weights.values() if value.is_floating_point()],
    )


@pytest.fixture
def few(tmp_path, monkeypatch):
    """A raw file of seven rows without labels, in the folder where the commands run."""
    monkeypatch.chdir(tmp_path)
    rows(7).drop(columns="rating").to_parquet("few.parquet", index=False)
    return "few.parquet"


def line(run, *more):
    prepared = f"--data.prepared={run.parents[2] / 'prepared'}"
    return ["explain", "--config", run / "config.yaml", prepared, *more]


def total(row):
    """The sum of the contributions of a row of a JSON file, and what they leave open."""
    parts = [*row["fields"], *row["interactions"], row["intercept"]]
    return sum(part["contribution"] for part in [*parts, row["weaker"]]) + row["rest"]


def edit(run, change):
    """Changes the weights of a run."""
    file = run / "checkpoints/best.ckpt"
    content = torch.load(file, weights_only=True)
    change(content["state_dict"])
    torch.save(content, file)


def changed(run, change):
    """A copy of a run, whose weights are changed."""
    copy = Path(shutil.copytree(run, "a/b/changed")).absolute()
    Path("a/prepared").symlink_to(run.parents[2] / "prepared")
    edit(copy, change)
    return copy


def test_a_row_of_the_validation_split(trained, few, capsys):
    command(*line(trained, "--row=3", "--output=new/row.json"))
    out = capsys.readouterr().out
    assert "InterpretableMLP: row 3 of the validation split" in out
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
    names = ["price", "item", "user", "tags"]
    assert sorted(field["field"] for field in row["fields"]) == sorted(names)
    assert sum(row["attribution"].values()) == pytest.approx(1)
    assert "the share of each expert in the prediction" in out


def test_the_rows_of_a_raw_file(trained, few, capsys):
    command(*line(trained, f"--rows={few}", "--output=rows.json"))
    out = capsys.readouterr().out
    assert "7 predictions of few.parquet" in out
    assert "mean |contribution|" in out
    (wanted, frame) = zoo.load(trained).predict(rows(7)), rows(7)
    found = json.loads(Path("rows.json").read_text())["rows"]
    assert [row["row"] for row in found] == [*range(7)]
    assert [row["probability"] for row in found] == pytest.approx([*wanted], abs=1e-6)
    for row, item, tags in zip(found, frame.item, frame.tags, strict=True):
        on = {field["field"]: field["on"] for field in row["fields"]}
        off = {field["field"]: field["off"] for field in row["fields"]}
        assert on["item"] in (item or "(missing)", "(unknown)")
        assert on["tags"] == (", ".join(tags) or "(none)")
        assert off["item"] == "zero embedding"
        assert isinstance(off["price"], float)


def test_parquet_holds_what_python_gives(trained, few):
    command(*line(trained, f"--rows={few}", "--output=rows.parquet", "--seed=5"))
    mine = pq.read_table("rows.parquet").to_pandas()
    theirs = zoo.load(trained).explain(rows(7), seed=5)
    assert [*mine.columns] == ["row", "fields", "contribution", "error", "share", "probability"]
    assert mine.row.tolist() == theirs.index.tolist()
    assert mine.fields.tolist() == theirs.fields.tolist()
    for name in ("contribution", "error", "share"):
        np.testing.assert_allclose(mine[name], theirs[name], rtol=1e-4, atol=1e-5)
    by_row = mine.groupby("row")
    logits = by_row.contribution.sum().to_numpy()
    np.testing.assert_allclose(1 / (1 + np.exp(-logits)), by_row.probability.first(), atol=1e-9)


def test_a_page_opens_offline(trained, few, capsys):
    command(*line(trained, f"--rows={few}", "--row=4", "--output=row.html"))
    assert "row 4 of few.parquet" in capsys.readouterr().out
    page = Path("row.html").read_text()
    assert len(plots_of(page)) >= 1
    assert "<title>InterpretableMLP: row 4 of few.parquet</title>" in page
    assert 'src="http' not in page


def test_the_same_seed_gives_the_same_file(trained, few):
    for name in ("one", "two"):
        command(*line(trained, "--row=0", f"--output={name}.json"))
    assert Path("one.json").read_bytes() == Path("two.json").read_bytes()


MISTAKES = {
    ("--row=9999999", "--split=test"): "row: there is no row 9999999 in the test split: it has ",
    ("--rows=few.parquet", "--row=7"): "there is no row 7 in few.parquet: it has 7, numbered from",
    ("--rows=none.txt",): "no such file: none.txt (--rows)",
    ("--rows=short.csv",): "short.csv has no column 'price' (field price): it has item",
    ("--row=0", "--masks=5"): "masks: 5 are too few for 4 fields: take ",
    ("--row=0", "--position=1"): "position is of sessions, and these are rows: leave it out",
    ("--row=0", "--rwos=1"): "unknown option rwos; did you mean row",
}


@pytest.mark.parametrize("options", MISTAKES, ids=" ".join)
def test_a_mistake_is_one_sentence(options, trained, few):
    Path("short.csv").write_text("item,user,tags\ni1,u1,new\n")
    before = {*Path().rglob("*")}
    assert MISTAKES[options] in error_of(*line(trained, *options, "--output=row.json"))
    assert {*Path().rglob("*")} == before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "explain needs rows: give --row N, the N-th row of the validation split from 0, or"),
        ({"row": -1}, "row must be at least 0, got -1"),
        ({"rows": "a", "split": "test"}, "split is of the data, and --rows another file: give one"),
        ({"row": 0, "position": 0}, "position must be at least 1, got 0"),
        ({"row": 0, "seed": -1}, "seed must be at least 0, got -1"),
        ({"row": 0, "max_order": 1}, "max_order must be at least 2, got 1"),
        ({"row": 0, "output": "row.txt"}, "row.txt must name a file that ends in .json, .parquet"),
        ({"row": 0, "output": "."}, "must name a file that ends in .json, .parquet or .html"),
    ],
)
def test_message_of_an_option(options, message):
    with pytest.raises(ZooError, match=message):
        ZooTrainer.explain(mock.Mock(), mock.Mock(), mock.Mock(), "a.ckpt", **options)


def test_the_output_is_no_folder(tmp_path):
    (tmp_path / "rows.json").mkdir()
    with pytest.raises(ZooError, match="must name a file"):
        check_output(tmp_path / "rows.json")


def test_a_malformed_row_of_a_file(trained, few, capsys):
    names = [field["name"] for field in FIELDS]
    text = rows(7)[names].to_json(orient="records", lines=True).splitlines()
    text[2] = "{"
    Path("bad.jsonl").write_text("\n".join(text))
    some = "--data.max_bad_rows=0.5"
    message = error_of(*line(trained, "--rows=bad.jsonl", "--row=2", some))
    assert message.endswith("row 2 of bad.jsonl is malformed and cannot be explained")
    command(*line(trained, "--rows=bad.jsonl", some))
    assert "6 predictions of bad.jsonl" in capsys.readouterr().out


def test_weights_that_are_nan(trained, few):
    run = changed(trained, lambda weights: weights["embedding.table"].fill_(torch.nan))
    message = error_of(*line(run, "--row=0", "--output=row.json"))
    assert "row 0 of the validation split: the model gives NaN or infinite scores" in message
    message = error_of(*line(run, f"--rows={few}", "--output=row.json"))
    assert "NaN or infinite scores around each of the 7 rows of few.parquet" in message
    assert not [path for path in Path().iterdir() if path.name.startswith((".row", "row"))]


@pytest.mark.parametrize("suffix", ["json", "parquet", "html"])
def test_an_interrupted_explanation_leaves_the_file_of_before(suffix, trained, few):
    Path(f"row.{suffix}").write_text("before")
    original = Explainer.explain_each

    def once(self, instances):
        yield next(original(self, instances))
        raise KeyboardInterrupt

    stopped = mock.patch.object(Explainer, "explain_each", once)
    with stopped, pytest.raises(SystemExit) as ended:
        command(*line(trained, f"--rows={few}", f"--output=row.{suffix}"))
    assert ended.value.code == 130
    assert Path(f"row.{suffix}").read_text() == "before"
    assert not [path for path in Path().iterdir() if path.name.endswith(".partial")]


def test_a_page_of_too_many_rows(trained, few, monkeypatch):
    monkeypatch.setattr("zoo.run.explaining.file.MOST_ON_A_PAGE", 2)
    message = error_of(*line(trained, f"--rows={few}", "--output=rows.html"))
    assert "a page shows 2 predictions at most: give --row N" in message
    assert not Path("rows.html").exists()
