"""Listening sessions: what is read, cut, looked up and dealt."""

import gzip
import json
import tempfile
from itertools import pairwise
from pathlib import Path
from unittest import mock

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.listening import CONTEXT, END, START, batches, first_session, prepared_bytes
from support.preparation import ready

from datamodules import SkipSessions
from datamodules.sessions.prepare import split_of
from datamodules.sessions.records import COUNTS, FLAGS, TRACK, VALUES, short

# Fields


def test_the_schema_has_the_groups_of_the_paper(shared_sessions):
    schema = shared_sessions.schema
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


def test_batches_equal_a_plain_computation(shared_sessions, logs, tracks):
    data = shared_sessions
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
    data = ready(sessions(batch_size=50))
    data.setup("fit")
    for batch in data.train_dataloader():
        assert batch.row is None
        floats = (batch.past, batch.future, batch.label)
        assert {x.dtype for x in floats} == {torch.float32}
        assert batch.past_mask.dtype == batch.future_mask.dtype == torch.bool
        size = len(batch.label)
        assert batch.past.shape == (size, 10, len(data.schema.numerical))
        assert batch.future.shape == (size, 10, len(data.schema.future))
        difference = batch.future_mask.sum(1) - batch.past_mask.sum(1)
        assert set(difference.tolist()) <= {0, 1}
        assert all(torch.isfinite(x).all() for x in floats)
        batch.past.add_(1)  # no alias of a file


def test_splits_are_8_1_1_by_a_hash_of_the_id():
    ids = [f"session {i}".encode() for i in range(20_000)]
    shares = np.bincount(split_of(ids, 0)) / len(ids)
    np.testing.assert_allclose(shares, (0.8, 0.1, 0.1), atol=0.01)
    assert np.array_equal(split_of(ids, 0), split_of(ids[::-1], 0)[::-1])
    # splits of other seeds are independent of it
    both = (split_of(ids, 0) == 2) & (split_of(ids, 1) == 2)
    assert abs(both.mean() - 0.01) < 0.003


def test_a_split_holds_each_session_once(shared_sessions, logs):
    data = shared_sessions
    ids = [set(batches(data, split)[1]) for split in ("train", "val", "test")]
    assert set.union(*ids) == set(logs.session_id)
    assert sum(map(len, ids)) == logs.session_id.nunique()
    manifest = data.manifest
    assert [manifest.splits[s]["sessions"] for s in ("train", "val", "test")] == [*map(len, ids)]
    future = logs.session_position.astype(int) > logs.session_length.astype(int) // 2
    assert sum(split["rows"] for split in manifest.splits.values()) == future.sum()
    skipped = (logs.skip_2 == "True") & future
    assert sum(split["positives"] for split in manifest.splits.values()) == skipped.sum()


def test_vocabularies_are_of_training_sessions_most_frequent_first(shared_sessions, logs):
    data = shared_sessions
    _, training = batches(data, "train")
    mine = logs[logs.session_id.isin(training)]
    past = mine[mine.session_position.astype(int) <= mine.session_length.astype(int) // 2]
    for column in VALUES:
        counts = past[column].value_counts()
        want = sorted(counts.index, key=lambda value: (-counts[value], value))
        names = [f.name for f in data.schema.fields if f.name.startswith(f"{short(column)}=")]
        assert names == [f"{short(column)}={value}" for value in want]


def test_values_that_are_not_in_training_are_zeros(shared_sessions, sessions, logs):
    plain = shared_sessions
    _, held = batches(plain, "val")
    rows = logs.copy()
    new = {CONTEXT: "jukebox", START: "", END: "logout"}
    for column, value in new.items():
        rows.loc[rows.session_id.isin(held), column] = value
    data = ready(sessions(rows))
    assert data.schema == plain.schema
    batch, ids = batches(data, "val")
    assert set(ids) == set(held)
    one_hot = [i for i, field in enumerate(data.schema.numerical) if "=" in field.name]
    assert not batch.past[..., one_hot].any()
    assert batch.past.isfinite().all()


def test_statistics_are_of_training_sessions(shared_sessions, sessions, logs, tracks):
    plain = shared_sessions
    encoder = json.loads((plain.folder / "encoder/encoder.json").read_text())
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
    data = ready(sessions(rows))
    column = [f.name for f in data.schema.numerical].index("date_gap")
    splits = [batches(data, split)[0].past for split in ("train", "val", "test")]
    assert torch.cat(splits)[..., column].abs().max() == 10


def test_the_first_of_two_tracks_with_one_id_is_looked_up(shared_sessions, sessions, tracks):
    plain, twice = shared_sessions, sessions(table=pd.concat([tracks, tracks.assign(tempo="1")]))
    for split in ("train", "val"):
        assert torch.equal(batches(twice, split)[0].past, batches(plain, split)[0].past)


def test_a_track_that_is_not_in_the_table_has_mean_features(sessions, logs, tracks):
    gone = logs.track_id_clean.iloc[0]
    table = tracks[tracks.track_id != gone]
    data = sessions(table=table)
    notes = ready(data).manifest.notes.items()
    (count,) = (n for note, n in notes if "is not in the track table" in note)
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
    (count,) = (n for note, n in ready(data).manifest.notes.items() if "no numbers" in note)
    assert count == 4
    found = np.load(data.folder / "encoder/tracks.npy")
    assert found[1, TRACK.index("energy")] == found[2, TRACK.index("energy")] == 0
    assert found[3, TRACK.index("mode")] == found[4, TRACK.index("tempo")] == 0
    assert np.isfinite(found).all()
    assert (found == 0).sum() == 29 + 4


# Files


@pytest.fixture(scope="module")
def few_sessions(logs, tracks, tmp_path_factory):
    """A `SkipSessions` of the first 150 sessions, prepared: a test must not change it."""
    folder = tmp_path_factory.mktemp("few")
    few = logs.session_id.drop_duplicates()[:150]
    logs[logs.session_id.isin(few)].to_csv(folder / "log.csv", index=False)
    tracks.to_csv(folder / "tf.csv", index=False)
    paths = (str(folder / "log.csv"), str(folder / "tf.csv"))
    return ready(SkipSessions(*paths, prepared=str(folder / "prepared")))


@settings(deadline=None, max_examples=12)
@given(
    cuts=st.lists(st.integers(0, 1600), max_size=3),
    zipped=st.booleans(),
    crlf=st.booleans(),
    block=st.sampled_from([700, 5000, 1 << 26]),
)
def test_however_the_rows_are_filed_the_data_are_the_same(few_sessions, cuts, zipped, crlf, block):
    header, *rows = Path(few_sessions.path).read_text().splitlines()
    end = "\r\n" if crlf else "\n"
    bounds = sorted({0, len(rows), *(min(cut, len(rows)) for cut in cuts)})
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        (folder / "logs").mkdir()
        for i, (first, last) in enumerate(pairwise(bounds)):
            lines = "".join(line + end for line in (header, *rows[first:last])).encode()
            name = folder / "logs" / f"{i}.csv{'.gz' if zipped else ''}"
            name.write_bytes(gzip.compress(lines) if zipped else lines)
        (folder / "logs" / "notes.txt").write_text("not a log")
        options = {"tracks": few_sessions.tracks, "prepared": str(folder / "prepared")}
        with mock.patch("datamodules.prepared.text.BYTES_PER_BLOCK", block):
            for path in (folder / "logs", folder / "logs" / "*.csv*"):
                found = prepared_bytes(SkipSessions(str(path), **options))
                assert found == prepared_bytes(few_sessions)


def test_columns_may_stand_in_any_order_and_others_beside_them(
    shared_sessions, sessions, logs, tracks
):
    rows = logs[logs.columns[::-1]].assign(more="x")
    table = tracks[tracks.columns[::-1]].assign(more="x")
    assert prepared_bytes(sessions(rows, table)) == prepared_bytes(shared_sessions)


# Loading


def loaders(data, world_size, **options):
    ready(data).setup("fit")
    for rank in range(world_size):
        loader = data.train_dataloader()
        made = type(loader)(
            loader.records, loader.assembler, 17, rank=rank, world_size=world_size,
            with_row=True, **options,
        )  # fmt: skip
        yield made, [batch.row.tolist() for batch in made]


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("world_size", [1, 2, 3])
def test_ranks_share_the_sessions_in_equally_many_batches(shared_sessions, world_size, shuffle):
    data = shared_sessions
    found = list(loaders(data, world_size, shuffle=shuffle, seed=3))
    assert len({len(batches) for _, batches in found}) == 1
    assert all(len(loader) == len(batches) for loader, batches in found)
    rows = [row for _, batches in found for batch in batches for row in batch]
    assert sorted(rows) == data.records("train")["row"].tolist()


def test_an_epoch_goes_on_after_the_batches_trained_on(shared_sessions):
    options = {"shuffle": True, "seed": 3, "epoch": lambda: 2, "trained": lambda: 2}
    whole, resumed = (shared_sessions.loader("train", **options) for _ in range(2))
    assert len(whole) > 3
    resumed.load_state_dict(resumed.state_dict())
    found, expected = ([batch.past.tolist() for batch in part] for part in (resumed, whole))
    assert found == expected[2:]


def test_the_order_depends_on_seed_and_epoch_alone(shared_sessions):
    data = shared_sessions

    def order(seed, epoch):
        ((_, found),) = loaders(data, 1, shuffle=True, seed=seed, epoch=lambda: epoch)
        return [row for batch in found for row in batch]

    first = order(0, 0)
    assert first == order(0, 0)
    assert first != sorted(first)
    assert len({tuple(order(*key)) for key in ((0, 0), (0, 1), (1, 0))}) == 3
