"""What the weights of a model say of its fields by themselves, without data.

Shapes: L layers, W width of their input, F fields.
"""

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, groupby
from typing import Any

import torch
from torch import Tensor

from zoo.data.encoder import value_names
from zoo.data.errors import ZooError
from zoo.data.schema import Schema
from zoo.inspect.chapters import USES
from zoo.inspect.grid import Grid, grid_section
from zoo.inspect.page import Figure, Section
from zoo.inspect.table import TextTable, text_table
from zoo.inspect.weights_only.field_rows import rows_by_field
from zoo.inspect.weights_only.run import Run
from zoo.models.description import Description, FieldGrid, FieldPairs

LARGEST = 20  # first-order weights


@dataclass(frozen=True)
class LinearWeight:
    """What a value of a field adds to the logit.

    Attributes:
        field: Name of the field.
        id: Id of the value; None of a numerical field.
        value: Name of the value; None of a numerical field, whose weight is that of a unit.
        weight: What it adds.
    """

    field: str
    id: int | None
    value: str | None
    weight: float


@dataclass(frozen=True)
class Effects:
    """What the weights say.

    Attributes:
        linear: The largest first-order weights, where the model has such.
        crosses: How large the weights between fields are, or of fields by layer, where the model
            has such.
    """

    linear: tuple[LinearWeight, ...] = ()
    crosses: tuple[Grid, ...] = ()

    def named(self, run: Run | None) -> "Effects":
        """With the names of the values, as far as the encoder of a run has them.

        Raises:
            ZooError: where the encoder is damaged.
        """
        wanted: dict[str, list[int]] = {}
        for weight in self.linear:
            if weight.id is not None:
                wanted.setdefault(weight.field, []).append(weight.id)
        named = value_names(run and run.encoder, wanted)
        return replace(
            self,
            linear=tuple(
                w if w.id is None else replace(w, value=named[w.field].get(w.id, f"id {w.id}"))
                for w in self.linear
            ),
        )


def effects_of(schema: Schema, described: Description, parameters: Mapping[str, Tensor]) -> Effects:
    """Reads the weights of a model.

    Args:
        schema: Fields of the model.
        described: What the model says of its weights.
        parameters: Trained tensors by name.

    Raises:
        ZooError: where weights do not fit the schema.
    """
    grids = [grid for found in described.grids for grid in _grids(found, schema, parameters)]
    grids += [_pair_grid(found, schema, parameters) for found in described.pairs]
    return Effects(tuple(_linear(schema, described, parameters)), tuple(grids))


def _linear(
    schema: Schema, described: Description, parameters: Mapping[str, Tensor]
) -> Iterator[LinearWeight]:
    pairs = [
        pair
        for rows in described.first_order
        for pair in rows_by_field(rows, schema, parameters, 1)
    ]
    if not pairs:
        return
    weights = torch.cat([values for _, values in pairs]).float()
    largest = weights.nan_to_num(0, 0, 0).abs().topk(min(LARGEST, len(weights))).indices
    starts = [*accumulate((len(values) for _, values in pairs), initial=0)]
    for i in largest.tolist():
        part = bisect_right(starts, i) - 1
        field, value = pairs[part][0], i - starts[part]
        if field.kind == "numerical":
            yield LinearWeight(field.name, None, None, float(weights[i]))
        else:
            yield LinearWeight(field.name, value, f"id {value}", float(weights[i]))


def _grids(found: FieldGrid, schema: Schema, parameters: Mapping[str, Tensor]) -> Iterator[Grid]:
    """The norm of the weights of each field [L, W, 1], or of each two fields [L, W, W]."""
    kernels = parameters.get(found.parameter)
    fields, blocks = tuple(found.columns), [*found.columns.values()]
    if kernels is None or not _fits(kernels, fields, blocks, schema):
        raise ZooError(f"its {found.title} do not fit its schema")
    rows = _sums(kernels.detach().double().square(), blocks, 1)
    if kernels.shape[2] == 1:
        layers = tuple(f"layer {layer}" for layer in range(1, len(kernels) + 1))
        values = rows.squeeze(2).T.sqrt()
        yield Grid(found.title, found.reading, fields, layers, _plain(values))
        return
    for layer, values in enumerate(_sums(rows, blocks, 2).sqrt(), 1):
        title = f"{found.title}, layer {layer}"
        yield Grid(title, found.reading, fields, fields, _plain(values))


def _pair_grid(found: FieldPairs, schema: Schema, parameters: Mapping[str, Tensor]) -> Grid:
    """The norm of the matrix of each pair of fields, above the diagonal."""
    fields, matrices = found.fields, parameters.get(found.parameter)
    known = {field.name for field in schema.fields}.issuperset(fields)
    pairs = len(fields) * (len(fields) - 1) // 2
    square = matrices is not None and matrices.ndim == 2 and len(matrices) and known
    if matrices is None or not square or len(matrices) != pairs * matrices.shape[1]:
        raise ZooError(f"its {found.title} do not fit its schema")
    norms = matrices.detach().double().view(pairs, -1).norm(dim=1)
    values = torch.zeros(len(fields), len(fields), dtype=norms.dtype)
    rows, columns = torch.triu_indices(len(fields), len(fields), 1)
    values[rows, columns] = norms
    return Grid(found.title, found.reading, fields[:-1], fields[1:], _plain(values[:-1, 1:]))


def _fits(
    kernels: Tensor, fields: Sequence[str], blocks: Sequence[Sequence[int]], schema: Schema
) -> bool:
    if kernels.ndim != 3 or not len(kernels) or kernels.shape[2] not in (1, kernels.shape[1]):
        return False
    places = sorted(place for block in blocks for place in block)
    in_schema = {field.name for field in schema.fields}.issuperset(fields)
    return in_schema and places == [*range(kernels.shape[1])] and bool(places)


def _sums(values: Tensor, blocks: Sequence[Sequence[int]], axis: int) -> Tensor:
    """Sums over the columns of each block."""
    sums = [values.index_select(axis, torch.tensor(b)).sum(axis, keepdim=True) for b in blocks]
    return torch.cat(sums, axis)


def _plain(values: Tensor) -> tuple[tuple[float, ...], ...]:
    return tuple(map(tuple, values.tolist()))


def sections(found: Effects) -> Iterator[Section]:
    """The first-order weights, and the weights between fields."""
    if found.linear:
        reading = (
            "A bar is what a value of a field, or each unit of a number, adds to the logit by "
            "itself: to the right it makes a click more likely, to the left less."
        )
        figure = Figure(lambda: _draw(found.linear), reading)
        yield Section("first-order weights", [figure, _table(found.linear)], USES)
    for title, grids in groupby(found.crosses, lambda grid: grid.title.partition(", layer ")[0]):
        yield grid_section(title, grids, USES)


def _table(weights: Sequence[LinearWeight]) -> TextTable:
    rows = [
        (w.field, "each unit" if w.value is None else w.value, f"{w.weight:+.4f}") for w in weights
    ]
    title = "largest first-order weights: what a value adds to the logit"
    return text_table(title, ("field", "value", "weight"), rows, 2)


def _draw(weights: Sequence[LinearWeight]) -> Any:
    from zoo.inspect import plots

    labels = [w.field if w.value is None else f"{w.field} = {w.value}" for w in weights]
    values = [w.weight for w in weights]
    colours = [plots.BLUE if value > 0 else plots.ORANGE for value in values]
    plot = plots.bars(labels, values, marker_color=colours)
    plot.update_xaxes(title="weight")
    return plot
