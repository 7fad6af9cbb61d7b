"""A reader of session logs in plain Python, to compare with; see `support.raw_readers`."""

import re
from datetime import date
from itertools import groupby

import numpy as np
from support.raw_readers import NUMBER, delimited, lines_of

from datamodules.sessions.records import CODES, COUNTS, FLAGS, TRACK, VALUES

FLAG = {"True": 1, "true": 1, "1": 1, "False": 0, "false": 0, "0": 0}
CELLS = ("session_position", "session_length", "date", *FLAGS, *CODES)
LIMITS = {"session_position": (1, 255), "session_length": (0, 255), "hour_of_day": (0, 23)}
PROBLEMS = {
    "session_position": "is not a whole number from 1",
    "session_length": "is not a whole number from 0",
    "date": "is not a date YYYY-MM-DD",
    "hour_of_day": "is not a whole number from 0 to 23",
    **dict.fromkeys(FLAGS, "is not True or False"),
    **dict.fromkeys(COUNTS, "is not a whole number from 0"),
}


def table(data, needed):
    """(header, usable rows, problems) of a text with a header; None where it lacks a column."""
    (header, _), *lines = lines_of(data, utf8=False) or [("", None)]
    columns = header.split(",")
    if any(columns.count(column) != 1 for column in needed):
        return None
    return delimited(lines, ",", len(columns), lambda cells: dict(zip(columns, cells, strict=True)))


def cell_of(column, text):
    """The number that a cell stands for; None where it cannot be read."""
    if column in FLAGS:
        return FLAG.get(text)
    if column in VALUES:
        return text
    if column == "date":
        try:
            days = (date.fromisoformat(text) - date(1970, 1, 1)).days
        except ValueError:
            return None
        return days if re.fullmatch(r"[0-9-]{10}", text) and 0 <= days < 1 << 15 else None
    if not re.fullmatch(r"[0-9]+", text):
        return None
    number = int(text)
    least, most = LIMITS.get(column, (0, None))
    if most is None:
        return min(number, 255)
    return number if least <= number <= most else None


def needed_of(row, labelled):
    """Columns that have to be readable: of the second half of a session the label alone."""
    position, length = (cell_of(column, row[column]) for column in CELLS[:2])
    future = (-1 if position is None else position) > (-1 if length is None else length) // 2
    return (*CELLS[:2], *["skip_2"] * labelled) if future else CELLS


def session_problem(rows):
    """What is wrong with a session of rows; None where nothing is."""
    if any(row["problem"] for row in rows):
        return "a row of it is malformed"
    lengths = {cell_of("session_length", row["session_length"]) for row in rows}
    positions = [cell_of("session_position", row["session_position"]) for row in rows]
    length = max(lengths)
    if len(lengths) > 1 or length > 20:
        return "its session_length is not one number up to 20"
    if length < 2:
        return "its session_length leaves a half of it empty"
    if len(rows) > length:
        return "it has more rows than its session_length"
    if len(rows) < length or set(positions) != set(range(1, length + 1)):
        return "it has fewer rows than its session_length"
    return None if positions == sorted(positions) else "its rows are out of order"


def sessions(data, labelled=True):
    """(usable sessions, problems of sessions, problems of rows) of a log; None if it is none."""
    found = table(data, ["session_id", "track_id_clean", *CELLS])
    if found is None:
        return None
    rows, problems = found
    for number, row in rows.items():
        bad = [c for c in CELLS if c in needed_of(row, labelled) and cell_of(c, row[c]) is None]
        row["problem"] = f"its {bad[0]} {PROBLEMS[bad[0]]}" if bad else None
        if bad:
            problems[number] = row["problem"]
    usable, unusable = {}, {}
    grouped = groupby(rows.values(), key=lambda row: row["session_id"])
    for number, (_, mine) in enumerate(grouped):
        session = list(mine)
        problem = session_problem(session)
        (unusable if problem else usable)[number] = problem or session
    return usable, unusable, problems


def tracks(data):
    """(rows of a track's id and features, problems) of a track table; None if it is none."""
    found = table(data, ["track_id", *TRACK])
    if found is None:
        return None
    rows, problems = found
    features = [
        (row["track_id"], [feature_of(column, row[column]) for column in TRACK])
        for row in rows.values()
    ]
    return features, problems


def feature_of(column, text):
    if column == "mode":
        return {"minor": 0.0, "major": 1.0}.get(text, np.nan)
    with np.errstate(over="ignore"):
        found = np.float32(text) if NUMBER.fullmatch(text) else np.float32("nan")
    return float(found) if np.isfinite(found) else np.nan
