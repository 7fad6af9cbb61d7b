"""Session logs and track features -> records, a track table and an encoder on disk.

    <name>-<key>/manifest.json     schema, split sizes, rejected rows, checksums
                 encoder/          encoder.json track_ids.parquet tracks.npy: scores new sessions
                 train/ val/ test/ sessions.npy, an array of `SESSION`

Two passes: the text becomes records, of which the training ones are counted; then the records'
codes are put in the order of the vocabulary. Memory does not depend on the number of sessions.
"""

import shutil
from collections.abc import Iterator, Sequence
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
from datamodules.sessions.records import CODES, COUNTS, HALF, SESSION, VALUES, Fitted, short
from datamodules.sessions.tracks import TABLE, open_tracks, read_tracks
from zoo.data.checksums import CHECKSUMS, checksums
from zoo.data.encoder import encoder_description
from zoo.data.errors import ZooError

RECORDS_PER_CHUNK = 100_000  # recoded at once
UNKNOWN_TRACKS = (
    "rows of sessions have a track that is not in the track table: its features are the means"
)
BAD_CELLS = "cells of the track table are no numbers: the means stand for them"


@dataclass(frozen=True)
class Tolerance:
    """How much may be unusable.

    Attributes:
        rows: Share of malformed rows that is tolerated.
        sessions: Share of unusable sessions that is tolerated.
    """

    rows: float
    sessions: float


class TrainingCounts:
    """How often each code, date and track occurs in training sessions."""

    def __init__(self, tracks: int) -> None:
        self.codes = np.zeros((len(CODES), 256), np.int64)
        self.dates = np.zeros(1 << 15, np.int64)
        self.plays = np.zeros(tracks + 1, np.int64)

    def add(self, records: np.ndarray) -> None:
        """Counts records: what was logged of first halves, the tracks of both."""
        past, future = (np.arange(HALF) < records[half][:, None] for half in ("past", "future"))
        for counts, codes in zip(self.codes, records["codes"][past].T, strict=True):
            counts += np.bincount(codes, minlength=256)
        self.dates += np.bincount(records["date"][past], minlength=len(self.dates))
        for track in (records["past_track"][past], records["future_track"][future]):
            self.plays += np.bincount(track, minlength=len(self.plays))

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
    logs: list[Path],
    tracks: list[Path],
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
    rejected_tracks = Rejected()
    table = read_tracks(tracks, work, rejected_tracks)
    rejected_tracks.check(tolerance.rows)
    reader = LogReader(table.ids, None, "path")
    sessions = SessionReader(reader, logs)
    counts = TrainingCounts(len(table.ids))
    for split, records in _deal(sessions, work, split_seed):
        counts.add(records[split == 0])
    _check(reader, sessions, tolerance)
    vocabulary = counts.vocabulary(reader.codes)
    scales = counts.scales() | table.save(encoder, counts.plays[1:])
    fitted = Fitted(vocabulary, scales)
    save_encoder(encoder, dataset, fitted)
    sizes = _write_splits(folder, reader, fitted)
    rejected = _rejected_rows(reader.rejected, rejected_tracks)
    notes = _notes(sizes, sessions, table.bad_cells)
    schema, files = fitted.schema.to_dict(), checksums(folder)
    Manifest(source, options, schema, sizes, *rejected, files, notes).save(folder)


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
    """As `prepare_sessions`, with the vocabulary, the scales and the tracks of a run's encoder."""
    work = folder / "work"
    work.mkdir()
    shutil.copytree(encoder, folder / "encoder", ignore=shutil.ignore_patterns(CHECKSUMS))
    fitted = load_encoder(encoder, dataset)
    reader = LogReader(open_tracks(encoder)[0], fitted.vocabulary, "path")
    sessions = SessionReader(reader, logs)
    for _ in _deal(sessions, work, split_seed):
        pass
    _check(reader, sessions, tolerance)
    sizes = _write_splits(folder, reader, fitted)
    rejected = _rejected_rows(reader.rejected, Rejected())
    notes = _notes(sizes, sessions, 0)
    schema, files = fitted.schema.to_dict(), checksums(folder)
    Manifest(source, options, schema, sizes, *rejected, files, notes).save(folder)


def _write_splits(folder: Path, reader: LogReader, fitted: Fitted) -> dict[str, dict[str, int]]:
    """Writes the records of all splits, and gives their sizes; `folder`/work is then gone."""
    work, vocabulary = folder / "work", fitted.vocabulary
    sizes = {split: _recode(work, folder, split, reader.codes, vocabulary) for split in SPLITS}
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
    rows: Rejected, tracks: Rejected
) -> tuple[dict[str, int], list[tuple[int, str]]]:
    """Counts and examples of malformed rows, as the manifest has them."""
    reasons = rows.reasons | {f"track table: {r}": n for r, n in tracks.reasons.items()}
    examples = (rows.examples + tracks.examples)[:MAX_EXAMPLES]
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
    reader = LogReader(open_tracks(encoder)[0], fitted.vocabulary, "predict_path")
    sessions = SessionReader(reader, logs, labelled=False)
    with open(folder / "sessions", "wb") as file, carried_file(folder, columns) as carry:
        for ids, records in sessions:
            file.write(records.data)
            names = [i.decode("utf-8", "backslashreplace") for i in ids]
            carry(records["row"].astype(np.int64), *(names for _ in columns))
    _check(reader, sessions, tolerance)
    return np.memmap(folder / "sessions", SESSION, "r"), sessions.rejected.total


def split_of(ids: list[bytes], seed: int) -> np.ndarray:
    """[S] 0 for training (80 %), 1 for validation (10 %), 2 for test (10 %), by a hash."""
    salt = seed.to_bytes(blake2b.SALT_SIZE, "big")
    digests = b"".join(blake2b(i, digest_size=8, salt=salt).digest() for i in ids)
    bucket = np.frombuffer(digests, ">u8") % 10
    return np.maximum(bucket.astype(np.int64) - 7, 0)


def save_encoder(folder: Path, dataset: str, fitted: Fitted) -> None:
    """Writes the description of an encoder."""
    about = {"dataset": dataset, "schema": fitted.schema.to_dict()}
    write_description(folder / DESCRIPTION, about | asdict(fitted))


def load_encoder(folder: Path, dataset: str) -> Fitted:
    """Reads what `save_encoder` wrote."""
    kinds = {"dataset": str, **get_type_hints(Fitted)}
    with encoder_description(folder / DESCRIPTION, kinds, TABLE) as data:
        check_dataset(data["dataset"], dataset, folder)
        scales = {name: tuple(scale) for name, scale in data["scales"].items()}
        return Fitted(data["vocabulary"], scales)


def _moments(values: np.ndarray, counts: np.ndarray) -> tuple[float, float]:
    """Mean and standard deviation of values with counts; the latter 1 where there is none."""
    total = max(counts.sum(), 1)
    mean = (values * counts).sum() / total
    deviation = np.sqrt(((values - mean) ** 2 * counts).sum() / total)
    return float(mean), float(deviation) or 1.0


def _recode(
    work: Path,
    folder: Path,
    split: str,
    codes: dict[str, dict[str, int]],
    vocabulary: dict[str, list[str]],
) -> dict[str, int]:
    """Writes a split's records with the codes of the vocabulary; returns its sizes."""
    final = {column: np.zeros(256, np.uint8) for column in VALUES}
    for column, values in vocabulary.items():
        for code, value in enumerate(values, 1):
            final[column][codes[column][value]] = code
    sessions = (work / split).stat().st_size // SESSION.itemsize
    if not sessions:
        raise ZooError(
            f"the {split} split holds no session: use more sessions, or another data.split_seed"
        )
    rows = positives = 0
    (folder / split).mkdir()
    with array_file(folder / split / "sessions.npy", (sessions,), SESSION) as file:
        for records in _chunks(work / split):
            for column, code in final.items():
                mine = records["codes"][..., CODES.index(column)]
                mine[:] = code[mine]
            rows += int(records["future"].sum(dtype=np.int64))
            positives += int(records["label"].sum(dtype=np.int64))
            file.write(records.data)
    return {"rows": rows, "positives": positives, "sessions": sessions}


def _chunks(path: Path) -> Iterator[np.ndarray]:
    with open(path, "rb") as file:
        while len(records := np.fromfile(file, SESSION, RECORDS_PER_CHUNK)):
            yield records


def _notes(
    sizes: dict[str, dict[str, int]], sessions: SessionReader, bad_cells: int
) -> dict[str, int]:
    notes = {f"sessions in the {split} split": size["sessions"] for split, size in sizes.items()}
    notes |= {f"sessions left out: {reason}": n for reason, n in sessions.rejected.reasons.items()}
    unknown = {UNKNOWN_TRACKS: sessions.unknown_tracks, BAD_CELLS: bad_cells}
    return notes | {note: n for note, n in unknown.items() if n}
