"""Files of a table: their formats, their columns, and how DuckDB reads them.

DuckDB reads Parquet itself. CSV goes through PyArrow and JSON lines through `TextFile`, so that a
malformed row is counted, and the others keep their numbers.
"""

import csv
import glob
import io
import json
from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import csv as arrow_csv

from datamodules.prepared.engine import Engine, sql_identifier, sql_literal
from datamodules.prepared.form import DELIMITERS, first_line
from datamodules.prepared.text import UNDECODABLE, TextFile, opened
from zoo.data.errors import ZooError

Kind = Literal["text", "whole", "float", "boolean", "time", "zoned", "nested", "null", "other"]
Format = Literal["parquet", "csv", "tsv", "jsonl"]
SUFFIXES: dict[str, Format] = {
    **{".parquet": "parquet", ".pq": "parquet", ".csv": "csv", ".tsv": "tsv", ".tab": "tsv"},
    **{".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "jsonl"},
}
PACKED = (".gz", ".zst")
BYTES_PER_BLOCK = 1 << 23
LINES_TO_LOOK_AT = 1000  # of JSON, for the names of its columns
NO_OBJECT = "it is no JSON object"


class TableFile:
    """One file of a table.

    Args:
        path: The file.

    Attributes:
        header: Number of lines before its rows.
        problems: What is wrong with the rows that could not be read, by number, once it is read.
    """

    header = 0

    def __init__(self, path: Path) -> None:
        self.path = path
        self.problems: dict[int, str] = {}

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


class ParquetFile(TableFile):
    """A Parquet file."""

    @cached_property
    def kinds(self) -> dict[str, Kind]:
        """By its schema."""
        try:
            return {field.name: _kind(field.type) for field in pq.read_schema(self.path)}
        except (pa.ArrowException, OSError) as error:
            reason = str(error).splitlines()[0]
            raise ZooError(f"{self.path} cannot be read as Parquet: {reason}") from error

    def relation(self, engine: Engine, columns: Sequence[str]) -> str:
        """The columns as they are; NaN is missing."""
        parts = []
        for column in columns:
            name = sql_identifier(column)
            value = f"CASE WHEN isnan({name}) THEN NULL ELSE {name} END"
            parts.append(f"{value if self.kinds[column] == 'float' else name} AS {name}")
            parts.append(f"false AS {nested(column)}")
        return (
            f"SELECT {', '.join([*parts, 'NULL AS problem'])} "
            f"FROM read_parquet({_escaped(self.path)}, hive_partitioning=false)"
        )


class JsonFile(TableFile):
    """JSON lines: an object on each line."""

    @cached_property
    def kinds(self) -> dict[str, Kind]:
        """The keys of its first lines; a column whose first value is a list is nested."""
        found: dict[str, Kind] = {}
        for line in self._first_lines():
            for key, value in line.items():
                if found.get(key, "null") == "null":
                    kind = "nested" if isinstance(value, list | dict) else "text"
                    found[key] = "null" if value is None else kind
        if not found:
            raise ZooError(
                f"{self.path}: none of its first lines is a JSON object: write one on each line"
            )
        return found

    def _first_lines(self) -> Iterator[dict[str, Any]]:
        first_line(self.path)  # which says what is wrong with a file of another form
        lines = (line.as_py() for block in TextFile(self.path).blocks() for line in block.text)
        for line in islice(lines, LINES_TO_LOOK_AT):
            try:
                content = json.loads(line)
            except (ValueError, RecursionError):
                continue
            if isinstance(content, dict):
                yield content

    def relation(self, engine: Engine, columns: Sequence[str]) -> str:
        """The values as text; a line that is no object has none."""
        self.text = TextFile(self.path)
        engine.stream("lines", self._batches(), pa.schema({"line": pa.string()}))
        keys = ["/" + c.replace("~", "~0").replace("/", "~1") for c in columns]
        paths = f"[{', '.join(map(sql_literal, keys))}]::VARCHAR[]"
        parts = []
        for i, column in enumerate(columns, 1):
            parts.append(f"cells[{i}] AS {sql_identifier(column)}")
            found = f"coalesce(types[{i}] IN ('ARRAY', 'OBJECT'), false)"
            parts.append(f"{found} AS {nested(column)}")
        problem = f"CASE WHEN is_object THEN NULL ELSE {sql_literal(NO_OBJECT)} END"
        # CASE, for what is no JSON is an error
        valid = "CASE WHEN json_valid(line) THEN json_type(line) = 'OBJECT' ELSE false END"
        return (
            f"SELECT {', '.join([*parts, f'{problem} AS problem'])} FROM (SELECT is_object, "
            f"CASE WHEN is_object THEN json_extract_string(line, {paths}) END AS cells, "
            f"CASE WHEN is_object THEN json_type(line, {paths}) END AS types "
            f"FROM (SELECT line, {valid} AS is_object FROM lines))"
        )

    def _batches(self) -> Iterator[pa.RecordBatch]:
        for block in self.text.blocks():
            self.problems.update(block.unreadable)
            yield pa.record_batch([block.text], ["line"])


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


def table_file(path: Path, given: Format | None, delimiter: str | None) -> TableFile:
    """A file, by the format that its name says, else by the one that is given.

    Raises:
        ZooError: where neither says it.
    """
    name = path.with_suffix("") if path.suffix in PACKED else path
    found = SUFFIXES.get(name.suffix, given)
    if found is None:
        raise ZooError(
            f"{path}: its name does not say its format: give data.format (parquet, csv, tsv or "
            "jsonl)"
        )
    if found == "parquet":
        if path.suffix in PACKED:
            raise ZooError(f"{path}: Parquet is compressed in itself: unpack the file")
        return ParquetFile(path)
    if found == "jsonl":
        return JsonFile(path)
    return CsvFile(path, delimiter or ("," if found == "csv" else "\t"))


def nested(column: str) -> str:
    """The SQL of the column that says whether a value of another one is a list or an object."""
    return sql_identifier(f"{column}\nnested")


def _escaped(path: Path) -> str:
    """A path that DuckDB takes for no pattern, as an SQL literal."""
    return sql_literal(glob.escape(str(path)))


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


def _kind(found: pa.DataType) -> Kind:
    """What values of a type of Arrow are."""
    types = pa.types
    if types.is_dictionary(found):
        return _kind(found.value_type)
    if types.is_nested(found):
        return "nested"
    if types.is_timestamp(found) and found.tz is not None:
        return "zoned"
    checks: dict[Kind, tuple[Any, ...]] = {
        "text": (types.is_string, types.is_large_string),
        "whole": (types.is_integer,),
        "float": (types.is_floating, types.is_decimal),
        "boolean": (types.is_boolean,),
        "time": (types.is_timestamp, types.is_date),
        "null": (types.is_null,),
    }
    for kind, of in checks.items():
        if any(check(found) for check in of):
            return kind
    return "other"
