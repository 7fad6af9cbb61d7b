"""Session logs, track and user features -> records, tables and an encoder on disk.

    <name>-<key>/manifest.json     schema, split sizes, rejected rows, checksums
                 encoder/          encoder.json track_ids.parquet tracks.npy: scores new sessions;
                                   user_ids.parquet users.npy where there are users
                 train/ val/ test/ sessions.npy, an array of `record_type`

Two passes: the text becomes records, of which the training ones are counted; then the records'
codes are put in the order of the vocabulary. Memory does not depend on the number of sessions.
"""

import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from hashlib import blake2b
from pathlib import Path
from typing import get_type_hints

import numpy as np

from datamodules.prepared.carried import carried_file, check_columns
from datamodules.prepared.encoder import DESCRIPTION, check_dataset, write_description
from datamodules.prepared.folder import SPLITS, Manifest
from datamodules.prepared.npy import array_file
from datamodules.prepared.rejected import MAX_EXAMPLES, Rejected
from datamodules.prepared.vocabulary import ranked
from datamodules.sessions.halves import SessionReader
from datamodules.sessions.logs import SESSION_ID, LogReader
from datamodules.sessions.records import (
    CODES,
    COUNTS,
    HALF,
    VALUES,
    Assembler,
    Fitted,
    record_type,
    short,
)
from datamodules.sessions.tracks import TRACKS, open_tracks, read_tracks
from datamodules.sessions.users import open_users, read_users
from zoo.data.checksums import CHECKSUMS, checksums
from zoo.data.encoder import encoder_description
from zoo.data.errors import ZooError
from zoo.data.plain import check_kinds

RECORDS_PER_CHUNK = 100_000  # recoded at once
UNKNOWN_TRACKS = (
    "rows of sessions have a track that is not in the track table: its features are the means"
)
UNKNOWN_USERS = "sessions have a user that is not in the user table: its features are the means"
BAD_CELLS = "cells of the {} table are no numbers: the means stand for them"


@dataclass(frozen=True)
class Tolerance:
    """How much may be unusable.

    Attributes:
        rows: Share of malformed rows that is tolerated.
        sessions: Share of unusable sessions that is tolerated.
    """

    rows: float
    sessions: float


@dataclass(frozen=True)
class Files:
    """What sessions are made of.

    Attributes:
        logs: Files of the logs.
        tracks: Files of the track table.
        users: Files of the user table; none where users are not known.
        user_features: Columns of the user table that are features; None is all but the ids.
    """

    logs: list[Path]
    tracks: list[Path]
    users: list[Path]
    user_features: Sequence[str] | None = None


class TrainingCounts:
    """How often each code, date, track and user occurs in training sessions."""

    def __init__(self, tracks: int, users: int) -> None:
        self.codes = np.zeros((len(CODES), 256), np.int64)
        self.dates = np.zeros(1 << 15, np.int64)
        self.plays = np.zeros(tracks + 1, np.int64)
        self.sessions = np.zeros(users + 1, np.int64)

    def add(self, records: np.ndarray) -> None:
        """Counts records: what was logged of first halves, the tracks of both, the users."""
        past, future = (np.arange(HALF) < records[half][:, None] for half in ("past", "future"))
        for counts, codes in zip(self.codes, records["codes"][past].T, strict=True):
            counts += np.bincount(codes, minlength=256)
        self.dates += np.bincount(records["date"][past], minlength=len(self.dates))
        for track in (records["past_track"][past], records["future_track"][future]):
            self.plays += np.bincount(track, minlength=len(self.plays))
        if "user" in (records.dtype.names or ()):
            self.sessions += np.bincount(records["user"], minlength=len(self.sessions))

    def scales(self) -> dict[str, tuple[float, float]]:
        """Mean and standard deviation of seek counts, as ln(1 + x), and of dates."""
        counts = {short(column): self.codes[CODES.index(column)] for column in COUNTS}
        found = {name: _moments(np.log1p(np.arange(256)), n) for name, n in counts.items()}
        return {**found, "date_gap": _moments(np.arange(len(self.dates)), self.dates)}

    def vocabulary(self, codes: dict[str, dict[str, int]]) -> dict[str, list[str]]:
        """The values that occur, in the order of `datamodules.prepared.vocabulary`."""
        counts = {column: self.codes[CODES.index(column)] for column in VALUES}
        return {
            column: list(
                ranked({v: int(counts[column][code]) for v, code in codes[column].items()})
            )
            for column in VALUES
        }


def prepare_sessions(
    folder: Path,
    files: Files,
    split_seed: int,
    tolerance: Tolerance,
    dataset: str,
    source: dict,
    options: dict,
) -> None:
    """Fills an empty folder with prepared data: encoder, records, manifest.

    Raises:
        ZooError: where the files cannot be used; the message says why.
    """
    work, encoder = folder / "work", folder / "encoder"
    work.mkdir()
    encoder.mkdir()
    rejected = {"track": Rejected()} | ({"user": Rejected()} if files.users else {})
    table = read_tracks(files.tracks, work, rejected["track"])
    users = None
    if files.users:
        users = read_users(files.users, files.user_features, work, rejected["user"])
    features = list(users.form.features) if users else []
    _ = Fitted({column: [] for column in VALUES}, {}, features).schema  # names that are taken
    for of_table in rejected.values():
        of_table.check(tolerance.rows)
    reader = LogReader(table.ids, None, users and users.ids, "path")
    sessions = SessionReader(reader, files.logs)
    counts = TrainingCounts(len(table.ids), len(users.ids) if users else 0)
    for split, records in _deal(sessions, work, split_seed):
        counts.add(records[split == 0])
    _check(reader, sessions, tolerance)
    scales = counts.scales() | table.save(encoder, counts.plays[1:])
    bad_cells = {"track": table.bad_cells}
    if users:
        scales |= users.save(encoder, counts.sessions[1:])
        bad_cells["user"] = users.bad_cells
    fitted = Fitted(counts.vocabulary(reader.codes), scales, features)
    save_encoder(encoder, dataset, fitted)
    sizes = _write_splits(folder, reader, fitted)
    notes = _notes(sizes, sessions, bad_cells)
    found = (fitted.schema.to_dict(), sizes, *_rejected_rows(reader.rejected, rejected))
    Manifest(source, options, *found, checksums(folder), notes).save(folder)


def encode_splits(
    folder: Path,
    logs: list[Path],
    encoder: Path,
    split_seed: int,
    tolerance: Tolerance,
    dataset: str,
    source: dict,
    options: dict,
) -> None:
    """As `prepare_sessions`, with vocabulary, scales, tracks and users of a run's encoder."""
    work = folder / "work"
    work.mkdir()
    shutil.copytree(encoder, folder / "encoder", ignore=shutil.ignore_patterns(CHECKSUMS))
    fitted = load_encoder(encoder, dataset)
    reader = log_reader(encoder, fitted, "path")
    sessions = SessionReader(reader, logs)
    for _ in _deal(sessions, work, split_seed):
        pass
    _check(reader, sessions, tolerance)
    sizes = _write_splits(folder, reader, fitted)
    rejected = _rejected_rows(reader.rejected, {})
    notes = _notes(sizes, sessions, {})
    schema, files = fitted.schema.to_dict(), checksums(folder)
    Manifest(source, options, schema, sizes, *rejected, files, notes).save(folder)


def _write_splits(folder: Path, reader: LogReader, fitted: Fitted) -> dict[str, dict[str, int]]:
    """Writes the records of all splits, and gives their sizes; `folder`/work is then gone."""
    work, vocabulary = folder / "work", fitted.vocabulary
    type_ = record_type(reader.users is not None)
    sizes = {
        split: _recode(work / split, folder / split, type_, reader.codes, vocabulary)
        for split in SPLITS
    }
    shutil.rmtree(work)
    return sizes


def _deal(
    sessions: SessionReader, work: Path, seed: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Writes each session's record to the file of its split; gives splits [S] and records [S]."""
    with ExitStack() as stack:
        files = [stack.enter_context(open(work / split, "wb")) for split in SPLITS]
        for ids, records in sessions:
            split = split_of(ids, seed)
            for number, file in enumerate(files):
                file.write(records[split == number].data)
            yield split, records


def _check(reader: LogReader, sessions: SessionReader, tolerance: Tolerance) -> None:
    reader.rejected.check(tolerance.rows)
    sessions.rejected.check(tolerance.sessions)


def _rejected_rows(
    rows: Rejected, tables: Mapping[str, Rejected]
) -> tuple[dict[str, int], list[tuple[int, str]]]:
    """Counts and examples of malformed rows, as the manifest has them."""
    reasons, examples = dict(rows.reasons), list(rows.examples)
    for what, rejected in tables.items():
        reasons |= {f"{what} table: {r}": n for r, n in rejected.reasons.items()}
        examples += rejected.examples
    examples = examples[:MAX_EXAMPLES]
    return reasons, [(e.line, f"{e.file}: {e.reason}") for e in examples]


def encode_sessions(
    folder: Path,
    logs: list[Path],
    encoder: Path,
    dataset: str,
    tolerance: Tolerance,
    columns: Sequence[str],
) -> tuple[np.ndarray, int]:
    """Records of logs, by a fitted encoder, in a file of `folder`; and the number of sessions.

    Its columns that predictions carry along, which may be the session's id, go to another one.
    """
    check_columns(columns, (SESSION_ID,), "a session")
    fitted = load_encoder(encoder, dataset)
    reader = log_reader(encoder, fitted, "predict_path")
    sessions = SessionReader(reader, logs, labelled=False)
    with open(folder / "sessions", "wb") as file, carried_file(folder, columns) as carry:
        for ids, records in sessions:
            file.write(records.data)
            names = [i.decode("utf-8", "backslashreplace") for i in ids]
            carry(records["row"].astype(np.int64), *(names for _ in columns))
    _check(reader, sessions, tolerance)
    type_ = record_type(reader.users is not None)
    return np.memmap(folder / "sessions", type_, "r"), sessions.rejected.total


def split_of(ids: list[bytes], seed: int) -> np.ndarray:
    """[S] 0 for training (80 %), 1 for validation (10 %), 2 for test (10 %), by a hash."""
    salt = seed.to_bytes(blake2b.SALT_SIZE, "big")
    digests = b"".join(blake2b(i, digest_size=8, salt=salt).digest() for i in ids)
    bucket = np.frombuffer(digests, ">u8") % 10
    return np.maximum(bucket.astype(np.int64) - 7, 0)


def save_encoder(folder: Path, dataset: str, fitted: Fitted) -> None:
    """Writes the description of an encoder."""
    about = {"dataset": dataset, "schema": fitted.schema.to_dict()} | asdict(fitted)
    if not fitted.user_features:  # the same bytes as those of earlier versions
        del about["user_features"]
    write_description(folder / DESCRIPTION, about)


def load_encoder(folder: Path, dataset: str) -> Fitted:
    """Reads what `save_encoder` wrote."""
    kinds = {"dataset": str, **get_type_hints(Fitted)}
    of_users = {"user_features": kinds.pop("user_features")}
    with encoder_description(folder / DESCRIPTION, kinds, TRACKS.table) as data:
        check_dataset(data["dataset"], dataset, folder)
        scales = {name: tuple(scale) for name, scale in data["scales"].items()}
        found: list[str] = check_kinds({"user_features": []} | data, of_users)["user_features"]
        return Fitted(data["vocabulary"], scales, found)


def log_reader(encoder: Path, fitted: Fitted, option: str) -> LogReader:
    """Reads logs as an encoder has them; see `LogReader`."""
    users = open_users(fitted.user_features, encoder)[0] if fitted.user_features else None
    return LogReader(open_tracks(encoder)[0], fitted.vocabulary, users, option)


def assembler_of(encoder: Path, fitted: Fitted) -> Assembler:
    """Makes batches by the tables of an encoder."""
    users = open_users(fitted.user_features, encoder)[1] if fitted.user_features else None
    return Assembler(fitted, open_tracks(encoder)[1], users)


def _moments(values: np.ndarray, counts: np.ndarray) -> tuple[float, float]:
    """Mean and standard deviation of values with counts; the latter 1 where there is none."""
    total = max(counts.sum(), 1)
    mean = (values * counts).sum() / total
    deviation = np.sqrt(((values - mean) ** 2 * counts).sum() / total)
    return float(mean), float(deviation) or 1.0


def _recode(
    raw: Path,
    folder: Path,
    record: np.dtype,
    codes: dict[str, dict[str, int]],
    vocabulary: dict[str, list[str]],
) -> dict[str, int]:
    """Writes a split's records with the codes of the vocabulary; returns its sizes."""
    final = {column: np.zeros(256, np.uint8) for column in VALUES}
    for column, values in vocabulary.items():
        for code, value in enumerate(values, 1):
            final[column][codes[column][value]] = code
    sessions = raw.stat().st_size // record.itemsize
    if not sessions:
        raise ZooError(
            f"the {folder.name} split holds no session: use more sessions, or another "
            "data.split_seed"
        )
    rows = positives = 0
    folder.mkdir()
    with array_file(folder / "sessions.npy", (sessions,), record) as file:
        for records in _chunks(raw, record):
            for column, code in final.items():
                mine = records["codes"][..., CODES.index(column)]
                mine[:] = code[mine]
            rows += int(records["future"].sum(dtype=np.int64))
            positives += int(records["label"].sum(dtype=np.int64))
            file.write(records.data)
    return {"rows": rows, "positives": positives, "sessions": sessions}


def _chunks(path: Path, record: np.dtype) -> Iterator[np.ndarray]:
    with open(path, "rb") as file:
        while len(records := np.fromfile(file, record, RECORDS_PER_CHUNK)):
            yield records


def _notes(
    sizes: dict[str, dict[str, int]], sessions: SessionReader, bad_cells: Mapping[str, int]
) -> dict[str, int]:
    notes = {f"sessions in the {split} split": size["sessions"] for split, size in sizes.items()}
    notes |= {f"sessions left out: {reason}": n for reason, n in sessions.rejected.reasons.items()}
    unknown = {UNKNOWN_TRACKS: sessions.unknown_tracks, UNKNOWN_USERS: sessions.unknown_users}
    unknown |= {BAD_CELLS.format(what): n for what, n in bad_cells.items()}
    return notes | {note: n for note, n in unknown.items() if n}
