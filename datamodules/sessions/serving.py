"""What scores sessions without this project: how cells are read, what was fitted, the tables.

The plan is what `zoo/export/readers/sessions.py` goes by:

    columns         names of the raw columns
    rules           of each column but the session's id how a cell becomes a code; -1 is unreadable
    logged          columns whose codes are rows of an array, which lie side by side, and its name
    past, future    which columns of the features each half has
    half, longest   rows of a half and of a session at most

Shapes: K tracks and users of different ids.
"""

from collections.abc import Iterator, Mapping, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np

from datamodules.sessions.logs import LENGTH, MAX_CODE, POSITION, SESSION_ID, TRACK_ID
from datamodules.sessions.records import (
    CONTEXT_FLAGS,
    COUNTS,
    FLAGS,
    HALF,
    INTERACTION_FLAGS,
    MAX_LENGTH,
    VALUES,
    Assembler,
    Fitted,
)
from datamodules.sessions.users import USER_ID
from zoo.data.errors import ZooError
from zoo.data.serving import Column

TRUE_OR_FALSE = {"True": 1, "true": 1, "1": 1, "False": 0, "false": 0, "0": 0}
LAST_DAY = (1 << 15) - 1
# in the order of the schema
LOGGED = (
    *CONTEXT_FLAGS, "hour_of_day", "date", VALUES[0],
    *INTERACTION_FLAGS, *COUNTS, *VALUES[1:], TRACK_ID,
)  # fmt: skip
ARRAYS = {**dict.fromkeys(FLAGS, "flag"), TRACK_ID: "tracks", USER_ID: "users"}
MEANINGS = {
    SESSION_ID: ("text", "of the session, whose rows follow each other"),
    POSITION: ("number", "place of the row in its session, from 1"),
    LENGTH: ("number", f"rows of the session, from 2 to {MAX_LENGTH}"),
    TRACK_ID: ("text", "the track; of one that is not known the features are the means"),
    USER_ID: ("text", "the user, the same in a session; if not known, the features are the means"),
    "date": ("text", "YYYY-MM-DD; of the first half"),
    "hour_of_day": ("number", "from 0 to 23; of the first half"),
}

KEYS = (
    Column("row", "int64", "number of the session, from 0"),
    Column("position", "int64", "of the track in the second half, from 1; 0 where there is none"),
)


def plan_of(fitted: Fitted) -> dict[str, Any]:
    """What a reader goes by."""
    fields = fitted.schema.numerical
    logged = _logged(fitted)
    rules = {column: _rule(column, fitted) for column in (POSITION, LENGTH, *logged)}
    return {
        "columns": [SESSION_ID, *rules],
        "rules": rules,
        "logged": {column: ARRAYS.get(column, column) for column in logged},
        "past": [*range(len(fields))],
        "future": [fields.index(field) for field in fitted.schema.future],
        "half": HALF,
        "longest": MAX_LENGTH,
    }


def columns_of(fitted: Fitted) -> list[Column]:
    """The raw columns, and what they hold."""
    flags = dict.fromkeys(FLAGS, ("true or false", "of the first half"))
    counts = dict.fromkeys(COUNTS, ("number", "of the first half"))
    values = dict.fromkeys(VALUES, ("text", "of the first half"))
    known = MEANINGS | flags | counts | values
    names = (SESSION_ID, POSITION, LENGTH, *_logged(fitted))
    return [Column(name, *known[name]) for name in names]


def arrays_of(assembler: Assembler, ids: Mapping[str, list[bytes]]) -> dict[str, np.ndarray]:
    """Tables that codes are looked up in.

    Args:
        assembler: Makes batches of records.
        ids: Ids of the tracks, and of the users, by what they are of; of equal ones the first is
            looked up.

    Raises:
        ZooError: where two of them have the same hash.
    """
    vocabulary, numbers = _hashed(ids)
    users = {} if assembler.users is None else {"users": assembler.users}
    return {
        **assembler.tables,
        "flag": np.array([[0], [1]], np.float32),
        "date": assembler.date_gaps(np.arange(LAST_DAY + 1)).astype(np.float32)[:, None],
        "tracks": assembler.tracks,
        **users,
        "vocabulary": vocabulary,
        "ids": numbers.astype(np.int32),
    }


def examples_of(fitted: Fitted, ids: Mapping[str, list[bytes]]) -> list[dict[str, Any]]:
    """Raw rows of three sessions: one as others are, one of the unknown, one malformed."""
    known = {column: next(iter(fitted.vocabulary[column]), "") for column in VALUES}
    tracks, users = (
        [i.decode("utf-8", "backslashreplace") for i in ids.get(what, [])[:4]]
        for what in ("track", "user")
    )
    day = int(fitted.scales["date_gap"][0])
    logged = {
        **{flag: i % 2 == 0 for i, flag in enumerate(FLAGS)},
        **dict.fromkeys(COUNTS, 1),
        **known,
        "hour_of_day": 20,
        "date": str(np.datetime64(day, "D")),
    }
    strange = {**dict.fromkeys(VALUES, "never seen"), COUNTS[0]: 1000}
    sessions = (4, tracks, {}), (5, ["never seen", *tracks], strange), (3, tracks, {"date": "?"})
    rows = [*_rows(sessions, logged)]
    if users:
        for row in rows:
            row[USER_ID] = "never seen" if row[SESSION_ID] == "s1" else users[0]
    return rows


def write_examples(path: Path, fitted: Fitted, examples: Sequence[Mapping[str, Any]]) -> None:
    """Writes raw rows as a log."""
    columns = (SESSION_ID, POSITION, LENGTH, *_logged(fitted))
    rows = [[str(row.get(column, "")) for column in columns] for row in examples]
    path.write_text("".join(",".join(cells) + "\n" for cells in (columns, *rows)), "utf-8")


def _rows(
    sessions: tuple[tuple[int, list[str], dict[str, Any]], ...], logged: dict[str, Any]
) -> Iterator[dict[str, Any]]:
    for number, (length, tracks, other) in enumerate(sessions):
        for place in range(length):
            known = {SESSION_ID: f"s{number}", POSITION: place + 1, LENGTH: length}
            known[TRACK_ID] = tracks[place % len(tracks)]
            yield known | (logged | other if place < length // 2 else {})


def _logged(fitted: Fitted) -> tuple[str, ...]:
    """The columns whose codes are looked up, in the order of the schema."""
    return (*LOGGED, *([USER_ID] if fitted.user_features else []))


def _rule(column: str, fitted: Fitted) -> dict[str, Any]:
    if column in FLAGS:
        return {"read": "code", "codes": TRUE_OR_FALSE, "other": -1}
    if column in VALUES:
        codes = {value: code for code, value in enumerate(fitted.vocabulary[column], 1)}
        return {"read": "code", "codes": codes, "other": 0}
    if column == TRACK_ID:
        return {"read": "track"}
    if column == USER_ID:
        return {"read": "user"}
    if column == "date":
        return {"read": "date", "most": LAST_DAY}
    cap = MAX_CODE if column in COUNTS else 10 * MAX_CODE
    return {"read": "number", "cap": cap, "most": 23 if column == "hour_of_day" else MAX_CODE}


def _hashed(ids: Mapping[str, list[bytes]]) -> tuple[np.ndarray, np.ndarray]:
    """uint64 [K] the hashes of the ids, ascending, and [K] their places in their tables, from 1."""
    named = [what.encode() + b"\0" + i for what, mine in ids.items() for i in mine]
    numbers = np.concatenate([np.arange(1, len(mine) + 1) for mine in ids.values()])
    hashes = b"".join(blake2b(name, digest_size=8).digest() for name in named)
    found, first = np.unique(np.frombuffer(hashes, "<u8"), return_index=True)
    if len(found) != len(set(named)):
        tables = " or the ".join(f"{what} table" for what in ids)
        raise ZooError(f"two ids of the {tables} have the same hash: they cannot be served")
    return found, numbers[first]
