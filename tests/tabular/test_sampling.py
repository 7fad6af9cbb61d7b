"""Negatives are left out of the training rows alone, and probabilities are of all rows again."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import pytorch_lightning as pl
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support import expertise
from support.own_data import RowsInMemory
from support.preparation import prepared
from support.resuming import QUIET
from support.tables import declared, table, write

from datamodules import Table
from datamodules.prepared.engine import Engine
from datamodules.tabular.copies import copies, row_hashes
from datamodules.tabular.declared import TableField
from datamodules.tabular.read_rows import _numbered
from datamodules.tabular.rows import Rows
from datamodules.tabular.source import RawField
from datamodules.tabular.splitting import SAMPLING, row_hash
from zoo import DeepFM, RowModule, ZooError, inspect

FRAME = table(3000)
RATE = 0.3


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return write(FRAME, tmp_path_factory.mktemp("table") / "clicks.parquet")


def test_a_share_of_the_training_negatives_is_kept_and_all_other_rows(file, tmp_path):
    whole = prepared(declared(file, tmp_path))
    made = declared(file, tmp_path, negative_sampling_rate=RATE)
    sampled = prepared(made)
    for split in ("val", "test"):
        assert np.array_equal(sampled[split].row, whole[split].row)
        assert np.array_equal(sampled[split].label, whole[split].label)
    rows, labels = whole["train"].row, whole["train"].label
    kept = (labels == 1) | (row_hash(rows, SAMPLING) < RATE * 2_147_483_587)
    assert np.array_equal(sampled["train"].row, rows[kept])
    negatives = int((labels == 0).sum())
    left = negatives - int((sampled["train"].label == 0).sum())
    assert (negatives - left) / negatives == pytest.approx(RATE, abs=4 * 0.46 / negatives**0.5)
    note = "negatives were left out of the training rows (data.negative_sampling_rate)"
    assert made.summary().notes[note] == left
    assert made.negative_sampling_rate == RATE
    # all that is fitted is of the rows that are left
    counts = pd.Series(FRAME.stock[rows[kept]]).value_counts()
    assert made.positive_rate == pytest.approx(labels[kept].mean())
    numbers = dict(zip(counts.index, counts, strict=True))
    first = "True" if numbers[True] > numbers[False] else "False"
    stock = [f.name for f in made.schema.categorical].index("stock")
    most = sampled["train"].row[sampled["train"].categorical[:, stock] == 2]
    assert set(FRAME.stock[most].astype(str)) == {first}


def test_without_sampling_prepared_folders_keep_their_names(file, tmp_path):
    one = declared(file, tmp_path, negative_sampling_rate=1.0)
    assert "negative_sampling_rate" not in one.options()
    other = declared(file, tmp_path, negative_sampling_rate=0.5)
    assert one.folder == declared(file, tmp_path).folder != other.folder


@pytest.mark.parametrize("rate", [0, -0.1, 1.5])
def test_rates_that_are_none(file, tmp_path, rate):
    with pytest.raises(ZooError, match="negative_sampling_rate must be more than 0 and at"):
        declared(file, tmp_path, negative_sampling_rate=rate)


def calibrated(q, w):
    """He et al. 2014, section 6.3."""
    return q / (q + (1 - q) / w)


@pytest.mark.parametrize("subsets", [None, {"user": ["user"], "all": ["*"]}])
def test_logits_are_those_of_all_rows_but_in_training(subsets):
    batch = expertise.random_batch()
    model = DeepFM(expertise.SCHEMA, embedding_std=0.5, hidden_units=[4])
    if subsets:
        model = expertise.model(subsets)
    q = model.eval()(batch).double().sigmoid()
    model.negative_sampling_rate = 0.01
    for logits in (model(batch), model.explain(batch)[0]):
        torch.testing.assert_close(logits.double().sigmoid(), calibrated(q, 0.01))
    torch.testing.assert_close(model.predicted(batch)["probability"].double(), calibrated(q, 0.01))
    torch.testing.assert_close(model.train()(batch).double().sigmoid(), q)


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    """A fit on a tenth of the negatives of rows whose probability depends on their kind."""
    folder = tmp_path_factory.mktemp("sampled")
    random = np.random.default_rng(0)
    kinds = random.integers(0, 6, 60_000)
    truth = np.array([0.01, 0.02, 0.03, 0.05, 0.08, 0.15])
    label = (random.random(len(kinds)) < truth[kinds]).astype(int)
    path = folder / "rows.parquet"
    pd.DataFrame({"kind": [f"k{k}" for k in kinds], "label": label}).to_parquet(path)
    data = Table(
        str(path),
        label="label",
        fields=[TableField("kind", "categorical")],
        negative_sampling_rate=0.1,
        prepared=str(folder / "prepared"),
        batch_size=256,
        memory_limit="200MB",
    )
    data.prepare_data()
    torch.manual_seed(0)
    model = DeepFM(data.schema, embedding_dim=2, hidden_units=[4], learning_rate=0.1)
    trainer = pl.Trainer(max_epochs=4, num_sanity_val_steps=0, default_root_dir=folder, **QUIET)
    trainer.fit(model, data)
    trainer.save_checkpoint(folder / "a.ckpt")
    return folder / "a.ckpt", data, trainer, truth, kinds


def test_probabilities_after_sampling_are_calibrated_from_a_checkpoint_alone(fitted):
    path, data, trainer, truth, kinds = fitted
    model = DeepFM.load_from_checkpoint(path, weights_only=True).eval()
    assert model.negative_sampling_rate == 0.1
    batches = list(data.batches("test"))
    with torch.no_grad():
        p = torch.cat([model(batch).sigmoid() for batch in batches]).numpy()
        model.negative_sampling_rate = 1.0
        q = torch.cat([model(batch).sigmoid() for batch in batches]).numpy()
    kind = kinds[data._arrays["test"].row]
    for k, expected in enumerate(truth):
        found = p[kind == k]
        assert found.std() < 1e-6
        assert found.mean() == pytest.approx(expected, rel=0.25)
        assert q[kind == k].mean() > 3 * expected
    label = torch.cat([batch.label for batch in batches]).numpy()
    error = (label.mean() * (1 - label.mean()) / len(label)) ** 0.5
    assert abs(p.mean() - label.mean()) < 4 * error
    # what the fit has logged is of the same probabilities
    (metrics,) = trainer.validate(model, data, ckpt_path=path, verbose=False, weights_only=True)
    entropy = -np.average(truth * np.log(truth) + (1 - truth) * np.log1p(-truth))
    assert metrics["val/logloss"] == pytest.approx(entropy, rel=0.05)
    assert trainer.model.negative_sampling_rate == 0.1
    assert inspect.load(path).training.negative_sampling_rate == 0.1


def test_a_warm_start_keeps_the_odds_of_all_rows(fitted):
    data = fitted[1]
    model = DeepFM(data.schema, embedding_dim=2, hidden_units=[4], learning_rate=1e-9)
    model.warm_started, model.rate_before = True, 0.5
    trainer = pl.Trainer(max_steps=1, num_sanity_val_steps=0, enable_checkpointing=False, **QUIET)
    trainer.fit(model, data)
    assert model.bias.item() == pytest.approx(np.log(0.5 / 0.1))


class Sampled(RowsInMemory):
    """Rows of which the negatives were sampled."""

    negative_sampling_rate = 0.5


class OwnForward(RowModule):
    """Which knows nothing of that."""

    def forward(self, batch):
        """[B]."""
        return self.embedding(batch).vectors.sum((1, 2))


def test_a_model_of_uncalibrated_logits_is_not_trained_on_samples():
    data = Sampled()
    trainer = pl.Trainer(max_epochs=1, **QUIET, enable_checkpointing=False)
    with pytest.raises(ZooError, match=r"rate is 0.5, but OwnForward does not say that it returns"):
        trainer.fit(OwnForward(data.schema), data)


def frame_of(copies):
    """Rows of distinct numbers, but for copies of these first rows at the end."""
    random = np.random.default_rng(0)
    frame = pd.DataFrame({"x": np.arange(100.0), "site": "a", "y": random.integers(0, 2, 100)})
    frame.loc[99, "site"] = None
    return pd.concat([frame, frame.iloc[copies]], ignore_index=True)


@pytest.mark.parametrize("copies", [[], [3], [0, 0, 7, 9, 99]])
def test_rows_of_the_test_split_that_are_training_rows_are_noted(tmp_path, copies, capsys):
    frame = frame_of(copies)
    frame["t"] = pd.Timestamp("2024-01-01") + pd.to_timedelta(np.arange(len(frame)), "min")
    frame.loc[100:, "t"] += pd.Timedelta("1D")
    fields = [TableField("x", "numerical"), TableField("site", "categorical")]
    path = write(frame, tmp_path / "a.parquet")
    made = Table(
        str(path),
        label="y",
        fields=fields,
        time="t",
        prepared=str(tmp_path),
        split_ratio=(90, 5, 5),
    )
    made.prepare_data()
    said = capsys.readouterr().err
    made.setup("fit")
    trained = set(map(tuple, frame.loc[made._arrays["train"].row, ["x", "y"]].to_numpy()))
    notes = {}
    for split in ("val", "test"):
        mine = frame.loc[made._arrays[split].row, ["x", "y"]].to_numpy()
        count = sum(tuple(row) in trained for row in mine)
        if count:
            notes[split] = count
    assert bool(notes) == bool(copies)
    found = made.summary().notes
    for split, count in notes.items():
        note = f"of the {len(made._arrays[split]):,} {split} rows are equal to training rows, in "
        note += "all fields and the label: remove them where they are copies, which make metrics "
        assert found.pop(f"{note}too good") == count
        assert f"{count} {note}too good" in said  # by a fit too, where nothing else would say it
    assert found == {}
    assert ("equal to training rows" in said) == bool(copies)
    made.prepare_data()
    assert "training rows" not in capsys.readouterr().err


@settings(deadline=None, max_examples=12)
@given(st.integers(0, 2**32), st.integers(1, 60))
def test_copies_are_those_of_a_set_of_rows(seed, count):
    random = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "label": random.integers(0, 2, count).astype(np.float32),
            "x": random.choice([0.0, -0.0, 1.5, np.nan], count),
            "text": random.choice(["a", "b", "", None], count),
            "list": [
                ["a", "b", "a"][: random.integers(0, 4)][:: random.choice([-1, 1])]
                for _ in range(count)
            ],
        }
    )
    split = random.integers(0, 4, count).astype(np.int8)
    fields = [
        RawField("x", "numerical", ""),
        RawField("text", "categorical", ""),
        RawField("list", "multi", ""),
    ]
    rows = Rows(None)
    for part in np.array_split(np.arange(count), 3):
        lists = pa.array(frame["list"].iloc[part].tolist(), pa.list_(pa.string()))
        numbers = pa.array(frame.x.iloc[part], pa.float32(), from_pandas=True)
        texts = pa.array(frame.text.iloc[part], pa.string())
        label = pa.array(frame.label.iloc[part])
        table = pa.table({"label": label, "x": numbers, "text": texts, "list": lists})
        rows.add(_numbered(table, part, fields))
    rows.splits = [split[part] for part in np.array_split(np.arange(count), 3)]
    keys = [
        (y, None if np.isnan(x) else x, text, tuple(values))
        for y, x, text, values in frame.itertuples(index=False)
    ]
    trained = {key for key, s in zip(keys, split, strict=True) if s == 0}
    expected = [
        sum(s == n and k in trained for k, s in zip(keys, split, strict=True)) for n in (1, 2)
    ]
    with Engine(None, "100MB") as engine:
        hashes = [row_hashes(engine, rows, fields)]
        sizes = {s: {"rows": count} for s in ("val", "test")}
        notes = copies(engine, [rows], hashes, fields, sizes)
    assert [*notes.values()] == [n for n in expected if n]
