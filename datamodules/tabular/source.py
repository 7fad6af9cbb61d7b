"""Raw files -> a typed table of rows, in file order, with a reason beside each bad row."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import pyarrow as pa

from datamodules.prepared.engine import Engine, sql_identifier, sql_literal
from datamodules.prepared.rejected import MAX_EXAMPLES, Example, Rejected
from datamodules.prepared.text import TextFile
from zoo.data.errors import ZooError
from zoo.data.schema import Kind

LINES = pa.schema({"line": pa.string(), "odd": pa.bool_()})
# columns beside those of the file, whose names cannot end like these
WIDTH, ODD = sql_identifier("number of cells\n"), sql_identifier("odd\n")
IN_NO_NUMBER = (b"_", b" ", b"\t", b"\v", b"\f", b"\r")  # which DuckDB takes nevertheless
NUMBER = r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?"


@dataclass(frozen=True)
class RawField:
    """How a field is read from the columns of a raw file.

    Attributes:
        name: Name of the field.
        kind: Kind of the field; see `zoo.data.schema.Field`.
        sql: Its value, an SQL expression over the raw columns, which are text (NULL where
            empty): FLOAT for a numerical field, VARCHAR for a categorical one, VARCHAR[] without
            NULLs for lists.
        group: What it describes.
        malformed: SQL condition under which the row cannot be used.
        problem: What is then wrong, in words.
        standardised: Whether its mean over the training rows is taken from a number, and the
            difference divided by their deviation.
        min_count: Smallest count of a value in the training rows; None is that of the dataset.
        max_size: Largest number of values that have an id, the most frequent ones; None is any.
        bins: Largest number of quantile bins of a categorical field that is read as a FLOAT; None
            where it is read as text.
        vocabulary: Name of the field whose ids these are too; empty where they are its own.
    """

    name: str
    kind: Kind
    sql: str
    group: str = ""
    malformed: str = "false"
    problem: str = ""
    standardised: bool = False
    min_count: int | None = None
    max_size: int | None = None
    bins: int | None = None
    vocabulary: str = ""

    @classmethod
    def number(cls, name: str, scaling: str, group: str = "") -> "RawField":
        """A numerical field that is read from the column of its name.

        Args:
            name: Name of the field.
            scaling: SQL of its value, where `{x}` stands for the number.
            group: What it describes.
        """
        text = sql_identifier(name)
        number = f"try_cast({text} AS FLOAT)"
        malformed = (
            f"{text} IS NOT NULL AND (NOT coalesce(isfinite({number}), false) "
            f"OR ({ODD} AND NOT regexp_full_match({text}, {sql_literal(NUMBER)})))"
        )
        sql, problem = scaling.format(x=number), f"{name} is not a number"
        return cls(name, "numerical", sql, group, malformed, problem)


class RawSource(Protocol):
    """What rows are read from: a text file, or the files of a table."""

    @property
    def path(self) -> Path:
        """The file, or what messages name in place of many."""
        ...

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns that predictions may carry along."""
        ...

    @property
    def label(self) -> str | None:
        """Column of the label; None if there is none."""
        ...

    def fill(
        self, engine: Engine, fields: list[RawField], extra: dict[str, str]
    ) -> tuple[int, dict[int, str]]:
        """Makes the table `rows` (see `read_rows`).

        Returns the number of all rows, and what is wrong with those that the table does not hold,
        by their number.
        """
        ...

    def place(self, row: int) -> tuple[Path, int]:
        """The file and the line, from 1, of a row."""
        ...


@dataclass(frozen=True)
class RawFile:
    """One delimited text file, plain or gzipped, one row a line, without quoting.

    Attributes:
        path: The file.
        delimiter: Text between two columns.
        columns: Names of the columns, in file order; one without a name is passed over.
        header: Whether the first line holds their names.
        label: Column that holds 0 or 1; None if the file has none.
    """

    path: Path
    delimiter: str
    columns: tuple[str, ...]
    header: bool
    label: str | None

    def fill(
        self, engine: Engine, fields: list[RawField], extra: dict[str, str]
    ) -> tuple[int, dict[int, str]]:
        """Makes the table `rows`; see `RawSource`."""
        text = TextFile(self.path)
        problems: dict[int, str] = {}
        engine.stream("lines", _batches(text, self, problems), LINES)
        task = f"read {self.path.name}"
        engine.run(_read_statement(self, fields, extra), task, progress=lambda: text.share)
        found = {line - self.header: problem for line, problem in problems.items()}
        return text.total - self.header, found

    def place(self, row: int) -> tuple[Path, int]:
        """The file and the line of a row."""
        return self.path, row + 1 + self.header


@dataclass(frozen=True)
class Rows:
    """What `read_rows` found; its rows are the table `rows` of the engine.

    Attributes:
        unreadable: int64, file rows that are not text; the table does not hold them.
        rejected: The malformed rows, these included, and the number of all rows of the file.
    """

    unreadable: np.ndarray
    rejected: Rejected

    def file_row(self, table_row: np.ndarray) -> np.ndarray:
        """Row numbers of the file (from 0) for row numbers of the table."""
        before = self.unreadable - np.arange(len(self.unreadable))
        return table_row + np.searchsorted(before, table_row, side="right")


def read_rows(
    engine: Engine, file: RawSource, fields: list[RawField], extra: dict[str, str]
) -> Rows:
    """Reads raw rows into the table `rows` (label, split, fields, `extra` columns, problem).

    The label is NULL where the file has none or one that is neither 0 nor 1; only where the
    file has a label column is such a row malformed.
    """
    total, problems = file.fill(engine, fields, extra)
    rows = Rows(np.array(list(problems), np.int64), Rejected(total=total))
    if not rows.rejected.total:
        raise ZooError(f"{file.path} is empty: it holds no rows")
    _count_malformed(engine, rows, file, list(problems.values()))
    return rows


def _batches(text: TextFile, file: RawFile, problems: dict[int, str]) -> Iterator[pa.RecordBatch]:
    """The readable lines, and whether bytes are near that DuckDB passes over in numbers.

    What is wrong with the other lines goes to `problems`, by their number.
    """
    odd = [byte for byte in IN_NO_NUMBER if byte != file.delimiter.encode()]
    for block in text.blocks(skip=int(file.header)):
        problems.update(block.unreadable)
        is_odd = any(byte in block.data for byte in odd)
        yield pa.record_batch([block.text, pa.repeat(is_odd, len(block.text))], LINES)


def _read_statement(file: RawFile, fields: list[RawField], extra: dict[str, str]) -> str:
    # A whole line is one column, and split here: what is wrong with a line is then ours to say.
    split = ", ".join(
        f"nullif(cells[{i}], '') AS {sql_identifier(column)}"
        for i, column in enumerate(file.columns, 1)
        if column
    )
    label = sql_identifier(file.label) if file.label else "NULL"
    values = [
        f"CASE {label} WHEN '0' THEN 0 WHEN '1' THEN 1 END::TINYINT AS label",
        "0::TINYINT AS split",
    ]
    values += [f"{field.sql} AS {sql_identifier(field.name)}" for field in fields]
    values += [f"{sql} AS {sql_identifier(column)}" for column, sql in extra.items()]
    return (
        f"CREATE TABLE rows AS SELECT {', '.join(values)}, {_problem(file, fields)} AS problem "
        f"FROM (SELECT coalesce(len(cells), 0) AS {WIDTH}, odd AS {ODD}, {split} FROM (SELECT odd, "
        f"string_split(nullif(line, ''), {sql_literal(file.delimiter)}) AS cells FROM lines))"
    )


def _problem(file: RawFile, fields: list[RawField]) -> str:
    width = len(file.columns)
    cases = [
        f"WHEN {WIDTH} <> {width} THEN 'it has ' || {WIDTH} || ' columns, not {width}'",
    ]
    if file.label:
        label = sql_identifier(file.label)
        cases.append(
            f"WHEN {label} IS NULL OR {label} NOT IN ('0', '1') "
            f"THEN {sql_literal(f'its label ({file.label}) is not 0 or 1')}"
        )
    cases += [f"WHEN {f.malformed} THEN {sql_literal(f.problem)}" for f in fields if f.problem]
    return f"CASE {' '.join(cases)} END"


def _count_malformed(engine: Engine, rows: Rows, file: RawSource, unreadable: list[str]) -> None:
    counts = engine.run(
        "SELECT problem, count(*) FROM rows WHERE problem IS NOT NULL GROUP BY 1 ORDER BY 2 DESC, 1"
    )
    examples = engine.run(
        "SELECT rowid, problem FROM rows WHERE problem IS NOT NULL ORDER BY rowid "
        f"LIMIT {MAX_EXAMPLES}"
    )
    rejected = rows.rejected
    rejected.reasons |= dict(counts)
    first = [(int(rows.file_row(np.array(row))), problem) for row, problem in examples]
    rejected.reasons |= Counter(unreadable)
    first += zip(rows.unreadable.tolist(), unreadable[:MAX_EXAMPLES], strict=False)
    rejected.examples += [
        Example(*file.place(row), problem) for row, problem in sorted(first)[:MAX_EXAMPLES]
    ]
