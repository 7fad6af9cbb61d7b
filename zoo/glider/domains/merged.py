"""Joins interactions that overlap, so that few remain to be looked at."""

from collections.abc import Iterable


def merged(sets: Iterable[Iterable[int]], least: float = 0.5) -> list[tuple[int, ...]]:
    """Sets of features, of which any two that overlap have become one.

    Two sets overlap where |A & B| / min(|A|, |B|) >= `least` (Tsang et al. 2020, figure 4). They
    are joined, one after the other, until none do; a joined set stands where the first of its parts
    stood.

    Args:
        sets: The sets, the most important one first.
        least: Overlap coefficient from which on two sets are one.
    """
    found: list[set[int]] = []
    for new in map(set, sets):
        found.append(new)
        while (pair := _overlapping(found, least)) is not None:
            first, second = pair
            found[first] |= found.pop(second)
    return [tuple(sorted(one)) for one in found]


def _overlapping(sets: list[set[int]], least: float) -> tuple[int, int] | None:
    """The first two of some sets that overlap."""
    for second, later in enumerate(sets):
        for first, earlier in enumerate(sets[:second]):
            smaller = min(len(earlier), len(later))
            if smaller and len(earlier & later) / smaller >= least:
                return first, second
    return None
