"""From raw files to prepared arrays: ids, numbers, forms of a file.

What is prepared is compared with a slow re-implementation in plain Python.
"""

import gzip
import math
import time
from collections import Counter
from unittest import mock

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from support.preparation import assert_same, prepared, together, with_cell

from datamodules import Criteo
from datamodules.prepared.arrays import ARRAYS, Arrays
from datamodules.prepared.encoder import Encoder
from datamodules.prepared.folder import SPLITS, Manifest
from datamodules.tabular.files import TableFiles
from datamodules.tabular.label import Digit
from datamodules.tabular.paths import Reading
from datamodules.tabular.plain_file import PlainFile
from datamodules.tabular.prepare import encode_file, prepare
from datamodules.tabular.source import RawField, part
from datamodules.tabular.splitting import Splitting

SCALING = {
    "floor_log_squared": lambda x: math.floor(math.log(x) ** 2) if x > 2 else x,
    "log_squared": lambda x: math.log(x) ** 2 if x > 2 else x,
    "log": lambda x: math.log1p(max(x, 0)),
    "none": lambda x: x,
}


def expected_ids(texts, training, min_count):
    """0 unknown, 1 missing, then the frequent ones of the training rows, ties by text."""
    counts = Counter(texts[row] for row in training if texts[row])
    kept = sorted((t for t in counts if counts[t] >= min_count), key=lambda t: (-counts[t], t))
    ids = {text: 2 + i for i, text in enumerate(kept)}
    return [ids.get(text, 0) if text else 1 for text in texts]


# Ids and numbers


@pytest.mark.parametrize("c", range(26))
def test_ids_are_those_of_the_slow_way(prepared_criteo, c):
    cells, splits, _ = prepared_criteo
    found = together(splits).categorical[:, c]
    expected = expected_ids([row[14 + c] for row in cells], splits["train"].row, min_count=10)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("scaling", SCALING)
def test_numbers_are_those_of_the_slow_way(criteo, criteo_lines, scaling):
    cells = [line.split("\t")[1:14] for line in criteo_lines]
    expected = [[SCALING[scaling](float(x)) if x else 0.0 for x in row] for row in cells]
    found = together(prepared(criteo(criteo_lines, scaling=scaling))).numerical
    np.testing.assert_allclose(found, np.array(expected, np.float32), rtol=1e-6)


def test_labels_are_the_first_column(prepared_criteo):
    cells, splits, _ = prepared_criteo
    np.testing.assert_array_equal(together(splits).label, [float(row[0]) for row in cells])


def test_means_do_not_depend_on_the_order_of_threads(make_file, tmp_path):
    """They are sums in the order of the rows, also where several threads read the file."""
    random = np.random.default_rng(0)
    rest = "\t".join([*random.integers(0, 10_000, 12).astype(str), *[""] * 26])
    numbers = random.integers(3, 1_000_000, 260_000)  # of more rows than a thread takes at once
    lines = [f"{x % 2}\t{x}\t{rest}" for x in numbers.tolist()]
    data = Criteo(str(make_file(lines)), scaling="log", prepared=str(tmp_path / "prepared"))
    train = prepared(data)["train"].numerical.astype(np.float64)
    in_order = np.add.accumulate(train)[-1] / len(train)
    assert list(Encoder.load(data.folder / "encoder").means.values()) == in_order.tolist()


def test_means_are_those_of_the_training_rows(prepared_criteo):
    _, splits, folder = prepared_criteo
    expected = splits["train"].numerical.mean(0, dtype=np.float64)
    np.testing.assert_allclose(list(Encoder.load(folder / "encoder").means.values()), expected)


def test_cardinality_counts_unknown_missing_and_the_frequent_values(prepared_criteo):
    cells, splits, folder = prepared_criteo
    counts = Counter(cells[row][14] for row in splits["train"].row)
    frequent = sum(n >= 10 for text, n in counts.items() if text)
    schema = Encoder.load(folder / "encoder").schema
    assert schema.categorical[0].cardinality == 2 + frequent


def test_the_vocabulary_is_of_the_training_split_alone(criteo, criteo_lines, prepared_lines):
    held_out = prepared_lines["test"].row
    lines = list(criteo_lines)
    for row in held_out:
        lines[row] = with_cell(lines[row], 14, "only-here")
    assert set(prepared(criteo(lines, min_count=1))["test"].categorical[:, 0]) == {0}


def test_row_numbers_cover_the_file_once(prepared_criteo):
    cells, splits, _ = prepared_criteo
    np.testing.assert_array_equal(together(splits).row, np.arange(len(cells)))


@pytest.mark.parametrize("split", SPLITS)
def test_rows_of_a_split_stand_in_file_order(prepared_criteo, split):
    assert np.all(np.diff(prepared_criteo[1][split].row) > 0)


def test_the_manifest_counts_what_the_arrays_hold(prepared_criteo):
    _, splits, folder = prepared_criteo
    held = {s: {"rows": len(a), "positives": int(a.label.sum())} for s, a in splits.items()}
    assert Manifest.load(folder).splits == held


def test_array_types(prepared_criteo):
    types = [getattr(prepared_criteo[1]["train"], array).dtype.str for array in ARRAYS]
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
    RawField("x", "numerical", part("x", "number"), column="x", use="number"),
    RawField("a", "categorical", '"a"', column="a"),
    RawField('b "quoted"', "categorical", '"b"', column="b"),
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
    """Prepares a small table; with `again`, encodes it once more, as a file to predict."""

    def run(rows, min_count, again=False):
        folder = tmp_path_factory.mktemp("table")
        lines = ["\t".join("" if cell is None else str(cell) for cell in row) for row in rows]
        (folder / "t.txt").write_text("\n".join(lines) + "\n", encoding="utf-8", newline="")
        plain = PlainFile(folder / "t.txt", "\t", ("label", "x", "a", "b"))
        uses = {name: {"text": name} for name in ("label", "x", "a", "b")}
        file = TableFiles([plain], uses, Reading(), Digit("label"))
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
        splits = {s: Arrays.open(folder / "prepared" / s) for s in SPLITS}
        if not again:
            return splits
        encode_file(folder, file, FIELDS, folder / "prepared" / "encoder", **limits)
        return splits, Arrays.open(folder / "rows")

    return run


def unshrunk(examples):
    """Each example prepares a file: shrinking a failure would take minutes."""
    phases = [Phase.explicit, Phase.reuse, Phase.generate]
    return settings(max_examples=examples, deadline=None, phases=phases)


@unshrunk(20)
@given(tables(), st.integers(1, 8))
def test_any_table_is_encoded_as_in_the_slow_way(encoded, rows, min_count):
    splits = encoded(rows, min_count)
    training = splits["train"].row
    expected = [expected_ids([row[c] for row in rows], training, min_count) for c in (2, 3)]
    np.testing.assert_array_equal(together(splits).categorical.T, expected)


@unshrunk(10)
@given(tables())
def test_any_number_is_read_to_float32(encoded, rows):
    splits = encoded(rows, 1)
    expected = np.array([row[1] or 0 for row in rows], np.float32)
    np.testing.assert_array_equal(together(splits).numerical[:, 0], expected)


@unshrunk(10)
@given(tables(), st.integers(1, 4))
def test_predict_encodes_as_preparation_did(encoded, rows, min_count):
    splits, again = encoded(rows, min_count, again=True)
    np.testing.assert_array_equal(again.categorical, together(splits).categorical)


# Avazu


def avazu_texts(avazu_lines, column):
    index = avazu_lines[0].split(",").index(column)
    return [line.split(",")[index] for line in avazu_lines[1:]]


def ids_of(datamodule, field):
    arrays = together(prepared(datamodule))
    names = [f.name for f in datamodule.schema.categorical]
    return arrays.categorical[:, names.index(field)]


@pytest.mark.parametrize("field", ["C1", "site_id", "device_ip", "C21"])
def test_avazu_ids_are_those_of_the_slow_way(shared_avazu, avazu_lines, field):
    training = prepared(shared_avazu)["train"].row
    expected = expected_ids(avazu_texts(avazu_lines, field), training, min_count=5)
    np.testing.assert_array_equal(ids_of(shared_avazu, field), expected)


@pytest.mark.parametrize(
    ("field", "part"),
    [
        ("hour", lambda t: time.strftime("%H", t)),
        ("weekday", lambda t: str(t.tm_wday)),
        ("is_weekend", lambda t: str(t.tm_wday >= 5)),
    ],
)
def test_parts_of_the_hour_tell_rows_apart_as_the_calendar_does(
    shared_avazu, avazu_lines, field, part
):
    times = [time.strptime(t, "%y%m%d%H") for t in avazu_texts(avazu_lines, "hour")]
    pairs = set(zip(ids_of(shared_avazu, field), map(part, times), strict=True))
    distinct = len({text for _, text in pairs})
    assert (len(pairs), len({i for i, _ in pairs})) == (distinct, distinct)


def test_the_hour_as_timestamp_is_its_text(avazu, avazu_file, avazu_lines):
    datamodule = avazu(avazu_file, hour="timestamp")
    training = prepared(datamodule)["train"].row
    expected = expected_ids(avazu_texts(avazu_lines, "hour"), training, min_count=5)
    np.testing.assert_array_equal(ids_of(datamodule, "hour"), expected)


def test_avazus_id_is_dropped(shared_avazu):
    names = [field.name for field in shared_avazu.schema.fields]
    assert (len(names), "id" in names) == (24, False)


def test_avazu_columns_are_found_by_name(avazu, prepared_avazu, avazu_lines):
    turned = [",".join(reversed(line.split(","))) for line in avazu_lines]
    assert_same(prepared(avazu(turned)), prepared_avazu)


def test_a_column_without_a_name_is_ignored(avazu, prepared_avazu, avazu_lines):
    """As pandas writes an index."""
    indexed = ["," + avazu_lines[0], *(f"{i},{line}" for i, line in enumerate(avazu_lines[1:]))]
    assert_same(prepared(avazu(indexed)), prepared_avazu)


# Forms of a file


def test_gz_equals_plain(criteo, criteo_lines, make_file, prepared_lines):
    packed = gzip.compress("\n".join(criteo_lines).encode())
    assert_same(prepared(criteo(make_file([packed], "train.txt.gz"))), prepared_lines)


def test_avazu_gz_equals_plain(avazu, avazu_file, make_file, prepared_avazu):
    packed = gzip.compress(avazu_file.read_bytes())
    assert_same(prepared(avazu(make_file([packed], "train.csv.gz"))), prepared_avazu)


@pytest.mark.parametrize("end", ["", "\r\n"])
def test_ends_of_lines_make_no_difference(criteo, criteo_lines, prepared_lines, end):
    text = (end or "\n").join(criteo_lines) + end
    assert_same(prepared(criteo([text.encode()])), prepared_lines)


def test_one_line_that_ends_otherwise_shifts_no_row(criteo, criteo_lines):
    lines = [*criteo_lines[:500], criteo_lines[500] + "\r", *criteo_lines[501:]]
    splits = prepared(criteo(lines, max_bad_rows=0.01))
    assert together(splits).row.max() == 999


def test_avazu_crlf_equals_lf(avazu, avazu_lines, prepared_avazu):
    crlf = ("\r\n".join(avazu_lines) + "\r\n").encode()
    assert_same(prepared(avazu([crlf])), prepared_avazu)


@pytest.mark.parametrize(
    "name", ["train[1].txt", "train*.txt", "train?.txt", "it's.txt", "é .txt", "line=9/train.txt"]
)
def test_a_file_name_is_no_pattern(criteo, criteo_lines, make_file, prepared_lines, name):
    make_file(criteo_lines[:300], "train1.txt")
    assert_same(prepared(criteo(make_file(criteo_lines, name))), prepared_lines)


def test_prepares_once(criteo, criteo_lines, make_file):
    path = make_file(criteo_lines)
    criteo(path).prepare_data()
    with mock.patch("datamodules.tabular.module.prepare") as again:
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


@pytest.mark.parametrize(
    "option",
    [
        {"batch_size": 3},
        {"memory_limit": "2GB"},
        {"resident": True},
        {"resident_numbers": "float16"},
    ],
)
def test_options_of_speed_share_a_folder(criteo, criteo_file, option):
    assert criteo(criteo_file).folder == criteo(criteo_file, **option).folder
