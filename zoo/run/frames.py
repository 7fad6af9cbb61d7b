"""DataFrames of pandas, as tables of Arrow."""

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeGuard

import pyarrow as pa

from zoo.data.errors import ZooError

if TYPE_CHECKING:
    import pandas as pd


def is_frame(rows: object) -> "TypeGuard[pd.DataFrame]":
    """Whether these are a DataFrame; pandas is not imported to find that out."""
    pandas = sys.modules.get("pandas")
    return pandas is not None and isinstance(rows, pandas.DataFrame)


def checked_frame(rows: object) -> "pd.DataFrame":
    """Rows that can become a table.

    Raises:
        ZooError: where they are no DataFrame, are none, or their columns have no names.
    """
    if not is_frame(rows):
        found = f"{type(rows).__module__}.{type(rows).__qualname__}".removeprefix("builtins.")
        raise ZooError(f"rows must be a DataFrame of pandas, got {found}")
    if not len(rows):
        raise ZooError("the DataFrame is empty: it holds no rows")
    names = [*rows.columns]
    for name in names:
        if not isinstance(name, str):
            raise ZooError(
                f"the DataFrame has a column named {name!r}, which is no text: rename it, such as "
                "by df.columns = df.columns.map(str)"
            )
        if names.count(name) > 1:
            raise ZooError(f"the DataFrame has two columns named {name!r}: rename one")
    return rows


def table_of(frame: "pd.DataFrame", columns: Sequence[str] | None = None) -> pa.Table:
    """Columns of a DataFrame, without its index.

    Args:
        frame: The DataFrame.
        columns: Those that are taken, as far as it has them; None is all.

    Raises:
        ZooError: names a column whose values are of several types, or that is the index.
    """
    for name in frame.index.names:
        if columns and name in columns and name not in frame.columns:
            raise ZooError(
                f"the DataFrame has {name!r} as its index, not as a column: give df.reset_index()"
            )
    names = [name for name in frame.columns if columns is None or name in columns]
    return pa.table({name: _array(name, frame[name]) for name in names})


def _array(name: str, values: Any) -> pa.Array | pa.ChunkedArray:
    try:
        return pa.array(values, from_pandas=True)
    except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
        reason = str(error).splitlines()[0]
        raise ZooError(
            f"the column {name!r} of the DataFrame holds values that are not of one type: give it "
            f"one, such as by .astype(str) ({reason})"
        ) from error
