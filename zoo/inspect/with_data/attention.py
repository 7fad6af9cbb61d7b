"""How much one field takes from another in a model with attention.

Shapes: B batch, F embedded fields.
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from zoo.data.batch import AnyBatch, chunks
from zoo.inspect.chapters import USES
from zoo.inspect.grid import Grid, grid_section
from zoo.inspect.page import Section
from zoo.inspect.with_data.sample import ROWS_PER_CHUNK
from zoo.models.base import ZooModule


@torch.no_grad()
def attention_of(model: ZooModule, batch: AnyBatch) -> Iterator[Grid]:
    """[F, F] of each layer: how much one field takes from another, mean over rows and heads."""
    sums: list[Tensor] = []
    fields: tuple[str, ...] = ()
    for part in chunks(batch, ROWS_PER_CHUNK):
        fields, found = model.attention(part)
        layers = [layer.double().mean(1).sum(0) for layer in found]
        sums = [a + b for a, b in zip(sums, layers, strict=True)] if sums else layers
    for layer, total in enumerate(sums, 1):
        yield Grid(
            f"attention between fields, layer {layer}",
            "The brighter a cell, the more of its new representation the field of the row takes "
            "from the field of the column; each row sums to one, so that "
            f"{1 / len(fields):.2g} everywhere is attention to nothing in particular.",
            fields,
            fields,
            tuple(map(tuple, (total / len(batch.label)).tolist())),
        )


def sections(grids: Sequence[Grid]) -> Iterator[Section]:
    """The attention of each layer."""
    if grids:
        yield grid_section("attention", grids, USES)
