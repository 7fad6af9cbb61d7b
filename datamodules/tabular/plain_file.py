"""Delimited text without quotes, one row a line, with or without a header."""

from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path

import pyarrow as pa

from datamodules.prepared.engine import Engine, sql_identifier, sql_literal
from datamodules.prepared.text import TextFile
from datamodules.tabular.table_file import Kind, TableFile, nested

LINES = pa.schema({"line": pa.string(), "odd": pa.bool_()})
ODD = sql_identifier("odd\n")  # whose name no column of the file has
IN_NO_NUMBER = (b"_", b" ", b"\t", b"\v", b"\f", b"\r")  # which DuckDB takes nevertheless
NUMBER = r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?"


class PlainFile(TableFile):
    """Lines of cells; an empty cell is missing.

    Args:
        path: The file, plain or compressed.
        delimiter: Text between two columns.
        columns: Names of the columns, in file order; one without a name is passed over.
        header: Whether the first line holds their names.
    """

    further = (ODD,)

    def __init__(
        self, path: Path, delimiter: str, columns: Sequence[str], header: bool = False
    ) -> None:
        super().__init__(path)
        self.delimiter = delimiter
        self.in_order = columns
        self.header = int(header)

    @cached_property
    def kinds(self) -> dict[str, Kind]:
        """All of them hold text."""
        return dict.fromkeys(filter(None, self.in_order), "text")

    def relation(self, engine: Engine, columns: Sequence[str]) -> str:
        """The cells as text."""
        self.text = TextFile(self.path)
        engine.stream("lines", self._batches(), LINES)
        # A whole line is one column, and split here: what is wrong with a line is then ours to say.
        parts = []
        for column in columns:
            cell = f"nullif(cells[{self.in_order.index(column) + 1}], '')"
            parts.append(f"{cell} AS {sql_identifier(column)}, false AS {nested(column)}")
        width, wanted = "coalesce(len(cells), 0)", len(self.in_order)
        said = f"'it has ' || {width} || ' columns, not {wanted}'"
        parts.append(f"CASE WHEN {width} <> {wanted} THEN {said} END AS problem")
        return (
            f"SELECT {', '.join(parts)}, odd AS {ODD} FROM (SELECT odd, "
            f"string_split(nullif(line, ''), {sql_literal(self.delimiter)}) AS cells FROM lines)"
        )

    def number(self, name: str) -> str:
        """A float32, without blanks and underscores."""
        digits = f"regexp_full_match({name}, {sql_literal(NUMBER)})"
        return f"CASE WHEN {ODD} AND NOT {digits} THEN NULL ELSE try_cast({name} AS FLOAT) END"

    def share(self) -> float:
        """The share of its bytes."""
        return self.text.share

    def _batches(self) -> Iterator[pa.RecordBatch]:
        """The readable lines, and whether bytes are near that DuckDB passes over in numbers."""
        odd = [byte for byte in IN_NO_NUMBER if byte != self.delimiter.encode()]
        for block in self.text.blocks(skip=self.header):
            problems = block.unreadable.items()
            self.problems.update({line - self.header: problem for line, problem in problems})
            is_odd = any(byte in block.data for byte in odd)
            yield pa.record_batch([block.text, pa.repeat(is_odd, len(block.text))], LINES)
