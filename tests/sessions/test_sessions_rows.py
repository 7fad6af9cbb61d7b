"""Rows of session logs that are damaged, shifted or of another form."""

import gzip
from pathlib import Path

import numpy as np
import pytest
from support.listening import batches, first_session, prepared_bytes
from support.preparation import ready

from datamodules.sessions.records import COUNTS, TRACK
from zoo import ZooError


def rewritten(data, change):
    """The datamodule, with the bytes of its log changed."""
    path = Path(data.path)
    path.write_bytes(change(path.read_bytes()))
    return data


def with_line(lines, place, line):
    return b"\n".join([*lines[:place], line, *lines[place:], b""])


def test_blank_lines_are_malformed_rows_and_shift_nothing(shared_sessions, sessions, logs):
    first = logs.index.get_loc(first_session(logs)[1]) + 1  # within a session
    data = sessions(max_bad_rows=0.01)
    rewritten(data, lambda log: with_line(log.split(b"\n")[:-1], first, b"") + b"\r\n")
    manifest = ready(data).manifest
    assert manifest.rejected == {"it has 0 columns, not 21": 2}
    assert [line for line, _ in manifest.rejected_examples] == [first + 1, len(logs) + 3]
    assert manifest.splits == shared_sessions.manifest.splits
    assert prepared_bytes(data) == prepared_bytes(shared_sessions)


def test_predictions_of_sessions_are_not_shifted_by_blank_lines(shared_sessions, sessions, logs):
    """Before, a blank line was a session of its own, and the next ones had other numbers."""
    data = sessions(max_bad_rows=0.01)
    lines = Path(data.path).read_bytes().split(b"\n")[:-1]
    change = first_session(logs)[0]
    new = Path(data.path).with_name("new.csv")
    new.write_bytes(with_line(lines, logs.index.get_loc(change) + 1, b""))
    data.predict_path = str(new)
    ready(data).setup("predict")
    rows = np.concatenate([batch.row.numpy() for batch in data.predict_dataloader()])
    assert rows.tolist() == list(range(logs.session_id.nunique()))
    assert data.predict_rows == len(rows)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"\xff,a", "it has 2 columns, not 21"),
        (b"\xff\xfe" + b"," * 21, "it has 22 columns, not 21"),
        (b"a\0" + b"," * 20, "it holds a NUL byte"),
        (b"a\rb", "it has 1 columns, not 21"),
    ],
)
def test_a_row_that_cannot_be_read_is_left_out_alone(shared_sessions, sessions, line, reason):
    data = sessions(max_bad_rows=0.01)
    rewritten(data, lambda log: with_line(log.split(b"\n")[:-1], 7, line))
    manifest = ready(data).manifest
    assert manifest.rejected == {reason: 1}
    assert manifest.rejected_examples == [[8, f"{data.path}: {reason}"]]
    assert prepared_bytes(data) == prepared_bytes(shared_sessions)


def test_a_carriage_return_is_part_of_its_value(sessions, logs):
    mine = first_session(logs)
    session, start = logs.session_id[mine[0]], logs.index.get_loc(mine[0])
    rows = logs.copy()
    rows.loc[mine, "session_id"] = f"{session}END"
    data = rewritten(sessions(rows), lambda log: log.replace(b"END", b"\r"))
    assert ready(data).manifest.rejected == {}
    sizes = [data.manifest.splits[split]["sessions"] for split in ("train", "val", "test")]
    assert sum(sizes) == logs.session_id.nunique()
    rows.loc[mine[0], "premium"] = "TrueEND"
    data = rewritten(sessions(rows, max_bad_rows=0), lambda log: log.replace(b"END", b"\r"))
    with pytest.raises(
        ZooError, match=rf"line {start + 2} of .*: its premium is not True or False"
    ):
        data.prepare_data()


@pytest.mark.parametrize("packed", [False, True])
def test_a_byte_order_mark_is_passed_over(shared_sessions, sessions, packed):
    data = rewritten(sessions(), lambda log: b"\xef\xbb\xbf" + log)
    if packed:
        Path(f"{data.path}.gz").write_bytes(gzip.compress(Path(data.path).read_bytes()))
        data.path += ".gz"
    assert prepared_bytes(data) == prepared_bytes(shared_sessions)


@pytest.mark.parametrize("option", ["path", "tracks"])
def test_a_gz_with_a_flipped_bit(sessions, option):
    data = sessions()
    path = Path(getattr(data, option)).with_suffix(".csv.gz")
    packed = bytearray(gzip.compress(Path(getattr(data, option)).read_bytes()))
    packed[-6] ^= 1
    path.write_bytes(packed)
    setattr(data, option, str(path))
    with pytest.raises(
        ZooError, match=rf"cannot read {path}: CRC check failed .*; it is a damaged"
    ):
        data.prepare_data()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda log: log.replace(b",", b";"), "its columns are separated by ';': write it without"),
        (lambda log: log.replace(b",", b"\t"), "its columns are separated by tabs"),
        (
            lambda log: b'"' + log.replace(b",", b'","').replace(b"\n", b'"\n"'),
            "its values are quoted: write it without quotes",
        ),
        (lambda log: log.decode().encode("utf-16"), "looks like UTF-16: convert it to UTF-8"),
        (lambda log: log.replace(b"\n", b"\r"), "has lines that end in CR alone"),
        (lambda log: b"skip_1,skip_1," + log, "log.csv: its header names skip_1 twice"),
    ],
)
def test_another_form_of_a_log_is_named(sessions, change, message):
    with pytest.raises(ZooError, match=message):
        rewritten(sessions(), change).prepare_data()


@pytest.mark.parametrize(
    ("column", "value", "is_read"),
    [
        ("date", "20180715", False),
        ("date", "2018-W28-7", False),
        ("date", " 2018-07-15", False),
        ("session_position", " 1", False),
        ("hour_of_day", "1_0", False),
        ("premium", "TRUE", False),
        ("hour_of_day", "00000000000000005", True),
        (COUNTS[0], "9" * 5000, True),
    ],
)
def test_cells_are_written_as_they_should_be(sessions, logs, column, value, is_read):
    rows = logs.copy()
    rows.loc[first_session(logs)[0], column] = value
    found = ready(sessions(rows, max_bad_rows=0.01)).manifest.rejected
    assert sum(found.values()) == (not is_read)


def test_leading_zeros_are_no_other_number(sessions, logs, shared_sessions):
    """Before, the first ten characters were the number."""
    rows = logs.assign(hour_of_day="00000000000" + logs.hour_of_day)
    data = sessions(rows)
    want = batches(shared_sessions, "train")[0]
    assert batches(data, "train")[0].past.equal(want.past)


def test_cells_of_the_track_table_with_blanks_are_no_numbers(sessions, tracks):
    table = tracks.copy()
    table.loc[0, "energy"], table.loc[1, "energy"], table.loc[2, "tempo"] = " 0.5", "1_0", "1e400"
    (count,) = (
        n for note, n in ready(sessions(table=table)).manifest.notes.items() if "no numbers" in note
    )
    assert count == 3
    assert "energy" in TRACK


def test_a_session_of_an_endless_name_makes_no_endless_message(sessions, logs):
    mine = first_session(logs)
    rows = logs.copy()
    rows.loc[mine, "session_id"] = "s" * 50_000
    rows = rows.drop(mine[1])
    with pytest.raises(ZooError, match=r"the first is s{80}\.\. \(line") as caught:
        sessions(rows, max_bad_sessions=0).prepare_data()
    assert len(str(caught.value)) < 600
