"""The values of fields at which the predictions of two models differ most.

Shapes: R scored labels of a split (rows, or tracks of sessions).
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from zoo.data.encoder import value_names
from zoo.data.schema import Schema
from zoo.inspect.page import Figure, Section
from zoo.inspect.table import TextTable, text_table

SHARE = 0.01  # of all rows, which a slice has at least
SLICES_SHOWN = 15


@dataclass(frozen=True)
class SliceDifference:
    """The rows in which a field has a value.

    Attributes:
        field: Name of the field.
        value: Value of the field.
        rows: Number of rows.
        observed: Share of positives.
        first: Mean probability of the first model.
        second: Mean probability of the second model.
    """

    field: str
    value: str
    rows: int
    observed: float
    first: float
    second: float


def slice_differences(
    p: Tensor, labels: Tensor, ids: Mapping[str, Tensor], encoder: Path | None
) -> Iterator[SliceDifference]:
    """The values of fields with the largest difference of the mean probabilities.

    Args:
        p: [2, R] probabilities of both models.
        labels: [R] labels.
        ids: [R] ids of each field, by name.
        encoder: Folder of the encoder that names the values; None without one.
    """
    found = []
    for field, column in ids.items():
        counts = column.bincount()
        means = column.bincount(weights=p[1] - p[0]) / counts
        enough = (counts >= SHARE * len(column)).nonzero().flatten().tolist()
        found += [(abs(float(means[i])), field, i) for i in enough]
    found = sorted(found, key=lambda item: -item[0])[:SLICES_SHOWN]
    wanted: dict[str, set[int]] = {}
    for _, field, i in found:
        wanted.setdefault(field, set()).add(i)
    names = value_names(encoder, wanted)
    for _, field, i in found:
        rows = ids[field] == i
        share, first, second = (float(x[rows].double().mean()) for x in (labels, *p))
        name = names[field].get(i, f"id {i}")
        yield SliceDifference(field, name, int(rows.sum()), share, first, second)


def ids_by_field(
    batches: Iterable[Any], schema: Schema, fields: Sequence[str]
) -> dict[str, Tensor]:
    """[R] the ids of each of some categorical fields."""
    if not fields:
        return {}
    parts = [(batch.inputs(schema), batch.labelled) for batch in batches]
    return {field: torch.cat([x[field][scored] for x, scored in parts]) for field in fields}


def sections(slices: Sequence[SliceDifference]) -> Iterator[Section]:
    """The values at which both models differ most."""
    if slices:
        reading = "Of each value, the model whose bar ends nearer to the point is right."
        yield Section("by value", [Figure(lambda: _draw(slices), reading), _table(slices)])


def _table(slices: Sequence[SliceDifference]) -> TextTable:
    columns = ("field", "value", "number", "observed", "A", "B", "B - A")
    rows = (
        (part.field, part.value, part.rows, f"{part.observed:.4g}", *_pair(part)) for part in slices
    )
    return text_table("by value, where they differ most", columns, rows, 2)


def _pair(part: SliceDifference) -> tuple[str, ...]:
    return f"{part.first:.4f}", f"{part.second:.4f}", f"{part.second - part.first:+.4f}"


def _draw(slices: Sequence[SliceDifference]) -> Any:
    from zoo.inspect import plots

    labels = [f"{part.field} = {part.value}" for part in slices]
    pairs = {"A": [part.first for part in slices], "B": [part.second for part in slices]}
    plot = plots.grouped_bars(labels, pairs, "share of positives")
    return plots.with_points(plot, labels, [part.observed for part in slices], "observed")
