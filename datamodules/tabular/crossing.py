"""interactions.json -> the sets of fields that are crossed.

    {"format": 1, "interactions": [{"fields": ["C1", "C2"], "count": 812}, ...]}

Interactions stand in the order of their rank; of each, only `fields` is read here.
"""

import json
import math
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from rich.console import Console

from zoo.data.errors import ZooError
from zoo.data.schema import JOINER

FORMAT = 1


@dataclass(frozen=True)
class Crossing:
    """Which cross fields are added to a dataset, and how they are fitted.

    Args:
        path: interactions.json; None adds no cross fields.
        top_k: its first interactions; None takes all.
        bins: quantile bins of a numerical member, at most.
        min_share: of the training rows, which a combination's count must exceed.
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
            fields: names of the dataset's fields.

        Raises:
            ZooError: where the file cannot be used; the message says why. The whole file is
                checked, whatever `top_k`; a set of fields that comes twice is an error.
        """
        if self.path is None:
            return []
        taken = dict.fromkeys(fields, "the dataset")
        interactions = []
        for number, entry in enumerate(_read(self.path), 1):
            where = f"{self.path}: interaction {number}"
            members = _members(entry, fields, where)
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


def _read(path: Path) -> list[Any]:
    try:
        content = json.loads(path.read_bytes())
    except OSError as error:
        raise ZooError(f"cannot read {path} (data.crosses): {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise ZooError(f"{path} is not JSON (data.crosses): {error}") from error
    if not isinstance(content, dict) or "format" not in content:
        raise ZooError(f'{path} is not a file of interactions: it lacks "format" (data.crosses)')
    if content["format"] != FORMAT:
        raise ZooError(f"{path} has format {content['format']!r}, this version reads {FORMAT}")
    if not isinstance(content.get("interactions"), list):
        raise ZooError(f'{path}: "interactions" is not a list')
    return content["interactions"]


def _members(entry: Any, fields: list[str], where: str) -> tuple[str, ...]:
    members = entry.get("fields") if isinstance(entry, dict) else None
    if not isinstance(members, list) or not all(isinstance(m, str) for m in members):
        raise ZooError(f'{where} lacks its "fields", a list of names')
    for member in members:
        if member not in fields:
            raise ZooError(f"{where} names an unknown field: {member}")
        if members.count(member) > 1:
            raise ZooError(f"{where} names a field twice: {member}")
    if len(members) < 2:
        raise ZooError(f"{where} has fewer than two fields: {', '.join(members) or 'none'}")
    return tuple(sorted(members, key=fields.index))
