"""Files of a table: their formats, their columns, and how DuckDB reads them.

DuckDB reads Parquet itself. CSV goes through PyArrow and JSON lines through `TextFile`, so that a
malformed row is counted, and the others keep their numbers.
"""

import glob
import json
from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from datamodules.prepared.arrow import compute as pc
from datamodules.prepared.engine import Engine, sql_identifier, sql_literal
from datamodules.prepared.form import first_line
from datamodules.prepared.text import TextFile
from datamodules.tabular.csv_file import CsvFile
from datamodules.tabular.table_file import Kind, TableFile, nested
from zoo.data.errors import ZooError

Format = Literal["parquet", "csv", "tsv", "jsonl"]
SUFFIXES: dict[str, Format] = {
    **{".parquet": "parquet", ".pq": "parquet", ".csv": "csv", ".tsv": "tsv", ".tab": "tsv"},
    **{".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "jsonl"},
}
PACKED = (".gz", ".zst")
LINES_TO_LOOK_AT = 1000  # of JSON, for the names of its columns
KINDS: dict[type, Kind] = {list: "list", dict: "nested"}  # of values of JSON; others are text
NO_OBJECT = "it is no JSON object"


class TypedFile(TableFile):
    """One whose columns have a type."""

    @cached_property
    def schema(self) -> pa.Schema:
        """The types."""
        raise NotImplementedError

    @cached_property
    def kinds(self) -> dict[str, Kind]:
        """By its schema."""
        return {field.name: _kind(field.type) for field in self.schema}

    @cached_property
    def items(self) -> dict[str, Kind]:
        """What the values in the lists of columns of such are."""
        lists = (field for field in self.schema if self.kinds[field.name] == "list")
        return {field.name: _kind(field.type.value_type) for field in lists}

    def source(self, engine: Engine) -> str:
        """SQL of its rows, for one statement."""
        raise NotImplementedError

    def relation(self, engine: Engine, columns: Sequence[str]) -> str:
        """The columns as they are; NaN is missing."""
        parts = []
        for column in columns:
            name = sql_identifier(column)
            value = f"CASE WHEN isnan({name}) THEN NULL ELSE {name} END"
            parts.append(f"{value if self.kinds[column] == 'float' else name} AS {name}")
            parts.append(f"false AS {nested(column)}")
        return f"SELECT {', '.join([*parts, 'NULL AS problem'])} FROM {self.source(engine)}"

    def list_of(self, column: str) -> str:
        """The list of a column of such."""
        is_list = self.kinds[column] == "list"
        return f"{sql_identifier(column)}::VARCHAR[]" if is_list else super().list_of(column)


class ParquetFile(TypedFile):
    """A Parquet file."""

    @cached_property
    def schema(self) -> pa.Schema:
        """As it says."""
        try:
            return pq.read_schema(self.path)
        except (pa.ArrowException, OSError) as error:
            reason = str(error).splitlines()[0]
            raise ZooError(f"{self.path} cannot be read as Parquet: {reason}") from error

    def source(self, engine: Engine) -> str:
        """As DuckDB reads it."""
        return f"read_parquet({_escaped(self.path)}, hive_partitioning=false)"


class MemoryFile(TypedFile):
    """A table in memory, such as a DataFrame.

    Args:
        name: What messages call it.
        table: Its rows.
    """

    def __init__(self, name: str, table: pa.Table) -> None:
        super().__init__(Path(name))
        self.table = table

    @cached_property
    def schema(self) -> pa.Schema:
        """That of the table."""
        return self.table.schema

    @cached_property
    def items(self) -> dict[str, Kind]:
        """What the values in lists are, which is nothing where all lists are empty."""
        found = super().items
        values = {name: pc.list_flatten(self.table[name]) for name in found}
        empty = [name for name, of in values.items() if of.null_count == len(of)]
        return {**found, **dict.fromkeys(empty, "null")}

    def source(self, engine: Engine) -> str:
        """The table itself."""
        engine.connection.register("in memory", _plain(self.table))
        return sql_identifier("in memory")


class JsonFile(TableFile):
    """JSON lines: an object on each line."""

    @cached_property
    def kinds(self) -> dict[str, Kind]:
        """The keys of its first lines, and what the first value of each is."""
        found: dict[str, Kind] = {}
        for line in self._first_lines():
            for key, value in line.items():
                if found.get(key, "null") == "null":
                    found[key] = "null" if value is None else KINDS.get(type(value), "text")
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

    def list_of(self, column: str) -> str:
        """The elements of an array of values."""
        text = sql_identifier(column)
        is_array = f"{nested(column)} AND json_type({text}) = 'ARRAY'"
        is_flat = f"NOT list_has_any(json_type({text}, '$[*]'), ['ARRAY', 'OBJECT'])"
        values = f"CASE WHEN {is_flat} THEN json_extract_string({text}, '$[*]') END"
        return f"CASE WHEN {is_array} THEN {values} END"

    def share(self) -> float:
        """The share of its bytes."""
        return self.text.share

    def _batches(self) -> Iterator[pa.RecordBatch]:
        for block in self.text.blocks():
            self.problems.update(block.unreadable)
            yield pa.record_batch([block.text], ["line"])


def table_file(path: Path, given: Format | None, delimiter: str | None) -> TableFile:
    """A file, by the format that its name says, else by the one that is given.

    Raises:
        ZooError: where neither says it.
    """
    found = _format(path) or given
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


def is_text(path: Path) -> bool:
    """Whether the name of a file says neither Parquet nor JSON lines."""
    return _format(path) not in ("parquet", "jsonl")


def _format(path: Path) -> Format | None:
    name = path.with_suffix("") if path.suffix in PACKED else path
    return SUFFIXES.get(name.suffix)


def _escaped(path: Path) -> str:
    """A path that DuckDB takes for no pattern, as an SQL literal."""
    return sql_literal(glob.escape(str(path)))


def _plain(table: pa.Table) -> pa.Table:
    """A table whose types DuckDB reads as those of Parquet."""
    return table.cast(pa.schema([pa.field(f.name, _plain_type(f.type)) for f in table.schema]))


def _plain_type(found: pa.DataType) -> pa.DataType:
    if pa.types.is_dictionary(found):  # it would make an enumeration of them
        return found.value_type
    return pa.float32() if pa.types.is_float16(found) else found


def _kind(found: pa.DataType) -> Kind:
    """What values of a type of Arrow are."""
    types = pa.types
    if types.is_dictionary(found):
        return _kind(found.value_type)
    if types.is_list(found) or types.is_large_list(found) or types.is_fixed_size_list(found):
        is_flat = _kind(found.value_type) not in ("list", "nested", "other")
        return "list" if is_flat else "nested"
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
