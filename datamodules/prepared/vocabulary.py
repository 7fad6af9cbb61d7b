"""The vocabulary rule, the same for all datasets, in Python and in SQL.

Ids 0 (unknown: rare or unseen) and 1 (missing) come first. The values of the training rows follow
from 2, most frequent first, values of equal count in the order of their text (that of its code
points, which is that of its UTF-8 bytes).

    vocabulary.parquet    (field, value, id, count)
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from zoo.data.encoder import VOCABULARY
from zoo.data.schema import MISSING, UNKNOWN

FIRST_ID = MISSING + 1  # of the most frequent value
COLUMNS = ("field", "value", "id", "count")


def ranked(counts: Mapping[str, int]) -> dict[str, int]:
    """The values that occur and their counts, in the order of their ids.

    Args:
        counts: How often each value occurs in the training rows.
    """
    found = sorted(counts.items(), key=lambda entry: (-entry[1], entry[0]))
    return {value: count for value, count in found if count}


def sql_ranked(values: str, source: str, most: int | None = None) -> str:
    """The rule as an SQL query of the values, their `id` and `count`, in the order of the ids.

    Args:
        values: Column of the values, or several columns between commas.
        source: The values that are to have an id, and their `count`.
        most: Largest number of ids; None is any.
    """
    # rows that are sorted, then numbered: a window with an order of its own takes twice the time
    limit = "" if most is None else f" LIMIT {most}"
    return (
        f"SELECT {values}, ({MISSING} + row_number() OVER ())::INTEGER AS id, count FROM "
        f"(SELECT {values}, count FROM {source} ORDER BY count DESC, {values}{limit})"
    )


class Vocabulary:
    """The values of one field that have an id.

    Args:
        values: The value of each user, item or row; None where it is missing.
        counts: How often each of them occurs in the training rows.

    Attributes:
        counts: How often each value occurs, in the order of the ids.
        cardinality: Number of ids, unknown and missing included.
    """

    def __init__(self, values: Iterable[str | None], counts: np.ndarray) -> None:
        total: Counter[str] = Counter()
        for value, count in zip(values, counts.tolist(), strict=True):
            if value is not None:
                total[value] += count
        self.counts = ranked(total)
        self.cardinality = FIRST_ID + len(self.counts)
        self._ids = {value: i for i, value in enumerate(self.counts, FIRST_ID)}

    def encode(self, values: Iterable[str | None]) -> np.ndarray:
        """int32 [n] the ids of values, None where missing."""
        ids = [MISSING if value is None else self._ids.get(value, UNKNOWN) for value in values]
        return np.array(ids, np.int32)


def write_vocabularies(folder: Path, found: Mapping[str, Vocabulary]) -> None:
    """Writes the table of all vocabularies, by the name of their field."""
    lines = [
        dict(zip(COLUMNS, (name, value, i, count), strict=True))
        for name, vocabulary in found.items()
        for i, (value, count) in enumerate(vocabulary.counts.items(), FIRST_ID)
    ]
    pq.write_table(pa.Table.from_pylist(lines), folder / VOCABULARY)
