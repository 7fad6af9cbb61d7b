"""How large the weights are, and which of them were never trained."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from torch import Tensor

from zoo.data.schema import MISSING, UNKNOWN, Schema

TABLE = "embedding.table"
CHUNK = 2**20  # weights looked at together, so that memory stays bounded
NORMAL = 6.0  # standard deviations that none of a hundred million normal numbers passes


@dataclass(frozen=True)
class Weights:
    """Some weights.

    Attributes:
        parameters: their number.
        share: in all parameters of the model.
        rms: root of their mean square, over those that are finite.
        largest: absolute value, over those that are finite.
        not_finite: number of NaN and infinite ones.
    """

    parameters: int
    share: float
    rms: float
    largest: float
    not_finite: int


@dataclass(frozen=True)
class Rows:
    """The embedding rows of a categorical field.

    Attributes:
        weights: of all rows.
        untrained: number of values of the vocabulary whose row was never trained; None, here and
            below, where that cannot be known.
        unknown: whether the row of unknown values was trained.
        missing: whether the row of missing values was trained.
    """

    weights: Weights
    untrained: int | None
    unknown: bool | None
    missing: bool | None


def measure(tensors: Iterable[Tensor], total: int) -> Weights:
    """The size of the weights in some tensors of a model of `total` parameters."""
    count = not_finite = 0
    squares = largest = 0.0
    for tensor in tensors:
        count += tensor.numel()
        for chunk in tensor.flatten().split(CHUNK):
            values = chunk.double()
            finite = values.isfinite()
            values = values.masked_fill(~finite, 0).abs_()
            not_finite += int((~finite).sum())
            largest = max(largest, float(values.max()) if len(values) else 0.0)
            squares += float(values.square_().sum())
    rms = (squares / max(count - not_finite, 1)) ** 0.5
    return Weights(count, count / max(total, 1), rms, largest, not_finite)


def parts(parameters: Mapping[str, Tensor]) -> dict[str, Weights]:
    """The weights of each part of a model: all that belongs to one of its attributes."""
    total = sum(tensor.numel() for tensor in parameters.values())
    names = dict.fromkeys(name.partition(".")[0] for name in parameters)
    return {
        part: measure(
            (tensor for name, tensor in parameters.items() if name.partition(".")[0] == part), total
        )
        for part in names
    }


def idle(
    table: Tensor, squares: tuple[Tensor, float] | None, init_std: float | None
) -> Tensor | None:
    """[R] which rows of an embedding table were never trained.

    Args:
        table: [R, D].
        squares: what the optimiser has gathered, and its start (see `squares_of`); a row that
            stands there was never trained.
        init_std: of the initial embeddings, for want of the former: a row all of whose weights
            are as small as such are.

    Returns None where neither is known.
    """
    if squares is not None:
        gathered, start = squares
        return (gathered == start).all(1)
    if init_std:
        return (table.abs() <= NORMAL * init_std).all(1)
    return None


def rows_by_field(
    schema: Schema, table: Tensor, never: Tensor | None, total: int
) -> dict[str, Rows]:
    """The embedding rows of each categorical field of a table that holds all of them."""
    sizes = [field.cardinality for field in schema.categorical]
    names = [field.name for field in schema.categorical]
    untrained = [None] * len(sizes) if never is None else never.split(sizes)
    mine = zip(names, table.split(sizes), untrained, strict=True)
    return {name: _rows(rows, idle_rows, total) for name, rows, idle_rows in mine}


def _rows(rows: Tensor, never: Tensor | None, total: int) -> Rows:
    weights = measure([rows], total)
    if never is None:
        return Rows(weights, None, None, None)
    vocabulary = int(never[max(UNKNOWN, MISSING) + 1 :].sum())
    return Rows(weights, vocabulary, not bool(never[UNKNOWN]), not bool(never[MISSING]))
