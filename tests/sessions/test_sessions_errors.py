"""Listening sessions, logs and options that cannot be used."""

import gzip
from pathlib import Path

import pytest
from support.listening import batches, first_session, prepared_bytes, swapped
from support.preparation import ready

from datamodules import SkipSessions
from datamodules.sessions.records import COUNTS, FLAGS, VALUES
from zoo import ZooError

# Sessions that cannot be used


def repeated(rows, mine):
    rows.loc[mine[3], "session_position"] = "3"
    return rows


def without_a_row(rows, mine):
    return rows.drop(mine[3])


def longer(rows, mine):
    rows.loc[mine, "session_length"] = str(len(mine) - 1)
    return rows


def shorter(rows, mine):
    rows.loc[mine, "session_length"] = str(len(mine) + 1)
    return rows


def inconsistent(rows, mine):
    rows.loc[mine[-1], "session_length"] = "19"
    return rows


def far_too_long(rows, mine):
    rows.loc[mine, "session_length"] = "200"
    return rows


def of_one_row(rows, mine):
    rows.loc[mine[0], "session_length"] = "1"
    return rows.drop(mine[1:])


def without_a_flag(rows, mine):
    rows.loc[mine[0], "premium"] = ""
    return rows


def without_a_label(rows, mine):
    rows.loc[mine[-1], "skip_2"] = "maybe"
    return rows


DAMAGE = {
    swapped: "its rows are out of order",
    repeated: "it has fewer rows than its session_length",
    without_a_row: "it has fewer rows than its session_length",
    longer: "it has more rows than its session_length",
    shorter: "it has fewer rows than its session_length",
    inconsistent: "its session_length is not one number up to 20",
    far_too_long: "its session_length is not one number up to 20",
    of_one_row: "its session_length leaves a half of it empty",
    without_a_flag: "a row of it is malformed",
    without_a_label: "a row of it is malformed",
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_session_that_cannot_be_used_is_left_out_and_counted(sessions, logs, damage):
    rows = logs.copy()
    mine = first_session(logs)
    session, line = logs.session_id[mine[0]], logs.index.get_loc(mine[0]) + 2
    rows = damage(rows, mine)
    data = sessions(rows, max_bad_rows=0.01)
    notes = ready(data).manifest.notes
    assert notes[f"sessions left out: {DAMAGE[damage]}"] == 1
    kept = {split: set(batches(data, split)[1]) for split in ("train", "val", "test")}
    assert set.union(*kept.values()) == set(logs.session_id) - {session}
    message = rf"1 of 400 sessions .* data.max_bad_sessions allows \(0.100%\); the first is {session} \(line {line} of .*log.csv\): {DAMAGE[damage]}"  # noqa: E501
    with pytest.raises(ZooError, match=message):
        sessions(rows, max_bad_rows=0.01, max_bad_sessions=0.001).prepare_data()


@pytest.mark.parametrize(
    ("column", "value", "problem"),
    [
        ("session_position", "0", "is not a whole number from 1"),
        ("session_length", "-3", "is not a whole number from 0"),
        ("hour_of_day", "24", "is not a whole number from 0 to 23"),
        ("date", "2018-13-01", "is not a date"),
        ("date", "1850-01-01", "is not a date"),
        ("skip_1", "2", "is not True or False"),
        (COUNTS[0], "-1", "is not a whole number from 0"),
        (COUNTS[1], "²", "is not a whole number from 0"),
    ],
)
def test_a_malformed_row_is_counted_up_to_a_limit(sessions, logs, column, value, problem):
    rows = logs.copy()
    mine = first_session(logs)
    rows.loc[mine[1], column] = value
    line = logs.index.get_loc(mine[1]) + 2
    manifest = ready(sessions(rows, max_bad_rows=0.01)).manifest
    assert sum(manifest.rejected.values()) == 1
    assert problem in next(iter(manifest.rejected))
    assert manifest.rejected_examples[0][0] == line
    message = rf"1 of {len(rows)} rows .* data.max_bad_rows .* is line {line} of .*log.csv: its {column} {problem}"  # noqa: E501
    with pytest.raises(ZooError, match=message):
        sessions(rows, max_bad_rows=0).prepare_data()


def test_what_was_logged_of_the_second_half_is_not_needed(shared_sessions, sessions, logs):
    rows = logs.copy()
    future = rows.session_position.astype(int) > rows.session_length.astype(int) // 2
    others = [c for c in (*FLAGS, *COUNTS, *VALUES, "date", "hour_of_day") if c != "skip_2"]
    rows.loc[future, others] = ""
    assert prepared_bytes(sessions(rows)) == prepared_bytes(shared_sessions)


def test_rows_of_a_wrong_width_and_odd_bytes(tmp_path, logs, sessions):
    data = sessions(max_bad_rows=0.01)
    path = Path(data.path)
    lines = path.read_bytes().splitlines()
    mine = logs.index.get_loc(first_session(logs)[1]) + 1
    lines[mine] += b",more"
    lines[-1] = lines[-1].replace(b"log", b"l\xff")
    lines[-1] = lines[-1].rpartition(b",")[0] + b",\xff\xfe"  # a reason is any text
    path.write_bytes(b"\n".join(lines))
    manifest = ready(data).manifest
    assert manifest.rejected == {"it has 22 columns, not 21": 1}
    assert manifest.rejected_examples == [[mine + 1, f"{path}: it has 22 columns, not 21"]]
    assert manifest.notes["sessions left out: it has fewer rows than its session_length"] == 1


# Files that cannot be used


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("log.csv", "", r"log.csv is empty"),
        ("log.csv", "HEADER\n", r"log.csv is empty: it holds no rows"),
        (
            "log.csv",
            "session_id,skip_2\na,True\n",
            r"log.csv: its header has no track_id_clean, .*: name other files \(data.path\)",
        ),
        ("tf.csv", "", r"tf.csv is empty"),
        ("tf.csv", "track_id,duration\nt,1\n", r"tf.csv: its header has no release_year, "),
        ("tf.csv", None, r"no such file or folder: .*tf.csv \(data.tracks\)"),
        ("log.csv", None, r"no such file or folder: .*log.csv \(data.path\)"),
    ],
)
def test_a_file_that_cannot_be_used_is_named(sessions, logs, name, content, message):
    data = sessions()
    path = Path(data.path).with_name(name)
    path.unlink()
    if content is not None:
        path.write_text(content.replace("HEADER", ",".join(logs.columns)))
    with pytest.raises(ZooError, match=message):
        data.prepare_data()


def test_a_folder_without_logs(tmp_path, sessions):
    (tmp_path / "log.txt").write_text("x")
    data = SkipSessions(str(tmp_path), str(tmp_path), prepared=str(tmp_path / "prepared"))
    with pytest.raises(ZooError, match=r"holds no .csv or .csv.gz file: .* \(data.path\)"):
        data.prepare_data()


def test_a_damaged_gz_file(tmp_path, sessions):
    data = sessions()
    path = Path(data.path).with_suffix(".csv.gz")
    path.write_bytes(gzip.compress(Path(data.path).read_bytes())[:-2000])
    data.path = str(path)
    with pytest.raises(ZooError, match=r"cannot read .*log.csv.gz"):
        data.prepare_data()


def test_no_usable_session(sessions, logs):
    rows = logs.assign(session_length="1")
    with pytest.raises(ZooError, match=r"no usable session; the first is 0_"):
        sessions(rows, max_bad_sessions=1).prepare_data()


def test_an_empty_split(sessions, logs):
    rows = logs[logs.session_id == logs.session_id.iloc[0]]
    with pytest.raises(ZooError, match=r"split holds no session: use more sessions, or another"):
        sessions(rows).prepare_data()


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("batch_size", 0, "data.batch_size must be at least 1, got 0"),
        ("split_seed", -1, "data.split_seed must be at least 0, got -1"),
        ("shuffle_seed", -1, "data.shuffle_seed must be at least 0, got -1"),
        ("max_bad_rows", 2, "data.max_bad_rows is a share between 0 and 1, got 2"),
        ("max_bad_sessions", -1, "data.max_bad_sessions is a share between 0 and 1, got -1"),
    ],
)
def test_wrong_options(option, value, message):
    with pytest.raises(ZooError, match=message):
        SkipSessions("a", "b", **{option: value})
