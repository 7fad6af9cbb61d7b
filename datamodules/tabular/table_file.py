"""What one file of a table offers, whatever its format."""

from collections import deque
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Literal

import pyarrow as pa

from datamodules.prepared.engine import Engine, sql_identifier

Kind = Literal[
    "text", "whole", "float", "boolean", "time", "zoned", "list", "nested", "null", "other"
]


class TableFile:
    """One file of a table.

    Args:
        path: The file.

    Attributes:
        header: Number of lines before its rows.
        further: Columns of its relation that `number` needs, as SQL.
        can_pass: Whether columns of text may go past the statement that reads it.
        aside: Those that do; `passed_by` gives them.
        problems: What is wrong with the rows that could not be read, by number, once it is read.
    """

    header = 0
    further: Sequence[str] = ()
    can_pass = False

    def __init__(self, path: Path) -> None:
        self.path = path
        self.problems: dict[int, str] = {}
        self.aside: list[str] = []
        self.passed: deque[pa.Table] = deque()

    @cached_property
    def kinds(self) -> dict[str, Kind]:
        """The columns, and what their values are."""
        raise NotImplementedError

    def relation(self, engine: Engine, columns: Sequence[str]) -> str:
        """SQL of a relation that one statement may read: of each column its raw value.

        Beside each stands whether it is nested (`<column>` and a line break, then `nested`), and in
        the end `problem`, what is wrong with the row.
        """
        raise NotImplementedError

    def passed_by(self, count: int) -> pa.Table:
        """The columns aside of the next rows."""
        found = []
        while count:
            rows = self.passed.popleft()
            if len(rows) > count:
                self.passed.appendleft(rows.slice(count))
            found.append(rows.slice(0, count))
            count -= len(found[-1])
        return pa.concat_tables(found)

    def list_of(self, column: str) -> str:
        """SQL of a value of the relation as a list of texts, NULL where it is none."""
        return "NULL::VARCHAR[]"

    def number(self, name: str) -> str:
        """SQL of the number that a text is; NULL where it is none."""
        # DuckDB passes over underscores
        return f"CASE WHEN contains({name}, '_') THEN NULL ELSE try_cast({name} AS DOUBLE) END"

    def share(self) -> float | None:
        """The share of it that the statement has read; None leaves that to DuckDB."""
        return None


def nested(column: str) -> str:
    """The SQL of the column that says whether a value of another one is a list or an object."""
    return sql_identifier(f"{column}\nnested")
