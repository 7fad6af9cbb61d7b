"""Lines of raw files: those of a plain reader, whatever the bytes."""

import gzip
import re
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datamodules.prepared import text
from datamodules.prepared.form import first_line, require_form
from datamodules.prepared.text import MAX_LINE_BYTES, NUL, TOO_LONG, UNDECODABLE, TextFile
from zoo.data.errors import ZooError

LINES = b"".join(b"%d\tvalue %d\n" % (i, i * i) for i in range(2000))


def plain_reading(data):
    """(readable, unreadable) lines of bytes, by number."""
    lines = data.removeprefix(b"\xef\xbb\xbf").split(b"\n")
    readable, unreadable = {}, {}
    for number, line in enumerate(lines[:-1] if lines[-1] == b"" else lines):
        try:
            readable[number] = line.removesuffix(b"\r").decode()
            if b"\0" in line:
                del readable[number]
                unreadable[number] = NUL
        except UnicodeDecodeError:
            unreadable[number] = NUL if b"\0" in line else UNDECODABLE
    return readable, unreadable


def reading(path):
    return TextFile(path).read()


PIECES = [
    b"\n",
    b"\r\n",
    b"\r",
    b"\0",
    b"\xff",
    b"\xef\xbb\xbf",
    b"ab",
    b"\t",
    b"\x85",
    "é\u2028".encode(),
]


@settings(deadline=None, max_examples=150)
@given(st.lists(st.sampled_from(PIECES)), st.booleans(), st.integers(4, 9))
def test_lines_are_those_of_a_plain_reader(tmp_path_factory, pieces, packed, size):
    data = b"".join(pieces)
    path = tmp_path_factory.mktemp("text") / ("t.gz" if packed else "t.txt")
    path.write_bytes(gzip.compress(data) if packed else data)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(text, "BYTES_PER_BLOCK", size)  # a BOM lies in one block
        assert reading(path) == plain_reading(data)


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b""])
def test_a_line_of_any_length_takes_little_memory_and_shifts_nothing(tmp_path, monkeypatch, end):
    monkeypatch.setattr(text, "BYTES_PER_BLOCK", 1 << 16)
    path = tmp_path / "t.txt"
    longest = b"x" * MAX_LINE_BYTES
    path.write_bytes(b"\n".join([b"first", longest, longest + b"x", longest * 3, b"last"]) + end)
    found, unreadable = reading(path)
    assert {n: len(line) for n, line in found.items()} == {0: 5, 1: MAX_LINE_BYTES, 4: 4}
    assert unreadable == {2: TOO_LONG, 3: TOO_LONG}


# Archives

PACKED = gzip.compress(LINES, mtime=0)


@pytest.mark.parametrize("bit", range(0, 8 * len(PACKED), 8 * len(PACKED) // 97))
def test_a_flipped_bit_of_a_gz_is_an_error_or_changes_nothing(tmp_path, bit):
    """What it may change is the name, the time or the system in the header."""
    damaged = bytearray(PACKED)
    damaged[bit // 8] ^= 1 << bit % 8
    path = tmp_path / "t.gz"
    path.write_bytes(damaged)
    try:
        assert reading(path) == plain_reading(LINES)
        assert bit // 8 < 10
    except ZooError as error:
        assert str(error).endswith("; it is a damaged .gz, or none")  # noqa: PT017


DAMAGE = {
    "wrong checksum": PACKED[:-8] + bytes(8),
    "wrong length": PACKED[:-1] + b"\x01",
    "cut": PACKED[: len(PACKED) // 2],
    "cut in its last bytes": PACKED[:-1],
    "garbage behind it": PACKED + b"garbage",
    "half a second member": PACKED + PACKED[:200],
    "no gz": LINES,
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_gz_is_named(tmp_path, damage):
    path = tmp_path / "t.gz"
    path.write_bytes(DAMAGE[damage])
    with pytest.raises(ZooError, match=rf"cannot read {path}: .*; it is a damaged \.gz, or none$"):
        reading(path)


@pytest.mark.parametrize("end", [b"", bytes(512)])
def test_members_of_a_gz_are_read_one_after_the_other(tmp_path, end):
    path = tmp_path / "t.gz"
    path.write_bytes(gzip.compress(LINES[:5000]) + gzip.compress(LINES[5000:]) + end)
    assert reading(path) == plain_reading(LINES)


# First lines


def deflated(data):
    compressor = zlib.compressobj(wbits=31)
    return compressor.compress(data) + compressor.flush()


SEEN = {
    "t.txt is compressed by gzip: name it t.txt.gz": deflated(LINES),
    "t.txt is a zip archive: unpack it": b"PK\x03\x04" + bytes(30),
    "t.txt is a zstd archive: unpack it": b"\x28\xb5\x2f\xfd" + bytes(30),
    "t.txt is a tar archive: unpack it": b"train.txt".ljust(257, b"\0") + b"ustar\0" + LINES,
    "t.txt looks like UTF-16: convert it to UTF-8": LINES.decode().encode("utf-16"),
    "t.txt looks like UTF-16: convert": LINES.decode().encode("utf-16-be"),
    "t.txt has lines that end in CR alone": LINES.replace(b"\n", b"\r"),
    "t.txt is empty, or begins with an empty line": b"\r\n" + LINES,
    "t.txt: its first line cannot be read: it is longer than 2 MB": b"1" * (MAX_LINE_BYTES + 1),
}


@pytest.mark.parametrize("message", SEEN)
def test_what_a_file_looks_like_is_said(tmp_path, message):
    path = tmp_path / "t.txt"
    path.write_bytes(SEEN[message])
    with pytest.raises(ZooError, match=re.escape(message)):
        first_line(path)


@pytest.mark.parametrize("start", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("end", [b"\n", b"\r\n", b""])
def test_the_first_line(tmp_path, start, end):
    path = tmp_path / "t.txt"
    path.write_bytes(start + b"a\rb" + end + (end and b"next"))
    assert first_line(path) == "a\rb" if end else "\r"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("a;b;c", "its columns are separated by ';': write it without quotes, with commas"),
        ("a\tb\tc", "its columns are separated by tabs"),
        ('"a","b","c"', "its values are quoted: write it without quotes"),
        ("'a'|'b'|'c'", "its values are quoted and its columns are separated by '|'"),
    ],
)
def test_another_form_is_named(tmp_path, line, message):
    with pytest.raises(ZooError, match=re.escape(f"{tmp_path}: {message}")):
        require_form(tmp_path, line, ",", lambda cells: cells == ["a", "b", "c"])


@pytest.mark.parametrize("line", ["a,b,c", "a;b", "x,y,z"])
def test_the_expected_form_and_unknown_ones_pass(tmp_path, line):
    require_form(tmp_path, line, ",", lambda cells: cells == ["a", "b", "c"])
