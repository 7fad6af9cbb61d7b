"""Listening sessions: what is read, cut, looked up, dealt and scored, and what was planted."""

import gzip
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import warnings
from itertools import pairwise
from pathlib import Path
from unittest import mock

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import train
from datamodules import SkipSessions
from datamodules.sessions_fields import (
    CONTEXT_FLAGS,
    COUNTS,
    FLAGS,
    INTERACTION_FLAGS,
    TRACK,
    VALUES,
    short,
)
from datamodules.sessions_prepare import split_of
from datamodules.synthetic_mechanisms import (
    GROUPS,
    MECHANISMS,
    NOISE,
    PERSISTENCE,
    POPULARITY,
    TASTE,
)
from datamodules.synthetic_sessions import PlantedSessions
from zoo import Schema, SessionBatch, ZooError

ROOT = Path(train.__file__).parent
START, END, CONTEXT = (
    "hist_user_behavior_reason_start",
    "hist_user_behavior_reason_end",
    "context_type",
)


@pytest.fixture(scope="session")
def planted(tmp_path_factory):
    """The folder of 400 generated sessions of 300 tracks."""
    root = tmp_path_factory.mktemp("sessions") / "root"
    PlantedSessions(sessions=400, tracks=300).write(root)
    return root


def logs_of(root):
    files = sorted((root / "session_logs/training_set").iterdir())
    return pd.concat([pd.read_csv(f, dtype=str) for f in files], ignore_index=True)


def tracks_of(root):
    return pd.read_csv(root / "track_features/tf_0.csv", dtype=str)


@pytest.fixture(scope="session")
def logs(planted):
    """Rows of the generated logs, as text, cut to sessions of all lengths from 2 to 20."""
    rows = logs_of(planted)
    sessions = rows.session_id.drop_duplicates()
    lengths = dict(zip(sessions, np.resize(np.arange(2, 21), len(sessions)), strict=True))
    rows["session_length"] = np.minimum(
        rows.session_length.astype(int), rows.session_id.map(lengths)
    ).astype(str)
    return rows[rows.session_position.astype(int) <= rows.session_length.astype(int)].copy()


@pytest.fixture(scope="session")
def tracks(planted):
    """The generated track table, as text."""
    return tracks_of(planted)


@pytest.fixture
def sessions(tmp_path, logs, tracks):
    """A `SkipSessions` of rows, with its files and prepared folder among the test's."""

    def make(rows=logs, table=tracks, **options):
        folder = Path(tempfile.mkdtemp(dir=tmp_path))
        rows.to_csv(folder / "log.csv", index=False)
        table.to_csv(folder / "tf.csv", index=False)
        default = {"prepared": str(folder / "prepared"), "batch_size": 64}
        paths = (str(folder / "log.csv"), str(folder / "tf.csv"))
        return SkipSessions(*paths, **{**default, **options})

    return make


def whole(loader):
    """All its batches joined in one, with row numbers."""
    loader.with_row = True
    return SessionBatch(*(torch.cat(column) for column in zip(*loader, strict=True)))


def batches(data, split):
    """All batches of a split joined in one, and the ids of its sessions."""
    data.setup("fit")
    joined = whole(getattr(data, f"{split}_dataloader")())
    ids = pd.read_csv(data.path, dtype=str).session_id.drop_duplicates().to_numpy()
    return joined, ids[joined.row]


# Fields


def test_the_schema_has_the_groups_of_the_paper(sessions):
    schema = sessions().schema
    groups = list(dict.fromkeys(field.group for field in schema.fields))
    assert groups == ["position", "context", "interaction", "track_general", "track_music"]
    assert {f.group for f in schema.fields if f.past_only} == {"context", "interaction"}
    assert {f.group for f in schema.future} == {"position", "track_general", "track_music"}
    assert not schema.categorical
    sizes = {group: sum(f.group == group for f in schema.fields) for group in groups}
    assert sizes["position"] == 2
    assert (sizes["track_general"], sizes["track_music"]) == (3, 26)


def expected_scales(rows, numbers, training):
    """(mean, deviation) of each normalised field, by pandas over the training sessions."""
    mine = rows[rows.session_id.isin(training)]
    past = mine[mine.session_position.astype(int) <= mine.session_length.astype(int) // 2]
    days = (pd.to_datetime(past.date) - pd.Timestamp(0)).dt.days
    found = {"date_gap": days} | {short(c): np.log1p(past[c].astype(float)) for c in COUNTS}
    found |= numbers.loc[mine.track_id_clean].to_dict("series")
    return {name: (v.mean(), v.std(ddof=0) or 1.0) for name, v in found.items()}


def numbers_of(table):
    numbers = table.set_index("track_id")
    numbers["mode"] = (numbers["mode"] == "major").astype(int)
    return numbers[list(TRACK)].astype(float)


def expected_half(rows, numbers, scales, fields):
    """[positions, fields] of the rows of one half of one session."""
    known = numbers.loc[rows.track_id_clean].reset_index(drop=True)
    rows = rows.reset_index(drop=True)
    hour = rows.hour_of_day.astype(int) * 2 * np.pi / 24
    columns = {
        "session_position": rows.session_position.astype(int) / 20,
        "session_length": rows.session_length.astype(int) / 20,
        "hour_sin": np.sin(hour),
        "hour_cos": np.cos(hour),
        "date_gap": (pd.to_datetime(rows.date) - pd.Timestamp(0)).dt.days,
        **{short(c): rows[c].isin(["True", "1"]).astype(int) for c in FLAGS},
        **{short(c): np.log1p(rows[c].astype(int)) for c in COUNTS},
        **known.to_dict("series"),
    }
    for name, (mean, deviation) in scales.items():
        columns[name] = (columns[name] - mean) / deviation
    for field in fields:
        if "=" in field.name:
            column, value = field.name.split("=")
            columns[field.name] = (
                rows[column if column == CONTEXT else f"hist_user_behavior_{column}"] == value
            ).astype(int)
    return np.stack([columns[field.name] for field in fields], 1)


def test_batches_equal_a_plain_computation(sessions, logs, tracks):
    data = sessions()
    _, training = batches(data, "train")
    numbers, schema = numbers_of(tracks), data.schema
    scales = expected_scales(logs, numbers, training)
    by_id = dict(list(logs.groupby("session_id")))
    for split in ("train", "val", "test"):
        batch, ids = batches(data, split)
        for i, session in list(enumerate(ids))[:30]:
            rows = by_id[session]
            half = len(rows) // 2
            parts = (
                (batch.past, batch.past_mask, rows[:half], schema.numerical),
                (batch.future, batch.future_mask, rows[half:], schema.future),
            )
            for values, mask, part, fields in parts:
                assert mask[i].tolist() == [True] * len(part) + [False] * (10 - len(part))
                want = expected_half(part, numbers, scales, fields)
                np.testing.assert_allclose(values[i][mask[i]], want, atol=2e-5)
                assert not values[i][~mask[i]].any()
            want = (rows[half:].skip_2 == "True").to_numpy(np.float32)
            assert batch.label[i].tolist() == [*want, *[0] * (10 - len(want))]


def test_batches_keep_the_contract(sessions):
    data = sessions(batch_size=50)
    data.setup("fit")
    for batch in data.train_dataloader():
        assert batch.row is None
        assert [x.dtype for x in batch[:5]] == [
            torch.float32, torch.bool, torch.float32, torch.bool, torch.float32,
        ]  # fmt: skip
        size = len(batch.label)
        assert batch.past.shape == (size, 10, len(data.schema.numerical))
        assert batch.future.shape == (size, 10, len(data.schema.future))
        difference = batch.future_mask.sum(1) - batch.past_mask.sum(1)
        assert set(difference.tolist()) <= {0, 1}
        assert all(torch.isfinite(x).all() for x in (batch.past, batch.future, batch.label))
        batch.past.add_(1)  # no alias of a file


def test_splits_are_8_1_1_by_a_hash_of_the_id():
    ids = [f"session {i}".encode() for i in range(20_000)]
    shares = np.bincount(split_of(ids, 0)) / len(ids)
    np.testing.assert_allclose(shares, (0.8, 0.1, 0.1), atol=0.01)
    assert np.array_equal(split_of(ids, 0), split_of(ids[::-1], 0)[::-1])
    # splits of other seeds are independent of it
    both = (split_of(ids, 0) == 2) & (split_of(ids, 1) == 2)
    assert abs(both.mean() - 0.01) < 0.003


def test_a_split_holds_each_session_once(sessions, logs):
    data = sessions()
    ids = [set(batches(data, split)[1]) for split in ("train", "val", "test")]
    assert set.union(*ids) == set(logs.session_id)
    assert sum(map(len, ids)) == logs.session_id.nunique()
    manifest = data.manifest
    assert [manifest.splits[s]["sessions"] for s in ("train", "val", "test")] == [*map(len, ids)]
    future = logs.session_position.astype(int) > logs.session_length.astype(int) // 2
    assert sum(split["rows"] for split in manifest.splits.values()) == future.sum()
    skipped = (logs.skip_2 == "True") & future
    assert sum(split["positives"] for split in manifest.splits.values()) == skipped.sum()


def test_vocabularies_are_of_training_sessions_most_frequent_first(sessions, logs):
    data = sessions()
    _, training = batches(data, "train")
    mine = logs[logs.session_id.isin(training)]
    past = mine[mine.session_position.astype(int) <= mine.session_length.astype(int) // 2]
    for column in VALUES:
        counts = past[column].value_counts()
        want = sorted(counts.index, key=lambda value: (-counts[value], value))
        names = [f.name for f in data.schema.fields if f.name.startswith(f"{short(column)}=")]
        assert names == [f"{short(column)}={value}" for value in want]


def test_values_that_training_lacks_are_zeros(sessions, logs):
    plain = sessions()
    _, held = batches(plain, "val")
    rows = logs.copy()
    new = {CONTEXT: "jukebox", START: "", END: "logout"}
    for column, value in new.items():
        rows.loc[rows.session_id.isin(held), column] = value
    data = sessions(rows)
    assert data.schema == plain.schema
    batch, ids = batches(data, "val")
    assert set(ids) == set(held)
    one_hot = [i for i, field in enumerate(data.schema.numerical) if "=" in field.name]
    assert not batch.past[..., one_hot].any()
    assert batch.past.isfinite().all()


def test_statistics_are_of_training_sessions(sessions, logs, tracks):
    plain = sessions()
    encoder = (plain.manifest, json.loads((plain.folder / "encoder/encoder.json").read_text()))[1]
    held = np.concatenate([batches(plain, split)[1] for split in ("val", "test")])
    rows, table = logs.copy(), tracks.copy()
    mine = rows.session_id.isin(held)
    rows.loc[mine, [*COUNTS]] = "77"
    rows.loc[mine, "date"] = "2001-02-03"
    rows.loc[mine, "track_id_clean"] = "t_new"
    # in training not played: of no weight
    table.loc[len(table)] = ["t_new", *["1000"] * 29]
    data = sessions(rows, table)
    data.prepare_data()
    changed = json.loads((data.folder / "encoder/encoder.json").read_text())
    assert changed == encoder


def test_seek_counts_have_a_limit(sessions, logs):
    rows = logs.copy()
    rows[COUNTS[0]] = np.resize(["0", "255", "256", "99999999999999999999"], len(rows))
    data = sessions(rows)
    batch, _ = batches(data, "train")
    column = [f.name for f in data.schema.numerical].index(short(COUNTS[0]))
    assert len(batch.past[..., column][batch.past_mask].unique()) == 2


def test_a_date_far_away_has_a_limit(sessions, logs):
    rows = logs.assign(date="2018-07-15")
    rows.loc[first_session(logs), "date"] = "1999-12-31"
    data = sessions(rows)
    column = [f.name for f in data.schema.numerical].index("date_gap")
    splits = [batches(data, split)[0].past for split in ("train", "val", "test")]
    assert torch.cat(splits)[..., column].abs().max() == 10


def test_the_first_of_two_tracks_with_one_id_is_looked_up(sessions, tracks):
    plain, twice = sessions(), sessions(table=pd.concat([tracks, tracks.assign(tempo="1")]))
    for split in ("train", "val"):
        assert torch.equal(batches(twice, split)[0].past, batches(plain, split)[0].past)


def test_a_track_that_the_table_lacks_has_mean_features(sessions, logs, tracks):
    gone = logs.track_id_clean.iloc[0]
    table = tracks[tracks.track_id != gone]
    data = sessions(table=table)
    (count,) = (n for note, n in data.manifest.notes.items() if "the track table lacks" in note)
    assert count == (logs.track_id_clean == gone).sum()
    for split in ("train", "val", "test"):
        batch, ids = batches(data, split)
        for i, session in enumerate(ids):
            rows = logs[logs.session_id == session]
            missing = (rows.track_id_clean == gone).to_numpy()
            found = torch.cat((batch.past[i][batch.past_mask[i]][:, -29:],
                               batch.future[i][batch.future_mask[i]][:, -29:]))  # fmt: skip
            assert (found == 0).all(1).tolist() == missing.tolist()


def test_cells_of_the_track_table_that_are_no_numbers_are_means(sessions, tracks):
    table = tracks.copy()
    table.loc[0, "energy"], table.loc[1, "energy"], table.loc[2, "mode"] = "", "loud", "dorian"
    table.loc[3, "tempo"] = "inf"
    data = sessions(table=table)
    (count,) = (n for note, n in data.manifest.notes.items() if "no numbers" in note)
    assert count == 4
    found = np.load(data.folder / "encoder/tracks.npy")
    assert found[1, TRACK.index("energy")] == found[2, TRACK.index("energy")] == 0
    assert found[3, TRACK.index("mode")] == found[4, TRACK.index("tempo")] == 0
    assert np.isfinite(found).all()
    assert (found == 0).sum() == 29 + 4


# Files


def prepared_bytes(data):
    data.prepare_data()
    names = ("encoder/encoder.json", "encoder/tracks.npy", "encoder/track_ids.parquet")
    names += tuple(f"{split}/sessions.npy" for split in ("train", "val", "test"))
    return {name: (data.folder / name).read_bytes() for name in names}


@settings(deadline=None, max_examples=12)
@given(
    cuts=st.lists(st.integers(0, 3000), max_size=3),
    zipped=st.booleans(),
    crlf=st.booleans(),
    block=st.sampled_from([700, 5000, 1 << 26]),
)
def test_however_the_rows_are_filed_the_data_are_the_same(logs, tracks, cuts, zipped, crlf, block):
    text = logs.to_csv(index=False).splitlines()
    header, rows = text[0], text[1:]
    end = "\r\n" if crlf else "\n"
    bounds = sorted({0, len(rows), *(min(cut, len(rows)) for cut in cuts)})
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        (folder / "logs").mkdir()
        tracks.to_csv(folder / "tf.csv", index=False)
        for i, (first, last) in enumerate(pairwise(bounds)):
            lines = "".join(line + end for line in (header, *rows[first:last])).encode()
            name = folder / "logs" / f"{i}.csv{'.gz' if zipped else ''}"
            name.write_bytes(gzip.compress(lines) if zipped else lines)
        (folder / "logs" / "notes.txt").write_text("not a log")
        (folder / "one.csv").write_text("\n".join(text) + "\n")
        options = {"tracks": str(folder / "tf.csv"), "prepared": str(folder / "prepared")}
        one = prepared_bytes(SkipSessions(str(folder / "one.csv"), **options))
        with mock.patch("datamodules.sessions_raw.BLOCK", block):
            for path in (folder / "logs", folder / "logs" / "*.csv*"):
                assert prepared_bytes(SkipSessions(str(path), **options)) == one


def test_columns_may_stand_in_any_order_and_others_beside_them(sessions, logs, tracks):
    rows = logs[logs.columns[::-1]].assign(more="x")
    table = tracks[tracks.columns[::-1]].assign(more="x")
    assert prepared_bytes(sessions(rows, table)) == prepared_bytes(sessions())


# Sessions that cannot be used


def first_session(logs):
    """Row labels of the first session of at least six rows."""
    long = logs[logs.session_length.astype(int) >= 6]
    return logs.index[logs.session_id == long.session_id.iloc[0]]


def swapped(rows, mine):
    position = rows.loc[mine, "session_position"].to_numpy().copy()
    position[[2, 3]] = position[[3, 2]]
    rows.loc[mine, "session_position"] = position
    return rows


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
    notes = data.manifest.notes
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
    manifest = sessions(rows, max_bad_rows=0.01).manifest
    assert sum(manifest.rejected.values()) == 1
    assert problem in next(iter(manifest.rejected))
    assert manifest.rejected_examples[0][0] == line
    message = rf"1 of {len(rows)} rows .* data.max_bad_rows .* is line {line} of .*log.csv: its {column} {problem}"  # noqa: E501
    with pytest.raises(ZooError, match=message):
        sessions(rows, max_bad_rows=0).prepare_data()


def test_what_was_logged_of_the_second_half_is_not_needed(sessions, logs):
    rows = logs.copy()
    future = rows.session_position.astype(int) > rows.session_length.astype(int) // 2
    others = [c for c in (*FLAGS, *COUNTS, *VALUES, "date", "hour_of_day") if c != "skip_2"]
    rows.loc[future, others] = ""
    assert prepared_bytes(sessions(rows)) == prepared_bytes(sessions())


def test_rows_of_a_wrong_width_and_odd_bytes(tmp_path, logs, sessions):
    data = sessions(max_bad_rows=0.01)
    path = Path(data.path)
    lines = path.read_bytes().splitlines()
    mine = logs.index.get_loc(first_session(logs)[1]) + 1
    lines[mine] += b",more"
    lines[-1] = lines[-1].replace(b"log", b"l\xff")
    lines[-1] = lines[-1].rpartition(b",")[0] + b",\xff\xfe"  # a reason is any text
    path.write_bytes(b"\n".join(lines))
    manifest = data.manifest
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
            r"log.csv: its header lacks track_id_clean, .*: name other files \(data.path\)",
        ),
        ("tf.csv", "", r"tf.csv is empty"),
        ("tf.csv", "track_id,duration\nt,1\n", r"tf.csv: its header lacks release_year, "),
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


# Loading


def loaders(data, world_size, **options):
    data.setup("fit")
    for rank in range(world_size):
        loader = data.train_dataloader()
        made = type(loader)(
            loader.records, loader.assembler, 17, rank=rank, world_size=world_size,
            with_row=True, **options,
        )  # fmt: skip
        yield made, [batch.row.tolist() for batch in made]


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("world_size", [1, 2, 3])
def test_ranks_share_the_sessions_in_equally_many_batches(sessions, world_size, shuffle):
    data = sessions()
    found = list(loaders(data, world_size, shuffle=shuffle, seed=3))
    assert len({len(batches) for _, batches in found}) == 1
    assert all(len(loader) == len(batches) for loader, batches in found)
    rows = [row for _, batches in found for batch in batches for row in batch]
    assert sorted(rows) == data.records("train")["row"].tolist()


def test_the_order_depends_on_seed_and_epoch_alone(sessions):
    data = sessions()

    def order(seed, epoch):
        ((_, found),) = loaders(data, 1, shuffle=True, seed=seed, epoch=lambda: epoch)
        return [row for batch in found for row in batch]

    first = order(0, 0)
    assert first == order(0, 0)
    assert first != sorted(first)
    assert len({tuple(order(*key)) for key in ((0, 0), (0, 1), (1, 0))}) == 3


# Prediction and runs


@pytest.fixture
def run(sessions, tmp_path):
    """A fitted datamodule and a copy of its encoder."""
    data = sessions()
    data.prepare_data()
    data.save_encoder(tmp_path / "encoder")
    return data, str(tmp_path / "encoder")


def predicting(encoder, path, **options):
    data = SkipSessions("gone", "gone", encoder=encoder, predict_path=str(path), **options)
    data.setup("predict")
    return data, list(data.predict_dataloader())


def test_an_encoder_scores_raw_sessions_whose_second_half_is_unknown(run, logs, tmp_path):
    data, encoder = run
    want, ids = batches(data, "test")
    rows = logs[logs.session_id.isin(ids)].copy()
    future = rows.session_position.astype(int) > rows.session_length.astype(int) // 2
    rows.loc[future, [*FLAGS, *COUNTS, *VALUES, "date", "hour_of_day"]] = ""
    rows.to_csv(tmp_path / "new.csv", index=False)
    shutil.rmtree(Path(data.path).parent)
    new, found = predicting(encoder, tmp_path / "new.csv", batch_size=7)
    assert new.predict_rows == len(ids)
    description = json.loads(Path(encoder, "encoder.json").read_text())
    assert new.schema == Schema.from_dict(description["schema"])
    joined = SessionBatch(*(torch.cat(column) for column in zip(*found, strict=True)))
    assert joined.row.tolist() == list(range(len(ids)))
    for name in ("past", "past_mask", "future", "future_mask"):
        assert torch.equal(getattr(joined, name), getattr(want, name))
    assert joined.label.isnan().equal(joined.future_mask)


def test_a_session_that_cannot_be_scored_leaves_a_gap(run, logs, tmp_path):
    _, encoder = run
    rows = logs[logs.session_id.isin(logs.session_id.drop_duplicates()[:20])].copy()
    mine = first_session(rows)
    number = rows.session_id.drop_duplicates().tolist().index(rows.session_id[mine[0]])
    swapped(rows, mine)
    rows.to_csv(tmp_path / "new.csv", index=False)
    new, found = predicting(encoder, tmp_path / "new.csv", max_bad_sessions=0.1)
    assert new.predict_rows == 20
    rows = torch.cat([batch.row for batch in found])
    assert rows.tolist() == [i for i in range(20) if i != number]
    with pytest.raises(ZooError, match=r"1 of 20 sessions cannot be used"):
        predicting(encoder, tmp_path / "new.csv", max_bad_sessions=0.01)


def test_mistakes_in_predicting(run, tmp_path):
    data, encoder = run
    with pytest.raises(ZooError, match=r"give --data.predict_path"):
        SkipSessions("gone", "gone", encoder=encoder).setup("predict")
    with pytest.raises(ZooError, match=r"no such file or folder: gone \(data.predict_path\)"):
        predicting(encoder, "gone")
    with pytest.raises(ZooError, match=r"data.encoder serves predict alone"):
        _ = SkipSessions("gone", "gone", encoder=encoder).manifest
    description = Path(encoder, "encoder.json")
    text = description.read_text()
    description.unlink()  # the prepared data have it under another name
    description.write_text(text.replace("SkipSessions", "Criteo"))
    with pytest.raises(ZooError, match=r"was fitted on Criteo data, not on SkipSessions data"):
        predicting(encoder, data.path)
    description.write_text(text)
    Path(encoder, "track_ids.parquet").unlink()
    with pytest.raises(ZooError, match=r"encoder is damaged"):
        predicting(encoder, data.path)
    Path(encoder, "tracks.npy").unlink()
    with pytest.raises(ZooError, match=r"is not an encoder: encoder.json or tracks.npy is missing"):
        predicting(encoder, data.path)


def test_damage_shows(sessions):
    data = sessions()
    data.prepare_data()
    path = data.folder / "val/sessions.npy"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(ZooError, match=r"val/sessions.npy does not match its checksum"):
        data.setup("fit")
    path.write_bytes(content[:100])
    data.verify = False
    with pytest.raises(ZooError, match=r"val/sessions.npy is damaged"):
        data.setup("fit")


KILLED = """
import os, signal, sys
from unittest import mock
from datamodules import SkipSessions
def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)
path, tracks, prepared, step = sys.argv[1:]
with mock.patch(step, die):
    SkipSessions(path, tracks, prepared=prepared).prepare_data()
"""


@pytest.mark.parametrize(
    "step",
    [
        "datamodules.sessions_prepare.split_of",
        "datamodules.sessions_prepare._recode",
        "datamodules.store.Manifest.save",
    ],
)
def test_killed_preparation_is_not_taken_for_whole(sessions, step):
    data, other = sessions(), sessions()
    command = [sys.executable, "-c", KILLED, data.path, data.tracks, str(data.prepared), step]
    done = subprocess.run(command, cwd=ROOT, capture_output=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert not data.folder.exists()
    assert prepared_bytes(data) == prepared_bytes(other)
    assert sorted(p.name for p in data.prepared.iterdir() if p.is_dir()) == [data.folder.name]
    assert not (data.folder / "work").exists()


def test_prepare_prints_the_manifest(sessions, capsys):
    data = sessions()
    command = ["train.py", "prepare", "--model", "zoo.DeepFM", "--data", "datamodules.SkipSessions"]
    command += ["--data.path", data.path, "--data.tracks", data.tracks]
    command += ["--data.prepared", str(data.prepared)]
    with mock.patch("sys.argv", command), warnings.catch_warnings():
        train.main()
    shown = capsys.readouterr().out
    assert "acoustic_vector_7" in shown
    assert "0 malformed rows" in shown
    assert "sessions in the train split" in shown


# What is planted


def of_generator(root, tmp_path, **options):
    generator = PlantedSessions(**{"sessions": 400, "tracks": 300, **options})
    paths = (root / "session_logs/training_set", root / "track_features")
    prepared = str(tmp_path / "prepared")
    return SkipSessions(*map(str, paths), prepared=prepared, synthetic=generator)


@pytest.fixture(scope="session")
def many(tmp_path_factory):
    """A datamodule of 20,000 generated sessions, set up."""
    folder = tmp_path_factory.mktemp("many")
    data = of_generator(folder / "root", folder, sessions=20_000, tracks=2000)
    data.setup("fit")
    return data


def test_generated_files_are_in_the_format(planted):
    rows, table = logs_of(planted), tracks_of(planted)
    assert rows.columns[0] == "session_id"
    assert len(rows.columns) == 21
    assert list(table.columns) == ["track_id", *TRACK]
    lengths = rows.groupby("session_id", sort=False).session_position.apply(list)
    for positions in lengths:
        assert positions == [str(i + 1) for i in range(len(positions))]
    assert set(lengths.map(len)) == set(range(10, 21))
    skips = rows[["skip_1", "skip_2", "skip_3", "not_skipped"]] == "True"
    assert not (skips.skip_1 & ~skips.skip_2).any()
    assert not (skips.skip_2 & ~skips.skip_3).any()
    assert not (skips.skip_3 & skips.not_skipped).any()
    assert set(rows[CONTEXT]) == {
        "radio", "catalog", "personalized_playlist", "editorial_playlist", "user_collection",
        "charts",
    }  # fmt: skip
    reasons = {
        "endplay", "fwdbtn", "clickrow", "trackdone", "uriopen", "remote", "playbtn", "backbtn",
        "trackerror", "popup", "appload",
    }  # fmt: skip
    assert set(rows[START]) | set(rows[END]) <= reasons
    assert rows.hour_of_day.astype(int).between(0, 23).all()
    popularity = table.us_popularity_estimate.astype(float)
    assert popularity.between(90, 100).all()
    assert abs((rows.premium == "True").mean() - 0.8) < 0.06
    assert set(rows.track_id_clean) <= set(table.track_id)


def test_the_same_options_give_the_same_bytes_and_more_sessions_begin_alike(planted, tmp_path):
    for name, sessions in (("same", 400), ("more", 600)):
        PlantedSessions(sessions=sessions, tracks=300).write(tmp_path / name)
    log = "session_logs/training_set/log_00000.csv"
    for name in (log, "track_features/tf_0.csv", "truth.npy"):
        assert (tmp_path / "same" / name).read_bytes() == (planted / name).read_bytes()
    more = np.load(tmp_path / "more/truth.npy")[:400]
    assert more.tobytes() == np.load(planted / "truth.npy").tobytes()


def test_the_generator_writes_what_does_not_exist_and_spares_what_does(tmp_path):
    data = of_generator(tmp_path / "root", tmp_path)
    data.prepare_data()
    log = tmp_path / "root/session_logs/training_set/log_00000.csv"
    before = log.stat().st_mtime_ns
    of_generator(tmp_path / "root", tmp_path).prepare_data()
    assert log.stat().st_mtime_ns == before
    with pytest.raises(ZooError, match=r"root exists and was not generated with these"):
        of_generator(tmp_path / "root", tmp_path, seed=1).prepare_data()
    with pytest.raises(ZooError, match=r"set data.path and data.tracks to these"):
        SkipSessions("logs", "tracks", synthetic=PlantedSessions(sessions=400)).prepare_data()
    with pytest.raises(ZooError, match=r"synthetic.tracks must be at least 100, got 3"):
        PlantedSessions(tracks=3)


def test_an_interrupted_generator_leaves_nothing(tmp_path):
    with (
        mock.patch("datamodules.synthetic_sessions.np.save", side_effect=KeyboardInterrupt),
        pytest.raises(KeyboardInterrupt),
    ):
        PlantedSessions(sessions=100, tracks=100).write(tmp_path / "root")
    assert os.listdir(tmp_path) == []


def joined(data, split="train"):
    """Truth, labels and mask of the second halves of a split."""
    records = data.records(split)
    mask = np.arange(10) < records["future"][:, None]
    return data.truth(split), records["label"].astype(bool), mask


def test_skip_rate_and_mechanisms(many):
    about = json.loads((Path(many.path).parents[1] / "truth.json").read_text())
    assert abs(about["skip_rate"] - 0.517) < 0.005
    assert about["groups"] == GROUPS
    assert about["mechanisms"] == list(MECHANISMS)
    truth, label, mask = joined(many)
    assert np.array_equal(truth["mechanism"] < 255, mask)
    assert np.array_equal(np.isfinite(truth["probability"]), mask)
    shares = [
        [(truth["mechanism"][:, j] == m).sum() / mask[:, j].sum() for j in range(10)]
        for m in range(4)
    ]
    persistence = shares[PERSISTENCE]
    assert all(a > b for a, b in pairwise(persistence))
    assert persistence[0] > 0.75
    overall = np.bincount(truth["mechanism"][mask], minlength=4) / mask.sum()
    assert (overall[[PERSISTENCE, TASTE, POPULARITY]] > 0.2).all()
    for m in range(4):
        mine = truth["mechanism"] == m
        assert abs(label[mine].mean() - 0.517) < 0.03


def test_true_probabilities_are_calibrated(many):
    truth, label, mask = joined(many)
    for m in range(4):
        for low in np.arange(0, 1, 0.1):
            p = truth["probability"]
            mine = mask & (truth["mechanism"] == m) & (p >= low) & (p < low + 0.1)
            if mine.sum() > 200:
                error = 5 * np.sqrt(0.25 / mine.sum())
                assert abs(label[mine].mean() - p[mine].mean()) < error


def told(data):
    """What the fields alone say of each track of B of the test split: its mechanism, and the
    likelier label."""
    batch = whole(data.test_dataloader())
    names = [field.name for field in data.schema.numerical]
    future = [field.name for field in data.schema.future]
    scales = json.loads((data.folder / "encoder/encoder.json").read_text())["scales"]
    mean, deviation = scales["us_popularity_estimate"]
    popularity = batch.future[..., future.index("us_popularity_estimate")] * deviation + mean
    vectors = [f"acoustic_vector_{i}" for i in range(8)]

    def raw(values, fields):
        columns = [fields.index(name) for name in vectors]
        moments = torch.tensor([scales[name] for name in vectors])
        return values[..., columns] * moments[:, 1] + moments[:, 0]

    past, vector = raw(batch.past, names), raw(batch.future, future)
    skipped = batch.past[..., names.index("skip_2")] > 0
    length = batch.past_mask.sum(1)
    last = skipped[torch.arange(len(length)), length - 1]
    run = torch.zeros_like(length)
    for i in range(1, 11):
        here = skipped[torch.arange(len(length)), (length - i).clamp(min=0)]
        run += (run == i - 1) & (here == last) & (i <= length)
    tasty = past.norm(dim=-1) > 0.6
    kept = (tasty & ~skipped & batch.past_mask).unsqueeze(-1)
    centre = (past * kept).sum(1) / kept.sum(1).clamp(min=1)
    distance = (vector - centre[:, None]).norm(dim=-1)
    hit, obscure = popularity > 99, popularity < 96
    taste = vector.norm(dim=-1) > 0.6
    persistent = torch.arange(1, 11) < run[:, None]
    mechanism = np.select(
        [persistent, hit | obscure, taste], [PERSISTENCE, POPULARITY, TASTE], NOISE
    )
    answer = np.select([persistent, hit | obscure, taste], [
        last[:, None].expand(-1, 10), obscure, distance > 0.8], True)  # fmt: skip
    return mechanism, answer


def test_the_truth_follows_from_the_fields(many):
    mechanism, answer = told(many)
    truth, _, mask = joined(many, "test")
    assert (mechanism == truth["mechanism"])[mask].mean() > 0.99
    best = truth["probability"] > 0.5
    for m in (PERSISTENCE, TASTE, POPULARITY):
        mine = truth["mechanism"] == m
        assert (answer == best)[mine].mean() > 0.99


def test_without_the_interactions_nothing_tells_persistence_or_taste(many):
    batch = whole(many.test_dataloader())
    names = [field.name for field in many.schema.numerical]
    vectors = [names.index(f"acoustic_vector_{i}") for i in range(8)]
    general = [names.index(name) for name in ("us_popularity_estimate", "release_year")]
    skipped = batch.past[..., names.index("skip_2")] > 0
    features = batch.past[..., general + vectors][batch.past_mask].numpy()
    skips = skipped[batch.past_mask].numpy()
    related = np.corrcoef(np.column_stack((skips, features)), rowvar=False)[0, 1:]
    assert (np.abs(related) < 0.04).all()
    # a track of B with a taste says that A has liked and disliked ones, not which they are
    scales = json.loads((many.folder / "encoder/encoder.json").read_text())["scales"]
    moments = torch.tensor([scales[names[i]] for i in vectors])
    tasty = (batch.past[..., vectors] * moments[:, 1] + moments[:, 0]).norm(dim=-1) > 0.6
    tasty &= batch.past_mask
    ruled = (many.truth("test")["mechanism"] == TASTE).any(1)
    for mine in (tasty & skipped, tasty & ~skipped):
        assert mine.any(1)[ruled].float().mean() > 0.99


def test_the_ceiling_is_that_of_the_bayes_rule(many):
    for split in ("val", "test"):
        truth, label, mask = joined(many, split)
        right = (truth["probability"] > 0.5) == label
        lengths = mask.sum(1)
        average = [
            sum(r[: i + 1].mean() * r[i] for i in range(n)) / n
            for r, n in zip(right, lengths, strict=True)
        ]
        p = np.where(label, truth["probability"], 1 - truth["probability"])[mask]
        assert many.ceiling(split) == pytest.approx(
            {
                "acc": right[mask].mean(),
                "acc@1": right[:, 0].mean(),
                "maa": np.mean(average),
                "logloss": -np.log(p.astype(float)).mean(),
            }
        )
    assert 0.88 < many.ceiling()["acc"] < 0.93


def test_the_truth_is_known_of_generated_sessions_alone(sessions):
    data = sessions()
    assert data.ceiling() == {}
    with pytest.raises(ZooError, match="generated sessions alone"):
        data.truth("test")


def test_flags_of_the_two_groups_are_all_flags():
    assert CONTEXT_FLAGS + INTERACTION_FLAGS == FLAGS
