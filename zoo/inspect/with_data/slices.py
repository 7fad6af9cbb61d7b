"""The quality of a model by the values of a field, or of all fields."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from zoo.data.encoder import value_names
from zoo.inspect.page import Figure, Section
from zoo.inspect.table import TextTable, clean, text_table
from zoo.inspect.with_data.quality import Quality, Scored, quality_table

VALUES_SCORED = 10  # of a field, the most frequent ones
LARGEST, FURTHEST = 20, 10  # slices that a table over all fields shows
FAR = 4.0  # standard errors by which hardly one of a thousand slices is off by chance
Slices = Mapping[str, Sequence[Quality]]


def slices_of(
    scored: Scored, fields: Sequence[str], encoder: Path | None
) -> dict[str, tuple[Quality, ...]]:
    """The quality of the most frequent values of each field.

    Args:
        scored: Scored labels, with the ids of the fields.
        fields: Names of the fields.
        encoder: Folder of the encoder that names the values; None without one.
    """
    largest = {}
    for field, ids in zip(fields, scored.ids.unbind(1), strict=True):
        counts = ids.bincount()
        top = counts.argsort(descending=True, stable=True)[:VALUES_SCORED]
        largest[field] = top[counts[top] > 0].tolist()
    names = value_names(encoder, largest)
    return {
        field: tuple(
            scored.quality(names[field].get(i, f"id {i}"), ids == i) for i in largest[field]
        )
        for field, ids in zip(fields, scored.ids.unbind(1), strict=True)
    }


def sections(by: str | None, slices: Slices) -> Iterator[Section]:
    """The values of one field, or those of all fields.

    Args:
        by: Name of the one field; None shows all.
        slices: Quality of the values of each field.
    """
    if by:
        title = f"by {by}, its most frequent values"
        reading = "Of each value, the two bars are equally high where the model is right."
        figure = Figure(lambda: _draw_values(slices[by]), reading)
        tables = _tables(title, [(by, part) for part in slices[by]])
        yield Section(f"by {by}", [figure, *tables])
    elif slices:
        reading = (
            "Each point is a frequent value of a field: below the dashed line the model predicts "
            "more positives than there are, above it fewer."
        )
        yield Section("by value", [Figure(lambda: _draw(slices), reading), *_of_all(slices)])


def _of_all(slices: Slices) -> Iterator[TextTable]:
    """The largest slices of all fields, and those that are far off."""
    every = [(field, part) for field, parts in slices.items() for part in parts]
    largest = sorted(every, key=lambda pair: -pair[1].rows)[:LARGEST]
    off = sorted(every, key=lambda pair: -abs(pair[1].gap))[:FURTHEST]
    off = [(field, part) for field, part in off if abs(part.gap) >= FAR]
    if largest:
        yield from _tables("by value, the largest slices of all fields", largest)
    if off:
        title = f"by value, the slices that are off by {FAR:.0f} standard errors or more"
        yield from _tables(title, off)


def _tables(title: str, slices: Sequence[tuple[str, Quality]]) -> Iterator[TextTable]:
    """The quality of slices by field, and the attribution of a mixture's experts in them."""
    parts = [part for _, part in slices]
    tables = [quality_table(title, "value", parts)]
    if parts[0].attribution:
        tables.append(_attribution_table(title, parts))
    for table in tables:
        pairs = zip(slices, table.rows, strict=True)
        rows = [[clean(field), *row] for (field, _), row in pairs]
        yield TextTable(table.title, ("field", *table.columns), rows, 2)


def _attribution_table(title: str, rows: Sequence[Quality]) -> TextTable:
    """A line for each: the mean attribution of every expert."""
    cells = ((row.name, *(f"{value:.4f}" for value in row.attribution.values())) for row in rows)
    return text_table(f"attribution, {title}", ("value", *rows[0].attribution), cells)


def _draw_values(slices: Sequence[Quality]) -> Any:
    from zoo.inspect import plots

    pairs = {name: [getattr(part, name) for part in slices] for name in ("predicted", "observed")}
    return plots.grouped_bars([part.name for part in slices], pairs, "share of positives")


def _draw(slices: Slices) -> Any:
    """Every slice of every field."""
    from zoo.inspect import plots

    every = [part for parts in slices.values() for part in parts]
    plot = plots.diagonal((part.predicted, part.observed) for part in every)
    for field, parts in slices.items():
        plot.add_scatter(
            x=[part.predicted for part in parts],
            y=[part.observed for part in parts],
            text=plots.names(f"{field} = {part.name}, {part.rows:,} rows" for part in parts),
            mode="markers",
            marker_color=plots.BLUE,
            showlegend=False,
            name="",
        )
    return plot
