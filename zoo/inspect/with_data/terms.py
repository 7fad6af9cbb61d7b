"""The terms of a glass box over a sample: how much each adds, and its shape.

Shapes: R rows, P terms.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from zoo.data.batch import AnyBatch, Batch, chunks
from zoo.data.encoder import value_names
from zoo.data.scales import scales_of
from zoo.inspect.chapters import TERMS, USES
from zoo.inspect.page import Section
from zoo.inspect.page.tables import Folded
from zoo.inspect.table import TextTable, text_table
from zoo.inspect.with_data.sample import ROWS_PER_CHUNK
from zoo.inspect.with_data.term_figures import figures_of, strengths
from zoo.inspect.with_data.term_shapes import Shape, shape_of
from zoo.inspect.with_data.term_tables import tables_of
from zoo.inspect.with_data.term_values import FieldValues, values_of_field
from zoo.inspect.with_data.values import ids_of
from zoo.models.base import ZooModule

DRAWN = 20  # terms, whose shapes are shown
COLUMNS = ("term", "between rows", "mean |.|", "mean", "lowest", "highest")


@dataclass(frozen=True)
class TermOfSample:
    """What a term adds to the logits of a sample.

    Attributes:
        name: Name of the term.
        fields: Names of its fields.
        on: Whether it is added; the numbers of one that is off are zero.
        spread: Standard deviation of what it adds, between the rows.
        size: Mean of the absolute value.
        mean: Mean.
        lowest: The least that it adds.
        highest: The most.
        shape: What it adds by the values of its fields; None of one that is off, or among the
            weakest of many.
    """

    name: str
    fields: tuple[str, ...]
    on: bool
    spread: float
    size: float
    mean: float
    lowest: float
    highest: float
    shape: Shape | None = None


@torch.no_grad()
def terms_of(model: ZooModule, batch: AnyBatch, encoder: Path | None = None) -> list[TermOfSample]:
    """The terms of a model over the rows of a sample, those that vary most first.

    Args:
        model: A model in evaluation.
        batch: Rows of its schema.
        encoder: Folder of the encoder that names the values; None without one.

    Returns none where the model has no terms, or the batch is of sessions.
    """
    terms = model.terms
    if not terms or not isinstance(batch, Batch):
        return []
    added = torch.cat([model.contributions(part) for part in chunks(batch, ROWS_PER_CHUNK)])
    added = added.double()  # [R, P]
    spreads = added.std(0, correction=0).tolist()
    order = sorted(range(len(terms)), key=lambda t: (not terms[t].on, -spreads[t]))
    drawn = [t for t in order[:DRAWN] if terms[t].on]
    shown = {name for t in drawn for name in terms[t].fields}
    fields = _values(model, batch, shown, encoder)
    found = []
    for t in order:
        column, term = added[:, t], terms[t]
        shape = None
        if t in drawn:
            shape = shape_of(column, [fields[name] for name in term.fields])
        found.append(TermOfSample(*term, spreads[t], *_numbers(column), shape))
    return found


def _numbers(added: Tensor) -> tuple[float, float, float, float]:
    """Size, mean, lowest and highest of what a term adds, [R]."""
    low, high = added.aminmax()
    return float(added.abs().mean()), float(added.mean()), float(low), float(high)


def _values(
    model: ZooModule, batch: Batch, wanted: set[str], encoder: Path | None
) -> dict[str, FieldValues]:
    inputs, schema = batch.inputs(model.schema), model.schema
    ids = {name: ids_of([inputs[name]]) for name in wanted if _has_ids(model, name)}
    names, scales = value_names(encoder, ids), scales_of(encoder)
    return {
        field.name: values_of_field(field, inputs, schema, names.get(field.name, {}), scales)
        for field in schema.fields
        if field.name in wanted
    }


def _has_ids(model: ZooModule, name: str) -> bool:
    """Whether the values of a field of a model are ids."""
    return any(field.name == name and field.has_ids for field in model.schema.fields)


# What is shown


def sections(terms: Sequence[TermOfSample]) -> Iterator[Section]:
    """All terms, and the shape of each that has one."""
    if not terms:
        return
    yield Section("terms", [strengths(terms), _table(terms)], USES)
    for term in terms:
        if term.shape is None:
            continue
        figures, tables = figures_of(term.name, term.shape), tables_of(term.name, term.shape)
        if figures:
            page = [*figures, *map(Folded, tables)]
            yield Section(term.name, [*figures, *tables], TERMS, page=page)


def _table(terms: Sequence[TermOfSample]) -> TextTable:
    rows = [
        (
            term.name if term.on else f"{term.name} (off)",
            f"{term.spread:.4f}",
            f"{term.size:.4f}",
            *(f"{x:+.4f}" for x in (term.mean, term.lowest, term.highest)),
        )
        for term in terms
    ]
    return text_table("terms: what each adds to the logit", COLUMNS, rows)
