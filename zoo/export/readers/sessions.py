"""Reads sessions; see `datamodules.sessions.serving`."""

import re
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

import numpy as np

from zoo.export.readers.common import Served, is_missing

PROBLEMS = ["a cell cannot be read", "its rows are not 1, 2, .. to its session_length"]
MIXED = "its rows are of more than one user"  # where users are known
DATE = re.compile(r"\d{4}-\d\d-\d\d", re.A)


class Model(Served):
    """Scores sessions: dicts, a dict of columns or a frame; None, NaN and "" are missing.

    A row is a track of a session, and the rows of a session follow each other; of its second half
    the position, the length and the track are enough. A line of the outputs is a track of a second
    half: `row` numbers the sessions from 0, `position` the tracks from 1. A session that cannot be
    used has one line, of position 0.
    """

    def __call__(self, rows: Any) -> dict[str, Any]:
        """The outputs of each track, NaN where its session has a `problem`."""
        columns, _ = self.columns(rows)
        inputs, tracks, problem = self.encode(columns)
        row = np.repeat(np.arange(len(tracks)), np.maximum(tracks, 1))
        place = np.arange(len(row)) - np.searchsorted(row, row)
        usable = tracks[row] > 0
        found: dict[str, Any] = {"row": row, "position": np.where(usable, place + 1, 0)}
        names = [output["name"] for output in self.signature["outputs"]]
        for name, values in zip(names, self.graph(inputs), strict=True):
            found[name] = values[row, place]
            found[name][~usable] = np.nan
        return {**found, "problem": [problem[i] for i in row]}

    def encode(self, columns: Mapping[str, Any]) -> tuple[dict, np.ndarray, list[str | None]]:
        """The inputs of the graph; of each session the tracks to predict, and what is wrong."""
        codes = {n: self.codes(rule, columns[n]) for n, rule in self.plan["rules"].items()}
        position, length = codes.pop("session_position"), codes.pop("session_length")
        ids = np.array([_text(value) for value in columns["session_id"]], object)
        starts = np.flatnonzero(np.append(True, ids[1:] != ids[:-1]))
        session = np.repeat(np.arange(len(starts)), np.diff(starts, append=len(ids)))
        place, n = np.arange(len(ids)) - starts[session], length[starts]
        is_past = position <= length // 2
        unread = np.minimum(position, length) < 0
        unread |= is_past & (np.minimum.reduce([*codes.values()]) < 0)
        unordered = (position != place + 1) | (length != n[session])
        unread, unordered = (np.logical_or.reduceat(x, starts) for x in (unread, unordered))
        unordered |= (n != np.bincount(session)) | (n < 2) | (n > self.plan["longest"])
        user = codes.get("user_id", 0 * position)
        mixed = np.logical_or.reduceat(user != user[starts][session], starts)
        usable = ~(unread | unordered | mixed)
        logged = [self.arrays[name][codes[c]] for c, name in self.plan["logged"].items()]
        numbers = np.stack((position, length), 1) / self.plan["longest"]
        features = np.concatenate((numbers, *logged), 1)
        inputs = {}
        for half, mine, first in ("past", is_past, 0 * n), ("future", ~is_past, n // 2):
            rows = np.flatnonzero(mine & usable[session])
            at = session[rows], place[rows] - first[session[rows]]
            values = features[rows][:, self.plan[half]]
            inputs[half] = np.zeros((len(n), self.plan["half"], values.shape[1]), np.float32)
            inputs[f"{half}_mask"] = np.zeros((len(n), self.plan["half"]), bool)
            inputs[half][at], inputs[f"{half}_mask"][at] = values, True
        wrong = np.select([unread, unordered, mixed], [*PROBLEMS, MIXED], "")
        return inputs, np.where(usable, n - n // 2, 0), [str(reason) or None for reason in wrong]

    def codes(self, rule: dict[str, Any], values: Sequence[Any]) -> np.ndarray:
        """int64 [R] what the cells of a column stand for, -1 where one cannot be read."""
        texts = [_text(value) for value in values]
        distinct = list(dict.fromkeys(texts))
        if rule["read"] in ("track", "user"):
            found = self.ids([f"{rule['read']}\0{text}" for text in distinct])
        else:
            found = [_code(rule, text) for text in distinct]
        code = dict(zip(distinct, found, strict=True))
        return np.array([code[text] for text in texts], np.int64)


def _text(value: Any) -> str:
    """A value as a log has it."""
    return (
        ""
        if is_missing(value)
        else str(value).removesuffix(".0" if isinstance(value, float) else "")
    )


def _code(rule: dict[str, Any], text: str) -> int:
    if rule["read"] == "code":
        return rule["codes"].get(text, rule["other"])
    if rule["read"] == "date" and DATE.fullmatch(text):
        try:
            found = (date.fromisoformat(text) - date(1970, 1, 1)).days
        except ValueError:
            return -1
    elif rule["read"] == "number" and text.isascii() and text.isdecimal():
        found = min(int(text.lstrip("0")[:10] or "0"), rule["cap"])
    else:
        return -1
    return found if 0 <= found <= rule["most"] else -1
