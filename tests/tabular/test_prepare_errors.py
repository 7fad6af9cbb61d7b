"""Raw files, options and prepared folders that cannot be used."""

import gzip
import os
import re
import shutil

import numpy as np
import pytest
from support.preparation import flip, prepared, ready, together, with_cell

from datamodules import Avazu, Criteo
from datamodules.prepared.folder import Manifest
from datamodules.tabular.splitting import row_hash
from zoo.data.errors import ZooError

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
    return request.param, ready(datamodule)


@pytest.mark.parametrize("reason", BAD_LINES)
def test_a_malformed_line_is_named(criteo, criteo_lines, reason):
    with pytest.raises(ZooError, match=rf"line 42 of .*train.txt: {re.escape(reason)}$"):
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
    with pytest.raises(ZooError, match=r"line 1000 of .*: its label \(label\) is not 0 or 1"):
        prepared(criteo(lines, max_bad_rows=0))


@pytest.mark.parametrize(
    "text", ["nan", "inf", "-inf", "Infinity", "1e39", "1,5", "1.2.3", "-", "\u0661"]
)
def test_what_is_not_a_finite_number(criteo, criteo_lines, text):
    lines = [with_cell(criteo_lines[0], 3, text), *criteo_lines[1:]]
    with pytest.raises(ZooError, match=r"line 1 of .*train.txt: I3 is not a number"):
        prepared(criteo(lines, max_bad_rows=0))


@pytest.mark.parametrize(
    ("text", "number"), [("5.25", 5.25), ("-1", -1), ("1e3", 1000), ("+7", 7), (".5", 0.5)]
)
def test_what_is_a_number(criteo, criteo_lines, text, number):
    lines = [with_cell(criteo_lines[0], 3, text), *criteo_lines[1:]]
    assert together(prepared(criteo(lines, scaling="none"))).numerical[0, 2] == number


def test_reasons_are_counted_apart(criteo, criteo_lines):
    bad = ["x", *(make(criteo_lines[0]) for make in BAD_LINES.values()), "y"]
    rejected = ready(criteo([*criteo_lines, *bad], max_bad_rows=0.1)).manifest.rejected
    assert rejected == {**dict.fromkeys(BAD_LINES, 1), "it has 1 columns, not 40": 2}


def test_malformed_lines_after_an_undecodable_one_keep_their_numbers(criteo, criteo_lines):
    lines = [b"\xff\xff\n", criteo_lines[0], b"\xfe\n", *criteo_lines[1:5], "x", *criteo_lines[5:]]
    assert ready(criteo(lines, max_bad_rows=0.1)).manifest.rejected_examples == [
        [1, "it is not UTF-8 text"],
        [3, "it is not UTF-8 text"],
        [8, "it has 1 columns, not 40"],
    ]


def test_the_header_counts_as_a_line(avazu, avazu_lines):
    lines = [*avazu_lines[:3], b"\xff\n", *avazu_lines[3:5], "x", *avazu_lines[5:]]
    assert ready(avazu(lines, max_bad_rows=0.1)).manifest.rejected_examples == [
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
    with pytest.raises(ZooError, match=r"line 3001 of .*: hour is not of the form YYMMDDHH"):
        prepared(avazu(lines, max_bad_rows=0))


def test_malformed_rows_up_to_the_limit_are_tolerated(criteo, criteo_lines):
    assert ready(criteo([*criteo_lines[:999], "x"], max_bad_rows=0.001)).manifest.rejected


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


def test_a_folder_is_not_called_missing(criteo, tmp_path):
    with pytest.raises(ZooError, match=r"the folder holds no files: .* \(data.path\)$"):
        prepared(criteo(tmp_path))


@pytest.mark.parametrize("case", UNUSABLE)
def test_an_unusable_file_leaves_no_folder(criteo, criteo_lines, tmp_path, case):
    lines = UNUSABLE[case][0](criteo_lines)
    with pytest.raises(Exception):  # noqa: B017, PT011 - whatever it is
        prepared(criteo(tmp_path / "train.txt" if lines is None else lines, max_bad_rows=1))
    assert [p for p in tmp_path.glob("prepared/*") if p.is_dir()] == []


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (lambda h: h.replace("site_id,", "").replace(",C21", ""), "has no column site_id, C21$"),
        (lambda h: h.replace("hour,", ""), "its header has no column hour$"),
        (lambda h: h.replace("C20", "C21"), "has no column C20$"),
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


def test_training_rows_of_one_class(criteo, criteo_lines):
    """As long as a file has both classes, its training rows may still be of one."""
    rows = np.arange(200)
    test_row = int(np.flatnonzero(row_hash(rows, 0) % 10 == 9)[0])
    lines = [
        with_cell(line, 0, str(int(i == test_row))) for i, line in enumerate(criteo_lines[:200])
    ]
    with pytest.raises(ZooError, match=r"its training rows are all of one class"):
        prepared(criteo(lines))


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
def test_damage_is_found_before_use(criteo, criteo_file, prepared_criteo, tmp_path, case):
    damage, message = DAMAGE[case]
    damage(shutil.copytree(prepared_criteo[2], tmp_path / "prepared" / prepared_criteo[2].name))
    with pytest.raises(ZooError, match=rf"{message}.*; delete .* to prepare the data again"):
        ready(criteo(criteo_file)).setup("fit")


def test_checksums_cover_every_file(prepared_criteo):
    folder = prepared_criteo[2]
    files = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}
    assert set(Manifest.load(folder).checksums) == files - {"manifest.json"}
