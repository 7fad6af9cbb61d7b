"""CSV and TSV, read by PyArrow: a malformed row is counted, and the others keep their numbers."""

import csv
import io
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import csv as arrow_csv

from datamodules.prepared.engine import Engine, sql_identifier
from datamodules.prepared.form import DELIMITERS, first_line
from datamodules.prepared.text import UNDECODABLE, opened
from datamodules.tabular.table_file import Kind, TableFile, nested
from zoo.data.errors import ZooError

BYTES_PER_BLOCK = 1 << 23


class CsvFile(TableFile):
    """Text of columns, the first line of which names them; values may be quoted (RFC 4180).

    Args:
        path: The file.
        delimiter: Character between two columns.
    """

    header = 1

    def __init__(self, path: Path, delimiter: str) -> None:
        super().__init__(path)
        self.delimiter = delimiter

    @cached_property
    def kinds(self) -> dict[str, Kind]:
        """All of them hold text."""
        line = first_line(self.path)
        (names,) = csv.reader([line], delimiter=self.delimiter)
        others = [words for sign, words in DELIMITERS.items() if sign in line]
        if len(names) == 1 and others:
            raise ZooError(
                f"{self.path}: its columns are separated by {others[0]}: say so by data.delimiter"
            )
        for name in names:
            if names.count(name) > 1:
                raise ZooError(f"{self.path}: its header names the column {name!r} twice")
        return dict.fromkeys(names, "text")

    def relation(self, engine: Engine, columns: Sequence[str]) -> str:
        """The values as text."""
        read = [*columns] or [*self.kinds][:1]
        schema = pa.schema([(column, pa.string()) for column in read])
        engine.stream("lines", self._batches(schema), schema)
        parts = [f"{sql_identifier(c)}, false AS {nested(c)}" for c in columns]
        return f"SELECT {', '.join([*parts, 'NULL AS problem'])} FROM lines"

    def _batches(self, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        skipped: dict[int, str] = {}
        undecodable: list[int] = []  # counted without those that are skipped
        width, count = len(self.kinds), 0

        def skip(row: arrow_csv.InvalidRow) -> str:
            columns = f"it has {row.actual_columns} columns, not {width}"
            skipped[row.number - 1 - self.header] = columns
            return "skip"

        with opened(self.path) as (file, _):
            quotes = _Quotes(file)
            for batch in self._parsed(quotes, schema, skip):
                decoded, bad = _decoded(batch)
                undecodable += [count + row for row in bad]
                count += len(batch)
                yield decoded
        if quotes.count % 2:
            raise ZooError(
                f"{self.path}: its quotes do not pair: a value that begins with a quote has no end "
                "(a quote inside of a quoted value is written twice)"
            )
        gaps = np.array(sorted(skipped), np.int64)
        before = gaps - np.arange(len(gaps))
        for row in undecodable:
            skipped[row + int(np.searchsorted(before, row, side="right"))] = UNDECODABLE
        self.problems.update(sorted(skipped.items()))

    def _parsed(self, file: Any, schema: pa.Schema, skip: Any) -> Iterator[pa.RecordBatch]:
        options = arrow_csv.ParseOptions(
            delimiter=self.delimiter,
            newlines_in_values=True,
            ignore_empty_lines=False,  # which would shift the numbers of rows
            invalid_row_handler=skip,
        )
        binary = {name: pa.binary() for name in schema.names}
        convert = arrow_csv.ConvertOptions(column_types=binary, include_columns=schema.names)
        read = arrow_csv.ReadOptions(block_size=BYTES_PER_BLOCK, use_threads=False)
        try:
            yield from arrow_csv.open_csv(file, read, options, convert)
        except pa.ArrowInvalid as error:
            reason = str(error).splitlines()[0]
            if "straddling" in reason:
                reason = "a row is longer than 8 MB, or a quote is not closed"
            raise ZooError(f"{self.path} cannot be read as CSV: {reason}") from error


class _Quotes(io.RawIOBase):
    """A file that counts the quotes which are read from it."""

    def __init__(self, file: io.BufferedIOBase) -> None:
        self.file = file
        self.count = 0

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        data = self.file.read(size)
        self.count += data.count(b'"')
        return data


def _decoded(batch: pa.RecordBatch) -> tuple[pa.RecordBatch, list[int]]:
    """The rows that are UTF-8, as text, and the numbers of the others."""
    schema = pa.schema([(name, pa.string()) for name in batch.schema.names])
    try:
        return batch.cast(schema), []
    except pa.ArrowInvalid:
        bad: set[int] = set()
        for column in batch.columns:
            for row, value in enumerate(column.to_pylist()):
                try:
                    value.decode()
                except UnicodeDecodeError:
                    bad.add(row)
        good = pa.array([row not in bad for row in range(len(batch))])
        return batch.filter(good).cast(schema), sorted(bad)
