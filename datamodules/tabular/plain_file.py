"""Delimited text without quotes, one row a line, with or without a header."""

from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import csv as arrow_csv

from datamodules.prepared.arrow import compute as pc
from datamodules.prepared.engine import Engine, sql_identifier, sql_literal
from datamodules.prepared.text import Block, TextFile, ahead
from datamodules.tabular.table_file import Kind, TableFile, nested

NAME = "odd\n"  # which no column of the file has
ODD = sql_identifier(NAME)
IN_NO_NUMBER = (b"_", b" ", b"\t", b"\v", b"\f", b"\r")  # which DuckDB takes nevertheless
NUMBER = r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?"
BYTES_AT_ONCE = 1 << 20  # which a processor's cache holds
CR, FOR_CR = b"\r", b"\xff"  # a byte that no UTF-8 text holds, for one that would end a row


class PlainFile(TableFile):
    """Lines of cells; an empty cell is missing.

    Args:
        path: The file, plain or compressed.
        delimiter: Character between two columns.
        columns: Names of the columns, in file order; one without a name is passed over.
        header: Whether the first line holds their names.
    """

    further = (ODD,)
    can_pass = True

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
        types = [*((column, pa.string()) for column in columns), (NAME, pa.bool_())]
        schema = pa.schema([*types, ("problem", pa.string())])
        engine.stream("lines", self._batches(schema), schema)
        parts = [f"{sql_identifier(c)}, false AS {nested(c)}" for c in columns]
        return f"SELECT {', '.join([*parts, 'problem', ODD])} FROM lines"

    def number(self, name: str) -> str:
        """A float32, without blanks and underscores."""
        digits = f"regexp_full_match({name}, {sql_literal(NUMBER)})"
        return f"CASE WHEN {ODD} AND NOT {digits} THEN NULL ELSE try_cast({name} AS FLOAT) END"

    def share(self) -> float:
        """The share of its bytes."""
        return self.text.share

    def _batches(self, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        """The cells of the readable lines, what is wrong with a line, and whether bytes are near
        that DuckDB passes over in numbers."""
        odd = [byte for byte in IN_NO_NUMBER if byte != self.delimiter.encode()]
        for block, cells in ahead(self._cells, self.text.blocks(skip=self.header)):
            problems = block.unreadable.items()
            self.problems.update({line - self.header: problem for line, problem in problems})
            if self.aside:
                self.passed.append(cells.select(self.aside))
            is_odd = pa.array(np.full(len(cells), any(byte in block.data for byte in odd)))
            cells = cells.append_column(NAME, is_odd)
            yield from cells.select(schema.names).to_batches()

    def _cells(self, block: Block) -> pa.Table:
        """The cells of the readable lines of a block, and what is wrong with a line."""
        count, width = len(block.text), len(self.in_order)
        skipped: dict[int, str] = {}

        def skip(row: arrow_csv.InvalidRow) -> str:
            skipped[row.number - 1] = f"it has {row.actual_columns} columns, not {width}"
            return "skip"

        lengths = pc.binary_length(block.text).to_numpy()
        table = self._parsed(_lines(block), int(lengths.max(initial=0)), skip)
        if skipped:
            there = np.array([row not in skipped for row in range(count)])
            table = table.take(pa.array(there.cumsum() - 1, mask=~there))
        empty = np.flatnonzero(lengths == 0).tolist()
        wrong = skipped | dict.fromkeys(empty, f"it has 0 columns, not {width}")
        problems = pa.nulls(count, pa.string())
        if wrong:
            problems = pa.array([wrong.get(row) for row in range(count)], pa.string())
        has_cr, columns = CR in block.data, {}
        for number, column in enumerate(self.in_order):
            if column:
                found = table[str(number)]
                found = pc.replace_substring(found, FOR_CR, CR) if has_cr else found
                texts = [chunk.view(pa.string()) for chunk in found.chunks]
                columns[column] = pa.chunked_array(texts, pa.string())
        return pa.table({**columns, "problem": problems})

    def _parsed(self, data: bytes, longest: int, skip: Any) -> pa.Table:
        """Columns of bytes, named by their number; no line has more than `longest` bytes."""
        names = [str(number) for number, _ in enumerate(self.in_order)]
        if not data:
            return pa.table({name: pa.array([], pa.binary()) for name in names})
        return arrow_csv.read_csv(
            pa.py_buffer(data.replace(CR, FOR_CR)),
            arrow_csv.ReadOptions(
                use_threads=False, block_size=max(BYTES_AT_ONCE, longest + 2), column_names=names
            ),
            arrow_csv.ParseOptions(
                delimiter=self.delimiter,
                quote_char=False,
                ignore_empty_lines=False,
                invalid_row_handler=skip,
            ),
            arrow_csv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.binary()),
                null_values=[""],
                strings_can_be_null=True,
            ),
        )


def _lines(block: Block) -> bytes:
    """The readable lines of a block."""
    if block.is_whole:
        return block.data
    return "".join(f"{line}\n" for line in block.text.to_pylist()).encode()
