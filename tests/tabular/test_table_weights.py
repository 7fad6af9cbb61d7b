"""Weights and groups of the rows of a table."""

import numpy as np
import pandas as pd
import pytest
import pytorch_lightning as pl
import torch
from sklearn.metrics import log_loss, roc_auc_score
from support.preparation import prepared
from support.resuming import QUIET
from support.tables import FIELDS, declared, table, write

from datamodules import Table
from datamodules.prepared.folder import SPLITS
from datamodules.tabular.declared import TableField
from datamodules.tabular.loader import BatchLoader
from zoo import DeepFM, ZooError
from zoo.inspect import load
from zoo.inspect.scores import score

FRAME = table(600)
FRAME["importance"] = np.random.default_rng(1).choice([0, 0.25, 1, 7], len(FRAME))
WEIGHTED = {"weight": "importance", "group": "user"}


@pytest.fixture(scope="module", params=["parquet", "csv"])
def file(request, tmp_path_factory):
    return write(FRAME, tmp_path_factory.mktemp("table") / f"clicks.{request.param}")


@pytest.mark.parametrize("split", ["hash", "time", "group"])
def test_rows_have_the_weights_and_groups_of_their_columns(file, tmp_path, split):
    made = declared(file, tmp_path, split=split, **WEIGHTED)
    made.prepare_data()
    made.setup("fit")
    groups, weights, labels = [], [], []
    for name in SPLITS:
        arrays = made._arrays[name]
        assert arrays.weight.dtype == np.float32
        assert arrays.group.dtype == np.int64
        assert np.array_equal(arrays.weight, FRAME.importance[arrays.row].astype(np.float32))
        groups += zip(FRAME.user[arrays.row], arrays.row, arrays.group, strict=True)
        if name == "train":
            weights, labels = arrays.weight.astype(float), arrays.label
    number = {}
    for user, row, group in groups:
        assert number.setdefault(row if pd.isna(user) else user, group) == group
    assert len(set(number.values())) == len(number)  # a row without a user is one of its own
    assert made.positive_rate == pytest.approx(np.average(labels, weights=weights))
    for device in (None, torch.device("cpu")):
        batch = next(iter(BatchLoader(made._arrays["train"], 50, device=device, shuffle=True)))
        assert batch.weight.dtype == torch.float32
        assert batch.group.dtype == torch.int64
        assert len(batch.weight) == len(batch.group) == batch.rows


def test_fields_may_be_named_as_what_rows_have_beside_them(file, tmp_path):
    names = ["weight of the row", "number of the group", "group of the row", "time of the row"]
    fields = [TableField(name, "categorical", column="item") for name in names]
    found = []
    for named in (fields, [TableField(f"{i}", "categorical", column="item") for i in range(4)]):
        made = declared(file, tmp_path, fields=named, split="group", time_fields=[], **WEIGHTED)
        found.append(prepared(made)["train"])
    assert np.array_equal(found[0].categorical, found[1].categorical)
    assert np.array_equal(found[0].weight, found[1].weight)


def test_groups_have_the_same_numbers_in_other_files(tmp_path):
    one, other = FRAME[:300], FRAME[300:].reset_index(drop=True)
    found = []
    for frame, name in ((one, "a.csv"), (other, "b.parquet")):
        made = declared(write(frame, tmp_path / name), tmp_path, **WEIGHTED)
        made.prepare_data()
        made.setup("fit")
        rows = np.concatenate([arrays.row for arrays in made._arrays.values()])
        groups = np.concatenate([arrays.group for arrays in made._arrays.values()])
        pairs = zip(frame.user[rows], groups, strict=True)
        found.append({user: group for user, group in pairs if not pd.isna(user)})
    both = set(found[0]) & set(found[1])
    assert len(both) > 20
    assert all(found[0][user] == found[1][user] for user in both)


def test_without_weight_and_group_there_are_no_arrays_of_them(file, tmp_path):
    made = declared(file, tmp_path)
    arrays = prepared(made)["train"]
    assert arrays.weight is arrays.group is None
    assert not [*tmp_path.rglob("weight.npy"), *tmp_path.rglob("group.npy")]


def test_weights_that_are_none_are_malformed(tmp_path):
    wrong = ["", "-1", "nan", "inf", "1e39", "much", "-0.5", "-inf"]
    text = [*wrong, "0", "-0", "2.5", "1e-3", *["1"] * 200]
    frame = pd.DataFrame({"x": range(len(text)), "y": [i % 2 for i in range(len(text))], "w": text})
    frame.to_csv(tmp_path / "a.csv", index=False)
    fields = [TableField("x", "numerical")]
    options = {"label": "y", "fields": fields, "weight": "w", "prepared": str(tmp_path)}
    made = Table(str(tmp_path / "a.csv"), max_bad_rows=0.1, **options)
    made.prepare_data()
    assert made.summary().rejected == {
        "its weight (w) is not a number of at least 0": 7,
        "its weight (w) is missing": 1,
    }
    made.setup("fit")
    weights = np.concatenate([made._arrays[s].weight for s in SPLITS])
    assert sorted(weights)[:4] == pytest.approx([0, 0, 1e-3, 1])
    with pytest.raises(ZooError, match=r"line 2 of .*: its weight \(w\) is missing"):
        Table(str(tmp_path / "a.csv"), max_bad_rows=0, **options).prepare_data()


@pytest.mark.parametrize(
    ("column", "values", "message"),
    [
        ("weight", None, r"has no column 'w' \(data.weight\)"),
        ("weight", [True, False] * 30, r"'w' \(data.weight\) holds true and false, not numbers$"),
        ("weight", [0.0] * 60, "the weights .* of all rows of the train split are 0, so that none"),
        ("weight", [1.0] * 50 + [0] * 10, "the weights .* of all rows of the test split are 0"),
        ("weight", [0, 1.0] * 30, "the training rows whose weight .* are all of one class"),
        ("group", None, r"has no column 'w' \(data.group\)"),
    ],
)
def test_weights_that_train_nothing(tmp_path, column, values, message):
    rows = {"x": range(60), "y": [0, 1] * 30, "t": pd.date_range("2024-01-01", periods=60)}
    frame = pd.DataFrame(rows if values is None else rows | {"w": values})
    path = write(frame, tmp_path / "a.parquet")
    fields = [TableField("x", "numerical")]
    options = {"label": "y", "time": "t", "split": "time", "fields": fields, column: "w"}
    with pytest.raises(ZooError, match=message):
        Table(str(path), **options, prepared=str(tmp_path)).prepare_data()


def test_metrics_of_a_fit_are_those_of_scikit_learn(file, tmp_path):
    fields = [field for field in FIELDS if field.name != "plain"]  # of large numbers
    made = declared(file, tmp_path, **WEIGHTED, fields=fields, batch_size=64)
    made.prepare_data()
    torch.manual_seed(0)
    model = DeepFM(made.schema, embedding_dim=2, hidden_units=[4], embedding_std=0.5)
    trainer = pl.Trainer(max_epochs=1, num_sanity_val_steps=0, default_root_dir=tmp_path, **QUIET)
    trainer.fit(model, made)
    (found,) = trainer.validate(model, made, verbose=False)
    arrays = made._arrays["val"]
    (batch,) = list(BatchLoader(arrays, len(arrays)))
    with torch.no_grad():
        logits = model.eval()(batch).double().numpy()
    y, w = arrays.label, arrays.weight.astype(float)
    assert found["val/auc"] == pytest.approx(roc_auc_score(y, logits, sample_weight=w))
    p = 1 / (1 + np.exp(-logits))
    assert found["val/logloss"] == pytest.approx(log_loss(y, p, sample_weight=w), abs=1e-6)
    areas, sizes = [], []
    for group in set(arrays.group.tolist()):
        mine = (arrays.group == group) & (w > 0)
        if len(set(y[mine])) == 2:
            areas.append(roc_auc_score(y[mine], logits[mine], sample_weight=w[mine]))
            sizes.append(w[mine].sum())
    assert len(areas) > 3
    assert found["val/gauc"] == pytest.approx(np.average(areas, weights=sizes))


def test_inspect_measures_as_the_fit_did(file, tmp_path):
    made = declared(file, tmp_path, **WEIGHTED, batch_size=64)
    made.prepare_data()
    torch.manual_seed(0)
    model = DeepFM(made.schema, embedding_dim=2, hidden_units=[4])
    trainer = pl.Trainer(max_epochs=1, num_sanity_val_steps=0, default_root_dir=tmp_path, **QUIET)
    trainer.fit(model, made)
    (found,) = trainer.validate(model, made, verbose=False)
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    made.trainer = None
    scores = score(load(tmp_path / "a.ckpt"), made, sample=100)
    for name in ("auc", "logloss", "gauc"):
        assert getattr(scores.overall, name) == pytest.approx(found[f"val/{name}"], abs=1e-6)
    arrays = made._arrays["val"]
    counted, w = arrays.weight > 0, arrays.weight.astype(float)
    assert scores.overall.rows == counted.sum()
    assert scores.overall.observed == pytest.approx(np.average(arrays.label, weights=w))
    assert scores.overall.effective == pytest.approx(w.sum() ** 2 / (w**2).sum())
    assert sum(part.rows for part in scores.calibration) == counted.sum()
    assert "GAUC" in str(next(scores.sections()))
