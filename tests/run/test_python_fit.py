"""Training from Python is that of the command line."""

import inspect
import json
import random
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from support.python_runs import FIELDS, LABEL, MODEL, fit, table
from support.running import QUIET, ROOT, command

import zoo
from datamodules.tabular.declared import TableField
from datamodules.tabular.label import Label
from zoo import ZooError


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


def test_the_weight_of_rows_is_no_field(workplace):
    frame = table(400)
    frame["w"] = np.arange(len(frame)) % 7 + 0.5
    found = fit(frame, Label("rating", ">= 4"), data={"weight": "w", "group": "user"})
    assert "w" not in [field.name for field in found.data.schema.fields]
    assert {"val/gauc", "test/gauc"} <= set(found.metrics)
    assert found.data.weight == "w"


def test_declared_fields_and_paths(workplace):
    table(80).to_parquet("a.parquet", index=False)
    table(300).to_csv("b.csv", index=False)
    fields = [TableField("item", "categorical"), TableField("age", "numerical")]
    with ThreadPoolExecutor(1) as other:  # than the main thread
        given = ("b.csv", Label("rating", ">= 4"), "WideDeep")
        found = other.submit(fit, *given, fields=fields).result()
    assert [field.name for field in found.data.schema.fields] == ["item", "age"]
    assert type(found.model).__name__ == "WideDeep"
    assert repr(found).startswith(f"WideDeep of {found.path} (val/auc=")
    assert found.predict(table(9)).between(0, 1).all()


def test_the_page_on_python_does_what_it_says(workplace, monkeypatch):
    monkeypatch.setattr("zoo.run.fit.EPOCHS", 1)
    made, page = ((ROOT / "docs" / name).read_text() for name in ("your_data.md", "python.md"))
    blocks = re.compile(r"^```python\n(.*?)^```", re.DOTALL | re.MULTILINE)
    exec(blocks.findall(made)[0].replace("rows = 200_000", "rows = 4_000"), {})
    code = "\n".join(blocks.findall(page)).replace("180_000", "3_000")
    assert len(blocks.findall(page)) == 6
    found = {}
    exec(code, found)
    assert found["probabilities"].between(0, 1).all()
    assert "gender" in [field["name"] for field in found["declared"]["fields"]]
    assert {path.name for path in Path("runs").iterdir()} == {
        "table",
        "dcn",
        "before",
        "warm",
        "cold",
    }
    taken = {*inspect.signature(zoo.fit).parameters}
    assert {name for name in taken if f"`{name}`" not in page} == set()


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


def test_what_is_described_is_what_a_fit_without_fields_takes(workplace):
    frame = table()
    declared = zoo.describe(frame, LABEL)
    assert declared["label"] == LABEL
    assert {"name": "item", "kind": "categorical"}.items() <= declared["fields"][1].items()
    plain, described = fit(frame), fit(frame, fields=declared["fields"], data=declared["data"])
    assert described.data.schema == plain.data.schema
    for mine, theirs in zip(described.model.parameters(), plain.model.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=0)
    frame.to_csv("rows.csv", index=False)
    assert zoo.describe(Path("rows.csv"), "rating")["label"] == "rating"
    with pytest.raises(ZooError, match=r"^there is no column 'clicks' \(label\): there are ts"):
        zoo.describe(frame, "clicks")
