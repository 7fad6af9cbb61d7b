"""What the columns of a table hold: types, numbers of values, missing ones."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from datamodules.prepared.engine import Engine, sql_literal
from datamodules.tabular.files import TableFiles, reading
from datamodules.tabular.label import NO, YES
from datamodules.tabular.source import Part, part
from zoo.data.errors import ZooError

ROWS = 1_000_000  # looked at, the first ones
TIME = re.compile(r"(.*[_ ])?(ts|time|timestamp|date|datetime)([_ ].*)?", re.DOTALL | re.IGNORECASE)
EPOCHS = {"s": 1, "ms": 1000, "us": 1_000_000}
FIRST, LAST = 631_152_000, 4_102_444_800  # 1990 and 2100, in seconds
SEPARATORS = ("|", ";")  # of values in text
SEPARATED = 0.05  # share of the values of a column that hold its separator
PARTS: Sequence[Part] = ("text", "number", "time", "nested")


@dataclass(frozen=True)
class ListColumn:
    """What the lists of a column hold.

    Attributes:
        separator: Text between the values; None where they are lists in the file.
        distinct: Number of distinct values.
        longest: Number of values of the longest list.
    """

    separator: str | None
    distinct: int
    longest: int


@dataclass(frozen=True)
class Column:
    """What the rows that were looked at hold in a column.

    Attributes:
        name: Its name.
        kind: What its values are in the file.
        rows: Number of rows.
        given: Of these, how many have a value.
        distinct: Number of distinct values.
        numbers: Number of values that are numbers.
        whole: Number of values that are whole numbers.
        times: Number of values that are times.
        answers: Number of values among 0, 1, false and true.
        nested: Whether there is a list or an object, and not lists of values alone.
        low: Smallest number.
        median: Median of the numbers.
        high: Largest number.
        lists: What its lists hold, where it holds such, or text that `|` or `;` separates.
    """

    name: str
    kind: str
    rows: int
    given: int
    distinct: int
    numbers: int
    whole: int
    times: int
    answers: int
    nested: bool
    low: float | None
    median: float | None
    high: float | None
    lists: "ListColumn | None" = None

    @property
    def is_label(self) -> bool:
        """Whether it could be the label as it is."""
        return self.given == self.answers == self.rows and self.distinct == 2

    @property
    def is_numerical(self) -> bool:
        """Whether all its values are numbers."""
        return self.given > 0 and self.numbers == self.given

    @property
    def unit(self) -> str | None:
        """The unit of numbers that are times by name and size."""
        if not (self.is_numerical and self.whole == self.given and TIME.fullmatch(self.name)):
            return None
        low, high = self.low or 0, self.high or 0
        return next((u for u, n in EPOCHS.items() if FIRST * n <= low <= high <= LAST * n), None)

    @property
    def is_time(self) -> bool:
        """Whether every row has a time in it."""
        return self.given == self.rows and (self.times == self.given or self.unit is not None)

    @property
    def missing(self) -> str:
        """How many values are missing, as the end of a comment."""
        share = 1 - self.given / self.rows
        return f"; {share:.1%} missing" if share else ""


def columns_of(engine: Engine, files: TableFiles) -> list[Column]:
    """What the first rows hold, which are the table `described` of the engine then."""
    names = _distinct(files.columns)
    kinds = files.kinds(files.files[0])
    files.uses = {name: {"list": "fields"} for name in names if kinds[name] == "list"}
    values = []
    for i, name in enumerate(names):
        wanted = (*PARTS, "list") if name in files.uses else PARTS
        values += [f"{part(name, each)} AS {each}{i}" for each in wanted]
    engine.run("SET TimeZone = 'UTC'")
    rows = 0
    for file in files.files:
        into = "INSERT INTO described" if rows else "CREATE OR REPLACE TABLE described AS"
        for name in names:
            if name not in files.kinds(file):
                raise ZooError(f"{file.path} has no column {name!r}, which {files.path} has")
        found = files.parts(engine, file, names)
        limit = ROWS - rows
        statement = f"{into} SELECT {', '.join(values)} FROM ({found}) LIMIT {limit}"
        with reading(file.path):
            engine.run(statement, "read")
        ((rows,),) = engine.run("SELECT count(*) FROM described")
        if rows == ROWS:
            break
    if not rows:
        raise ZooError(f"{files.path} is empty: it holds no rows")
    return [_column(engine, i, name, kinds[name]) for i, name in enumerate(names)]


def _distinct(names: Sequence[str]) -> list[str]:
    """Those that have a name, and one that differs from all others in more than capitals."""
    lower = [name.lower() for name in names]
    return [name for name in names if name and lower.count(name.lower()) == 1]


def _column(engine: Engine, i: int, name: str, kind: str) -> Column:
    text, number = f"text{i}", f"number{i}"
    answers = ", ".join(map(sql_literal, (*YES, *NO)))
    (found,) = engine.run(
        f"SELECT count(*), count({text}), count(DISTINCT {text}), "
        f"count(*) FILTER (isfinite({number})), count(*) FILTER ({number} = floor({number})), "
        f"count(time{i}), count(*) FILTER (lower({text}) IN ({answers})), "
        f"coalesce(bool_or(nested{i}), false), min({number}), median({number}), max({number}) "
        "FROM described"
    )
    rows, given, distinct, numbers, whole, times, right, listed, low, median, high = found
    lists = _lists(engine, i, kind)
    is_nested = kind in ("nested", "other") or (listed and kind != "list")
    counts = rows, given, distinct, numbers, whole, times, right
    return Column(name, kind, *counts, is_nested, low, median, high, lists)


def _lists(engine: Engine, i: int, kind: str) -> ListColumn | None:
    if kind == "list":
        return _list_column(engine, f"list{i}", None)
    for separator in SEPARATORS if kind == "text" else ():
        sign = sql_literal(separator)
        share, distinct = engine.run(
            f"SELECT avg(contains(text{i}, {sign})::INTEGER), count(DISTINCT text{i}) "
            "FROM described"
        )[0]
        if share is not None and share >= SEPARATED:
            split = f"list_transform(string_split(text{i}, {sign}), lambda x: trim(x))"
            found = _list_column(engine, split, separator)
            if found.distinct < distinct:  # else they are no values that come again
                return found
    return None


def _list_column(engine: Engine, lists: str, separator: str | None) -> ListColumn:
    ((distinct, longest),) = engine.run(
        "SELECT count(DISTINCT value), (SELECT max(len(" + lists + ")) FROM described) "
        f"FROM (SELECT unnest({lists}) AS value FROM described)"
    )
    return ListColumn(separator, distinct, longest or 0)
