"""What training rows may have beside fields and label: a weight, and a group.

Shapes: R rows of a chunk.
"""

import numpy as np
import pyarrow as pa

from datamodules.tabular.source import part

# columns of the rows, by the array of prepared data that is made of them; no field is named so
ROW_COLUMNS = {"weight": "weight\nof the row", "group": "number\nof the group"}


def row_columns(weight: str | None, group: str | None) -> dict[str, str]:
    """The SQL of these columns, by their names.

    Args:
        weight: Column of the weight, which is NULL where it is no float32.
        group: Column of the group, of whose text a hash is taken, the same in all files.
    """
    found = {}
    if weight:
        found[ROW_COLUMNS["weight"]] = f"try_cast({part(weight, 'number')} AS FLOAT)"
    if group:
        # not DuckDB's own hash, which another version may change
        found[ROW_COLUMNS["group"]] = f"(md5_number_lower({part(group, 'text')}) >> 1)::BIGINT"
    return found


def row_arrays(chunk: pa.Table) -> dict[str, np.ndarray]:
    """float32 [R] `weight` and int64 [R] `group`, as the rows have them.

    A row without a group is one by itself, whose number is negative.
    """
    columns = {name: chunk[c] for name, c in ROW_COLUMNS.items() if c in chunk.column_names}
    found = {name: column.fill_null(0).to_numpy() for name, column in columns.items()}
    if "group" in columns:
        alone = columns["group"].is_null().to_numpy()
        found["group"] = np.where(alone, -1 - chunk["row"].to_numpy(), found["group"])
    return found
