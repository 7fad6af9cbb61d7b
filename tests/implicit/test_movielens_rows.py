"""Lines of MovieLens, of pairs to score and of lists that are damaged or of another form."""

import gzip
import zipfile
from pathlib import Path

import numpy as np
import pytest
from support.preparation import ready
from support.ratings import MOVIES, RATINGS, USERS, lists_file, opened

from datamodules.implicit.leave_one_out import read_lists
from datamodules.implicit.pair_file import read_pairs
from zoo import ZooError


def archive(path, ratings, users=None):
    tables = {"users": users or "\n".join(USERS), "movies": "\n".join(MOVIES)}
    with zipfile.ZipFile(path, "w") as file:
        for name, data in {"ratings": ratings, **tables}.items():
            content = data if isinstance(data, bytes) else data.encode("latin-1")
            file.writestr(f"{name}.dat", content)
    return path


LINES = [f"{u}::{i}::3::{t}" for u, i, t in RATINGS]


def test_every_rating_is_in_a_split_or_left_out_with_a_reason(movielens):
    bad = [("", 0, 0), ("1::10::3::nan", 0, 0), ("1::10::inf::3", 0, 0), (" 1::10::3::3", 0, 0)]
    data = ready(movielens([*RATINGS, RATINGS[0], *bad], max_bad_rows=0.5))
    manifest = data.manifest
    held_out = 2 * manifest.splits["train"]["users"]
    left_out = sum(manifest.rejected.values())
    assert manifest.splits["train"]["positives"] + held_out + left_out == len(RATINGS) + 1 + len(
        bad
    )
    assert manifest.rejected["it is not user, movie, rating and time"] == len(bad)


@pytest.mark.parametrize(
    "change", [lambda text: b"\xef\xbb\xbf" + text, lambda t: t.replace(b"\n", b"\r\n")]
)
def test_marks_and_line_ends_change_nothing(movielens, tmp_path, change):
    plain = opened(movielens())[1]
    data = movielens(archive(tmp_path / "x.zip", change("\n".join(LINES).encode())), max_bad_rows=0)
    for split, columns in opened(data)[1].items():
        np.testing.assert_array_equal(columns, plain[split])


def test_odd_bytes_shift_no_rating(movielens, tmp_path):
    lines = [*LINES[:3], "1::12\r::3::4", "1::13::3::4\0", "\x85", *LINES[3:]]
    data = movielens(archive(tmp_path / "x.zip", "\n".join(lines)), max_bad_rows=0.5)
    assert [line for line, _ in ready(data).manifest.rejected_examples] == [4, 5, 6]


@pytest.mark.parametrize(
    ("ratings", "message"),
    [
        (
            "\n".join(LINES).replace("::", ","),
            "ratings.dat: its columns are separated by commas: w",
        ),
        ("\n".join(LINES).encode("utf-16"), "ratings.dat of .* looks like UTF-16"),
        ("\r".join(LINES), "ratings.dat of .* has lines that end in CR alone"),
    ],
)
def test_another_form_is_named(movielens, tmp_path, ratings, message):
    with pytest.raises(ZooError, match=message):
        movielens(archive(tmp_path / "x.zip", ratings), max_bad_rows=1).prepare_data()


def test_a_nul_in_a_small_table(movielens, tmp_path):
    path = archive(tmp_path / "x.zip", "\n".join(LINES), users="1::F::1::1\0::2")
    with pytest.raises(ZooError, match=r"line 1 of users.dat in .* cannot be used: it holds a NUL"):
        movielens(path).prepare_data()


def test_an_encrypted_zip(movielens, tmp_path):
    path = archive(tmp_path / "x.zip", "\n".join(LINES))
    data = bytearray(path.read_bytes())
    data[data.index(b"PK\x01\x02") + 8] |= 1  # of the first member, which is the ratings
    path.write_bytes(data)
    with pytest.raises(ZooError, match=r"ratings.dat of .* is damaged: .* is encrypted"):
        movielens(path).prepare_data()


# Pairs


def written(path, data):
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


@pytest.mark.parametrize("name", ["pairs.csv", "pairs.csv.gz"])
@pytest.mark.parametrize(
    "start", [b"", b"\xef\xbb\xbf", b"user,movie\n", b"\xef\xbb\xbfuser,movie\r\n"]
)
def test_rows_of_pairs_are_those_of_the_lines(tmp_path, name, start):
    lines = [
        b"1,10",
        b"2\t11\r",
        b"3,1\x0b2",
        b"\x85",
        "\u2028".encode(),
        b"4,1\r3",
        b"",
        b"5\0,1",
        b"6, 16",
    ]
    found, row, rows = read_pairs(written(tmp_path / name, start + b"\n".join(lines)), 0.9)
    assert found.tolist() == [[1, 10], [2, 11], [6, 16]]
    assert row.tolist() == [0, 1, 8]
    assert rows == 9


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"1;10\n2;11\n", "pairs.csv: its columns are separated by ';': write it without quotes"),
        (b'"1","10"\n', "pairs.csv: its values are quoted"),
        (b'user,movie\n"1","10"\n', "pairs.csv: its values are quoted"),
        ("1,10\n2,11\n".encode("utf-16"), "pairs.csv looks like UTF-16"),
        (b"1,10\r2,11\r", "pairs.csv has lines that end in CR alone"),
        (
            gzip.compress(b"1,10\n", mtime=0),
            "pairs.csv is compressed by gzip: name it pairs.csv.gz",
        ),
        (b"1,10\n\xff\n", "1 of 2 rows are malformed, .* line 2 of .*: it is not UTF-8 text"),
        (b"1,10\n2,nan\n", "1 of 2 rows are malformed, .* line 2 of .*: it is not user,movie"),
    ],
)
def test_pairs_of_another_form_are_named(tmp_path, data, message):
    path = tmp_path / "pairs.csv"
    path.write_bytes(data)
    with pytest.raises(ZooError, match=message):
        read_pairs(path, 0)


def test_pairs_in_a_damaged_gz(tmp_path):
    path = tmp_path / "pairs.gz"
    path.write_bytes(gzip.compress(b"1,10\n")[:-1] + b"\x01")
    with pytest.raises(ZooError, match=rf"cannot read {path}: .*; it is a damaged .gz, or none"):
        read_pairs(path, 1)


# Lists


def test_lists_are_numbered_by_their_lines(tmp_path):
    path = lists_file(tmp_path, "1\t14\t15", "2\t13\t1\x0b5")
    with pytest.raises(ZooError, match="line 3: it is not user, movie and negatives"):
        read_lists(Path(path))


@pytest.mark.parametrize(
    "damage", [lambda data: data[:-1] + b"\x01", lambda data: data[:-8] + bytes(8)]
)
def test_lists_in_a_damaged_gz(tmp_path, damage):
    path = Path(lists_file(tmp_path, "1\t14\t15", name="lists.gz"))
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ZooError, match=rf"cannot read {path}: .*; it is a damaged .gz"):
        read_lists(path)


def test_lists_that_are_not_text(tmp_path):
    path = tmp_path / "lists.tsv"
    path.write_bytes(b"user_id\tmovie_id\tnegatives\n1\t2\t\xff\n")
    with pytest.raises(
        ZooError, match=r"lists.tsv, line 2: it is not UTF-8 text \(data.test_list\)"
    ):
        read_lists(path)
