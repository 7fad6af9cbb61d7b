"""The rows in which the predictions of two models differ most.

Shapes: R scored labels of a split (rows, or tracks of sessions).
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from zoo.data.encoder import value_names
from zoo.data.schema import Schema
from zoo.inspect.page import Figure, Section
from zoo.inspect.table import TextTable, text_table
from zoo.inspect.with_data.values import ids_of, shown

ROWS_SHOWN = 5
Inputs = Mapping[int, Mapping[str, Tensor]]  # of some of the R labels, by field


@dataclass(frozen=True)
class RowDifference:
    """A row.

    Attributes:
        row: Its place among the scored labels of the split, from 0.
        label: Its label, 0 or 1.
        first: Probability of the first model.
        second: Probability of the second model.
        inputs: Values by field, as the models see numbers; of sessions, those of the track.
    """

    row: int
    label: float
    first: float
    second: float
    inputs: dict[str, str]


def row_differences(
    p: Tensor, labels: Tensor, batches: Iterable[Any], schema: Schema, encoder: Path | None
) -> Iterator[RowDifference]:
    """The rows with the largest difference of the probabilities.

    Args:
        p: [2, R] probabilities of both models.
        labels: [R] labels.
        batches: Batches of the split.
        schema: Fields of the batches.
        encoder: Folder of the encoder that names the values; None without one.
    """
    apart = (p[1] - p[0]).abs()
    top = apart.argsort(descending=True, stable=True)[:ROWS_SHOWN].tolist()
    inputs = _inputs(batches, schema, top)
    fields = {name for row in inputs.values() for name in row}
    ids = {name: ids_of(row[name] for row in inputs.values()) for name in fields}
    names = value_names(encoder, {name: found for name, found in ids.items() if found})
    for i, row in inputs.items():
        values = {name: shown(x, names.get(name, {})) for name, x in row.items()}
        texts = {name: x if isinstance(x, str) else f"{x:.4g}" for name, x in values.items()}
        first, second = p[:, i].tolist()
        yield RowDifference(i, float(labels[i]), first, second, texts)


def _inputs(batches: Iterable[Any], schema: Schema, rows: Sequence[int]) -> Inputs:
    """The fields of some of the R labels, by field."""
    found, start = {}, 0
    for batch in batches:
        scored = batch.labelled
        stop = start + int(scored.sum())
        here = [row for row in rows if start <= row < stop]
        if here:
            inputs = {name: x[scored] for name, x in batch.inputs(schema).items()}
            for row in here:
                found[row] = {name: x[row - start] for name, x in inputs.items()}
        start = stop
    return {row: found[row] for row in rows}


def sections(rows: Sequence[RowDifference]) -> Iterator[Section]:
    """The rows in which both models differ most."""
    reading = "Of each row, the model whose bar ends nearer to the point is right."
    yield Section("rows", [Figure(lambda: _draw(rows), reading), _table(rows)])


def _table(rows: Sequence[RowDifference]) -> TextTable:
    columns = ("inputs", "row", "label", "A", "B", "B - A")
    cells = (
        (
            ", ".join(f"{name}={value}" for name, value in row.inputs.items()),
            row.row,
            f"{row.label:.4g}",
            f"{row.first:.4f}",
            f"{row.second:.4f}",
            f"{row.second - row.first:+.4f}",
        )
        for row in rows
    )
    return text_table("rows in which they differ most", columns, cells)


def _draw(rows: Sequence[RowDifference]) -> Any:
    from zoo.inspect import plots

    labels = [f"row {row.row}" for row in rows]
    pairs = {"A": [row.first for row in rows], "B": [row.second for row in rows]}
    plot = plots.grouped_bars(labels, pairs, "probability")
    return plots.with_points(plot, labels, [row.label for row in rows], "label")
