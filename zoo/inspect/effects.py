"""What the weights of a model say of its fields by themselves, without data.

Shapes: L cross layers, W width of the flat input, D embedding.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor

from zoo.data.encoder import value_names
from zoo.data.errors import ZooError
from zoo.data.schema import Schema
from zoo.inspect.training import Run
from zoo.inspect.weights import TABLE

LARGEST = 20  # first-order weights
FIRST_ORDER = "embedding.numerical_weight"  # there where the model has a first-order part
CROSS = "cross.kernels"


@dataclass(frozen=True)
class LinearWeight:
    """What a value of a field adds to the logit.

    Attributes:
        field: its name.
        id: of the value; None of a numerical field.
        value: its name; None of a numerical field, whose weight is that of a unit.
        weight: w of it.
    """

    field: str
    id: int | None
    value: str | None
    weight: float


@dataclass(frozen=True)
class Grid:
    """A number for each pair.

    Attributes:
        title: what it shows.
        reading: how to read it, one sentence.
        rows: names.
        columns: names.
        values: by row and column.
    """

    title: str
    reading: str
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    values: tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class Effects:
    """What the weights say.

    Attributes:
        linear: the largest first-order weights, where the model has such.
        crosses: of the cross network of DCN, how large the weights of each field are.
    """

    linear: tuple[LinearWeight, ...] = ()
    crosses: tuple[Grid, ...] = ()

    def named(self, run: Run | None) -> "Effects":
        """With the names of the values, as far as a run knows them."""
        wanted: dict[str, list[int]] = {}
        for weight in self.linear:
            if weight.id is not None:
                wanted.setdefault(weight.field, []).append(weight.id)
        known = value_names(run and run.encoder, wanted)
        return replace(
            self,
            linear=tuple(
                w if w.id is None else replace(w, value=known[w.field].get(w.id, f"id {w.id}"))
                for w in self.linear
            ),
        )


def effects_of(
    schema: Schema, options: Mapping[str, Any], parameters: Mapping[str, Tensor]
) -> Effects:
    """Reads the weights of a model.

    Args:
        schema: of the model.
        options: of its constructor.
        parameters: by name.

    Raises:
        ZooError: where weights do not fit the schema.
    """
    return Effects(
        tuple(_linear(schema, parameters)) if FIRST_ORDER in parameters else (),
        tuple(_crosses(schema, options, parameters[CROSS])) if CROSS in parameters else (),
    )


def _linear(schema: Schema, parameters: Mapping[str, Tensor]) -> Iterator[LinearWeight]:
    numerical = parameters[FIRST_ORDER]
    fits = TABLE in parameters and parameters[TABLE].shape[1] > 0
    if not fits or numerical.shape != (len(schema.numerical),):
        raise ZooError("its first-order weights do not fit its schema")
    # the last column of the table, see `FusedEmbedding`
    weights = torch.cat((parameters[TABLE][:, -1], numerical)).float()
    largest = weights.nan_to_num(0, 0, 0).abs().topk(min(LARGEST, len(weights))).indices
    ends = list(accumulate(field.cardinality for field in schema.categorical))
    for i in largest.tolist():
        f = sum(end <= i for end in ends)
        if f == len(ends):
            field = schema.numerical[i - (ends[-1] if ends else 0)]
            yield LinearWeight(field.name, None, None, float(weights[i]))
        else:
            field = schema.categorical[f]
            value = i - ends[f] + field.cardinality
            yield LinearWeight(field.name, value, f"id {value}", float(weights[i]))


def _crosses(schema: Schema, options: Mapping[str, Any], kernels: Tensor) -> Iterator[Grid]:
    """The size of the weights of each field [L, W, 1], or of each two fields [L, W, W]."""
    dim, embedded = options.get("embedding_dim"), bool(options.get("embed_numerical"))
    width = (
        kernels.shape[1] if kernels.ndim == 3 and kernels.shape[2] in (1, kernels.shape[1]) else 0
    )
    vectors = len(schema.fields if embedded else schema.categorical)
    fits = isinstance(dim, int) and dim > 0 and dim * vectors <= width
    columns = schema.flat_columns(dim, embedded) if fits else {}
    if not fits or sum(map(len, columns.values())) != width:
        raise ZooError("its cross weights do not fit its schema")
    fields = tuple(field.name for field in schema.fields)
    blocks = [columns[field] for field in fields]
    squares = kernels.detach().double().square()
    rows = _sums(squares, blocks, 1)
    if kernels.shape[2] == 1:
        yield Grid(
            "cross weights",
            "The brighter a cell, the larger the weights with which that cross layer multiplies "
            "its input by the field.",
            fields,
            tuple(f"layer {layer}" for layer in range(1, len(kernels) + 1)),
            _plain(rows.squeeze(2).T.sqrt()),
        )
        return
    for layer, values in enumerate(_sums(rows, blocks, 2).sqrt(), 1):
        yield Grid(
            f"cross weights, layer {layer}",
            "The brighter a cell, the larger the weights with which this cross layer multiplies "
            "the field of the row by that of the column.",
            fields,
            fields,
            _plain(values),
        )


def _sums(values: Tensor, blocks: Sequence[Sequence[int]], axis: int) -> Tensor:
    """Sums over the columns of each block."""
    sums = [values.index_select(axis, torch.tensor(b)).sum(axis, keepdim=True) for b in blocks]
    return torch.cat(sums, axis)


def _plain(values: Tensor) -> tuple[tuple[float, ...], ...]:
    return tuple(map(tuple, values.tolist()))
