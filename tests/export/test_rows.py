"""Exported models of rows give the probabilities of `predict` without this project."""

import csv
import json
import random
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from support.preparation import flip
from support.running import QUIET, command, error_of
from support.served import PROJECT, served

import zoo
from zoo import ZooError, ZooModule
from zoo.export.folder import write_folder
from zoo.export.graph import OUTPUTS
from zoo.models.tabular import RowModule

FIELDS = [
    {"name": "user", "kind": "categorical"},
    {"name": "item", "kind": "categorical", "min_count": 2, "max_size": 50},
    {
        "name": "price",
        "kind": "numerical",
        "transform": "standardise",
        "missing_indicator": True,
    },
    {"name": "age", "kind": "numerical", "transform": "quantile", "bins": 5},
    {"name": "score", "kind": "numerical"},
    {"name": "large", "kind": "numerical", "column": "score", "transform": "log"},
    {"name": "old", "kind": "categorical"},
    {"name": "genres", "kind": "multi", "separator": "|", "max_length": 3},
    {
        "name": "history",
        "kind": "sequence",
        "separator": "|",
        "max_length": 4,
        "vocabulary": "item",
    },
    {"name": "agent", "kind": "categorical", "buckets": 30},
    {"name": "flag", "kind": "categorical"},
]
CROSSES = [["user", "item"], ["price", "flag"], ["genres", "age"], ["large", "history", "flag"]]
ODD = ["", None, "abc", "1e3", " 7 ", "+5", "-.5", "1_000", "nan", "inf", "1e400", "0x1", "é1"]
ODD += ["i1", "u3", "true", "True", "1.0", "| Drama |||", "2024-13-01 00:00:00", "2024-05-05"]
ODD += ["2024-05-05T10:00:00Z", "2024-05-05 10:00:00+02:00", "\ta\n", "x" * 300]
ODD_JSON = [["Drama", "War"], [], ["x", None, "NA"], {"a": 1}, [["a"]], 5, 5.0, 0.1, True]
DATA = {
    "time": "when",
    "time_fields": ["hour", "weekday"],
    "split": "hash",
    "cross_min_share": 1e-3,
}
MODEL = {"class_path": "DeepFM", "embedding_dim": 4, "hidden_units": [8], "embedding_std": 0.3}
TRAINER = {
    "max_epochs": 1,
    "accelerator": "cpu",
    "enable_progress_bar": False,
    "enable_model_summary": False,
}


def raw_rows(count, seed):
    draw = random.Random(seed)
    items = [f"i{int(draw.paretovariate(1))}" for _ in range(count * 10)]
    return [
        {
            "user": draw.choice([f"u{draw.randint(0, 40)}", f"é{draw.randint(0, 5)}", None]),
            "item": draw.choice(items),
            "price": draw.choice([draw.gauss(5, 10), None, 3, -7.5e3]),
            "age": draw.choice([draw.randint(0, 90), None]),
            "score": draw.random() * 100,
            "old": draw.choice([None, draw.randint(0, 5)]),
            "genres": "|".join(
                draw.choices(["Drama", "Comedy", " War ", "NA"], k=draw.randint(0, 4))
            ),
            "history": "|".join(draw.choices(items, k=draw.randint(0, 6))),
            "agent": f"agent {draw.randint(0, 1000)}",
            "when": f"2024-05-{draw.randint(1, 28):02} {draw.randint(0, 23):02}:30",
            "flag": draw.choice(["true", "false"]),
        }
        for _ in range(count)
    ]


def with_odd(rows, odd, seed):
    """The rows, of which in some a value is another one."""
    draw = random.Random(seed)
    changed = [{**row} for row in rows]
    for row in changed:
        if draw.random() < 0.3:
            row[draw.choice([*row])] = draw.choice(odd)
    return changed


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    """A run, trained on CSV."""
    folder = tmp_path_factory.mktemp("exported")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        frame = pd.DataFrame(raw_rows(2000, 0)).astype({"age": "Int64", "old": "Int64"})
        frame["click"] = np.arange(len(frame)) % 2
        frame.to_csv("train.csv", index=False)
        found = {"format": 1, "interactions": [{"fields": fields} for fields in CROSSES]}
        Path("found.json").write_text(json.dumps(found))
        data = {**DATA, "crosses": "found.json"}
        yield zoo.fit("train.csv", "click", MODEL, FIELDS, data=data, trainer=TRAINER)


def predicted(run, path):
    """What the command `predict` says of a file."""
    command(
        *("predict", f"--config={run.path}/config.yaml", f"--data.predict_path={path}"),
        *("--data.predict_output=found.parquet", "--data.max_bad_rows=1.0", *QUIET),
    )
    return pq.read_table("found.parquet")["probability"].to_numpy()


def assert_equal(found, expected):
    np.testing.assert_array_equal(np.isnan(found["probability"]), np.isnan(expected))
    np.testing.assert_allclose(found["probability"], expected, atol=1e-5)
    np.testing.assert_array_equal(found["problem"] != "", np.isnan(expected))


def test_probabilities_of_10_000_raw_rows_are_those_of_predict(fitted, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    command("export", "--ckpt_path", fitted.checkpoint, "--output=model")
    texts = with_odd(raw_rows(5000, 1), ODD, 2)
    with open("new.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(texts[0])
        writer.writerows(["" if v is None else v for v in row.values()] for row in texts)
    with open("new.csv", newline="") as file:
        texts = [*csv.DictReader(file)]
    values = with_odd(raw_rows(5000, 3), [*ODD, *ODD_JSON], 4)
    Path("new.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in values))
    expected = np.concatenate([predicted(fitted, "new.csv"), predicted(fitted, "new.jsonl")])
    (found,) = served(["model"], texts + values, tmp_path)
    assert len(expected) == 10_000
    assert 500 < np.isnan(expected).sum() < 4000
    assert np.nanstd(expected) > 0.05
    assert_equal(found, expected)


def models_of_rows(schema):
    """Each model that the project has, with random weights, and further forms of some."""
    torch.manual_seed(0)
    classes = {name: getattr(zoo, name) for name in zoo.MODELS}
    found = {
        name: cls(schema, embedding_std=0.3, pooling={"history": "attention"})
        for name, cls in classes.items()
        if issubclass(cls, RowModule) and name not in ("AdditiveNetwork", "InterpretableMLP")
    }
    terms = [["user"], ["price"], ["history"], ["user", "price"], ["hour", "genres", "price"]]
    additive = {"terms": terms, "monotone": {"price": -1}, "pooling": {"history": "sum"}}
    additive |= {"numerical_bins": 20, "embedding_std": 0.3}
    subsets = {"some": ["user", "history", "price"], "time": ["hour", "genres"], "all": ["*"]}
    experts = {"subsets": subsets, "fallback": True, "embedding_std": 0.3}
    sizes = {"user": 3, "genres": 5}
    others = {
        "experts": zoo.InterpretableMLP(schema, **experts),
        "judged experts": zoo.InterpretableMLP(schema, **experts, gate="sufficiency"),
        "sizes": zoo.DCN(schema, embedding_dims=sizes, numerical_encoding="piecewise_linear"),
    }
    glass_boxes = {
        "additive": zoo.AdditiveNetwork(schema, **additive),
        "without terms": zoo.AdditiveNetwork(schema, **additive, switched_off=["price"]),
    }
    return found | glass_boxes | others


def test_all_models_of_rows(fitted, tmp_path):
    rows = with_odd(raw_rows(10_000, 5), ODD, 6)
    rows = [{k: None if v is None else str(v) for k, v in row.items()} for row in rows]
    batches = [*fitted.data.encode_table(pa.Table.from_pylist(rows)).batches]
    numbers = torch.cat([batch.numerical for batch in batches]).numpy()
    serving, expected, outputs = fitted.data.serving(), {}, {}
    for name, model in models_of_rows(fitted.model.schema).items():
        if model.embedding.encoding is not None:
            # as a fit does: edges that are not of these numbers make logits of 1e12, in which
            # float32 is off by more than what is compared
            model.embedding.encoding.fit(np.quantile(numbers, np.linspace(0, 1, 21), axis=0))
        model.eval()
        outputs[name] = OUTPUTS if model.experts else OUTPUTS[:2]
        write_folder(tmp_path / name, model, serving, outputs[name])
        with torch.inference_mode():
            expected[name] = [model.explain(batch) for batch in batches]
    write_folder(tmp_path / "torch", model, serving, ["probability"], "torch_export")
    found = served([tmp_path / name for name in expected], rows, tmp_path)
    usable = torch.cat([batch.row for batch in batches])
    for name, said in zip(expected, found, strict=True):
        logit, attribution = (torch.cat(parts) for parts in zip(*expected[name], strict=True))
        there = {"logit": logit, "probability": logit.sigmoid(), "attribution": attribution}
        for output in outputs[name]:
            rtol = 1e-4 if output == "logit" else 0  # of xDeepFM these are in the thousands
            np.testing.assert_allclose(said[output][usable], there[output], rtol, 1e-5)
        assert np.isnan(said["logit"]).sum() == 10_000 - len(usable) > 500
    (plain,) = served([tmp_path / "torch"], rows, tmp_path, without=PROJECT)
    np.testing.assert_allclose(plain["probability"], found[-1]["probability"], atol=1e-5)


def test_a_folder_that_gives_something_else_than_the_model_did_is_not_loaded(fitted, tmp_path):
    fitted.export(tmp_path / "model")
    check = json.loads((tmp_path / "model/check.json").read_text())
    assert len(check["rows"]) == 10
    assert None not in check["outputs"]["probability"]
    flip(tmp_path / "model/ids.npy")  # an id that no row of the check need have
    with pytest.raises(AssertionError, match=r"ids\.npy is damaged: copy or export it again"):
        served([tmp_path / "model"], [], tmp_path)
    flip(tmp_path / "model/ids.npy")
    check["outputs"]["probability"][0] += 0.01
    (tmp_path / "model/check.json").write_text(json.dumps(check))
    with pytest.raises(AssertionError, match="another probability than when it was exported"):
        served([tmp_path / "model"], [], tmp_path)


def test_a_row_without_a_column_is_refused(fitted, tmp_path):
    fitted.export(tmp_path / "model")
    (row,) = raw_rows(1, 7)
    without = {name: value for name, value in row.items() if name != "price"}
    with pytest.raises(AssertionError, match="no row has the column 'price'"):
        served([tmp_path / "model"], [without], tmp_path)
    (found,) = served([tmp_path / "model"], [without, row], tmp_path)  # in which it is missing
    (given,) = served([tmp_path / "model"], [{**row, "price": None}, row], tmp_path)
    np.testing.assert_array_equal(found["probability"], given["probability"])


def test_what_cannot_be_exported(fitted, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, given, message in (
        ("--output=.", [], r"\. exists: name another folder, or delete it"),
        ("--output=m", ["--outputs", "attribution"], "DeepFM has no experts"),
        ("--output=m", ["--outputs", "odds"], "odds"),
        ("--output=m", ["--ckpt_path=none"], "none"),
    ):
        line = ["export", f"--ckpt_path={fitted.path}", name, *given]
        assert re.search(message, error_of(*line))
    assert not [*tmp_path.iterdir()]


class OfOne(ZooModule):
    """Whose forward looks at its data."""

    def forward(self, batch):
        return batch.numerical[:, 0] if batch.numerical.sum() > 0 else batch.numerical[:, 1]


def test_a_model_that_torch_cannot_export_is_named(fitted, tmp_path):
    with pytest.raises(ZooError, match=r"OfOne cannot be exported, for torch\.export does"):
        write_folder(tmp_path / "m", OfOne(fitted.model.schema).eval(), fitted.data.serving())
    assert not [*tmp_path.iterdir()]
