"""interactions.json -> the sets of fields that are crossed, and how.

Interactions stand in the order of their rank (see `zoo.data.interactions`); only their fields are
used here.
"""

import math
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from rich.console import Console

from zoo.data.errors import ZooError
from zoo.data.interactions import read_interactions
from zoo.data.schema import JOINER


@dataclass(frozen=True)
class CrossOptions:
    """Which cross fields are added to a dataset, and how they are fitted.

    Attributes:
        path: File interactions.json; None adds no cross fields.
        top_k: Number of its first interactions to take; None takes all.
        bins: Largest number of quantile bins of a numerical member.
        min_share: Share of the training rows that the count of a combination must exceed.
    """

    path: Path | None
    top_k: int | None
    bins: int
    min_share: float

    def __post_init__(self) -> None:
        if self.top_k is not None and self.top_k < 1:
            raise ZooError(f"data.top_k must be at least 1, got {self.top_k}")
        if self.bins < 2:
            raise ZooError(f"data.cross_bins must be at least 2, got {self.bins}")
        if not 0 <= self.min_share < 1:
            raise ZooError(
                f"data.cross_min_share is a share from 0 to below 1, got {self.min_share}"
            )

    def min_count(self, rows: int) -> int:
        """The smallest count above the share of `rows`, exactly: 101 for 1e-4 of a million."""
        return math.floor(Fraction(str(self.min_share)) * rows) + 1

    def options(self, members: tuple[str, ...]) -> dict[str, Any]:
        """All that decides, for given prepared data, what a cross of these members holds."""
        return {
            "fields": list(members),
            "cross_bins": self.bins,
            "cross_min_share": self.min_share,
        }

    def interactions(self, fields: list[str]) -> list[tuple[str, ...]]:
        """The interactions to be crossed, by rank, each in the order of `fields`.

        Args:
            fields: Names of the dataset's fields.

        Raises:
            ZooError: where the file cannot be used; the message says why. The whole file is
                checked, whatever `top_k`; a set of fields that occurs twice is an error.
        """
        if self.path is None:
            return []
        taken = dict.fromkeys(fields, "the dataset")
        interactions = []
        found = read_interactions(self.path, fields, "data.crosses").interactions
        for number, interaction in enumerate(found, 1):
            where = f"{self.path}: interaction {number}"
            members = tuple(sorted(interaction.fields, key=fields.index))
            name = JOINER.join(members)
            if name in taken:
                raise ZooError(f"{where} makes the field {name!r}, which {taken[name]} has already")
            taken[name] = f"interaction {number}"
            interactions.append(members)
        if len(interactions) < (self.top_k or 1):
            wanted = f" of the {self.top_k} that data.top_k asks for" if self.top_k else ""
            message = f"{self.path}: interactions found: {len(interactions)}{wanted}"
            Console(stderr=True).print(message, soft_wrap=True, highlight=False, markup=False)
        return interactions[: self.top_k]
