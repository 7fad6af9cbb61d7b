"""Columns of a raw file that its predictions carry along."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from zoo.data.errors import ZooError

CARRIED = "carried.parquet"


@contextmanager
def carried_file(folder: Path, columns: Sequence[str]) -> Iterator[Callable[..., None]]:
    """Writes `folder`/carried.parquet, of `row` and text columns (see `ZooDataModule.carried`).

    Gives a function of row numbers and, for each column, its values; without columns it writes
    nothing.
    """
    if not columns:
        yield lambda row, *values: None
        return
    schema = pa.schema([("row", pa.int64()), *((column, pa.string()) for column in columns)])
    with pq.ParquetWriter(folder / CARRIED, schema) as writer:

        def write(row: np.ndarray, *values: pa.Array | Sequence[str | None]) -> None:
            arrays = [pa.array(row), *(pa.array(column, pa.string()) for column in values)]
            writer.write_table(pa.Table.from_arrays(arrays, schema=schema))

        yield write


def check_columns(columns: Sequence[str], offered: Sequence[str], place: object) -> None:
    """Raises `ZooError` where a column is to be carried along that a raw file does not have."""
    for column in columns:
        if column not in offered:
            raise ZooError(
                f"{place} has no column {column!r} to carry along (data.predict_columns): it has "
                f"{', '.join(filter(None, offered))}"
            )
