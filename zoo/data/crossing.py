"""Rows on which candidates for cross fields are tried out, and the ids that those would have.

Shapes: n rows of a split, E ids in them: n, unless the cross is of lists.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from zoo.data.batch import Batch


@dataclass(frozen=True)
class CrossIds:
    """The ids of a field in the rows of each split.

    Attributes:
        cardinality: Number of its ids, unknown and missing included.
        ids: int [E] of each split, by its name.
        counts: int64 [n] the number of ids of each row, by the name of the split; empty where each
            row has one.
    """

    cardinality: int
    ids: Mapping[str, np.ndarray]
    counts: Mapping[str, np.ndarray] = field(default_factory=dict)


class CrossRows(Protocol):
    """Rows of the splits `train` and `val`, always in the same order."""

    @property
    def labels(self) -> Mapping[str, np.ndarray]:
        """float64 [n] the labels of each split."""
        ...

    @property
    def weights(self) -> Mapping[str, np.ndarray]:
        """float64 [n] how much each row counts."""
        ...

    def batches(self, split: str) -> Iterable[Batch]:
        """The rows of a split, as models take them."""
        ...

    def ids(self, fields: Sequence[str], bins: int) -> CrossIds:
        """The ids that the cross of some fields has, or those of one field.

        They are fitted on all training rows, as those of a cross field are.

        Args:
            fields: Names of the fields.
            bins: Largest number of quantile bins of a numerical field.
        """
        ...
