"""Lists of values in raw rows -> lists of ids.

Shapes: R rows of a chunk, M fields of lists.
"""

import numpy as np
import torch

from datamodules.prepared.engine import Engine, sql_identifier, sql_literal
from zoo.data.lists import Lists, beside
from zoo.data.schema import UNKNOWN, Field, Schema


def count_values(engine: Engine, schema: Schema) -> dict[int, int]:
    """Number of values that the lists of the usable rows of each split hold, by its number."""
    lengths = " + ".join(f"coalesce(len({sql_identifier(f.name)}), 0)" for f in schema.lists)
    if not lengths:
        return {}
    found = engine.run(
        f"SELECT split, sum({lengths})::BIGINT FROM rows WHERE problem IS NULL GROUP BY 1"
    )
    return dict(found)


def encode_lists(engine: Engine, schema: Schema, row: np.ndarray) -> Lists | None:
    """The lists of a chunk of usable rows; None where the schema has no such fields.

    A missing list is empty. A value that has no id is unknown.

    Args:
        engine: Holds the rows and the vocabulary.
        schema: Schema of the rows, without crosses.
        row: int64 [R] numbers of the chunk's rows in the table `rows`, ascending.
    """
    if not schema.lists:
        return None
    return beside([_encode(engine, field, row) for field in schema.lists])


def _encode(engine: Engine, field: Field, row: np.ndarray) -> Lists:
    if not len(row):
        nothing = torch.zeros(0, 1, dtype=torch.long)
        return Lists(torch.zeros(0, dtype=torch.int32), nothing, nothing)
    column = sql_identifier(field.name)
    vocabulary = sql_literal(field.vocabulary or field.name)
    found = engine.arrays(
        f"SELECT u.row AS row, place, coalesce(v.id, {UNKNOWN})::INTEGER AS id FROM ("
        f"SELECT rowid AS row, unnest({column}) AS value, generate_subscripts({column}, 1) AS "
        f"place FROM rows WHERE problem IS NULL AND rowid BETWEEN {row[0]} AND {row[-1]}) AS u "
        f"LEFT JOIN (SELECT value, id FROM vocabulary WHERE field = {vocabulary}) AS v "
        "USING (value)"
    )
    order = np.lexsort((found["place"], found["row"]))
    lengths = torch.from_numpy(
        np.bincount(np.searchsorted(row, found["row"]), minlength=len(row)).astype(np.int64)
    )
    offsets = lengths.cumsum(0) - lengths
    ids = torch.from_numpy(found["id"][order].astype(np.int32))
    return Lists(ids, offsets.unsqueeze(1), lengths.unsqueeze(1))
