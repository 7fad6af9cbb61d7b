"""What turns raw rows into ids and numbers: vocabularies, fitted on training rows.

Shapes: R rows of a chunk, N numerical fields, C categorical fields, M fields of lists.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import pyarrow as pa

from datamodules.prepared.encoder import Encoder
from datamodules.prepared.engine import Engine
from datamodules.prepared.vocabulary import FIRST_ID
from datamodules.tabular.bins import bin_ids
from datamodules.tabular.list_ids import lists_of
from datamodules.tabular.look_up import looked_up
from datamodules.tabular.row_columns import row_arrays
from datamodules.tabular.rows import Rows, codes_of, column_of, numbers_of
from datamodules.tabular.source import RawField
from zoo.data.lists import Lists
from zoo.data.schema import MISSING, Field, Schema

LARGEST = 3e38  # of a standardised number


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
    pairs = looked_up(engine, rows, encoder)
    for chunk, ids in engine.progress.track(pairs, total=len(rows), description="encode"):
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
