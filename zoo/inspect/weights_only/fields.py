"""The fields of a model, and which of their embeddings were never trained.

Shapes: R rows of an embedding table, D embedding.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from zoo.data.schema import MISSING, UNKNOWN, Field, Schema
from zoo.inspect.chapters import MODEL
from zoo.inspect.page import Section
from zoo.inspect.page.tables import Filtered
from zoo.inspect.table import text_table
from zoo.inspect.weights_only.field_rows import rows_by_field
from zoo.inspect.weights_only.parts import Weights, measure
from zoo.models.description import Description

SIX_SIGMA = 6.0  # standard deviations that none of a hundred million normal numbers passes


@dataclass(frozen=True)
class EmbeddingRows:
    """The embedding rows of a categorical field.

    Attributes:
        weights: Weights of all rows.
        untrained: Number of values of the vocabulary whose row was never trained; None, here and
            below, where that cannot be known.
        unknown: Whether the row of unknown values was trained.
        missing: Whether the row of missing values was trained.
    """

    weights: Weights
    untrained: int | None
    unknown: bool | None
    missing: bool | None


@dataclass(frozen=True)
class InspectedField:
    """A field of the schema.

    Attributes:
        field: The field, as the schema has it.
        crosses: Names of the fields that it crosses, where it is a cross.
        rows: Its embedding rows, where the model has such.
    """

    field: Field
    crosses: tuple[str, ...] = ()
    rows: EmbeddingRows | None = None


def fields_of(
    schema: Schema,
    described: Description,
    parameters: Mapping[str, Tensor],
    squares: Mapping[str, tuple[Tensor, float]],
    init_std: Any,
) -> tuple[InspectedField, ...]:
    """The fields of a model, in the order of its schema.

    Args:
        schema: Fields of the model.
        described: What the model says of its embeddings.
        parameters: Trained tensors by name.
        squares: What the optimiser has gathered by parameter, and its start (see `squares_of`).
        init_std: Standard deviation of the initial embeddings, where the model has such an option.

    Raises:
        ZooError: where the embeddings do not fit the schema.
    """
    total = sum(tensor.numel() for tensor in parameters.values())
    std = init_std if isinstance(init_std, float) else None
    found: dict[str, EmbeddingRows] = {}
    for rows in described.embeddings:
        pairs = [*rows_by_field(rows, schema, parameters, 2)]
        if pairs:
            never = never_trained(parameters[rows.parameter], squares.get(rows.parameter), std)
            sizes = [len(mine) for _, mine in pairs]
            split = [None] * len(pairs) if never is None else never.split(sizes)
            for (field, mine), idle in zip(pairs, split, strict=True):
                found[field.name] = _embedding_rows(mine, idle, total)
    return tuple(InspectedField(f, schema.crossed(f), found.get(f.name)) for f in schema.fields)


def never_trained(
    table: Tensor, squares: tuple[Tensor, float] | None, init_std: float | None
) -> Tensor | None:
    """[R] which rows of an embedding table were never trained.

    Args:
        table: [R, D].
        squares: What the optimiser has gathered, and its start (see `squares_of`); a row that
            stands there was never trained.
        init_std: Standard deviation of the initial embeddings, for want of the former: a row all
            of whose weights are as small as such are.

    Returns None where neither is known.
    """
    if squares is not None:
        gathered, start = squares
        return (gathered == start).all(1)
    if init_std:
        return (table.abs() <= SIX_SIGMA * init_std).all(1)
    return None


def _embedding_rows(rows: Tensor, never: Tensor | None, total: int) -> EmbeddingRows:
    weights = measure([rows], total)
    if never is None:
        return EmbeddingRows(weights, None, None, None)
    vocabulary = int(never[max(UNKNOWN, MISSING) + 1 :].sum())
    return EmbeddingRows(weights, vocabulary, not bool(never[UNKNOWN]), not bool(never[MISSING]))


def sections(fields: Sequence[InspectedField]) -> Iterator[Section]:
    """The fields, with the state of their embeddings."""
    if fields:
        columns = ("field", "kind", "group", "ids", "rms", "never trained")
        table = text_table("schema", columns, map(_cells, fields), 3)
        shown = [Filtered(table, "fields", choose=1, search=0)]
        yield Section("schema", [table], MODEL, folded=True, page=shown)


def _cells(inspected: InspectedField) -> tuple[Any, ...]:
    field, rows = inspected.field, inspected.rows
    kind = f"cross of {len(inspected.crosses)}" if inspected.crosses else field.kind
    kind += ", past only" if field.past_only else ""
    weights = (f"{rows.weights.rms:.3g}", _never(rows)) if rows else ("", "")
    return field.name, kind, field.group, field.cardinality or "", *weights


def _never(rows: EmbeddingRows) -> str:
    if rows.untrained is None:
        return "-"
    special = (("unknown", rows.unknown), ("missing", rows.missing))
    values = [f"{rows.untrained:,}"] if rows.untrained else []
    return ", ".join([*values, *(name for name, trained in special if not trained)])
