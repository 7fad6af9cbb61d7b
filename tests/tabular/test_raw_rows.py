"""Rows of raw files that are damaged, shifted or of another form."""

import gzip
import math
import re
from collections import Counter

import numpy as np
import pytest
from support import raw_readers
from support.preparation import assert_same, predicted, prepared, ready, together, with_cell

from datamodules.prepared import text
from datamodules.tabular import plain_file, rows
from datamodules.tabular.avazu import COLUMNS
from zoo.data.errors import ZooError

# Lines


@pytest.mark.parametrize("byte", ["\r", "\x0b", "\u2028"])
def test_a_control_character_is_part_of_its_value(criteo, criteo_lines, byte):
    lines = [
        with_cell(line, 14, f"a{byte}b" if i < 300 else "ab") for i, line in enumerate(criteo_lines)
    ]
    data = criteo(lines)
    rows = together(prepared(data))
    assert rows.row.tolist() == list(range(1000))
    assert len(set(rows.categorical[:300, 0])) == len(set(rows.categorical[300:, 0])) == 1
    assert rows.categorical[0, 0] != rows.categorical[300, 0]
    assert rows.label.tolist() == [float(line[0]) for line in lines]


@pytest.mark.parametrize("bad", [b"\0", b"a\0b"])
def test_a_nul_makes_its_row_malformed_and_shifts_none(criteo, criteo_lines, bad):
    cell = with_cell(criteo_lines[41], 20, "NUL").encode().replace(b"NUL", bad)
    data = criteo([*criteo_lines[:41], cell + b"\n", *criteo_lines[42:]])
    rows = together(prepared(data))
    assert rows.row.tolist() == [row for row in range(1000) if row != 41]
    assert data.manifest.rejected == {"it holds a NUL byte": 1}
    assert data.manifest.rejected_examples == [[42, "it holds a NUL byte"]]
    assert rows.label.tolist() == [float(criteo_lines[row][0]) for row in rows.row]


def test_every_row_is_in_a_split_or_rejected(criteo, criteo_lines):
    bad = [b"\xff\n", b"1\t\0\n", "", "x", with_cell(criteo_lines[0], 3, "1_0"), b"y\r\n"]
    lines = [line for pair in zip(criteo_lines[:6], bad, strict=True) for line in pair]
    data = criteo([*lines, *criteo_lines[6:]], max_bad_rows=0.1)
    rows = together(prepared(data)).row
    assert rows.tolist() == [row for row in range(1006) if row not in range(1, 12, 2)]
    assert sum(data.manifest.rejected.values()) == 6
    assert sum(split["rows"] for split in data.manifest.splits.values()) == 1000


def test_the_size_of_pieces_changes_nothing(criteo, criteo_lines, tmp_path, monkeypatch):
    """Malformed rows keep their numbers and reasons wherever they stand in a block or chunk."""
    bad = ["1\t2", "", f"{criteo_lines[0]}\tx", with_cell(criteo_lines[1], 20, "a\rb")]
    bad += [with_cell(criteo_lines[2], 3, "\t 1"), with_cell(criteo_lines[2], 3, " 1")]
    lines = [*criteo_lines]
    for place in range(7, 1000, 31):
        lines.insert(place, bad[place % len(bad)])
    usable, problems = raw_readers.criteo("".join(f"{line}\n" for line in lines).encode())
    whole = prepared(criteo(lines, max_bad_rows=1, prepared=str(tmp_path / "whole")))
    monkeypatch.setattr(text, "BYTES_PER_BLOCK", 20_000)
    monkeypatch.setattr(plain_file, "BYTES_AT_ONCE", 1000)
    monkeypatch.setattr(rows, "ROWS_PER_CHUNK", 170)
    data = criteo(lines, max_bad_rows=1, prepared=str(tmp_path / "pieces"))
    found = prepared(data)
    assert_same(found, whole)
    assert together(found).row.tolist() == list(usable)
    assert data.manifest.rejected == Counter(problems.values())
    expected = [[n + 1, problem] for n, problem in sorted(problems.items())[:5]]
    assert data.manifest.rejected_examples == expected


def test_the_size_of_chunks_changes_no_split_by_time(
    avazu, avazu_file, prepared_avazu, tmp_path, monkeypatch
):
    by_time = prepared(avazu(avazu_file, split="time", prepared=str(tmp_path / "whole")))
    monkeypatch.setattr(rows, "ROWS_PER_CHUNK", 333)
    again = avazu(avazu_file, split="time", prepared=str(tmp_path / "chunks"))
    assert_same(prepared(again), by_time)
    assert_same(prepared(avazu(avazu_file, prepared=str(tmp_path / "chunks"))), prepared_avazu)


def test_predictions_keep_the_rows_of_odd_lines(criteo, criteo_lines, make_file):
    rows = [
        criteo_lines[0].encode(),
        with_cell(criteo_lines[1], 20, "a\rb").encode(),
        b"\0",
        b"",
        criteo_lines[2].encode(),
    ]
    path = make_file([row + b"\n" for row in rows], "new.txt")
    data = ready(criteo(criteo_lines, max_bad_rows=0.5, predict_path=str(path)))
    assert predicted(data).row.tolist() == [0, 1, 4]
    assert data.predict_rows == 5


@pytest.mark.parametrize("kind", ["criteo", "avazu"])
def test_a_byte_order_mark_is_passed_over(request, tmp_path, kind):
    make, lines = request.getfixturevalue(kind), request.getfixturevalue(f"{kind}_lines")
    if kind == "avazu":  # the mark stands before `click`
        lines = [line.partition(",")[2] for line in lines]
    plain = together(prepared(make(lines, prepared=str(tmp_path / "plain"))))
    marked = make(["\ufeff" + lines[0], *lines[1:]], prepared=str(tmp_path / "marked"))
    found = together(prepared(marked))
    assert marked.manifest.rejected == {}
    for array in ("numerical", "categorical", "label", "row"):
        np.testing.assert_array_equal(getattr(found, array), getattr(plain, array))


@pytest.mark.parametrize("place", [0.1, 0.5, 0.9])
def test_a_damaged_gz_is_not_prepared(criteo, criteo_lines, make_file, tmp_path, place):
    packed = bytearray(gzip.compress("".join(f"{line}\n" for line in criteo_lines).encode()))
    packed[int(place * len(packed))] ^= 16
    with pytest.raises(ZooError, match=r"cannot read .*train.txt.gz: .*; it is a damaged .gz"):
        prepared(criteo(make_file([bytes(packed)], "train.txt.gz"), max_bad_rows=1))
    assert not [path for path in tmp_path.glob("prepared/*") if path.is_dir()]


def test_a_wrong_checksum_of_a_gz_is_not_predicted(criteo, criteo_lines, make_file):
    packed = gzip.compress("".join(f"{line}\n" for line in criteo_lines).encode())
    path = make_file([packed[:-8] + bytes(4) + packed[-4:]], "new.txt.gz")
    data = ready(criteo(criteo_lines, predict_path=str(path)))
    with pytest.raises(ZooError, match=r"cannot read .*new.txt.gz: CRC check failed"):
        predicted(data)


# Numbers


NO_NUMBERS = (" 5", "5 ", "1_000", "1_0.5", "5\r", "5\x0b", "\x0c5", "1e400", "0b1", "1e5_0")


def test_a_number_is_written_without_blanks_and_underscores(criteo, criteo_lines):
    bad = [with_cell(criteo_lines[0], 3, text) for text in NO_NUMBERS]
    data = ready(criteo([*criteo_lines, *bad], max_bad_rows=0.1))
    assert data.manifest.rejected == {"I3 is not a number": len(NO_NUMBERS)}


def test_numbers_beside_blanks_and_underscores(criteo, criteo_lines):
    texts = ("5", "-5.25", "1e3", "+7.", ".5", "1E-2")
    lines = [with_cell(with_cell(criteo_lines[0], 3, text), 20, "a _b ") for text in texts]
    rows = together(prepared(criteo([*lines, *criteo_lines], scaling="none", max_bad_rows=0)))
    np.testing.assert_array_equal(rows.numerical[:6, 2], np.array(texts, np.float32))


@pytest.mark.parametrize("scaling", ["floor_log_squared", "log_squared"])
def test_large_negative_numbers_are_drawn_in(criteo, criteo_lines, scaling):
    numbers = [-1e30, -1e6, -1e6 + 100, -1000, -11, -10.5, -10, -9.5, -3, -2, -1, 0, 2, 3, 1e6]
    lines = [with_cell(criteo_lines[0], 3, repr(number)) for number in numbers]
    found = together(prepared(criteo([*lines, *criteo_lines[15:]], scaling=scaling))).numerical[
        :15, 2
    ]
    whole = math.floor if scaling == "floor_log_squared" else float
    expected = [
        -10 - whole(math.log(-9 - x) ** 2) if x < -10 else whole(math.log(x) ** 2) if x > 2 else x
        for x in numbers
    ]
    np.testing.assert_allclose(found, np.array(expected, np.float32), rtol=1e-6)
    assert (np.diff(found[:12]) >= 0).all()  # of those that are not positive
    assert np.isfinite(found).all()
    assert found[1] > -210


# Avazu's hour and header


BAD_HOURS = (
    *("1410210", " 1410210", "1410210 ", "1410210\r", "+1410210", "141021001", "14-10210"),
    *("infinity", "-infinity", "epoch", "today", "", "14102124", "14023000", "\u0661" * 8),
)


@pytest.mark.parametrize("kind", ["parts", "timestamp"])
def test_the_hour_is_eight_digits_of_a_date(avazu, avazu_lines, kind):
    bad = [with_cell(avazu_lines[1], 2, hour, ",") for hour in BAD_HOURS]
    data = ready(avazu([*avazu_lines, *bad], hour=kind, max_bad_rows=0.1))
    assert data.manifest.rejected == {"hour is not of the form YYMMDDHH": len(BAD_HOURS)}


def test_avazu_without_a_header(avazu, avazu_lines, tmp_path):
    """The columns in their order; the rows are those of the file with a header."""
    assert ",".join(COLUMNS) == avazu_lines[0]
    named = together(prepared(avazu(avazu_lines, prepared=str(tmp_path / "named"))))
    plain = prepared(avazu(avazu_lines[1:], header=False, prepared=str(tmp_path / "plain")))
    for array in ("categorical", "label", "row"):
        np.testing.assert_array_equal(getattr(together(plain), array), getattr(named, array))


def test_rows_to_predict_have_neither_header_nor_click(avazu, avazu_lines, make_file):
    rows = [",".join((line.split(",")[0], *line.split(",")[2:])) for line in avazu_lines[1:20]]
    path = make_file(rows, "new.csv")
    data = ready(avazu(avazu_lines[1:], header=False, predict_path=str(path)))
    found = predicted(data)
    assert found.row.tolist() == list(range(19))
    np.testing.assert_array_equal(found.categorical, together(prepared(data)).categorical[:19])


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        (lambda lines: lines[1:], {}, "its first line is a row, not a header: with data.header=fa"),
        (lambda lines: lines, {"header": False}, "its first line is a header: leave out data.head"),
        (lambda lines: ["1,2", *lines], {"header": False}, "its first line has 2 columns, not 24"),
        (
            lambda lines: [line.replace(",", ";") for line in lines],
            {},
            "its columns are separated by ';': write it without quotes, with commas between",
        ),
        (
            lambda lines: ['"' + line.replace(",", '","') + '"' for line in lines],
            {},
            "its values are quoted: write it without quotes, with commas between the columns",
        ),
        (lambda lines: ["\n".join(lines).encode("utf-16")], {}, "looks like UTF-16: convert it"),
    ],
)
def test_another_form_of_avazu_is_named(avazu, avazu_lines, change, options, message):
    with pytest.raises(ZooError, match=re.escape(message)):
        prepared(avazu(change(avazu_lines), max_bad_rows=1, **options))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda line: line.replace("\t", ","), "its columns are separated by commas: write it"),
        (lambda line: line.replace("\t", ";"), "its columns are separated by ';'"),
        (lambda line: '"' + line.replace("\t", '"\t"') + '"', "its values are quoted: write it"),
        (lambda line: '"' + line.replace("\t", '","') + '"', "its values are quoted and its col"),
        (lambda line: line.encode("utf-16") + b"\n\0", "looks like UTF-16: convert it to UTF-8"),
        (lambda line: line.encode() + b"\r", "has lines that end in CR alone"),
    ],
)
def test_another_form_of_criteo_is_named(criteo, criteo_lines, change, message):
    with pytest.raises(ZooError, match=message):
        prepared(criteo([change(line) for line in criteo_lines], max_bad_rows=1))


def test_a_gz_without_its_suffix_is_named(criteo, criteo_lines, make_file):
    packed = gzip.compress("\n".join(criteo_lines).encode())
    with pytest.raises(ZooError, match=r"train.txt is compressed by gzip: name it train.txt.gz$"):
        prepared(criteo(make_file([packed])))
