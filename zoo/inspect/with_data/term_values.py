"""The rows of a sample by the values of a field: what the shape of a term is drawn over.

Shapes: R rows, K pairs of a row and a value that it has, G groups of values.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from zoo.data.encoder import interval
from zoo.data.scales import Scale, Scales
from zoo.data.schema import MISSING, UNKNOWN, Field, Schema
from zoo.inspect.with_data.values import EMPTY

FEW = 12  # different numbers of a field up to which each is a value of its own
BINS = 10  # of the other numbers, on the axis of a heat map
NO_VALUE = -1  # in place of an id, of a list without ids
MISSING_NUMBER = "(missing)"
SPECIAL = (NO_VALUE, UNKNOWN, MISSING)


@dataclass(frozen=True)
class FieldValues:
    """The values of a field in a sample.

    Attributes:
        field: The field.
        rows: int64 [K] a row that has a value; of a field without lists, each row once.
        ids: int64 [K] the value as an id, or the number of its place among the different numbers.
        numbers: float64 [R] the numbers of a numerical field; None of one of ids.
        missing: bool [R] where a number is missing.
        names: Names of the ids, or the different numbers of a field that has few.
        is_curve: Whether it has so many different numbers that a line is drawn over them.
        ordered: Whether the ids stand in an order of their own, as numbers and bins of them do.
        scale: What becomes of a number before the model takes it; None where that is not known.
    """

    field: Field
    rows: Tensor
    ids: Tensor
    numbers: Tensor | None
    missing: Tensor
    names: Mapping[int, str]
    is_curve: bool = False
    ordered: bool = False
    scale: Scale | None = None

    def raw(self, number: float) -> float:
        """A number as the table has it, as far as that is known."""
        return self.scale.raw(number) if self.scale else number

    def name(self, i: int) -> str:
        """A value in words."""
        empty = EMPTY if self.numbers is None else MISSING_NUMBER
        return empty if i == NO_VALUE else self.names.get(i, f"id {i}")


@dataclass(frozen=True)
class Axis:
    """Groups of the values of a field.

    Attributes:
        labels: Names of the groups.
        member: float64 [R, G], 1 where a row has a value of the group.
    """

    labels: tuple[str, ...]
    member: Tensor


def values_of_field(
    field: Field,
    inputs: Mapping[str, Tensor],
    schema: Schema,
    names: Mapping[int, str],
    scales: Scales,
) -> FieldValues:
    """The values of a field.

    Args:
        field: The field.
        inputs: [R] the values of each field by name, as `Batch.inputs` gives them.
        schema: All fields, one of which may say where the number of this one is missing.
        names: Names of the ids of the field.
        scales: What is known of the scales of numbers.
    """
    column = inputs[field.name]
    every = torch.arange(len(column))
    missing = torch.zeros(len(column), dtype=torch.bool)
    if field.kind == "numerical":
        numbers = column.double()
        missing = numbers.isnan() | _indicated(field, inputs, schema)
        different, ids = numbers[~missing].unique(return_inverse=True)
        places = torch.full_like(every, NO_VALUE)
        places[~missing] = ids
        many = len(different) > FEW
        scale = scales.of.get(field.name)
        raw = [scale.raw(x) if scale else x for x in different.tolist()]
        named = {} if many else {i: f"{x:.5g}" for i, x in enumerate(raw)}
        return FieldValues(field, every, places, numbers, missing, named, many, True, scale)
    if column.ndim == 1:
        ordered = field.name in scales.binned
        return FieldValues(field, every, column.long(), None, missing, names, ordered=ordered)
    there = column >= 0
    empty = (~there.any(1)).nonzero().flatten()
    rows = torch.cat((there.nonzero()[:, 0], empty))
    ids = torch.cat((column[there].long(), torch.full_like(empty, NO_VALUE)))
    pairs = torch.stack((rows, ids), 1).unique(dim=0)  # a value that a list repeats counts once
    return FieldValues(field, pairs[:, 0], pairs[:, 1], None, missing, names)


def _indicated(field: Field, inputs: Mapping[str, Tensor], schema: Schema) -> Tensor:
    """bool [R] where the field beside it says that a number is missing."""
    beside = inputs.get(f"{field.name} missing")
    if beside is None or not any(f.name == f"{field.name} missing" for f in schema.numerical):
        return torch.zeros(len(inputs[field.name]), dtype=torch.bool)
    return beside > 0.5


def axis_of(values: FieldValues, most: int, bins: int = BINS) -> Axis:
    """The axis of a heat map.

    Args:
        values: The values of a field.
        most: Number of ids that have a group of their own, the most frequent; the others share
            one.
        bins: Number of quantile bins of a field of many different numbers.
    """
    if values.is_curve:
        return _binned(values, bins)
    ids, counts = values.ids.unique(return_counts=True)
    order = counts.argsort(descending=True, stable=True)
    kept = ids[order[:most]] if len(ids) > most + 1 else ids
    if values.ordered:
        kept = ids
    kept = kept.sort().values
    labels = [values.name(i) for i in kept.tolist()]
    place = torch.searchsorted(kept, values.ids).clamp(max=len(kept) - 1)
    place = torch.where(kept[place] == values.ids, place, len(kept))
    if len(kept) < len(ids):
        labels.append(f"({len(ids) - len(kept):,} others)")
    return Axis(tuple(labels), _members(values, place, len(labels)))


def _binned(values: FieldValues, bins: int) -> Axis:
    """Bins of equal numbers of rows, as far as equal numbers allow it; missing apart."""
    assert values.numbers is not None
    there = values.numbers[~values.missing]
    shares = torch.linspace(0, 1, bins + 1, dtype=torch.float64)[1:-1]
    edges = there.quantile(shares, interpolation="lower").unique()
    edges = edges[edges < there.max()]
    place = torch.bucketize(values.numbers, edges)
    named = [f"{values.raw(edge):.4g}" for edge in edges.tolist()]
    labels = [interval(named, code) for code in range(len(edges) + 1)]
    if values.missing.any():
        place = torch.where(values.missing, len(labels), place)
        labels.append(MISSING_NUMBER)
    return Axis(tuple(labels), _members(values, place, len(labels)))


def _members(values: FieldValues, place: Tensor, groups: int) -> Tensor:
    """[R, G] from the group [K] of each pair of a row and a value."""
    rows = len(values.missing)
    member = torch.zeros(rows, groups, dtype=torch.float64)
    member[values.rows, place] = 1.0
    return member
