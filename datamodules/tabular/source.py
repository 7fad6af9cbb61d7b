"""Raw text files -> a typed table of rows, in file order, with a reason beside each bad row."""

import glob
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from datamodules.prepared.engine import Engine, sql_identifier, sql_literal
from datamodules.prepared.rejected import MAX_EXAMPLES, Example, Rejected
from zoo.data.errors import ZooError

UNDECODABLE = "it is not UTF-8 text"


@dataclass(frozen=True)
class RawField:
    """How a field is read from the columns of a raw file.

    Attributes:
        name: Name of the field.
        kind: `numerical` or `categorical`.
        sql: Its value, an SQL expression over the raw columns, which are text (NULL where
            empty): FLOAT for a numerical field, VARCHAR for a categorical one.
        group: What it describes.
        malformed: SQL condition under which the row cannot be used.
        problem: What is then wrong, in words.
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


@dataclass(frozen=True)
class Rows:
    """What `read_rows` found; its rows are the table `rows` of the engine.

    Attributes:
        undecodable: int64, file rows that are not UTF-8 text; the table does not hold them.
        rejected: The malformed rows, these included, and the number of all rows of the file.
    """

    undecodable: np.ndarray
    rejected: Rejected

    def file_row(self, table_row: np.ndarray) -> np.ndarray:
        """Row numbers of the file (from 0) for row numbers of the table."""
        before = self.undecodable - np.arange(len(self.undecodable))
        return table_row + np.searchsorted(before, table_row, side="right")


def read_rows(engine: Engine, file: RawFile, fields: list[RawField], extra: dict[str, str]) -> Rows:
    """Reads a raw file into the table `rows` (label, split, fields, `extra` columns, problem).

    The label is NULL where the file has none or one that is neither 0 nor 1; only where the
    file has a label column is such a row malformed.
    """
    engine.run(_read_statement(file, fields, extra), task=f"read {file.path.name}")
    lines = engine.run("SELECT line FROM reject_errors ORDER BY line")
    undecodable = np.unique(np.array([line for (line,) in lines], np.int64)) - 1 - file.header
    ((in_table,),) = engine.run("SELECT count(*) FROM rows")
    rows = Rows(undecodable, Rejected(total=in_table + len(undecodable)))
    if not rows.rejected.total:
        raise ZooError(f"{file.path} is empty: it holds no rows")
    _count_malformed(engine, rows, file)
    return rows


def _read_statement(file: RawFile, fields: list[RawField], extra: dict[str, str]) -> str:
    # A whole line is read as one column, and split here: what is wrong with a line is then
    # ours to say, and the table's row numbers are the file's.
    # With the new line said to be CRLF, a line may end in LF or CRLF, each as it likes.
    scan = (
        f"read_csv({sql_literal(glob.escape(str(file.path)))}, delim='', quote='', escape='', "
        f"header=false, skip={int(file.header)}, columns={{'line': 'VARCHAR'}}, "
        "auto_detect=false, hive_partitioning=false, strict_mode=false, store_rejects=true, "
        "new_line='\\r\\n')"
    )
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
        f"FROM (SELECT coalesce(len(cells), 0) AS n_cells, {split} FROM "
        f"(SELECT string_split(line, {sql_literal(file.delimiter)}) AS cells FROM {scan}))"
    )


def _problem(file: RawFile, fields: list[RawField]) -> str:
    width = len(file.columns)
    cases = [
        f"WHEN n_cells <> {width} THEN 'it has ' || n_cells || ' columns, not {width}'",
    ]
    if file.label:
        label = sql_identifier(file.label)
        cases.append(
            f"WHEN {label} IS NULL OR {label} NOT IN ('0', '1') "
            f"THEN {sql_literal(f'its label ({file.label}) is not 0 or 1')}"
        )
    cases += [f"WHEN {f.malformed} THEN {sql_literal(f.problem)}" for f in fields if f.problem]
    return f"CASE {' '.join(cases)} END"


def _count_malformed(engine: Engine, rows: Rows, file: RawFile) -> None:
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
    if len(rows.undecodable):
        rejected.reasons[UNDECODABLE] = len(rows.undecodable)
        first += [(int(row), UNDECODABLE) for row in rows.undecodable[:MAX_EXAMPLES]]
    rejected.examples += [
        Example(file.path, row + 1 + file.header, problem)
        for row, problem in sorted(first)[:MAX_EXAMPLES]
    ]
