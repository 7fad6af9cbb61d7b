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
from zoo.data.interaction import InteractionFile
from zoo.data.interactions import read_interactions
from zoo.data.schema import JOINER

DEFAULT_BINS = 100
NAMED = 20  # of what is left out, in the terminal


@dataclass(frozen=True)
class CrossOptions:
    """Which cross fields are added to a dataset, and how they are fitted.

    Attributes:
        path: File interactions.json; None adds no cross fields.
        top_k: Number of its first interactions to take; None takes all.
        bins: Largest number of quantile bins of a numerical member; None takes what the file says.
        min_share: Share of the training rows that the count of a combination must exceed.
        all: Whether to take those too of which the file says that they do not pay.
    """

    path: Path | None
    top_k: int | None
    bins: int | None
    min_share: float
    all: bool = False

    def __post_init__(self) -> None:
        if self.top_k is not None and self.top_k < 1:
            raise ZooError(f"data.top_k must be at least 1, got {self.top_k}")
        if self.bins is not None and self.bins < 2:
            raise ZooError(f"data.cross_bins must be at least 2, got {self.bins}")
        if not 0 <= self.min_share < 1:
            raise ZooError(
                f"data.cross_min_share is a share from 0 to below 1, got {self.min_share}"
            )

    def min_count(self, rows: int) -> int:
        """The smallest count above the share of `rows`, exactly: 101 for 1e-4 of a million."""
        return math.floor(Fraction(str(self.min_share)) * rows) + 1

    def options(self, cross: "CrossFields") -> dict[str, Any]:
        """All that decides, for given prepared data, what a cross holds."""
        return {
            "fields": list(cross.members),
            "cross_bins": cross.bins,
            "cross_min_share": self.min_share,
        }

    def read(self, fields: list[str]) -> InteractionFile | None:
        """The file of interactions between the dataset's fields; None without one."""
        return read_interactions(self.path, fields, "data.crosses") if self.path else None

    def interactions(self, fields: list[str]) -> "list[CrossFields]":
        """The interactions to be crossed, by rank, each in the order of `fields`.

        Args:
            fields: Names of the dataset's fields.

        Raises:
            ZooError: where the file cannot be used; the message says why. The whole file is
                checked, whatever `top_k`; a set of fields that occurs twice is an error.
        """
        file = self.read(fields)
        if file is None:
            return []
        taken = dict.fromkeys(fields, "the dataset")
        crosses = []
        for number, interaction in enumerate(file.interactions, 1):
            where = f"{self.path}: interaction {number}"
            members = tuple(sorted(interaction.fields, key=fields.index))
            name = JOINER.join(members)
            if name in taken:
                raise ZooError(f"{where} makes the field {name!r}, which {taken[name]} has already")
            taken[name] = f"interaction {number}"
            crosses.append(CrossFields(members, self.bins or interaction.bins or DEFAULT_BINS))
        return self._first(self._paying(crosses, file))

    def _paying(self, crosses: "list[CrossFields]", file: InteractionFile) -> "list[CrossFields]":
        """Those that pay, where the file says so; the others are named."""
        pays = [interaction.pays for interaction in file.interactions]
        if self.all or not any(pay is not None for pay in pays):
            return crosses
        others = [" x ".join(c.members) for c, pay in zip(crosses, pays, strict=True) if not pay]
        if others:
            more = f" and {len(others) - NAMED:,} more" if len(others) > NAMED else ""
            paying = f"{len(crosses) - len(others):,} of {len(crosses):,} cross fields pay"
            report(
                f"{self.path}: {paying}; left out, unless data.cross_all is true: "
                f"{', '.join(others[:NAMED])}{more}"
            )
        return [cross for cross, pay in zip(crosses, pays, strict=True) if pay]

    def _first(self, crosses: "list[CrossFields]") -> "list[CrossFields]":
        if len(crosses) < (self.top_k or 1):
            wanted = f" of the {self.top_k} that data.top_k asks for" if self.top_k else ""
            report(f"{self.path}: interactions found: {len(crosses)}{wanted}")
        return crosses[: self.top_k]


@dataclass(frozen=True)
class CrossFields:
    """A cross field to be fitted.

    Attributes:
        members: Names of the fields that it crosses, in the order of the dataset.
        bins: Largest number of quantile bins of a numerical member.
    """

    members: tuple[str, ...]
    bins: int


def report(message: str) -> None:
    """Prints a sentence that is no error."""
    Console(stderr=True).print(message, soft_wrap=True, highlight=False, markup=False)
