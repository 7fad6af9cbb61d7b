"""Lists of values in raw rows -> lists of ids.

Shapes: R rows of a chunk, M fields of lists.
"""

from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import torch

from datamodules.tabular.rows import Rows, codes_of, column_of, texts_of
from zoo.data.lists import Lists, beside
from zoo.data.schema import Schema


def count_values(rows: Rows, schema: Schema) -> dict[int, int]:
    """Number of values that the lists of the rows of each split hold, by its number."""
    found: dict[int, int] = {}
    for chunk, split in zip(rows if schema.lists else (), rows.splits, strict=False):
        for field in schema.lists:
            lengths = _lengths(column_of(chunk, field.name))
            for number in np.unique(split).tolist():
                found[number] = found.get(number, 0) + int(lengths[split == number].sum())
    return found


def lists_of(chunk: pa.Table, schema: Schema, ids: Mapping[str, np.ndarray]) -> Lists | None:
    """The lists of a chunk; None where the schema has no such fields.

    A missing list is empty. A value that has no id is unknown.

    Args:
        chunk: The rows.
        schema: Schema of the rows, without crosses.
        ids: int32 the ids of the texts of each field.
    """
    if not schema.lists:
        return None
    return beside([_encode(column_of(chunk, f.name), ids[f.name]) for f in schema.lists])


def _encode(column: pa.ListArray, ids: np.ndarray) -> Lists:
    lengths = torch.from_numpy(_lengths(column).astype(np.int64))
    offsets = lengths.cumsum(0) - lengths
    values = torch.from_numpy(ids[codes_of(texts_of(column))])
    return Lists(values, offsets.unsqueeze(1), lengths.unsqueeze(1))


def _lengths(column: pa.ListArray) -> np.ndarray:
    return column.value_lengths().to_numpy(zero_copy_only=False)
