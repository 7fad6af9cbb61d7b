"""A table of one's own, against pandas."""

import hashlib

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from support.preparation import assert_same, predicted, prepared, together
from support.tables import FIELDS, FORMATS, declared, expected, ids, split_of, table, write

from datamodules.tabular.declared import TableField
from datamodules.tabular.label import Label

FRAME = table()


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """The same rows in each format."""
    folder = tmp_path_factory.mktemp("table")
    return {kind: write(FRAME, folder / f"clicks.{kind}") for kind in FORMATS}


@pytest.fixture(scope="module")
def splits(files, tmp_path_factory):
    """The prepared rows of each format."""
    folder = tmp_path_factory.mktemp("prepared")
    return {kind: prepared(declared(path, folder)) for kind, path in files.items()}


@pytest.mark.parametrize("kind", FORMATS)
def test_rows_are_encoded_as_pandas_does(splits, kind):
    rows = together(splits[kind])
    numbers, values = expected(FRAME, split_of(splits[kind]) == 0)
    np.testing.assert_allclose(rows.numerical, numbers, rtol=2e-6, atol=1e-7)
    np.testing.assert_array_equal(rows.categorical, values)
    np.testing.assert_array_equal(rows.label, FRAME.click)
    np.testing.assert_array_equal(rows.row, np.arange(len(FRAME)))


def test_all_formats_give_the_same_arrays(splits):
    for kind in FORMATS[1:]:
        assert_same(splits[kind], splits["parquet"])


@pytest.mark.parametrize("name", ["b.csv.gz", "b.csv.zst", "b.jsonl.gz", "b.jsonl.zst"])
def test_compressed_files_are_read(tmp_path, splits, name):
    path = write(FRAME, tmp_path / name)
    assert_same(prepared(declared(path, tmp_path / "prepared")), splits["parquet"])


def test_many_files_of_all_formats_are_one_table(tmp_path, splits):
    folder = tmp_path / "clicks"
    folder.mkdir()
    bounds = [0, 100, 101, 350, 600]
    names = ["a.parquet", "b.csv.gz", "c.jsonl", "d.tsv"]
    for name, start, stop in zip(names, bounds[:-1], bounds[1:], strict=True):
        write(FRAME[start:stop], folder / name)
    (folder / "_SUCCESS").touch()
    for path in (folder, folder / "*.*[!S]", [folder / name for name in names]):
        made = declared(path, tmp_path / "prepared")
        rows = together(prepared(made))
        wanted = together(splits["parquet"])
        for array in ("numerical", "categorical", "label", "row"):
            np.testing.assert_array_equal(getattr(rows, array), getattr(wanted, array))


def test_folders_of_partitions_are_a_column(tmp_path):
    for day, part in FRAME.groupby(FRAME.ts.dt.date):
        folder = tmp_path / f"clicks/day={day}"
        folder.mkdir(parents=True)
        write(part, folder / "part-0.parquet")
    fields = [TableField("day", "categorical"), TableField("item", "categorical")]
    made = declared(tmp_path / "clicks", tmp_path / "prepared", fields=fields, time_fields=[])
    rows = together(prepared(made))
    ordered = FRAME.sort_values("ts", key=lambda ts: ts.dt.date, kind="stable")
    days = ordered.ts.dt.date.astype(str).tolist()
    wanted = ids(days, split_of(prepared(made)) == 0)
    np.testing.assert_array_equal(rows.categorical[:, 0], wanted)


@pytest.mark.parametrize("kind", ["parquet", "csv"])
def test_a_split_by_time(files, tmp_path, kind):
    made = prepared(declared(files[kind], tmp_path, split="time", split_ratio=(6, 2, 2)))
    order = np.argsort(FRAME.ts.to_numpy())
    wanted = np.empty(len(FRAME), int)
    wanted[order] = np.repeat([0, 1, 2], [360, 120, 120])
    np.testing.assert_array_equal(split_of(made), wanted)


@pytest.mark.parametrize("kind", ["parquet", "jsonl"])
def test_a_split_by_group_keeps_groups_together(files, tmp_path, kind):
    options = {"group": "user", "split": "group", "split_seed": 5}
    found = split_of(prepared(declared(files[kind], tmp_path, **options)))
    users = FRAME.user.where(FRAME.user.notna(), None)
    for user in users.dropna().unique():
        digest = hashlib.md5(f"5:{user}".encode()).digest()[8:]
        number = int.from_bytes(digest, "little") % 10
        assert {*found[users == user]} == {0 if number < 8 else number - 7}
    assert len({*found[users.isna()]}) > 1  # each a group of its own


def test_what_is_declared_says_how_rows_are_split(files, tmp_path):
    csv = files["csv"]
    assert declared(csv, tmp_path, split=None).splitting.by == "time"
    without = {"time": None, "time_fields": [], "split": None}
    assert declared(csv, tmp_path, **without).splitting.by == "hash"
    assert declared(csv, tmp_path, group="user", **without).splitting.by == "group"


@pytest.mark.parametrize("kind", FORMATS)
def test_predict_encodes_as_the_splits_are(files, splits, tmp_path, kind):
    options = {"predict_path": str(files[kind]), "prepared": str(tmp_path / "prepared")}
    trained = declared(files["csv"], **{"folder": "", **options})
    trained.prepare_data()
    rows, wanted = predicted(trained), together(splits["csv"])
    for array in ("numerical", "categorical", "label", "row"):
        np.testing.assert_array_equal(getattr(rows, array), getattr(wanted, array))


def test_predict_without_label_and_with_columns(files, splits, tmp_path):
    unlabelled = FRAME.drop(columns=["rating", "click", "referrer"])
    path = write(unlabelled[:50], tmp_path / "new.jsonl")
    made = declared(files["csv"], tmp_path / "prepared")
    made.prepare_data()
    encoder = str(made.encoder_folder)
    scored = declared(
        files["csv"],
        tmp_path / "none",
        encoder=encoder,
        predict_path=str(path),
        predict_columns=["user", "item"],
    )
    rows, wanted = predicted(scored), together(splits["csv"])
    np.testing.assert_array_equal(rows.categorical, wanted.categorical[:50])
    np.testing.assert_array_equal(rows.numerical, wanted.numerical[:50])
    assert np.isnan(rows.label).all()
    carried = pq.read_table(scored.carried).to_pydict()
    assert carried["user"] == [None if pd.isna(user) else user for user in FRAME.user[:50]]


def test_the_rows_of_another_day_get_the_ids_of_the_run(files, splits, tmp_path):
    made = declared(files["csv"], tmp_path / "prepared")
    made.prepare_data()
    other = write(FRAME[::-1].reset_index(drop=True), tmp_path / "other.parquet")
    again = declared(other, tmp_path / "again", encoder=str(made.encoder_folder))
    again.setup("fit")
    rows, wanted = together(prepared(again)), together(splits["csv"])
    np.testing.assert_array_equal(rows.categorical, wanted.categorical[::-1])
    np.testing.assert_array_equal(rows.numerical, wanted.numerical[::-1])


def test_crosses_are_added(files, tmp_path, crosses_file):
    crosses = crosses_file([["item", "stock"], ["age", "hour"]])
    made = declared(files["csv"], tmp_path, crosses=crosses, cross_bins=5)
    made.prepare_data()
    assert [field.name for field in made.schema.fields[-2:]] == ["item x stock", "age x hour"]


@pytest.mark.parametrize(
    ("label", "wanted"),
    [
        ("click", FRAME.rating >= 4),
        (Label("click"), FRAME.rating >= 4),
        ("stock", FRAME.stock),
        (Label("rating", "> 2.5"), FRAME.rating > 2.5),
        (Label("rating", "!= 3"), FRAME.rating != 3),
        (Label("rating", "<=1"), FRAME.rating <= 1),
        (Label("stock", "= false"), ~FRAME.stock),
    ],
)
def test_labels(files, tmp_path, label, wanted):
    fields = [TableField("item", "categorical")]
    for kind in ("csv", "parquet", "jsonl"):
        made = prepared(declared(files[kind], tmp_path, label=label, fields=fields))
        np.testing.assert_array_equal(together(made).label, wanted)


@pytest.mark.parametrize(
    ("written", "how"),
    [
        (lambda ts: ts.dt.strftime("%d/%m/%y %H.%M.%S"), "%d/%m/%y %H.%M.%S"),
        (lambda ts: ts.astype("int64") // 10**9, "s"),
        (lambda ts: ts.astype("datetime64[ms]").astype("int64"), "ms"),
        (lambda ts: ts.dt.strftime("%Y-%m-%dT%H:%M:%SZ"), None),
        (lambda ts: (ts + pd.Timedelta("2h")).dt.strftime("%Y-%m-%dT%H:%M:%S+02:00"), None),
        (lambda ts: ts.dt.tz_localize("UTC").dt.tz_convert("Asia/Tokyo"), None),
    ],
)
def test_times(splits, tmp_path, written, how):
    frame = FRAME.assign(ts=written(FRAME.ts.astype("datetime64[ns]")))
    for name in ("a.csv", "a.parquet"):
        path = write(frame, tmp_path / name)
        made = together(prepared(declared(path, tmp_path / "prepared", time_format=how)))
        wanted = together(splits["csv"]).categorical[:, -2:]
        np.testing.assert_array_equal(made.categorical[:, -2:], wanted)


def test_texts_that_mean_missing(tmp_path):
    frame = FRAME.astype({"item": object})
    path = tmp_path / "na.csv"
    frame.to_csv(path, index=False, na_rep="NA")
    fields = FIELDS[:6]
    plain = prepared(declared(write(FRAME, tmp_path / "e.csv"), tmp_path / "p", fields=fields))
    named = prepared(declared(path, tmp_path / "p", fields=fields, missing_values=["", "NA"]))
    assert_same(named, plain)


def test_undeclared_columns_are_named(files, tmp_path):
    made = declared(files["csv"], tmp_path)
    made.prepare_data()
    (note,) = made.summary().notes.items()
    assert note == ("columns are not declared and were ignored: referrer, click", 2)


def test_fields_may_have_any_name_but_those_of_the_reader(tmp_path):
    names = ["value", "id", "n", "count", "v0", "field", "cells", "line", "lines", "rows", "text"]
    names += ["a b", "é", "it's", 'a "b"', "x\ny", "problems", "types", "is_object"]
    random = np.random.default_rng(0)
    frame = pd.DataFrame({name: random.integers(0, 30, 200) for name in names})
    frame = frame.assign(ts=FRAME.ts[:200], click=FRAME.click[:200])
    for kind in FORMATS:
        mine = names if kind in ("parquet", "jsonl") else [n for n in names if "\n" not in n]
        path = write(frame[[*mine, "ts", "click"]], tmp_path / f"a.{kind}")
        numbers = [TableField(f"{name} number", "numerical", column=name) for name in mine]
        fields = [*numbers, *(TableField(name, "categorical") for name in mine)]
        plain = [TableField("hour of it", "categorical", column="ts")]
        plain += [TableField(name, "numerical") for name in mine]
        for declaration in (fields, plain):
            options = {"label": "click", "time_fields": [], "fields": declaration}
            rows = together(prepared(declared(path, tmp_path / "p", **options)))
            np.testing.assert_array_equal(rows.numerical, frame[mine])


def test_windows_lines_and_a_byte_order_mark(tmp_path):
    rows = FRAME.assign(item=FRAME["item"].str.replace("\n", " "))
    data = write(rows, tmp_path / "a.csv").read_bytes()
    (tmp_path / "b.csv").write_bytes(b"\xef\xbb\xbf" + data.replace(b"\n", b"\r\n"))
    plain, other = (prepared(declared(tmp_path / n, tmp_path / "p")) for n in ("a.csv", "b.csv"))
    assert_same(other, plain)
