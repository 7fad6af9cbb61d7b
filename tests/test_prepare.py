"""From raw files to prepared arrays: ids, numbers, splits, bad input, interruptions.

What is prepared is compared with a slow re-implementation in plain Python.
"""

import errno
import gzip
import io
import json
import math
import multiprocessing
import os
import re
import resource
import shutil
import signal
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
from hypothesis import Phase, example, given, settings
from hypothesis import strategies as st

from datamodules import Avazu, Criteo
from datamodules.encoder import Encoder
from datamodules.engine import Engine
from datamodules.prepare import Splitting, _hash_statement, encode_file, prepare, row_hash
from datamodules.raw import RawField, RawFile
from datamodules.store import ARRAYS, SPLITS, Arrays, Manifest
from datamodules.synthetic import CARDINALITIES, PlantedClicks
from zoo.schema import ZooError

SCALING = {
    "floor_log_squared": lambda x: math.floor(math.log(x) ** 2) if x > 2 else x,
    "log_squared": lambda x: math.log(x) ** 2 if x > 2 else x,
    "log": lambda x: math.log1p(max(x, 0)),
    "none": lambda x: x,
}


def prepared(datamodule):
    """{split: Arrays} of a datamodule."""
    datamodule.prepare_data()
    return {split: Arrays.open(datamodule.folder / split) for split in SPLITS}


def predicted(datamodule):
    """The arrays that `predict` would score."""
    datamodule.setup("predict")
    arrays = datamodule.predict_dataloader().arrays
    return Arrays(*(np.array(getattr(arrays, array)) for array in ARRAYS))


def together(splits):
    """All rows of all splits as one `Arrays`, in file order."""
    columns = [np.concatenate([getattr(s, a) for s in splits.values()]) for a in ARRAYS]
    order = np.argsort(columns[-1])
    return Arrays(*(column[order] for column in columns))


def assert_same(mine, theirs):
    for split, array in ((s, a) for s in SPLITS for a in ARRAYS):
        np.testing.assert_array_equal(getattr(mine[split], array), getattr(theirs[split], array))


def expected_ids(texts, training, min_count):
    """0 unknown, 1 missing, then the frequent ones of the training rows, ties by text."""
    counts = Counter(texts[row] for row in training if texts[row])
    kept = sorted((t for t in counts if counts[t] >= min_count), key=lambda t: (-counts[t], t))
    ids = {text: 2 + i for i, text in enumerate(kept)}
    return [ids.get(text, 0) if text else 1 for text in texts]


def with_cell(line, column, text, delimiter="\t"):
    cells = line.split(delimiter)
    cells[column] = text
    return delimiter.join(cells)


@pytest.fixture(scope="module")
def whole(criteo_file, tmp_path_factory):
    """The 20,000 generated rows, prepared: (cells of the file, arrays of the splits, folder)."""
    datamodule = Criteo(str(criteo_file), prepared=str(tmp_path_factory.mktemp("prepared")))
    cells = [line.split("\t") for line in criteo_file.read_text().split("\n")[:-1]]
    return cells, prepared(datamodule), datamodule.folder


@pytest.fixture(scope="module")
def plain(criteo_lines, tmp_path_factory):
    """The arrays of the first 1,000 rows."""
    folder = tmp_path_factory.mktemp("plain")
    (folder / "train.txt").write_text("\n".join(criteo_lines) + "\n")
    return prepared(Criteo(str(folder / "train.txt"), prepared=str(folder / "prepared")))


# Ids and numbers


@pytest.mark.parametrize("c", range(26))
def test_ids_are_those_of_the_slow_way(whole, c):
    cells, splits, _ = whole
    found = together(splits).categorical[:, c]
    expected = expected_ids([row[14 + c] for row in cells], splits["train"].row, min_count=10)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("scaling", SCALING)
def test_numbers_are_those_of_the_slow_way(criteo, criteo_lines, scaling):
    cells = [line.split("\t")[1:14] for line in criteo_lines]
    expected = [[SCALING[scaling](float(x)) if x else 0.0 for x in row] for row in cells]
    found = together(prepared(criteo(criteo_lines, scaling=scaling))).numerical
    np.testing.assert_allclose(found, np.array(expected, np.float32), rtol=1e-6)


def test_labels_are_the_first_column(whole):
    cells, splits, _ = whole
    np.testing.assert_array_equal(together(splits).label, [float(row[0]) for row in cells])


def test_means_are_those_of_the_training_rows(whole):
    _, splits, folder = whole
    expected = splits["train"].numerical.mean(0, dtype=np.float64)
    np.testing.assert_allclose(list(Encoder.load(folder / "encoder").means.values()), expected)


def test_cardinality_counts_unknown_missing_and_the_frequent_values(whole):
    cells, splits, folder = whole
    counts = Counter(cells[row][14] for row in splits["train"].row)
    frequent = sum(n >= 10 for text, n in counts.items() if text)
    schema = Encoder.load(folder / "encoder").schema
    assert schema.categorical[0].cardinality == 2 + frequent


def test_the_vocabulary_is_of_the_training_split_alone(criteo, criteo_lines):
    held_out = prepared(criteo(criteo_lines))["test"].row
    lines = list(criteo_lines)
    for row in held_out:
        lines[row] = with_cell(lines[row], 14, "only-here")
    assert set(prepared(criteo(lines, min_count=1))["test"].categorical[:, 0]) == {0}


def test_row_numbers_cover_the_file_once(whole):
    cells, splits, _ = whole
    np.testing.assert_array_equal(together(splits).row, np.arange(len(cells)))


@pytest.mark.parametrize("split", SPLITS)
def test_rows_of_a_split_stand_in_file_order(whole, split):
    assert np.all(np.diff(whole[1][split].row) > 0)


def test_the_manifest_counts_what_the_arrays_hold(whole):
    _, splits, folder = whole
    held = {s: {"rows": len(a), "positives": int(a.label.sum())} for s, a in splits.items()}
    assert Manifest.load(folder).splits == held


def test_array_types(whole):
    types = [getattr(whole[1]["train"], array).dtype.str for array in ARRAYS]
    assert types == ["<f4", "<i4", "<f4", "<i8"]


line_breaks = "\t\n\r\0"
texts = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters=line_breaks), max_size=5
) | st.sampled_from(
    ["", '"', '""', "a", "'", " a", "a ", "\\", "#", "NULL", "é", "e\u0301", "\ufeff"]
)
numbers = (
    st.none()
    | st.integers(-(2**24), 2**24)
    | st.floats(width=32, allow_nan=False).filter(math.isfinite)
)
FIELDS = [
    RawField("x", "numerical", 'try_cast("x" AS FLOAT)'),
    RawField("a", "categorical", '"a"'),
    RawField('b "quoted"', "categorical", '"b"'),
]


@st.composite
def tables(draw):
    """50 rows of (label, number or None, text, text) with few distinct values."""
    pools = [draw(st.lists(pool, min_size=1, max_size=6)) for pool in (numbers, texts, texts)]
    # two rows of different labels first
    cells = st.tuples(st.sampled_from("01"), *(st.sampled_from(pool) for pool in pools))
    rows = draw(st.lists(cells, min_size=50, max_size=50))
    return [("0", *rows[0][1:]), ("1", *rows[1][1:]), *rows[2:]]


@pytest.fixture(scope="module")
def encoded(tmp_path_factory):
    """Prepares a small table, then encodes it again as a file to predict."""

    def run(rows, min_count):
        folder = tmp_path_factory.mktemp("table")
        lines = ["\t".join("" if cell is None else str(cell) for cell in row) for row in rows]
        (folder / "t.txt").write_text("\n".join(lines) + "\n", encoding="utf-8", newline="")
        file = RawFile(folder / "t.txt", "\t", ("label", "x", "a", "b"), False, "label")
        limits = {"max_bad_rows": 0.0, "memory_limit": "1GB"}
        (folder / "prepared").mkdir()
        prepare(
            folder / "prepared",
            file,
            FIELDS,
            Splitting("hash", (8, 1, 1)),
            dataset="table",
            encoder_options={},
            min_count=min_count,
            source={},
            options={},
            **limits,
        )
        encoder = folder / "prepared" / "encoder"
        encode_file(folder, file, FIELDS, encoder, **limits)
        splits = {s: Arrays.open(folder / "prepared" / s) for s in SPLITS}
        return splits, Arrays.open(folder / "rows")

    return run


def unshrunk(examples):
    """Each example prepares a file: shrinking a failure would take minutes."""
    phases = [Phase.explicit, Phase.reuse, Phase.generate]
    return settings(max_examples=examples, deadline=None, phases=phases)


@unshrunk(20)
@given(tables(), st.integers(1, 8))
def test_any_table_is_encoded_as_in_the_slow_way(encoded, rows, min_count):
    splits, _ = encoded(rows, min_count)
    training = splits["train"].row
    expected = [expected_ids([row[c] for row in rows], training, min_count) for c in (2, 3)]
    np.testing.assert_array_equal(together(splits).categorical.T, expected)


@unshrunk(10)
@given(tables())
def test_any_number_is_read_to_float32(encoded, rows):
    splits, _ = encoded(rows, 1)
    expected = np.array([row[1] or 0 for row in rows], np.float32)
    np.testing.assert_array_equal(together(splits).numerical[:, 0], expected)


@unshrunk(10)
@given(tables(), st.integers(1, 4))
def test_predict_encodes_as_preparation_did(encoded, rows, min_count):
    splits, again = encoded(rows, min_count)
    np.testing.assert_array_equal(again.categorical, together(splits).categorical)


# Splits


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**31), st.lists(st.integers(0, 5 * 10**9), min_size=1, max_size=20))
@example(0, [0, 1, 2**31 - 2, 2**31 - 1, 2**31])
def test_row_hash_is_the_same_in_sql_and_numpy(engine, seed, rows):
    values = ", ".join(f"({row}::BIGINT)" for row in rows)
    found = engine.run(f"SELECT {_hash_statement(seed)} FROM (VALUES {values}) AS rows(rowid)")
    np.testing.assert_array_equal(row_hash(np.array(rows), seed), [h for (h,) in found])


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    with Engine(tmp_path_factory.mktemp("engine"), "1GB") as engine:
        yield engine


@pytest.mark.parametrize("seed", [0, 1, 12_345])
@pytest.mark.parametrize("start", [0, 40_000_000])
def test_the_hash_deals_rows_evenly(seed, start):
    n = 1_000_000
    buckets = np.bincount(row_hash(np.arange(start, start + n), seed) % 10, minlength=10)
    assert np.all(np.abs(buckets - n / 10) < 4.5 * math.sqrt(n * 0.09))


def test_the_hashes_of_neighbours_are_independent():
    n = 1_000_000
    bucket = row_hash(np.arange(n + 1), 0) % 10
    pairs = np.bincount(bucket[:-1] * 10 + bucket[1:], minlength=100)
    assert np.all(np.abs(pairs - n / 100) < 5 * math.sqrt(n * 0.01))


@pytest.mark.parametrize("seed", [1, 2, 3, 7, 42])
def test_two_seeds_share_about_a_tenth_of_their_test_rows(seed):
    mine, theirs = (row_hash(np.arange(1_000_000), s) % 10 == 9 for s in (0, seed))
    assert (mine & theirs).sum() / mine.sum() == pytest.approx(0.1, rel=0.2)


def test_rows_are_split_8_1_1_by_their_hash(whole):
    _, splits, _ = whole
    bucket = row_hash(together(splits).row, 0) % 10
    expected = [np.flatnonzero(bucket < 8), np.flatnonzero(bucket == 8), np.flatnonzero(bucket > 8)]
    assert [splits[s].row.tolist() for s in SPLITS] == [rows.tolist() for rows in expected]


def test_the_split_is_the_same_in_another_copy_of_the_file(whole, criteo_file, make_file, criteo):
    copy = make_file([criteo_file.read_bytes()], "copy.txt")
    assert_same(prepared(criteo(copy)), whole[1])


def test_another_seed_splits_otherwise(criteo, criteo_lines):
    one, other = (prepared(criteo(criteo_lines, split_seed=seed))["test"].row for seed in (0, 1))
    assert one.tolist() != other.tolist()


def test_the_ratio_is_an_option(criteo, criteo_lines):
    splits = prepared(criteo(criteo_lines, split_ratio=(1, 1, 2)))
    assert len(splits["test"]) == pytest.approx(500, abs=4.5 * math.sqrt(1000 / 4))


def hours_of(avazu_lines, arrays):
    return {avazu_lines[1 + row].split(",")[2] for row in arrays.row}


def test_split_by_time(avazu, avazu_file, avazu_lines):
    """Hours hold 30, 30, 20, 10 and 10 % of the rows: whole hours, 8:1:1."""
    splits = prepared(avazu(avazu_file, split="time"))
    assert [hours_of(avazu_lines, splits[s]) for s in SPLITS] == [
        {"14102100", "14102113", "14102207"},
        {"14102512"},
        {"14102623"},
    ]


def test_split_by_time_of_shuffled_rows(avazu, avazu_lines):
    rows = np.random.default_rng(0).permutation(avazu_lines[1:]).tolist()
    lines = [avazu_lines[0], *rows]
    splits = prepared(avazu(lines, split="time"))
    assert hours_of(lines, splits["test"]) == {"14102623"}


# Avazu


def avazu_texts(avazu_lines, column):
    index = avazu_lines[0].split(",").index(column)
    return [line.split(",")[index] for line in avazu_lines[1:]]


def ids_of(datamodule, field):
    names = [f.name for f in datamodule.schema.categorical]
    return together(prepared(datamodule)).categorical[:, names.index(field)]


@pytest.mark.parametrize("field", ["C1", "site_id", "device_ip", "C21"])
def test_avazu_ids_are_those_of_the_slow_way(avazu, avazu_file, avazu_lines, field):
    datamodule = avazu(avazu_file)
    training = prepared(datamodule)["train"].row
    expected = expected_ids(avazu_texts(avazu_lines, field), training, min_count=5)
    np.testing.assert_array_equal(ids_of(datamodule, field), expected)


@pytest.mark.parametrize(
    ("field", "part"),
    [
        ("hour", lambda t: time.strftime("%H", t)),
        ("weekday", lambda t: str(t.tm_wday)),
        ("is_weekend", lambda t: str(t.tm_wday >= 5)),
    ],
)
def test_parts_of_the_hour_tell_rows_apart_as_the_calendar_does(
    avazu, avazu_file, avazu_lines, field, part
):
    times = [time.strptime(t, "%y%m%d%H") for t in avazu_texts(avazu_lines, "hour")]
    pairs = set(zip(ids_of(avazu(avazu_file), field), map(part, times), strict=True))
    distinct = len({text for _, text in pairs})
    assert (len(pairs), len({i for i, _ in pairs})) == (distinct, distinct)


def test_the_hour_as_timestamp_is_its_text(avazu, avazu_file, avazu_lines):
    datamodule = avazu(avazu_file, hour="timestamp")
    training = prepared(datamodule)["train"].row
    expected = expected_ids(avazu_texts(avazu_lines, "hour"), training, min_count=5)
    np.testing.assert_array_equal(ids_of(datamodule, "hour"), expected)


def test_avazus_id_is_dropped(avazu, avazu_file):
    names = [field.name for field in avazu(avazu_file).schema.fields]
    assert (len(names), "id" in names) == (24, False)


def test_avazu_columns_are_found_by_name(avazu, avazu_file, avazu_lines):
    turned = [",".join(reversed(line.split(","))) for line in avazu_lines]
    assert_same(prepared(avazu(turned)), prepared(avazu(avazu_file)))


def test_a_column_without_a_name_is_ignored(avazu, avazu_file, avazu_lines):
    """As pandas writes an index."""
    indexed = ["," + avazu_lines[0], *(f"{i},{line}" for i, line in enumerate(avazu_lines[1:]))]
    assert_same(prepared(avazu(indexed)), prepared(avazu(avazu_file)))


# Forms of a file


def test_gz_equals_plain(criteo, criteo_lines, make_file, plain):
    packed = gzip.compress("\n".join(criteo_lines).encode())
    assert_same(prepared(criteo(make_file([packed], "train.txt.gz"))), plain)


def test_avazu_gz_equals_plain(avazu, avazu_file, make_file):
    packed = gzip.compress(avazu_file.read_bytes())
    assert_same(prepared(avazu(make_file([packed], "train.csv.gz"))), prepared(avazu(avazu_file)))


@pytest.mark.parametrize("end", ["", "\r\n"])
def test_ends_of_lines_make_no_difference(criteo, criteo_lines, plain, end):
    text = (end or "\n").join(criteo_lines) + end
    assert_same(prepared(criteo([text.encode()])), plain)


def test_one_line_that_ends_otherwise_shifts_no_row(criteo, criteo_lines):
    lines = [*criteo_lines[:500], criteo_lines[500] + "\r", *criteo_lines[501:]]
    splits = prepared(criteo(lines, max_bad_rows=0.01))
    assert together(splits).row.max() == 999


def test_avazu_crlf_equals_lf(avazu, avazu_lines, avazu_file):
    crlf = ("\r\n".join(avazu_lines) + "\r\n").encode()
    assert_same(prepared(avazu([crlf])), prepared(avazu(avazu_file)))


@pytest.mark.parametrize(
    "name", ["train[1].txt", "train*.txt", "train?.txt", "it's.txt", "é .txt", "line=9/train.txt"]
)
def test_a_file_name_is_no_pattern(criteo, criteo_lines, make_file, plain, name):
    make_file(criteo_lines[:300], "train1.txt")
    assert_same(prepared(criteo(make_file(criteo_lines, name))), plain)


def test_prepares_once(criteo, criteo_lines, make_file):
    path = make_file(criteo_lines)
    criteo(path).prepare_data()
    with mock.patch("datamodules.base.prepare") as again:
        criteo(path).prepare_data()
    assert again.call_count == 0


@pytest.mark.parametrize(
    "option",
    [
        {"min_count": 2},
        {"scaling": "none"},
        {"split_seed": 1},
        {"split_ratio": (7, 2, 1)},
        {"max_bad_rows": 0.5},
    ],
    ids=lambda option: next(iter(option)),
)
def test_another_option_is_another_folder(criteo, criteo_file, option):
    assert criteo(criteo_file).folder != criteo(criteo_file, **option).folder


def test_a_changed_file_is_another_folder(criteo, criteo_lines):
    before = criteo(criteo_lines).folder
    assert criteo([*criteo_lines, criteo_lines[0]]).folder != before


@pytest.mark.parametrize("option", [{"batch_size": 3}, {"memory_limit": "2GB"}, {"resident": True}])
def test_options_of_speed_share_a_folder(criteo, criteo_file, option):
    assert criteo(criteo_file).folder == criteo(criteo_file, **option).folder


# Malformed rows

BAD_LINES = {
    "it has 39 columns, not 40": lambda line: line.rpartition("\t")[0],
    "it has 41 columns, not 40": lambda line: line + "\t",
    "it has 0 columns, not 40": lambda line: "",
    "its label (label) is not 0 or 1": lambda line: with_cell(line, 0, "2"),
    "I1 is not a number": lambda line: with_cell(line, 1, "five"),
    "I13 is not a number": lambda line: with_cell(line, 13, "0x10"),
    "it is not UTF-8 text": lambda line: line.encode() + b"\xff\n",
}


def with_bad_line(lines, reason):
    return [*lines[:41], BAD_LINES[reason](lines[41]), *lines[42:]]


@pytest.fixture(scope="module", params=BAD_LINES)
def tolerated(request, criteo_lines, tmp_path_factory):
    """(reason, datamodule) of 1,000 lines of which the 42nd is malformed."""
    folder = tmp_path_factory.mktemp("tolerated")
    with open(folder / "train.txt", "wb") as file:
        for line in with_bad_line(criteo_lines, request.param):
            file.write(line if isinstance(line, bytes) else line.encode() + b"\n")
    datamodule = Criteo(str(folder / "train.txt"), prepared=str(folder / "prepared"))
    return request.param, datamodule


@pytest.mark.parametrize("reason", BAD_LINES)
def test_a_malformed_line_is_named(criteo, criteo_lines, reason):
    with pytest.raises(ZooError, match=rf"line 42: {re.escape(reason)}$"):
        prepared(criteo(with_bad_line(criteo_lines, reason), max_bad_rows=0))


def test_a_malformed_line_is_counted(tolerated):
    reason, datamodule = tolerated
    assert datamodule.manifest.rejected == {reason: 1}


def test_a_malformed_line_leaves_the_others_their_numbers(tolerated):
    rows = together(prepared(tolerated[1])).row
    assert rows.tolist() == [row for row in range(1000) if row != 41]


@pytest.mark.parametrize("label", ["", "2", "-1", "0.5", "1.0", "true", " 1", "nan"])
def test_a_label_is_0_or_1(criteo, criteo_lines, label):
    lines = [*criteo_lines[:-1], with_cell(criteo_lines[-1], 0, label)]
    with pytest.raises(ZooError, match=r"line 1000: its label \(label\) is not 0 or 1"):
        prepared(criteo(lines, max_bad_rows=0))


@pytest.mark.parametrize(
    "text", ["nan", "inf", "-inf", "Infinity", "1e39", "1,5", "1.2.3", "-", "\u0661"]
)
def test_what_is_not_a_finite_number(criteo, criteo_lines, text):
    lines = [with_cell(criteo_lines[0], 3, text), *criteo_lines[1:]]
    with pytest.raises(ZooError, match="line 1: I3 is not a number"):
        prepared(criteo(lines, max_bad_rows=0))


@pytest.mark.parametrize(
    ("text", "number"), [("5.25", 5.25), ("-1", -1), ("1e3", 1000), ("+7", 7), (".5", 0.5)]
)
def test_what_is_a_number(criteo, criteo_lines, text, number):
    lines = [with_cell(criteo_lines[0], 3, text), *criteo_lines[1:]]
    assert together(prepared(criteo(lines, scaling="none"))).numerical[0, 2] == number


def test_reasons_are_counted_apart(criteo, criteo_lines):
    bad = ["x", *(make(criteo_lines[0]) for make in BAD_LINES.values()), "y"]
    rejected = criteo([*criteo_lines, *bad], max_bad_rows=0.1).manifest.rejected
    assert rejected == {**dict.fromkeys(BAD_LINES, 1), "it has 1 columns, not 40": 2}


def test_malformed_lines_after_an_undecodable_one_keep_their_numbers(criteo, criteo_lines):
    lines = [b"\xff\xff\n", criteo_lines[0], b"\xfe\n", *criteo_lines[1:5], "x", *criteo_lines[5:]]
    assert criteo(lines, max_bad_rows=0.1).manifest.rejected_examples == [
        [1, "it is not UTF-8 text"],
        [3, "it is not UTF-8 text"],
        [8, "it has 1 columns, not 40"],
    ]


def test_the_header_counts_as_a_line(avazu, avazu_lines):
    lines = [*avazu_lines[:3], b"\xff\n", *avazu_lines[3:5], "x", *avazu_lines[5:]]
    assert avazu(lines, max_bad_rows=0.1).manifest.rejected_examples == [
        [4, "it is not UTF-8 text"],
        [7, "it has 1 columns, not 24"],
    ]


def test_labels_stay_with_their_rows_after_an_undecodable_line(avazu, avazu_lines):
    lines = [*avazu_lines[:3], b"\xff\n", *avazu_lines[3:]]
    arrays = together(prepared(avazu(lines)))
    clicks = [line.split(",")[1] if isinstance(line, str) else "" for line in lines[1:]]
    assert arrays.label.tolist() == [float(clicks[row]) for row in arrays.row]


def test_the_hour_has_a_form(avazu, avazu_lines):
    lines = [*avazu_lines[:-1], with_cell(avazu_lines[-1], 2, "14102125", ",")]
    with pytest.raises(ZooError, match="line 3001: hour is not of the form YYMMDDHH"):
        prepared(avazu(lines, max_bad_rows=0))


def test_malformed_rows_up_to_the_limit_are_tolerated(criteo, criteo_lines):
    assert criteo([*criteo_lines[:999], "x"], max_bad_rows=0.001).manifest.rejected


def test_malformed_rows_past_the_limit_stop(criteo, criteo_lines):
    with pytest.raises(ZooError, match=r"2 of 1000 rows are malformed.*max_bad_rows.*0\.100%"):
        prepared(criteo([*criteo_lines[:998], "x", "y"], max_bad_rows=0.001))


# Files that cannot be used

UNUSABLE = {
    "missing": (lambda lines: None, "no such file: .*train.txt"),
    "empty": (lambda lines: [], "train.txt is empty"),
    "blank": (lambda lines: [""], "train.txt is empty, or begins with an empty line"),
    "one class": (
        lambda lines: [with_cell(line, 0, "1") for line in lines],
        "every usable label is 1; a classifier needs rows of both classes",
    ),
    "too few rows": (
        lambda lines: [with_cell(lines[0], 0, "0"), with_cell(lines[0], 0, "1")],
        "its 2 usable rows leave the (train|val|test) split empty: use a larger file",
    ),
    "no label": (lambda lines: [line.partition("\t")[2] for line in lines], "label"),
    "nothing usable": (lambda lines: ["x"] * 100, "no usable row|0 usable rows|1 columns"),
}


@pytest.mark.parametrize("case", UNUSABLE)
def test_message_of_an_unusable_file(criteo, criteo_lines, tmp_path, case):
    damage, message = UNUSABLE[case]
    lines = damage(criteo_lines)
    source = tmp_path / "train.txt" if lines is None else lines
    with pytest.raises(ZooError, match=message):
        prepared(criteo(source, max_bad_rows=1))


@pytest.mark.parametrize("case", UNUSABLE)
def test_an_unusable_file_leaves_no_folder(criteo, criteo_lines, tmp_path, case):
    lines = UNUSABLE[case][0](criteo_lines)
    with pytest.raises(Exception):  # noqa: B017, PT011 - whatever it is
        prepared(criteo(tmp_path / "train.txt" if lines is None else lines, max_bad_rows=1))
    assert [p for p in tmp_path.glob("prepared/*") if p.is_dir()] == []


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (lambda h: h.replace("site_id,", "").replace(",C21", ""), "lacks the column site_id, C21$"),
        (lambda h: h.replace("hour,", ""), "its header lacks the column hour$"),
        (lambda h: h.replace("C20", "C21"), "lacks the column C20$"),
        (lambda h: h + ",C1", "its header names a column twice"),
        (lambda h: h.replace("click,", ""), "click|label"),
    ],
)
def test_message_of_a_wrong_avazu_header(avazu, avazu_lines, header, message):
    lines = [header(avazu_lines[0]), *avazu_lines[1:]]
    with pytest.raises(ZooError, match=message):
        prepared(avazu(lines, max_bad_rows=1))


def test_a_header_alone_is_an_empty_file(avazu, avazu_lines):
    with pytest.raises(ZooError, match=r"train.csv is empty: it holds no rows"):
        prepared(avazu(avazu_lines[:1]))


@pytest.mark.parametrize("cut", [100, 30_000, -9, -4])
def test_a_truncated_gz_is_not_read_as_whole(criteo, criteo_lines, make_file, cut):
    packed = gzip.compress("\n".join(criteo_lines).encode())
    with pytest.raises(ZooError, match=r"(cannot read|failed).*train.txt.gz"):
        prepared(criteo(make_file([packed[:cut]], "train.txt.gz")))


def test_a_plain_file_named_gz(criteo, criteo_lines, make_file):
    with pytest.raises(ZooError, match=r"cannot read .*train.txt.gz: Not a gzipped file"):
        prepared(criteo(make_file(criteo_lines, "train.txt.gz")))


def test_too_few_times_for_a_split_by_time(avazu, avazu_lines):
    with pytest.raises(ZooError, match=r"holds 2 distinct times.*use data.split=hash"):
        prepared(avazu(avazu_lines[:1201], split="time"))


def test_rows_without_time_are_not_split_by_it(criteo, criteo_lines):
    with pytest.raises(ZooError, match=r"time.*data.split=hash"):
        prepared(criteo(criteo_lines, split="time"))


# Options


@pytest.mark.parametrize(
    ("make", "options", "message"),
    [
        (Criteo, {"batch_size": 0}, "data.batch_size must be at least 1, got 0"),
        (Criteo, {"min_count": 0}, "data.min_count must be at least 1, got 0"),
        (Criteo, {"max_bad_rows": 1.5}, "data.max_bad_rows is a share between 0 and 1, got 1.5"),
        (Criteo, {"split_ratio": (8, 0, 1)}, "data.split_ratio needs three positive numbers"),
        (Criteo, {"split_ratio": (8, 1)}, "data.split_ratio needs three positive numbers"),
        (Criteo, {"scaling": "cube"}, "data.scaling must be one of floor_log_squared.*got 'cube'"),
        (Avazu, {"hour": "minutes"}, "data.hour must be one of parts, timestamp, got 'minutes'"),
        (Criteo, {"shuffle_seed": -1}, "data.shuffle_seed"),
    ],
)
def test_message_of_a_wrong_option(make, options, message):
    with pytest.raises(ZooError, match=message):
        make("train.txt", **options)


@pytest.mark.parametrize("limit", ["lots", "", "1GB'; --"])
def test_a_memory_limit_is_a_size(criteo, criteo_file, limit):
    with pytest.raises(ZooError, match=r"data.memory_limit .* is not a size such as 1GB"):
        prepared(criteo(criteo_file, memory_limit=limit))


def test_a_memory_limit_that_does_not_suffice(criteo, criteo_file):
    with pytest.raises(ZooError, match=r"data.memory_limit 10KB is too small .* raise it"):
        prepared(criteo(criteo_file, memory_limit="10KB"))


def test_a_prepared_folder_that_is_a_file(criteo, criteo_file, make_file):
    with pytest.raises(ZooError, match=r"notes.txt"):
        prepared(criteo(criteo_file, prepared=str(make_file(["mine"], "notes.txt"))))


# Damage after preparation


def flip(path):
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


DAMAGE = {
    "flipped bit": (lambda f: flip(f / "train" / "label.npy"), "label.npy does not match its chec"),
    "cut": (lambda f: os.truncate(f / "val" / "row.npy", 100), "row.npy does not match its checks"),
    "missing array": (lambda f: (f / "test" / "label.npy").unlink(), "test/label.npy is missing"),
    "vocabulary": (lambda f: flip(f / "encoder" / "vocabulary.parquet"), "parquet does not match"),
    "missing encoder": (lambda f: shutil.rmtree(f / "encoder"), "encoder.* is missing"),
    "missing manifest": (lambda f: (f / "manifest.json").unlink(), "manifest.json is damaged"),
    "cut manifest": (lambda f: os.truncate(f / "manifest.json", 99), "manifest.json is damaged"),
    "foreign manifest": (
        lambda f: (f / "manifest.json").write_text("[]"),
        "manifest.json is damaged",
    ),
    "binary manifest": (
        lambda f: (f / "manifest.json").write_bytes(b"\xff\xfe"),
        "manifest.json is damaged",
    ),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_damage_is_found_before_use(criteo, criteo_file, whole, tmp_path, case):
    damage, message = DAMAGE[case]
    damage(shutil.copytree(whole[2], tmp_path / "prepared" / whole[2].name))
    with pytest.raises(ZooError, match=rf"{message}.*; delete .* to prepare the data again"):
        criteo(criteo_file).setup("fit")


def test_checksums_cover_every_file(whole):
    folder = whole[2]
    files = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}
    assert set(Manifest.load(folder).checksums) == files - {"manifest.json"}


# Prediction


@pytest.fixture
def encoder(whole, tmp_path):
    """A copy of the encoder of `whole`, which may be damaged."""
    return shutil.copytree(whole[2] / "encoder", tmp_path / "encoder")


@pytest.fixture
def scored(criteo, encoder, criteo_file, make_file):
    """The arrays of lines to predict, with the encoder of `whole`."""

    def make(lines, **options):
        options = {
            "encoder": str(encoder),
            "predict_path": str(make_file(lines, "new.txt")),
            **options,
        }
        return predicted(criteo(criteo_file, **options))

    return make


def test_predict_encodes_the_file_as_preparation_did(whole, scored, criteo_lines):
    expected = together(whole[1]).categorical[: len(criteo_lines)]
    np.testing.assert_array_equal(scored(criteo_lines).categorical, expected)


def test_an_unseen_value_is_unknown(scored, criteo_lines):
    assert scored([with_cell(criteo_lines[0], 16, "never")]).categorical[0, 2] == 0


def test_a_missing_value_is_missing(scored, criteo_lines):
    assert scored([with_cell(criteo_lines[0], 16, "")]).categorical[0, 2] == 1


def test_rows_without_label_are_scored(scored, criteo_lines):
    arrays = scored([line.partition("\t")[2] for line in criteo_lines])
    assert (len(arrays), np.isnan(arrays.label).all()) == (1000, True)


def test_malformed_rows_to_predict_leave_the_others_their_numbers(scored, criteo_lines):
    lines = [*criteo_lines[:2], "x", b"\xff\n", *criteo_lines[2:4]]
    assert scored(lines, max_bad_rows=1).row.tolist() == [0, 1, 4, 5]


def test_malformed_rows_to_predict_stop_past_the_limit(scored, criteo_lines):
    with pytest.raises(ZooError, match=r"new.txt: 1 of 3 rows are malformed.*line 3: it has 1 col"):
        scored([*criteo_lines[:2], "x"])


def test_avazu_predicts_without_click(avazu, avazu_file, avazu_lines, make_file):
    cells = [line.split(",") for line in avazu_lines]
    unlabelled = make_file([",".join([row[0], *row[2:]]) for row in cells], "test.csv")
    arrays = predicted(
        avazu(avazu_file, **trained(avazu(avazu_file)), predict_path=str(unlabelled))
    )
    expected = together(prepared(avazu(avazu_file))).categorical
    np.testing.assert_array_equal(arrays.categorical, expected)


def trained(datamodule):
    datamodule.prepare_data()
    return {"encoder": str(datamodule.folder / "encoder")}


def test_predict_needs_a_file(criteo, criteo_file, encoder):
    with pytest.raises(ZooError, match=r"predict needs a raw file.*--data.predict_path FILE"):
        criteo(criteo_file, encoder=str(encoder)).setup("predict")


def test_predict_of_a_missing_file(criteo, criteo_file, encoder, tmp_path):
    absent = str(tmp_path / "absent.txt")
    with pytest.raises(ZooError, match=r"no such file: .*absent.txt"):
        predicted(criteo(criteo_file, encoder=str(encoder), predict_path=absent))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scaling": "none"}, "data.scaling = floor_log_squared, this config has none"),
        ({"min_count": 3}, "data.min_count = 10, this config has 3: use the config.yaml of that"),
    ],
)
def test_other_options_than_the_encoder_was_fitted_with(scored, criteo_lines, options, message):
    with pytest.raises(ZooError, match=message):
        scored(criteo_lines, **options)


def test_the_encoder_of_another_dataset(avazu, avazu_file, encoder):
    with pytest.raises(ZooError, match="was fitted on Criteo data, not on Avazu data"):
        predicted(avazu(avazu_file, encoder=str(encoder), predict_path=str(avazu_file)))


@pytest.mark.parametrize("name", ["encoder.json", "vocabulary.parquet"])
def test_an_encoder_that_lacks_a_file(scored, criteo_lines, encoder, name):
    (encoder / name).unlink()
    with pytest.raises(ZooError, match=r"encoder is not an encoder: .* is missing"):
        scored(criteo_lines)


@pytest.mark.parametrize(
    "content",
    [b"{", b"[]", b"\xff\xfe", b'{"format": 1}', b'{"format": 1, "schema": []}'],
)
def test_a_damaged_description_of_an_encoder(scored, criteo_lines, encoder, content):
    (encoder / "encoder.json").write_bytes(content)
    with pytest.raises(ZooError, match=r"encoder.json is damaged"):
        scored(criteo_lines)


def test_a_description_of_another_format(scored, criteo_lines, encoder):
    (encoder / "encoder.json").write_text(json.dumps({"format": 99}))
    with pytest.raises(ZooError, match=r"encoder.json has format 99, this version reads 1"):
        scored(criteo_lines)


@pytest.mark.parametrize("size", [0, 100, -50])
def test_a_cut_vocabulary(scored, criteo_lines, encoder, size):
    path = encoder / "vocabulary.parquet"
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(ZooError, match=r"vocabulary.parquet"):
        scored(criteo_lines)


# Interruptions

processes = multiprocessing.get_context("forkserver")
processes.set_forkserver_preload(["datamodules"])


def killed(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)


def killed_in_the_manifest(manifest, folder):
    """Stands in for `Manifest.save`."""
    (folder / "manifest.json").write_text('{"source": {"path"')
    killed()


def prepare_and_die(path, prepared, step, death):
    with mock.patch(step, death):
        Criteo(path, prepared=prepared).prepare_data()


def prepare_after_signal(path, prepared, ready):
    datamodule = Criteo(path, prepared=prepared)
    ready.set()
    datamodule.prepare_data()


def prepare_at_once(path, prepared, synthetic, barrier, counts):
    few = tuple(min(n, 3000) for n in CARDINALITIES)  # to be quick
    barrier.wait(60)
    with (
        mock.patch("datamodules.synthetic.CARDINALITIES", few),
        mock.patch("datamodules.base.prepare", wraps=prepare) as work,
    ):
        Criteo(path, prepared=prepared, synthetic=synthetic).prepare_data()
    counts.put(work.call_count)


def limit_files(size):
    """From now on every write past `size` bytes of a file fails, as it would on a full disk."""
    sys.stdout = sys.stderr = io.StringIO()  # what catches the output is a file too
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def prepare_with_small_files(path, prepared, size, messages):
    """Prepares on a disk that is full."""
    limit_files(size)
    try:
        Criteo(path, prepared=prepared).prepare_data()
    except ZooError as error:
        messages.put(str(error))


def run_process(target, *arguments):
    """Runs a function in a process of its own; gives its exit code."""
    process = processes.Process(target=target, args=arguments)
    process.start()
    process.join(60)
    code = process.exitcode
    process.close()
    return code


@pytest.fixture
def small(make_file, criteo_lines, tmp_path):
    """(raw file, prepared folder) as text."""
    return str(make_file(criteo_lines)), str(tmp_path / "prepared")


STEPS = {
    "before reading": ("datamodules.prepare.read_rows", killed),
    "after reading": ("datamodules.prepare.fit_vocabulary", killed),
    "before the arrays": ("datamodules.prepare._write_arrays", killed),
    "in the arrays": ("datamodules.store.ArraysWriter.write", killed),
    "after the arrays": ("datamodules.prepare.checksums", killed),
    "before the manifest": ("datamodules.store.Manifest.save", killed),
    "in the manifest": ("datamodules.store.Manifest.save", killed_in_the_manifest),
    "before the name": ("datamodules.store.os.replace", killed),
}


@pytest.mark.parametrize("moment", STEPS)
def test_killed_preparation_is_not_taken_for_whole(small, plain, moment):
    path, folder = small
    assert run_process(prepare_and_die, path, folder, *STEPS[moment]) == -signal.SIGKILL
    datamodule = Criteo(path, prepared=folder)
    assert not datamodule.folder.exists()
    datamodule.setup("fit")
    assert_same(prepared(datamodule), plain)
    assert [p for p in Path(folder).iterdir() if p.name.endswith(".partial")] == []


def test_killed_at_any_time_leaves_nothing_or_all(criteo_file, tmp_path, whole):
    datamodule = Criteo(str(criteo_file), prepared=str(tmp_path / "prepared"))
    for delay in (0.0, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5):
        ready = processes.Event()
        process = processes.Process(
            target=prepare_after_signal, args=(str(criteo_file), str(tmp_path / "prepared"), ready)
        )
        process.start()
        assert ready.wait(60)
        time.sleep(delay)
        process.kill()
        process.join()
        process.close()
        if datamodule.folder.exists():
            Manifest.load(datamodule.folder).verify(datamodule.folder)
            shutil.rmtree(datamodule.folder)
    assert_same(prepared(datamodule), whole[1])


@pytest.mark.parametrize("synthetic", [None, PlantedClicks(rows=3000)], ids=["raw", "generated"])
def test_two_processes_at_once_make_one_folder(small, tmp_path, synthetic):
    path, folder = small
    path = str(tmp_path / "generated.txt") if synthetic else path
    barrier, counts = processes.Barrier(2), processes.SimpleQueue()
    started = [
        processes.Process(target=prepare_at_once, args=(path, folder, synthetic, barrier, counts))
        for _ in range(2)
    ]
    for process in started:
        process.start()
    for process in started:
        process.join(60)
    assert [process.exitcode for process in started] == [0, 0]
    assert sorted([counts.get(), counts.get()]) == [0, 1]
    assert len([p for p in Path(folder).iterdir() if p.is_dir()]) == 1


def test_ctrl_c_leaves_no_folder(criteo, criteo_lines, tmp_path):
    with (
        mock.patch("datamodules.store.ArraysWriter.write", side_effect=KeyboardInterrupt),
        pytest.raises(KeyboardInterrupt),
    ):
        prepared(criteo(criteo_lines))
    assert [p for p in (tmp_path / "prepared").iterdir() if p.is_dir()] == []


def test_ctrl_c_stops_a_long_query(engine):
    started = time.monotonic()
    threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
    with pytest.raises(KeyboardInterrupt):
        engine.run("SELECT sum(a.range * b.range) FROM range(10000000) a, range(1000) b")
    assert time.monotonic() - started < 8


FULL = OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_is_told_in_words(criteo, criteo_lines):
    with (
        mock.patch("datamodules.store.ArraysWriter.write", side_effect=FULL),
        pytest.raises(ZooError, match=r"cannot write .*criteo-.*: No space left on device"),
    ):
        prepared(criteo(criteo_lines))


def test_a_full_disk_leaves_no_folder(criteo, criteo_lines, tmp_path):
    with (
        mock.patch("datamodules.store.ArraysWriter.write", side_effect=FULL),
        pytest.raises(ZooError),
    ):
        prepared(criteo(criteo_lines))
    assert [p for p in (tmp_path / "prepared").iterdir() if p.is_dir()] == []


@pytest.mark.parametrize("size", [0, 1000, 20_000])
def test_writes_that_fail_are_told_in_words(small, size):
    path, folder = small
    messages = processes.SimpleQueue()
    assert run_process(prepare_with_small_files, path, folder, size, messages) == 0
    assert re.search("cannot write|writing failed", messages.get())
    assert [p for p in Path(folder).iterdir() if p.is_dir()] == []


def test_training_rows_of_one_class(criteo, criteo_lines):
    """As long as a file has both classes, its training rows may still lack one."""
    rows = np.arange(200)
    test_row = int(np.flatnonzero(row_hash(rows, 0) % 10 == 9)[0])
    lines = [
        with_cell(line, 0, str(int(i == test_row))) for i, line in enumerate(criteo_lines[:200])
    ]
    with pytest.raises(ZooError, match=r"its training rows are all of one class"):
        prepared(criteo(lines))
