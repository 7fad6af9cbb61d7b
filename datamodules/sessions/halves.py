"""Typed rows -> whole sessions -> records of two halves; what is wrong with the others.

A session is a run of rows with one id. Whether its rows stand in one file or in two that follow
each other makes no difference.

Shapes: R rows, S sessions.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa

from datamodules.prepared.arrow import compute as pc
from datamodules.prepared.rejected import Example, Rejected
from datamodules.sessions.logs import (
    BAD,
    CELLS,
    LENGTH,
    POSITION,
    PROBLEMS,
    ROW,
    VALUES,
    LogReader,
)
from datamodules.sessions.records import (
    CODES,
    FLAGS,
    HALF,
    LABEL,
    MAX_LENGTH,
    UNLABELLED,
    record_type,
)

MALFORMED, EMPTY_HALF, WRONG_LENGTH, TOO_MANY_ROWS, TOO_FEW_ROWS, UNORDERED, USERS = range(1, 8)
REASONS = (
    "",
    "a row of it is malformed",
    "its session_length leaves a half of it empty",
    f"its session_length is not one number up to {MAX_LENGTH}",
    "it has more rows than its session_length",
    "it has fewer rows than its session_length",
    "its rows are out of order",
    "its rows are of more than one user",
)
ALWAYS, PAST, LABELS = (
    np.array([CELLS.index(column) for column in columns])
    for columns in (
        (POSITION, LENGTH),
        [column for column in CELLS if column not in (POSITION, LENGTH, *VALUES)],
        (FLAGS[LABEL],),
    )
)


class SessionReader:
    """Reads whole sessions.

    Args:
        reader: Reader of rows.
        files: The logs.
        labelled: Whether rows of the second half need a label.

    Attributes:
        rejected: The sessions that cannot be used, and the number of all sessions.
        unknown_tracks: Number of rows of the usable sessions whose track is not in the table.
        unknown_users: Number of the usable sessions whose user is not in the table of users.
    """

    def __init__(self, reader: LogReader, files: list[Path], labelled: bool = True) -> None:
        self.reader = reader
        self.files = files
        self.labelled = labelled
        self.rejected = Rejected("sessions", "max_bad_sessions")
        self.unknown_tracks = self.unknown_users = 0

    def __iter__(self) -> Iterator[tuple[list[bytes], np.ndarray]]:
        """Ids [S] and records [S], of `record_type`, of the usable sessions, in order."""
        ids, rows = pa.array([], pa.binary()), np.empty(0, ROW)
        for more_ids, more in self.reader.blocks(self.files):
            ids, rows = pa.concat_arrays([ids, more_ids]), np.concatenate((rows, more))
            starts = _starts(ids)
            last = starts[-1]  # this session may go on in the next block
            if last:
                yield self._cut(ids, rows[:last], starts[:-1])
                ids, rows = ids[last:], rows[last:]
        if len(ids):
            yield self._cut(ids, rows, _starts(ids))

    def _cut(
        self, ids: pa.Array, rows: np.ndarray, starts: np.ndarray
    ) -> tuple[list[bytes], np.ndarray]:
        bad = _bad_cells(rows["cells"], self.labelled)
        self._count_malformed(rows, bad)
        problem = _problems(rows, starts, np.asarray(bad.any(1)))
        self._count_unusable(ids, rows, starts, problem)
        good = np.flatnonzero(problem == 0)
        records = _records(rows, starts[good], self.reader.users is not None)
        records["row"] = self.rejected.total + good
        self.rejected.total += len(starts)
        for half in ("past", "future"):
            real = np.arange(HALF) < records[half][:, None]
            self.unknown_tracks += int(((records[f"{half}_track"] == 0) & real).sum())
        if self.reader.users is not None:
            self.unknown_users += int((records["user"] == 0).sum())
        return pc.take(ids, pa.array(starts[good])).to_pylist(), records

    def _count_malformed(self, rows: np.ndarray, bad: np.ndarray) -> None:
        malformed = np.flatnonzero(bad.any(1))
        for cell, first, count in _by_first(bad[malformed].argmax(1)):
            column = CELLS[cell]
            example = self._example(rows[malformed[first]], f"its {column} {PROBLEMS[column]}")
            self.reader.rejected.add(example, count)

    def _count_unusable(
        self, ids: pa.Array, rows: np.ndarray, starts: np.ndarray, problem: np.ndarray
    ) -> None:
        unusable = np.flatnonzero(problem)
        for number, first, count in _by_first(problem[unusable]):
            start = int(starts[unusable[first]])
            session = ids[start].as_py().decode("utf-8", "backslashreplace")
            self.rejected.add(self._example(rows[start], REASONS[number], session), count)

    def _example(self, row: np.ndarray, reason: str, session: str = "") -> Example:
        return Example(self.files[row["file"]], int(row["line"]), reason, session)


def _by_first(values: np.ndarray) -> list[tuple[int, int, int]]:
    """(value, first index, count) of the distinct values, in the order in which they occur."""
    found = np.unique(values, return_index=True, return_counts=True)
    return sorted(zip(*(part.tolist() for part in found), strict=True), key=lambda f: f[1])


def _starts(ids: pa.Array) -> np.ndarray:
    """Where runs of one id begin."""
    changes = pc.not_equal(ids[1:], ids[:-1]).to_numpy(zero_copy_only=False)
    return np.append(0, np.flatnonzero(changes) + 1) if len(ids) else np.empty(0, np.int64)


def _bad_cells(cells: np.ndarray, labelled: bool) -> np.ndarray:
    """[R, cells] bool: unreadable where it is needed; of the second half only labels are."""
    position, length = (cells[:, CELLS.index(column)] for column in (POSITION, LENGTH))
    future = position > length // 2
    bad = cells == BAD
    needed = np.zeros((2, len(CELLS)), bool)
    needed[:, ALWAYS] = True
    needed[0, PAST] = True
    needed[1, LABELS] = labelled
    bad &= needed[future.astype(np.intp)]
    return bad


def _problems(rows: np.ndarray, starts: np.ndarray, malformed: np.ndarray) -> np.ndarray:
    """[S] numbers of `REASONS`; 0 where nothing is wrong."""
    cells, user = rows["cells"], rows["user"]
    position, length = (cells[:, CELLS.index(column)] for column in (POSITION, LENGTH))
    count = np.diff(np.append(starts, len(cells)))
    order = np.arange(len(cells)) - np.repeat(starts, count) + 1
    least, most = np.minimum.reduceat(length, starts), np.maximum.reduceat(length, starts)
    positions = np.bitwise_or.reduceat(np.int64(1) << np.clip(position, 0, 62), starts)
    checks = {
        MALFORMED: np.logical_or.reduceat(malformed, starts),
        WRONG_LENGTH: (least != most) | (most > MAX_LENGTH),
        EMPTY_HALF: most < 2,
        TOO_MANY_ROWS: count > most,
        # a repeated position is a missing one
        TOO_FEW_ROWS: (count < most) | (positions != (np.int64(2) << np.clip(most, 0, 61)) - 2),
        UNORDERED: np.logical_or.reduceat(position != order, starts),
        USERS: np.logical_or.reduceat(user != np.repeat(user[starts], count), starts),
    }
    return np.select(list(checks.values()), list(checks), 0)


def _records(rows: np.ndarray, starts: np.ndarray, with_user: bool) -> np.ndarray:
    """Records of the sessions that begin at these rows, without their numbers."""
    length = rows["cells"][starts, CELLS.index(LENGTH)]
    records = np.zeros(len(starts), record_type(with_user))
    if with_user:
        records["user"] = rows["user"][starts]
    records["past"], records["future"] = length // 2, length - length // 2
    steps = np.arange(HALF)
    for half, first in (("past", starts), ("future", starts + length // 2)):
        real = steps < records[half][:, None]
        index = np.where(real, first[:, None] + steps, 0)
        records[f"{half}_track"] = np.where(real, rows["track"][index], 0)
        cells = np.where(real[..., None], rows["cells"][index], 0)
        if half == "past":
            flag, code = CELLS.index(FLAGS[0]), CELLS.index(CODES[0])
            flags = cells[..., flag : flag + len(FLAGS)]
            records["flags"] = (flags << np.arange(len(FLAGS))).sum(-1)
            records["codes"] = cells[..., code : code + len(CODES)]
            records["date"] = cells[..., CELLS.index("date")]
        else:
            label = cells[..., CELLS.index(FLAGS[LABEL])]
            records["label"] = np.where(label == BAD, UNLABELLED, label)
    return records
