"""Raw text files -> a typed table of rows, in file order, with a reason beside each bad row."""

import glob
import gzip
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from datamodules.prepared.engine import Engine, name, quote
from zoo.data.errors import ZooError


@dataclass(frozen=True)
class RawField:
    """How a field is read from the columns of a raw file.

    Args:
        name: of the field.
        kind: `numerical` or `categorical`.
        sql: its value, an SQL expression over the raw columns, which are text (NULL where
            empty): FLOAT for a numerical field, VARCHAR for a categorical one.
        group: what it describes.
        malformed: SQL condition under which the row cannot be used.
        problem: what is then wrong, in words.
    """

    name: str
    kind: Literal["numerical", "categorical"]
    sql: str
    group: str = ""
    malformed: str = "false"
    problem: str = ""


@dataclass(frozen=True)
class RawFile:
    """One delimited text file, plain or gzipped, one row a line, without quoting.

    Args:
        path: of the file.
        delimiter: between columns.
        columns: their names, in file order; one without a name is passed over.
        header: whether the first line holds their names.
        label: the column that holds 0 or 1; None if the file has none.
    """

    path: Path
    delimiter: str
    columns: tuple[str, ...]
    header: bool
    label: str | None


@dataclass(frozen=True)
class Rows:
    """What `read_rows` found; its rows are the table `rows` of the engine.

    Args:
        count: rows of the file, malformed ones included.
        undecodable: int64, file rows that are not UTF-8 text; the table does not hold them.
        malformed: rows that cannot be used, by reason.
        examples: (line of the file, counted from 1; reason) of the first malformed rows.
    """

    count: int
    undecodable: np.ndarray
    malformed: dict[str, int]
    examples: list[tuple[int, str]]

    def file_row(self, table_row: np.ndarray) -> np.ndarray:
        """Row numbers of the file (from 0) for row numbers of the table."""
        before = self.undecodable - np.arange(len(self.undecodable))
        return table_row + np.searchsorted(before, table_row, side="right")


def first_line(path: Path) -> str:
    """The first line of a text file, plain or .gz."""
    if not path.is_file():
        raise ZooError(f"no such file: {path}")
    opener = gzip.open if path.suffix == ".gz" else open
    try:
        with opener(path, "rb") as file:
            line = file.readline(1 << 20)
    except (OSError, EOFError, zlib.error) as error:
        raise ZooError(f"cannot read {path}: {error}") from error
    if not line.strip():
        raise ZooError(f"{path} is empty, or begins with an empty line")
    return line.decode("utf-8", "replace").rstrip("\r\n")


def read_rows(engine: Engine, file: RawFile, fields: list[RawField], extra: dict[str, str]) -> Rows:
    """Reads a raw file into the table `rows` (label, split, fields, `extra` columns, problem).

    The label is NULL where the file has none or one that is neither 0 nor 1; only where the
    file has a label column is such a row malformed.
    """
    engine.run(_read_statement(file, fields, extra), task=f"read {file.path.name}")
    lines = engine.run("SELECT line FROM reject_errors ORDER BY line")
    undecodable = np.unique(np.array([line for (line,) in lines], np.int64)) - 1 - file.header
    ((in_table,),) = engine.run("SELECT count(*) FROM rows")
    rows = Rows(in_table + len(undecodable), undecodable, {}, [])
    if rows.count == 0:
        raise ZooError(f"{file.path} is empty: it holds no rows")
    return _with_malformed(engine, rows, file)


def check_malformed(rows: Rows, file: RawFile, tolerated: float) -> None:
    """Raises `ZooError` where more than a share `tolerated` of the rows is malformed."""
    malformed = sum(rows.malformed.values())
    if malformed == rows.count:
        line, reason = rows.examples[0]
        raise ZooError(f"{file.path}: no usable row; the first is line {line}: {reason}")
    if malformed > tolerated * rows.count:
        line, reason = rows.examples[0]
        raise ZooError(
            f"{file.path}: {malformed} of {rows.count} rows are malformed, more than "
            f"data.max_bad_rows allows ({tolerated:.3%}); the first is line {line}: {reason}"
        )


def _read_statement(file: RawFile, fields: list[RawField], extra: dict[str, str]) -> str:
    # A whole line is read as one column, and split here: what is wrong with a line is then
    # ours to say, and the table's row numbers are the file's.
    # With the new line said to be CRLF, a line may end in LF or CRLF, each as it likes.
    scan = (
        f"read_csv({quote(glob.escape(str(file.path)))}, delim='', quote='', escape='', "
        f"header=false, skip={int(file.header)}, columns={{'line': 'VARCHAR'}}, "
        "auto_detect=false, hive_partitioning=false, strict_mode=false, store_rejects=true, "
        "new_line='\\r\\n')"
    )
    split = ", ".join(
        f"nullif(cells[{i}], '') AS {name(column)}"
        for i, column in enumerate(file.columns, 1)
        if column
    )
    label = name(file.label) if file.label else "NULL"
    values = [
        f"CASE {label} WHEN '0' THEN 0 WHEN '1' THEN 1 END::TINYINT AS label",
        "0::TINYINT AS split",
    ]
    values += [f"{field.sql} AS {name(field.name)}" for field in fields]
    values += [f"{sql} AS {name(column)}" for column, sql in extra.items()]
    return (
        f"CREATE TABLE rows AS SELECT {', '.join(values)}, {_problem(file, fields)} AS problem "
        f"FROM (SELECT coalesce(len(cells), 0) AS n_cells, {split} FROM "
        f"(SELECT string_split(line, {quote(file.delimiter)}) AS cells FROM {scan}))"
    )


def _problem(file: RawFile, fields: list[RawField]) -> str:
    width = len(file.columns)
    cases = [
        f"WHEN n_cells <> {width} THEN 'it has ' || n_cells || ' columns, not {width}'",
    ]
    if file.label:
        label = name(file.label)
        cases.append(
            f"WHEN {label} IS NULL OR {label} NOT IN ('0', '1') "
            f"THEN {quote(f'its label ({file.label}) is not 0 or 1')}"
        )
    cases += [f"WHEN {f.malformed} THEN {quote(f.problem)}" for f in fields if f.problem]
    return f"CASE {' '.join(cases)} END"


def _with_malformed(engine: Engine, rows: Rows, file: RawFile) -> Rows:
    counts = engine.run(
        "SELECT problem, count(*) FROM rows WHERE problem IS NOT NULL GROUP BY 1 ORDER BY 2 DESC, 1"
    )
    examples = engine.run(
        "SELECT rowid, problem FROM rows WHERE problem IS NOT NULL ORDER BY rowid LIMIT 5"
    )
    malformed, undecodable = dict(counts), rows.undecodable
    first = [(int(rows.file_row(np.array(row))), problem) for row, problem in examples]
    if len(undecodable):
        malformed["it is not UTF-8 text"] = len(undecodable)
        first += [(int(row), "it is not UTF-8 text") for row in undecodable[:5]]
    lines = [(row + 1 + file.header, problem) for row, problem in sorted(first)[:5]]
    return Rows(rows.count, undecodable, malformed, lines)
