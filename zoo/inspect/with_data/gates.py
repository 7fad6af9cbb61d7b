"""The weights that a model gives to fields, pairs or parts of itself, anew in each row.

Shapes: B batch, P names.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from zoo.data.batch import AnyBatch, Batch, SessionBatch, chunks
from zoo.inspect.chapters import USES
from zoo.inspect.page import Figure, Section
from zoo.inspect.table import TextTable, text_table, titled
from zoo.inspect.with_data.sample import ROWS_PER_CHUNK
from zoo.models.base import ZooModule

SHOWN = 20  # names, in a table, in a figure, and of a row


@dataclass(frozen=True)
class Weighed:
    """What a model gives to a field, a pair or a part of itself.

    Attributes:
        name: What is weighed.
        mean: Mean weight over the rows.
        spread: Standard deviation between the rows.
        zero: Share of rows in which the weight is zero.
        largest: Share of rows in which it is the largest.
    """

    name: str
    mean: float
    spread: float
    zero: float
    largest: float


@dataclass(frozen=True)
class GateOfSample:
    """Weights of one kind in a sample.

    Attributes:
        title: What they are.
        reading: How to read them, one sentence.
        weights: What is weighed, the largest mean first.
    """

    title: str
    reading: str
    weights: tuple[Weighed, ...]


@dataclass(frozen=True)
class GateOfRow:
    """Weights of one kind in one row.

    Attributes:
        title: What they are.
        weights: The largest weights by name, the largest first.
    """

    title: str
    weights: Mapping[str, float]


@torch.no_grad()
def gates_of(model: ZooModule, batch: AnyBatch) -> Iterator[GateOfSample]:
    """The weights of each kind over the rows of a sample."""
    found = [model.gates(part) for part in chunks(batch, ROWS_PER_CHUNK)]
    for parts in zip(*found, strict=True):
        first = parts[0]
        weights = tuple(_weighed(first.names, torch.cat([part.values for part in parts])))
        yield GateOfSample(first.title, first.reading, weights)


@torch.no_grad()
def gates_of_row(model: ZooModule, batch: Batch | SessionBatch) -> tuple[GateOfRow, ...]:
    """The largest weights of each kind in a batch of one row."""
    found = []
    for title, _, names, values in model.gates(batch):
        pairs = sorted(zip(names, values[0].tolist(), strict=True), key=lambda pair: -pair[1])
        found.append(GateOfRow(title, dict(pairs[:SHOWN])))
    return tuple(found)


def _weighed(names: Sequence[str], values: Tensor) -> list[Weighed]:
    """Of values [B, P], the largest mean first."""
    values = values.double()
    largest = torch.bincount(values.argmax(1), minlength=len(names)).double() / len(values)
    zero = (values == 0).double().mean(0)
    columns = (values.mean(0), values.std(0, correction=0), zero, largest)
    found = map(Weighed, names, *(column.tolist() for column in columns))
    return sorted(found, key=lambda weighed: -weighed.mean)


def sections(gates: Sequence[GateOfSample]) -> Iterator[Section]:
    """The weights of each kind."""
    for gate in gates:
        yield Section(gate.title, [_figure(gate), _table(gate)], USES)


def _table(gate: GateOfSample) -> TextTable:
    rows = (
        (w.name, f"{w.mean:.4f}", f"{w.spread:.4f}", f"{w.zero:.1%}", f"{w.largest:.1%}")
        for w in gate.weights[:SHOWN]
    )
    title = titled(f"{gate.title}, mean over the rows", len(gate.weights), SHOWN)
    return text_table(title, ("of", "mean", "between rows", "zero in", "largest in"), rows)


def _figure(gate: GateOfSample) -> Figure:
    spread = " A line is one standard deviation between the rows to each side."
    return Figure(lambda: _draw(gate.weights[:SHOWN]), gate.reading + spread)


def _draw(weights: Sequence[Weighed]) -> Any:
    from zoo.inspect import plots

    spread = {"type": "data", "array": [w.spread for w in weights], "color": plots.ORANGE}
    names, means = [w.name for w in weights], [w.mean for w in weights]
    plot = plots.bars(names, means, error_x=spread, hovertemplate="%{y}<br>%{x:.4f}<extra></extra>")
    plot.update_xaxes(title="weight", rangemode="nonnegative")
    return plot
