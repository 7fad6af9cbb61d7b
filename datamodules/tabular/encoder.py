"""What turns raw rows into ids and numbers: vocabularies, fitted on training rows.

Shapes: R rows of a chunk, N numerical fields, C categorical fields, M fields of lists.
"""

import glob
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import duckdb
import numpy as np

from datamodules.prepared.encoder import Encoder
from datamodules.prepared.engine import Engine, sql_identifier, sql_literal
from datamodules.prepared.vocabulary import FIRST_ID, sql_ids
from datamodules.tabular.bins import bin_ids
from datamodules.tabular.list_ids import encode_lists
from datamodules.tabular.source import RawField
from zoo.data.encoder import VOCABULARY
from zoo.data.errors import ZooError
from zoo.data.lists import Lists
from zoo.data.schema import LISTS, MISSING, UNKNOWN, Field, Schema

ROWS_PER_CHUNK = 500_000  # encoded at once
LARGEST = "3e38"  # of a standardised number


def save_encoder(engine: Engine, encoder: Encoder, folder: Path) -> None:
    """Writes a new folder of an encoder; the engine holds the vocabulary."""
    folder.mkdir()
    save_vocabulary(engine, folder, order="field, id")
    encoder.save(folder)


def save_vocabulary(engine: Engine, folder: Path, order: str) -> None:
    """Writes the engine's table `vocabulary`."""
    target = sql_literal(folder / VOCABULARY)
    engine.run(f"COPY (SELECT * FROM vocabulary ORDER BY {order}) TO {target}")


def load_vocabulary(engine: Engine, folder: Path, columns: str) -> None:
    """Puts these columns of a saved vocabulary into the engine's table `vocabulary`."""
    path = folder / VOCABULARY
    source = f"read_parquet({sql_literal(glob.escape(str(path)))}, hive_partitioning=false)"
    try:
        engine.run(f"CREATE OR REPLACE TABLE vocabulary AS SELECT {columns} FROM {source}")
    except duckdb.Error as error:
        raise ZooError(f"{path} is damaged: {str(error).splitlines()[0]}") from error


def fit_vocabulary(engine: Engine, fields: list[RawField], min_count: int) -> None:
    """Makes the engine's table `vocabulary` of the training rows, by the rule of
    `datamodules.prepared.vocabulary`; values rarer than `min_count` get no id."""
    engine.run("CREATE TABLE vocabulary (field VARCHAR, value VARCHAR, id INTEGER, count BIGINT)")
    counted = [f for f in fields if f.kind != "numerical" and not f.bins and not f.vocabulary]
    for field in engine.progress.track(counted, description="count ids"):
        column = sql_identifier(field.name)
        value = f"unnest({column})" if field.kind in LISTS else column
        most = f" ORDER BY n DESC, value LIMIT {field.max_size}" if field.max_size else ""
        engine.run(
            f"INSERT INTO vocabulary SELECT {sql_literal(field.name)}, value, "
            f"{sql_ids('n', 'value')}, n "
            f"FROM (SELECT {value} AS value, count(*) AS n FROM rows "
            f"WHERE split = 0 AND problem IS NULL AND {column} IS NOT NULL GROUP BY 1) "
            f"WHERE n >= {field.min_count or min_count}{most}"
        )


def fit_scaling(engine: Engine, fields: list[RawField]) -> dict[str, tuple[float, float]]:
    """Mean and deviation of the standardised fields, over the training rows that have the number.

    The deviation is 1 where all numbers are equal. Rows are added in their order, so that the
    result is the same to the last bit every time.
    """
    found = {}
    for field in fields:
        if field.standardised:
            numbers = partial(_numbers, engine, field.name)
            count = sum(map(len, numbers()))
            mean = sum(float(chunk.sum()) for chunk in numbers()) / max(count, 1)
            squares = sum(float(((chunk - mean) ** 2).sum()) for chunk in numbers())
            found[field.name] = mean, math.sqrt(squares / max(count, 1)) or 1.0
    return found


def _numbers(engine: Engine, name: str) -> Iterator[np.ndarray]:
    """float64 the numbers of a field in the training rows, chunk by chunk."""
    ((count,),) = engine.run("SELECT count(*) FROM rows")
    column = sql_identifier(name)
    for start in range(0, count, ROWS_PER_CHUNK):
        yield engine.arrays(
            f"SELECT {column}::DOUBLE AS x FROM rows WHERE split = 0 AND problem IS NULL "
            f"AND {column} IS NOT NULL AND rowid >= {start} AND rowid < {start + ROWS_PER_CHUNK} "
            "ORDER BY rowid"
        )["x"]


def fit_schema(engine: Engine, fields: list[RawField]) -> Schema:
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
        split: int8 [R], 0 for training, 1 for validation, 2 for test.
        row: int64 [R], number of the row in the engine's table.
        label: float32 [R], NaN where it is not known.
        numerical: float32 [R, N].
        categorical: int32 [R, C].
        lists: Lists of ids [R, M]; None where there are no such fields.
    """

    split: np.ndarray
    row: np.ndarray
    label: np.ndarray
    numerical: np.ndarray
    categorical: np.ndarray
    lists: Lists | None = None


def encode(engine: Engine, encoder: Encoder) -> Iterator[Encoded]:
    """Encodes the table `rows` chunk by chunk.

    Args:
        engine: Holds the rows and the vocabulary.
        encoder: Schema of the rows, and what was fitted on training rows.
    """
    schema = encoder.schema
    ((count,),) = engine.run("SELECT count(*) FROM rows")
    chunks = range(0, count, ROWS_PER_CHUNK)
    for start in engine.progress.track(chunks, description="encode"):
        found = engine.arrays(_encode_statement(encoder, start))
        for name, edges in encoder.edges.items():
            found[name] = bin_ids(found[name], edges)
        order = np.argsort(found["row"], kind="stable")  # joins may have disturbed it
        row = found["row"][order]
        yield Encoded(
            split=found["split"][order],
            row=row,
            label=found["label"][order],
            numerical=_matrix(found, schema.numerical, np.float32)[order],
            categorical=_matrix(found, schema.categorical, np.int32)[order],
            lists=encode_lists(engine, schema, row),
        )


def _encode_statement(encoder: Encoder, start: int) -> str:
    schema = encoder.schema
    columns = [
        "rows.rowid AS row",
        "split",
        "coalesce(label::FLOAT, 'nan'::FLOAT) AS label",
    ]
    columns += [  # `rows.`, for vocabularies have columns too
        f"coalesce({_scaled(f.name, encoder.scaling)}, 0)::FLOAT AS {sql_identifier(f.name)}"
        for f in schema.numerical
    ]
    joins = []
    for i, field in enumerate(schema.categorical):
        column = f"rows.{sql_identifier(field.name)}"
        if field.name in encoder.edges:
            columns.append(f"coalesce({column}, 'nan'::FLOAT) AS {sql_identifier(field.name)}")
            continue
        vocabulary = field.vocabulary or field.name
        rare = f"CASE WHEN {column} IS NULL THEN {MISSING} ELSE {UNKNOWN} END"
        columns.append(f"coalesce(v{i}.id, {rare})::INTEGER AS {sql_identifier(field.name)}")
        joins.append(
            f"LEFT JOIN (SELECT value, id FROM vocabulary WHERE field = {sql_literal(vocabulary)}) "
            f"AS v{i} ON v{i}.value = {column}"
        )
    return (
        f"SELECT {', '.join(columns)} FROM rows {' '.join(joins)} WHERE problem IS NULL "
        f"AND rows.rowid >= {start} AND rows.rowid < {start + ROWS_PER_CHUNK}"
    )


def _scaled(name: str, scaling: Mapping[str, tuple[float, float]]) -> str:
    column = f"rows.{sql_identifier(name)}"
    if name not in scaling:
        return column
    mean, deviation = scaling[name]
    scaled = f"({column} - {mean!r}::DOUBLE) / {deviation!r}::DOUBLE"
    # a number far off stays a float32; both functions pass over NULL
    bounded = f"greatest(least({scaled}, {LARGEST}), -{LARGEST})"
    return f"CASE WHEN {column} IS NOT NULL THEN {bounded} END"


def _matrix(found: dict[str, np.ndarray], fields: tuple[Field, ...], dtype: type) -> np.ndarray:
    matrix = np.empty((len(found["row"]), len(fields)), dtype)
    for i, field in enumerate(fields):
        matrix[:, i] = found[field.name]
    return matrix
