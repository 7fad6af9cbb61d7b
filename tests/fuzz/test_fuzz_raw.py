"""Raw files damaged at random are read as a plain reader of the format reads them, or refused.

Each file is prepared for a fit and encoded for predictions. What comes out is one sentence, or the
rows of a reader in plain Python: the same row numbers, values and malformed rows.

    FUZZ_FILES=2500 pytest tests/fuzz/test_fuzz_raw.py       a long run: files in all
    FUZZ_SEED=7                                              other files
"""

import os
import random
import re
import shutil
import zipfile
from collections import Counter

import numpy as np
import pyarrow.parquet as pq
import pytest
from support import raw_readers, raw_sessions
from support.mutations import damaged, packed
from support.preparation import predicted, prepared, ready, together
from support.ratings import MOVIES, USERS, opened

from datamodules import Avazu, Criteo, MovieLens, SkipSessions
from datamodules.implicit.pair_file import read_pairs
from datamodules.prepared.rejected import Rejected
from datamodules.sessions.records import CODES, FLAGS, VALUES
from datamodules.sessions.tracks import read_tracks
from zoo.data.errors import ZooError

FILES = int(os.environ.get("FUZZ_FILES", "60")) // 6
SEED = int(os.environ.get("FUZZ_SEED", "0"))
# grounds to refuse a file whose rows can be read one by one
GROUNDS = (
    *("no usable (row|session|rating)", "is empty", "begins with an empty line", "its header"),
    *(
        "is a .* archive",
        "is compressed by gzip",
        "looks like UTF-16",
        "lines that end in CR alone",
    ),
    *("its values are quoted", "its columns are separated by", "its first line is a row"),
    *("every usable label is", "leave the .* split empty", "training rows are all of one class"),
    *("has no label column", "split holds no session", "holds no rating that can be read"),
    *("no user has the 3 interactions", "users have interacted with all", "eval_negatives is"),
    *("no usable row of the track table", "holds no rows", "remove it"),
)


counts = Counter()


@pytest.fixture(scope="module", autouse=True)
def _report():
    yield
    print(f"\nfits and predictions of damaged files: {dict(counts)}")


def outcome(work):
    """What `work` gives, or the sentence that it ends with."""
    try:
        return work()
    except ZooError as error:
        return str(error)


def is_refused(found, expected):
    """Whether a file is refused as a whole, which has to have a ground."""
    counts["refused" if isinstance(found, str) else "read"] += 1
    if isinstance(found, str):
        assert "\n" not in found
        assert len(found) < 2000
        assert expected is None or any(re.search(ground, found) for ground in GROUNDS), found
        return True
    assert expected is not None, "a reader of the format refuses this file"
    return False


@pytest.fixture
def damaged_files(tmp_path, request):
    """Gives damaged files one by one: their paths, and their bytes as a reader has them."""

    def make(data, delimiter, suffix):
        for number in range(FILES):
            rng = random.Random(f"{SEED} {request.node.name} {number}")
            content = damaged(rng, data, delimiter) if rng.random() < 0.9 else data
            is_packed = rng.random() < 0.3
            written = packed(rng, content) if is_packed else content
            path = tmp_path / f"raw-{number}{suffix}{'.gz' if is_packed else ''}"
            path.write_bytes(written)
            yield path, raw_readers.unpacked(written, is_packed)
            path.unlink()
            shutil.rmtree(tmp_path / "prepared", ignore_errors=True)

    return make


def written(path, data):
    path.write_bytes(data)
    return path


# Tables

CATEGORIES = {
    Criteo: tuple(f"C{i}" for i in range(1, 27)),
    Avazu: ("hour", "weekday", "is_weekend", *raw_readers.AVAZU_FIELDS),
}


@pytest.mark.parametrize("kind", ["criteo", "avazu"])
def test_damaged_tables(damaged_files, tmp_path, criteo_lines, avazu_lines, kind):
    make, read, delimiter, lines, options = {
        "criteo": (Criteo, raw_readers.criteo, b"\t", criteo_lines[:60], {"scaling": "none"}),
        "avazu": (Avazu, raw_readers.avazu, b",", [avazu_lines[0], *avazu_lines[1::50]], {}),
    }[kind]
    options |= {"min_count": 1, "max_bad_rows": 1}
    base = written(tmp_path / f"base.{kind}", "".join(f"{line}\n" for line in lines).encode())
    known = ready(make(str(base), prepared=str(tmp_path / "known"), **options))
    for path, data in damaged_files(base.read_bytes(), delimiter, ".txt"):
        expected = None if data is None else read(data)
        fitting = make(str(path), prepared=str(tmp_path / "prepared"), **options)
        found = outcome(lambda data=fitting: prepared(data))
        if not is_refused(found, expected):
            assert_rows(together(found), fitting, expected)
            assert (found["train"].categorical != 0).all()
            assert fitting.manifest.rejected == Counter(expected[1].values())
        scoring = make(
            "gone", encoder=str(known.folder / "encoder"), predict_path=str(path), **options
        )
        found = outcome(lambda data=scoring: predicted(data))
        if not is_refused(found, expected):
            assert_rows(found, scoring, expected)
            assert scoring.predict_rows == len(expected[0]) + len(expected[1])


def assert_rows(arrays, data, expected):
    """The rows are those of the reader: their numbers, values by their ids, labels."""
    usable = dict(sorted(expected[0].items()))
    assert arrays.row.tolist() == list(usable)
    table = pq.read_table(data.encoder_folder / "vocabulary.parquet").to_pylist()
    ids = {(line["field"], line["value"]): line["id"] for line in table}
    labels, numbers, values = zip(*usable.values(), strict=True)
    np.testing.assert_array_equal(arrays.label, np.array(labels, np.float32))
    np.testing.assert_allclose(arrays.numerical, np.array(numbers, np.float32), rtol=1e-6)
    fields = CATEGORIES[type(data)]
    wanted = [
        [ids.get(pair, 0) if pair[1] else 1 for pair in zip(fields, row, strict=True)]
        for row in values
    ]
    assert arrays.categorical.tolist() == wanted


# Sessions


@pytest.fixture(scope="module")
def few_logs(logs, tracks):
    """Bytes of a log of 40 sessions, and of the table of their tracks."""
    rows = logs[logs.session_id.isin(logs.session_id.drop_duplicates()[:40])]
    table = tracks[tracks.track_id.isin(rows.track_id_clean)][:300]
    return tuple(frame.to_csv(index=False).encode() for frame in (rows, table))


def test_damaged_sessions(damaged_files, tmp_path, few_logs):
    options = {"max_bad_rows": 1, "max_bad_sessions": 1}
    table = str(written(tmp_path / "tf.csv", few_logs[1]))
    base = str(written(tmp_path / "base.csv", few_logs[0]))
    known = ready(SkipSessions(base, table, prepared=str(tmp_path / "known"), **options))
    for path, data in damaged_files(few_logs[0], b",", ".csv"):
        expected = None if data is None else raw_sessions.sessions(data)
        fitting = SkipSessions(str(path), table, prepared=str(tmp_path / "prepared"), **options)
        found = outcome(lambda data=fitting: ready(data))
        if not is_refused(found, expected):
            records = np.concatenate([fitting.records(s) for s in ("train", "val", "test")])
            assert_sessions(np.sort(records, order="row"), fitting, expected[0], labelled=True)
            assert fitting.manifest.rejected == Counter(expected[2].values())
            notes = fitting.manifest.notes.items()
            left_out = {k.partition(": ")[2]: n for k, n in notes if k.startswith("sessions left")}
            assert left_out == Counter(expected[1].values())
        encoder = str(known.folder / "encoder")
        scoring = SkipSessions("no", "no", encoder=encoder, predict_path=str(path), **options)
        found = outcome(lambda data=scoring: data.setup("predict"))
        expected = None if data is None else raw_sessions.sessions(data, labelled=False)
        if not is_refused(found, expected):
            assert_sessions(scoring._records["predict"], scoring, expected[0], labelled=False)
            assert scoring.predict_rows == len(expected[0]) + len(expected[1])


def assert_sessions(records, data, usable, labelled):
    assert records["row"].tolist() == list(usable)
    ids = pq.read_table(data.encoder_folder / "track_ids.parquet")["track_id"].to_pylist()
    places = {track: place for place, track in reversed(list(enumerate(ids, 1)))}
    for record, rows in zip(records, usable.values(), strict=True):
        half = len(rows) // 2
        assert (record["past"], record["future"]) == (half, len(rows) - half)
        found = [*record["past_track"][:half], *record["future_track"][: len(rows) - half]]
        assert found == [places.get(row["track_id_clean"].encode(), 0) for row in rows]
        cells = [{c: raw_sessions.cell_of(c, row[c]) for c in raw_sessions.CELLS} for row in rows]
        assert record["date"][:half].tolist() == [row["date"] for row in cells[:half]]
        for bit, flag in enumerate(FLAGS):
            assert (record["flags"][:half] >> bit & 1).tolist() == [
                row[flag] for row in cells[:half]
            ]
        for place, column in enumerate(CODES):
            if column not in VALUES:
                assert record["codes"][:half, place].tolist() == [
                    row[column] for row in cells[:half]
                ]
        labels = [255 if row["skip_2"] is None else row["skip_2"] for row in cells[half:]]
        assert record["label"][: len(rows) - half].tolist() == labels
        assert not labelled or 255 not in labels


def test_damaged_track_tables(damaged_files, tmp_path, few_logs):
    for path, data in damaged_files(few_logs[1], b",", ".csv"):
        expected = None if data is None else raw_sessions.tracks(data)
        rejected = Rejected()
        found = outcome(
            lambda path=path, rejected=rejected: read_tracks([path], tmp_path, rejected)
        )
        if not is_refused(found, expected):
            ids, features = zip(*expected[0], strict=True)
            assert [
                track.decode("utf-8", "backslashreplace") for track in found.ids.to_pylist()
            ] == list(ids)
            np.testing.assert_allclose(found.features, np.array(features, np.float32), rtol=1e-6)
            assert found.bad_cells == np.isnan(features).sum()
            assert rejected.reasons == Counter(expected[1].values())
            assert rejected.total == len(ids) + len(expected[1])


# MovieLens


def test_damaged_ratings(damaged_files, tmp_path):
    """Within an archive that is whole, or in one that is damaged itself."""
    rng = np.random.default_rng(0)
    lines = [
        f"{u}::{i}::{r}::{t}"
        for u, i, r, t in zip(*(rng.integers(1, n, 70) for n in (9, 30, 6, 99)), strict=True)
    ]
    rng = random.Random(SEED)
    for _, data in damaged_files("".join(f"{line}\n" for line in lines).encode(), b"::", ".dat"):
        if data is None:
            continue
        place = tmp_path / "ml.zip"
        with zipfile.ZipFile(place, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("users.dat", "\n".join(USERS))
            archive.writestr("movies.dat", "\n".join(MOVIES))
            archive.writestr("ratings.dat", data)
        if rng.random() < 0.3:
            place.write_bytes(damaged(rng, place.read_bytes(), b"\0"))
        options = {"prepared": str(tmp_path / "prepared"), "max_bad_rows": 1, "eval_negatives": 1}
        fitting = MovieLens(str(place), **options)
        expected = members(place)
        found = outcome(lambda data=fitting: opened(data))
        if not is_refused(found, expected and raw_readers.ratings(expected["ratings.dat"])):
            assert_interactions(fitting, found[1], *raw_readers.ratings(expected["ratings.dat"]))


def members(path):
    """The members of a zip by name; None of a damaged one, which may hold them by other names."""
    try:
        with zipfile.ZipFile(path) as archive:
            found = {name: archive.read(name) for name in archive.namelist()}
    except Exception:  # whatever zipfile makes of it
        return None
    return found if "ratings.dat" in found else None


def assert_interactions(data, splits, usable, problems):
    wanted = raw_readers.interactions(usable)
    assert {(u, i) for u, items in wanted.items() for i in items} == {
        pair for split in splits for pair in zip(*split_positives(data, splits, split), strict=True)
    }
    user, item = split_positives(data, splits, "test")
    assert dict(zip(user, item, strict=True)) == {u: items[-1] for u, items in wanted.items()}
    rejected = dict(data.manifest.rejected)
    reason = "it is not user, movie, rating and time"
    assert rejected.pop(reason, 0) == len(problems)
    pairs = sum(map(len, wanted.values()))
    assert sum(rejected.values()) == len(usable) - pairs


def split_positives(data, splits, split):
    """Original ids of the positives of a split."""
    user, item = splits[split]
    if split != "train":
        label = np.load(data.folder / split / "label.npy")
        user, item = user[label], item[label]
    return user.tolist(), item.tolist()


def test_damaged_pairs(damaged_files):
    lines = [f"{i % 7},{i % 11}" for i in range(40)]
    for path, data in damaged_files(("user,movie\n" + "\n".join(lines)).encode(), b",", ".csv"):
        expected = None if data is None else raw_readers.pairs(data)
        found = outcome(lambda path=path: read_pairs(path, 1))
        if not is_refused(found, expected):
            pairs, row, rows = found
            assert dict(zip(row.tolist(), map(tuple, pairs.tolist()), strict=True)) == expected[0]
            assert rows == len(expected[0]) + len(expected[1])
