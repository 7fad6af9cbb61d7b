"""Raw rows of a table -> the inputs of a model, by the plan of `datamodules.tabular.serving`."""

import hashlib
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import product
from typing import Any

import numpy as np

from zoo.export.readers.common import Served, is_missing

NUMBER = re.compile(r"\s*\+?(-?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?)\s*", re.A | re.I)
TIME = re.compile(r"\d{4}-\d\d-\d\d([ T]\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d(:?\d\d)?)?)?", re.A)
UNITS = {"s": 1.0, "ms": 1e-3, "us": 1e-6}
DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")


def squared(x: np.ndarray, whole: Any) -> np.ndarray:
    large, low = (np.log(np.fmax(part, 1)) ** 2 for part in (x, -9 - x))
    return np.where(x > 2, whole(large), np.where(x < -10, -10 - whole(low), x))


TRANSFORMS = {
    "none": lambda x: x,
    "log": lambda x: np.sign(x) * np.log1p(np.abs(x)),
    "log_of_positive": lambda x: np.log1p(np.maximum(x, 0)),
    "log_squared": lambda x: squared(x, np.array),
    "floor_log_squared": lambda x: squared(x, np.floor),
    "is_missing": lambda x: np.isnan(x).astype(float),
}


def bins_of(x: np.ndarray, edges: Sequence[float], first: int = 0) -> list[list[int]]:
    bins = np.searchsorted(np.array(edges, "f4"), x) + first
    return np.where(np.isnan(x), 1, bins)[:, None].tolist()


def bucket_of(text: str, buckets: int) -> str:
    digest = hashlib.md5(text.encode("utf-8", "surrogatepass")).digest()
    return f"bucket {int.from_bytes(digest[8:], 'little') % buckets}"


def matched(pattern: re.Pattern[str], text: str | None) -> re.Match[str]:
    found = pattern.fullmatch(text or "")
    if found is None:
        raise ValueError
    return found


class Model(Served):
    """Scores raw rows: dicts, a dict of columns or a frame; None, NaN and "" are missing."""

    def __call__(self, rows: Any) -> dict[str, Any]:
        """The outputs of each row, NaN where it has a `problem`."""
        columns, problem = self.columns(rows)
        numbers, keys, codes = {}, {}, {}  # by the name of the field, those of each row
        for field in self.plan["fields"]:
            name, found = field["name"], self.read(columns[field["column"]], field, problem)
            if field["read"] == "number":
                x = TRANSFORMS[field["transform"]](np.array(found, field["type"]).astype(float))
                x = np.clip((x - field["mean"]) / field["deviation"], -3e38, 3e38).astype("f4")
                numbers[name] = np.nan_to_num(x)
                if field["edges"] is not None:  # of a number that has become categorical
                    codes[name] = bins_of(x, field["edges"], 2)
            else:
                keys[name] = found
        codes |= self.codes(keys)
        crossed = {}
        for name, members in self.plan["crosses"].items():
            of = [codes[m] if e is None else bins_of(numbers[m], e) for m, e in members.items()]
            each = (product(*row) for row in zip(*of, strict=True))
            crossed[name] = [["\0".join(map(str, (name, *ids))) for ids in row] for row in each]
        return self.scored(self.inputs(numbers, codes | self.codes(crossed), len(problem)), problem)

    def read(self, values: Any, field: dict, problem: list[str | None]) -> list[Any]:
        """The numbers or keys of a column; what is unusable makes its row have a problem."""
        how = self.number if field["read"] == "number" else self.keys
        found: list[Any] = []
        known: dict[str, Any] = {}  # texts, which are read once
        for i, value in enumerate(values):
            try:
                if not isinstance(value, str):
                    found.append(how(value, field))
                    continue
                if value not in known:
                    known[value] = how(value, field)
                found.append(known[value])
            except (OverflowError, TypeError, ValueError):
                problem[i] = problem[i] or f"{field['column']} cannot be {value!r:.99}"
                found.append(None if how == self.number else [""])
        return found

    def inputs(self, numbers: dict, codes: dict, rows: int) -> dict[str, np.ndarray]:
        """The inputs of the graph."""
        numerical = np.array([numbers[name] for name in self.plan["numerical"]], "f4")
        categorical = np.array([codes[name] for name in self.plan["categorical"]], np.int64)
        found: dict[str, np.ndarray] = {"numerical": numerical.reshape(-1, rows).T}
        found["categorical"] = categorical.reshape(-1, rows).T
        for m, name in enumerate(self.plan["lists"]):
            found[f"values_{m}"] = np.array([i for ids in codes[name] for i in ids], np.int64)
            found[f"rows_{m}"] = np.repeat(np.arange(rows), [*map(len, codes[name])])
        return found

    def codes(self, keys: Mapping[str, Sequence[Sequence[str]]]) -> dict[str, list[list[int]]]:
        """The ids of all keys of each row."""
        distinct = [*dict.fromkeys(key for rows in keys.values() for row in rows for key in row)]
        ids = dict(zip(distinct, self.ids(distinct).tolist(), strict=True))
        return {name: [[ids[key] for key in row] for row in rows] for name, rows in keys.items()}

    def text(self, value: Any) -> str | None:
        """The text of a value; None where it is missing."""
        if isinstance(value, Mapping | list | tuple | np.ndarray):
            raise ValueError
        if is_missing(value):
            return None
        value = value.astype("M8[us]").item() if isinstance(value, np.datetime64) else value
        if isinstance(value, datetime):  # in UTC, without zeros at its end
            zone = "+00" if value.tzinfo else ""
            value = value.astimezone(UTC).replace(tzinfo=None) if zone else value
            day, _, rest = value.isoformat(" ").partition(".")
            value = day + f".{rest}".rstrip("0").rstrip(".") + zone
        found = str(value).lower() if isinstance(value, bool | np.bool_) else str(value)
        return None if found in self.plan["missing"] else found

    def number(self, value: Any, field: dict) -> float | None:
        """A number; None where it is missing."""
        text = self.text(value)
        if text is None:
            return None
        is_text = isinstance(value, str | bool | np.bool_)
        found = float(matched(NUMBER, text)[1] if is_text else value)
        if abs(found) > 3.4e38 or (text != text.strip() and not field["blanks"]):
            raise ValueError
        return found

    def keys(self, value: Any, field: dict) -> list[str]:
        """What the ids of a value, or of those in a list, are found by."""
        if field["read"] == "time":
            found: list[str | None] = [self.time(value, field)]
        elif field["read"] == "text":
            found = [self.text(value)]
        elif isinstance(value, list | tuple | np.ndarray):
            found = [text for item in value if (text := self.text(item)) is not None]
        elif (text := self.text(value)) and field["separator"] is None:
            raise ValueError
        else:
            found = [x for part in (text or "").split(field["separator"]) if (x := part.strip(" "))]
        found = found[slice(*field["kept"])]
        if buckets := field["buckets"]:
            found = [None if text is None else bucket_of(text, buckets) for text in found]
        owner = field["vocabulary"]
        return [owner if text is None else f"{owner}\0{text}" for text in found]

    def time(self, value: Any, field: dict) -> str:
        """The hour, the weekday or the text of a time."""
        form, text = field["form"], self.text(value) or ""
        if isinstance(value, datetime):
            moment = value
        elif form in UNITS:
            seconds = float(text) * UNITS[form]
            moment = datetime(1970, 1, 1) + timedelta(0, seconds)
        elif form:
            moment = datetime.strptime(text, form)
        else:
            moment = datetime.fromisoformat(matched(TIME, text)[0])
        if field["digits"]:
            matched(re.compile(f"[0-9]{{{field['digits']}}}"), text)
        moment = moment.astimezone(UTC) if moment.tzinfo else moment
        parts = {"hour": f"{moment:%H}", "weekday": DAYS[moment.weekday()], "text": text}
        return parts.get(field["part"], "yes" if moment.weekday() > 4 else "no")
