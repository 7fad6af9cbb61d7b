"""What turns raw rows into ids and numbers: vocabularies, fitted on training rows.

Shapes: R rows of a chunk, N numerical fields, C categorical fields, M fields of lists.
"""

import glob
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa

from datamodules.prepared.encoder import Encoder
from datamodules.prepared.engine import Engine, sql_literal
from datamodules.prepared.vocabulary import FIRST_ID, sql_ids
from datamodules.tabular.bins import bin_ids
from datamodules.tabular.list_ids import lists_of
from datamodules.tabular.row_columns import row_arrays
from datamodules.tabular.rows import Rows, codes_of, column_of, numbers_of, texts_of
from datamodules.tabular.source import RawField
from zoo.data.encoder import VOCABULARY
from zoo.data.errors import ZooError
from zoo.data.lists import Lists
from zoo.data.schema import MISSING, UNKNOWN, Field, Schema

LARGEST = 3e38  # of a standardised number
COUNTS = pa.schema([("field", pa.int32()), ("value", pa.string()), ("n", pa.int64())])
WHOLE, DECIMAL = r"[+-]?\d+", r"[+-]?\d+\.\d+(e[+-]?\d+)?"  # the texts of numbers


def save_vocabulary(engine: Engine, folder: Path, order: str) -> None:
    """Writes the engine's table `vocabulary`."""
    target = sql_literal(folder / VOCABULARY)
    engine.run(f"COPY (SELECT * FROM vocabulary ORDER BY {order}) TO {target}")


def join_vocabularies(engine: Engine, folders: Sequence[Path], folder: Path) -> None:
    """Puts the vocabularies of fields, each in a folder, together: in the engine's table
    `vocabulary`, and in a folder."""
    files = ", ".join(sql_literal(glob.escape(str(path / VOCABULARY))) for path in folders)
    source = f"read_parquet([{files}], hive_partitioning=false)"
    engine.run(f"CREATE OR REPLACE TABLE vocabulary AS SELECT * FROM {source}")
    save_vocabulary(engine, folder, order="field, id")


def load_vocabulary(engine: Engine, folder: Path, columns: str) -> None:
    """Puts these columns of a saved vocabulary into the engine's table `vocabulary`."""
    path = folder / VOCABULARY
    source = f"read_parquet({sql_literal(glob.escape(str(path)))}, hive_partitioning=false)"
    try:
        engine.run(f"CREATE OR REPLACE TABLE vocabulary AS SELECT {columns} FROM {source}")
    except duckdb.Error as error:
        raise ZooError(f"{path} is damaged: {str(error).splitlines()[0]}") from error


def known_numbers(engine: Engine) -> dict[str, str]:
    """The fields whose values in the engine's table `vocabulary` are all `whole` numbers, or all
    with `decimals`."""
    found = engine.run(
        f"SELECT field, bool_and(regexp_full_match(value, '{WHOLE}')), "
        f"bool_and(regexp_full_match(value, '{DECIMAL}')) FROM vocabulary GROUP BY 1"
    )
    return {f: "whole" if whole else "decimals" for f, whole, other in found if whole or other}


def counted_fields(fields: Sequence[RawField]) -> list[RawField]:
    """The fields that have a vocabulary of their own, whose values are counted."""
    return [field for field in fields if field.is_text and not field.vocabulary]


def write_counts(engine: Engine, rows: Rows, fields: Sequence[RawField], path: Path) -> None:
    """Writes how often the training rows, or those of a part of them, hold each value.

    Args:
        engine: An engine.
        rows: The rows, whose splits are known.
        fields: All fields.
        path: Parquet of `field` (its number among `counted_fields`), `value` and `n`.
    """
    engine.stream("counted", _counts(rows, counted_fields(fields)), COUNTS)
    engine.run(
        "COPY (SELECT field, value, sum(n)::BIGINT AS n FROM counted GROUP BY ALL ORDER BY field) "
        f"TO {sql_literal(path)} (FORMAT parquet)",
        "count ids",
    )


def fit_vocabulary(
    engine: Engine,
    counts: Sequence[Path],
    fields: Sequence[RawField],
    chosen: Sequence[RawField],
    min_count: int,
) -> None:
    """Adds fields to the engine's table `vocabulary`, by the rule of
    `datamodules.prepared.vocabulary`; values rarer than `min_count` get no id.

    Args:
        engine: An engine, which has the table (see `new_vocabulary`).
        counts: What `write_counts` wrote of each part of the rows.
        fields: All fields.
        chosen: Those of them to add.
        min_count: Smallest count of a value, where its field names none.
    """
    files = ", ".join(sql_literal(glob.escape(str(path))) for path in counts)
    source = f"read_parquet([{files}], hive_partitioning=false)"
    numbers = {field.name: number for number, field in enumerate(counted_fields(fields))}
    for field in chosen:
        number, least = numbers[field.name], field.min_count or min_count
        most = f" ORDER BY n DESC, value LIMIT {field.max_size}" if field.max_size else ""
        engine.run(
            f"INSERT INTO vocabulary SELECT {sql_literal(field.name)}, value, "
            f"{sql_ids('n', 'value')}, n FROM (SELECT value, sum(n)::BIGINT AS n FROM {source} "
            f"WHERE field = {number} GROUP BY 1 HAVING sum(n) >= {least}{most})"
        )


def new_vocabulary(engine: Engine) -> None:
    """Makes the engine's table `vocabulary`, without rows."""
    columns = "field VARCHAR, value VARCHAR, id INTEGER, count BIGINT"
    engine.run(f"CREATE OR REPLACE TABLE vocabulary ({columns})")


def _counts(rows: Rows, fields: list[RawField]) -> Iterator[pa.RecordBatch]:
    """How often the training rows of each chunk hold each value."""
    for chunk, split in zip(rows, rows.splits, strict=True):
        for number, field in enumerate(fields):
            texts = texts_of(column_of(chunk, field.name), split == 0)
            # the first count is that of missing ones
            counts = np.bincount(codes_of(texts) + 1, minlength=len(texts.dictionary) + 1)[1:]
            found = np.flatnonzero(counts)
            values = texts.dictionary.take(pa.array(found))
            parts = np.full(len(found), number, np.int32), values, counts[found]
            yield pa.record_batch([*map(pa.array, parts)], schema=COUNTS)


def fit_scaling(
    parts: Sequence[Rows], fields: Sequence[RawField]
) -> dict[str, tuple[float, float]]:
    """Mean and deviation of standardised fields, over the training rows that have the number.

    The deviation is 1 where all numbers are equal. Rows are added in their order, so that the
    result is the same to the last bit every time.
    """
    found = {}
    for field in fields:
        numbers = partial(numbers_of, parts, field.name)
        count = sum(map(len, numbers()))
        mean = sum(float(chunk.sum()) for chunk in numbers()) / max(count, 1)
        squares = sum(float(((chunk - mean) ** 2).sum()) for chunk in numbers())
        found[field.name] = mean, math.sqrt(squares / max(count, 1)) or 1.0
    return found


def fit_schema(engine: Engine, fields: Sequence[RawField]) -> Schema:
    """The schema that the engine's vocabulary makes of the raw fields."""
    counts = dict(engine.run("SELECT field, count(*) FROM vocabulary GROUP BY 1"))
    return Schema(
        tuple(
            Field(f.name, f.kind, group=f.group)
            if f.kind == "numerical"
            else Field(
                f.name,
                f.kind,
                FIRST_ID + counts.get(f.vocabulary or f.name, 0),
                f.group,
                vocabulary=f.vocabulary,
            )
            for f in fields
        )
    )


@dataclass(frozen=True)
class Encoded:
    """Encoded rows in file order.

    Attributes:
        row: int64 [R], number of the row in the table.
        label: float32 [R], NaN where it is not known.
        numerical: float32 [R, N].
        categorical: int32 [R, C].
        lists: Lists of ids [R, M]; None where there are no such fields.
        further: float32 [R] `weight` and int64 [R] `group`, where rows have them.
    """

    row: np.ndarray
    label: np.ndarray
    numerical: np.ndarray
    categorical: np.ndarray
    lists: Lists | None
    further: dict[str, np.ndarray]


def encode(engine: Engine, rows: Rows, encoder: Encoder) -> Iterator[Encoded]:
    """Encodes rows chunk by chunk.

    Args:
        engine: Holds the vocabulary.
        rows: The rows.
        encoder: Schema of the rows, and what was fitted on training rows.
    """
    schema, scaling = encoder.schema, encoder.scaling
    for chunk in engine.progress.track(rows, total=len(rows), description="encode"):
        ids = _looked_up(engine, chunk, encoder)
        numbers = [_scaled(column_of(chunk, f.name), scaling.get(f.name)) for f in schema.numerical]
        categories = [_category(chunk, f.name, ids, encoder) for f in schema.categorical]
        yield Encoded(
            row=chunk["row"].to_numpy(),
            label=chunk["label"].to_numpy(),
            numerical=_matrix(numbers, len(chunk), np.float32),
            categorical=_matrix(categories, len(chunk), np.int32),
            lists=lists_of(chunk, schema, ids),
            further=row_arrays(chunk),
        )


def _category(
    chunk: pa.Table, name: str, ids: Mapping[str, np.ndarray], encoder: Encoder
) -> np.ndarray:
    """int32 [R] the ids of a categorical field, given those of its texts."""
    column = column_of(chunk, name)
    if name in encoder.edges:
        return bin_ids(column.fill_null(np.nan).to_numpy(), encoder.edges[name])
    return np.append(ids[name], np.int32(MISSING))[codes_of(column)]  # -1 is the last one


def _looked_up(engine: Engine, chunk: pa.Table, encoder: Encoder) -> dict[str, np.ndarray]:
    """int32 the ids of the texts of a chunk, once each, by the name of their field."""
    schema = encoder.schema
    fields = [f for f in (*schema.categorical, *schema.lists) if f.name not in encoder.edges]
    texts = [texts_of(column_of(chunk, field.name)).dictionary for field in fields]
    sizes = [len(found) for found in texts]
    names = np.array([field.vocabulary or field.name for field in fields], object)
    place = np.arange(sum(sizes))
    value = pa.concat_arrays([pa.array([], pa.string()), *texts])
    field = pa.array(np.repeat(names, sizes), pa.string())
    engine.view("chunk", {"field": field, "value": value, "place": place})
    found = engine.arrays("SELECT place, id FROM chunk JOIN vocabulary USING (field, value)")
    ids = np.full(len(place), UNKNOWN, np.int32)
    ids[found["place"]] = found["id"]
    parts = np.split(ids, np.cumsum(sizes)[:-1]) if fields else []
    return {field.name: part for field, part in zip(fields, parts, strict=True)}


def _scaled(column: pa.Array, scaling: tuple[float, float] | None) -> np.ndarray:
    """[R] numbers, 0 where they are missing."""
    if scaling is None:
        return column.fill_null(0).to_numpy()
    mean, deviation = scaling
    # a number far off stays a float32
    return np.clip((column.fill_null(mean).to_numpy() - mean) / deviation, -LARGEST, LARGEST)


def _matrix(columns: list[np.ndarray], rows: int, dtype: type) -> np.ndarray:
    matrix = np.empty((rows, len(columns)), dtype)
    for i, column in enumerate(columns):
        matrix[:, i] = column
    return matrix
