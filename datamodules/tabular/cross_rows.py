"""Rows on which candidates for cross fields are tried out: all, or evenly spread pieces.

Shapes: n rows of a split.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from datamodules.prepared.arrays import Arrays
from datamodules.prepared.engine import Engine
from datamodules.prepared.lists import ListArrays
from datamodules.prepared.parts import copied
from datamodules.tabular.cross_options import CrossOptions
from datamodules.tabular.crosses import combinations, fit_cross
from datamodules.tabular.loader import BatchLoader
from zoo.data.batch import Batch
from zoo.data.crossing import CrossIds
from zoo.data.schema import Schema

PIECE = 1000  # rows beside each other
BATCH = 4096


class PreparedCrossRows:
    """Prepared rows in memory; see `zoo.data.crossing.CrossRows`.

    Args:
        arrays: The rows of each split.
        schema: Fields of the batches.
        crossing: How crosses are fitted; its bins are not used.
        rows: Largest number of rows of a split to hold.
        folder: Existing folder for what does not fit in memory.
        memory_limit: Bound of the memory in which combinations are counted, such as `1GB`.
    """

    def __init__(
        self,
        arrays: dict[str, Arrays],
        schema: Schema,
        crossing: CrossOptions,
        rows: int,
        folder: Path,
        memory_limit: str,
    ) -> None:
        self.schema = schema
        self.crossing = crossing
        self.folder = folder
        self.memory_limit = memory_limit
        self.train = arrays["train"]
        self.held = {split: spread(arrays[split], rows) for split in ("train", "val")}
        self.labels = {s: np.asarray(a.label, np.float64) for s, a in self.held.items()}
        self.weights = {s: _weights(a) for s, a in self.held.items()}

    def batches(self, split: str) -> Iterator[Batch]:
        """The rows of a split, as models take them."""
        return iter(BatchLoader(self.held[split], BATCH))

    def ids(self, fields: Sequence[str], bins: int) -> CrossIds:
        """The ids that the cross of some fields has, or those of one field; see `CrossRows`."""
        categories = [field.name for field in self.schema.categorical]
        if len(fields) == 1 and fields[0] in categories:
            column = categories.index(fields[0])
            ids = {s: np.ascontiguousarray(a.categorical[:, column]) for s, a in self.held.items()}
            return CrossIds(self.schema.categorical[column].cardinality, ids)
        order = [field.name for field in self.schema.fields]
        members = tuple(sorted(fields, key=order.index))
        least = self.crossing.min_count(len(self.train))
        with Engine(self.folder / "work", self.memory_limit) as engine:
            cross = fit_cross(engine, self.train, self.schema, members, bins=bins, min_count=least)
            ids = {
                split: np.concatenate([*cross.ids(engine, arrays, self.schema)])
                for split, arrays in self.held.items()
            }
        if not cross.is_list:
            return CrossIds(cross.cardinality, ids)
        counts = {s: combinations(a, self.schema, members) for s, a in self.held.items()}
        return CrossIds(cross.cardinality, ids, counts)


def spread(arrays: Arrays, most: int) -> Arrays:
    """The rows, copied to memory; of more than `most`, pieces that are evenly spread.

    Args:
        arrays: The rows.
        most: Largest number of rows to take.
    """
    n = len(arrays)
    pieces = [slice(0, n)]
    if n > most:
        starts = np.linspace(0, n - min(PIECE, most), max(most // PIECE, 1)).astype(int).tolist()
        pieces = [slice(start, start + min(PIECE, most)) for start in starts]

    return Arrays(
        *(
            copied(a, pieces)
            for a in (arrays.numerical, arrays.categorical, arrays.label, arrays.row)
        ),
        crosses=tuple(
            ListArrays.of([c.rows(pieces)]) if isinstance(c, ListArrays) else copied(c, pieces)
            for c in arrays.crosses
        ),
        lists=arrays.lists and ListArrays.of([arrays.lists.rows(pieces)]),
        weight=None if arrays.weight is None else copied(arrays.weight, pieces),
    )


def _weights(arrays: Arrays) -> np.ndarray:
    return np.ones(len(arrays)) if arrays.weight is None else np.asarray(arrays.weight, np.float64)
