"""The shape of a term: what it adds to the logit by the values of its fields.

All numbers are those of the rows of a sample, whose contributions the model has computed: nothing
is interpolated. Of a term of one field the contribution is a function of its value alone; of a
list, and of groups of values, there is a spread between the rows.

Shapes: R rows, G, H groups of values of two fields.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from zoo.inspect.with_data.term_values import (
    MISSING_NUMBER,
    SPECIAL,
    Axis,
    FieldValues,
    axis_of,
)

POINTS = 200  # of a curve
DENSITY = 40  # bins of the rows beneath it
EVERY = 20  # values up to which all are shown; of more, the
FREQUENT, EXTREME = 10, 5  # most frequent ones, and the highest and the lowest of the others
GROUPS, SLICES = 12, 4  # values of a field in a heat map, and of the third one


@dataclass(frozen=True)
class Level:
    """What a term adds where a field has a value.

    Attributes:
        name: The value.
        rows: Number of rows that have it.
        mean: Mean contribution.
        spread: Standard deviation between these rows.
        kind: Why it is shown: `frequent`, `extreme` (its mean), or `special` (unknown, missing, a
            list without values).
    """

    name: str
    rows: int
    mean: float
    spread: float
    kind: str = "frequent"


@dataclass(frozen=True)
class Curve:
    """What a term adds over the numbers of a field.

    Attributes:
        field: Name of the field.
        values: Numbers that rows have, rising: all, or some at quantiles of the rows; as the model
            takes them.
        raw: The same as the table has them; empty where that is not known.
        contributions: What the term adds there.
        edges: Edges of bins of equal width, in which rows are counted.
        counts: Number of rows in each bin.
        missing: What it adds where the number is missing; None where it never is.
    """

    field: str
    values: tuple[float, ...]
    contributions: tuple[float, ...]
    edges: tuple[float, ...]
    counts: tuple[int, ...]
    missing: Level | None = None
    raw: tuple[float, ...] = ()

    @property
    def shown(self) -> tuple[float, ...]:
        """The numbers as they are shown."""
        return self.raw or self.values


@dataclass(frozen=True)
class Levels:
    """What a term adds by the values of a field.

    Attributes:
        field: Name of the field.
        levels: The values that are shown.
        others: Number of further values.
    """

    field: str
    levels: tuple[Level, ...]
    others: int = 0


@dataclass(frozen=True)
class Cells:
    """What a term adds by the values of two fields.

    Attributes:
        fields: Names of the fields, that of the rows first.
        given: Value of a third field that all this is of; empty for none.
        rows: Values, or groups of values, of the first field, G.
        columns: Those of the second field, H.
        means: [G][H] mean contribution; None where no row is.
        spreads: [G][H] standard deviation between the rows of a cell.
        counts: [G][H] number of rows.
    """

    fields: tuple[str, str]
    given: str
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    means: tuple[tuple[float | None, ...], ...]
    spreads: tuple[tuple[float | None, ...], ...]
    counts: tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Shape:
    """The shape of a term of one, two or three fields; empty of one of more.

    Attributes:
        curve: Of a number with many different values.
        levels: Of any other field.
        cells: Of two fields, or of three by the values of the third.
    """

    curve: Curve | None = None
    levels: Levels | None = None
    cells: tuple[Cells, ...] = field(default=())


def shape_of(contributions: Tensor, fields: Sequence[FieldValues]) -> Shape:
    """The shape of a term.

    Args:
        contributions: [R] what it adds in each row.
        fields: The values of its fields.
    """
    added = contributions.double()
    if len(fields) == 1:
        (values,) = fields
        if values.is_curve:
            return Shape(curve=_curve(added, values))
        return Shape(levels=_levels(added, values))
    if len(fields) == 2:
        first, second = (axis_of(values, GROUPS) for values in fields)
        names = fields[0].field.name, fields[1].field.name
        return Shape(cells=(_cells(added, names, first, second),))
    return Shape(cells=_slices(added, fields) if len(fields) == 3 else ())


# One field


def _curve(added: Tensor, values: FieldValues) -> Curve:
    assert values.numbers is not None
    there = ~values.missing
    numbers, order = values.numbers[there].sort(stable=True)
    heights = added[there][order]
    first = torch.ones_like(numbers, dtype=torch.bool)
    first[1:] = numbers[1:] != numbers[:-1]  # of each different number
    if int(first.sum()) > POINTS:
        at = torch.linspace(0, len(numbers) - 1, POINTS).round().long()
        chosen = torch.zeros_like(first)
        chosen[at] = True
        starts = first.nonzero().flatten()
        group = first.cumsum(0) - 1
        first = torch.zeros_like(first)
        first[starts[group[chosen].unique()]] = True
    low, high = _middle(numbers)
    inside = numbers[(numbers >= low) & (numbers <= high)]
    counts = torch.histc(inside, DENSITY, low, high).long() if high > low else inside.new_zeros(0)
    edges = torch.linspace(low, high, DENSITY + 1, dtype=torch.float64)
    missing = None
    if values.missing.any():
        missing = _level(MISSING_NUMBER, added[values.missing], "special")
    chosen_numbers = numbers[first].tolist()
    return Curve(
        values.field.name,
        tuple(chosen_numbers),
        tuple(heights[first].tolist()),
        tuple(edges.tolist()),
        tuple(counts.tolist()),
        missing,
        tuple(map(values.scale.raw, chosen_numbers)) if values.scale else (),
    )


def _middle(numbers: Tensor) -> tuple[float, float]:
    """The range of sorted numbers; without the outermost, where these are far away."""
    low, high = float(numbers[0]), float(numbers[-1])
    cut = len(numbers) // 200
    inner_low, inner_high = float(numbers[cut]), float(numbers[-1 - cut])
    if high - low > 3 * (inner_high - inner_low) > 0:
        return inner_low, inner_high
    return low, high


def _level(name: str, added: Tensor, kind: str) -> Level:
    return Level(name, len(added), float(added.mean()), float(added.std(correction=0)), kind)


def _levels(added: Tensor, values: FieldValues) -> Levels:
    """All values of a few; else the most frequent ones, and the highest and the lowest."""
    ids, places, counts = values.ids.unique(return_inverse=True, return_counts=True)
    of_pair = added[values.rows]
    means = torch.zeros(len(ids), dtype=torch.float64).index_add_(0, places, of_pair) / counts
    apart = (of_pair - means[places]) ** 2
    spreads = torch.zeros_like(means).index_add_(0, places, apart).div(counts).sqrt()
    kinds = _kinds(ids.tolist(), means.tolist(), counts.tolist(), values)
    levels = [
        Level(values.name(int(ids[i])), int(counts[i]), float(means[i]), float(spreads[i]), kind)
        for i, kind in kinds.items()
    ]
    return Levels(values.field.name, tuple(levels), len(ids) - len(levels))


def _kinds(
    ids: Sequence[int], means: Sequence[float], counts: Sequence[int], values: FieldValues
) -> dict[int, str]:
    """Places of the values to show, in their order, with why each is shown."""
    apart = SPECIAL if values.numbers is None else SPECIAL[:1]
    special = [i for i, value in enumerate(ids) if value in apart]
    plain = [i for i in range(len(ids)) if i not in special]
    if values.ordered:
        return dict.fromkeys(plain, "frequent") | dict.fromkeys(special, "special")
    by_count = sorted(plain, key=lambda i: -counts[i])
    frequent = by_count if len(plain) <= EVERY else by_count[:FREQUENT]
    others = sorted((i for i in plain if i not in {*frequent}), key=lambda i: -means[i])
    extreme = others if len(others) <= 2 * EXTREME else [*others[:EXTREME], *others[-EXTREME:]]
    found = dict.fromkeys(frequent, "frequent") | dict.fromkeys(extreme, "extreme")
    return found | dict.fromkeys(special, "special")


# Several fields


def _cells(
    added: Tensor,
    names: tuple[str, str],
    first: Axis,
    second: Axis,
    inside: Tensor | None = None,
    given: str = "",
) -> Cells:
    """Means over the rows of each cell; of those `inside` [R] alone, where that is given."""
    rows = first.member if inside is None else first.member * inside.unsqueeze(1)
    counts = rows.T @ second.member
    means = (rows.T @ (second.member * added.unsqueeze(1))) / counts
    squares = (rows.T @ (second.member * added.square().unsqueeze(1))) / counts
    spreads = (squares - means.square()).clamp(min=0).sqrt()
    return Cells(
        names,
        given,
        first.labels,
        second.labels,
        _known(means),
        _known(spreads),
        tuple(tuple(int(x) for x in row) for row in counts.tolist()),
    )


def _known(values: Tensor) -> tuple[tuple[float | None, ...], ...]:
    return tuple(tuple(None if x != x else x for x in row) for row in values.tolist())


def _slices(added: Tensor, fields: Sequence[FieldValues]) -> tuple[Cells, ...]:
    """Of three fields, by the groups of the one that has the fewest."""
    axes = [axis_of(values, SLICES - 1, SLICES - 1) for values in fields]
    third = min(range(3), key=lambda i: (len(axes[i].labels), i))
    a, b = (i for i in range(3) if i != third)
    first, second = axis_of(fields[a], GROUPS), axis_of(fields[b], GROUPS)
    names = fields[a].field.name, fields[b].field.name
    return tuple(
        _cells(added, names, first, second, inside, f"{fields[third].field.name}: {label}")
        for label, inside in zip(axes[third].labels, axes[third].member.unbind(1), strict=True)
    )
