"""The quality of a model by the values of a field, or of all fields."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from zoo.data.encoder import value_names
from zoo.inspect.chapters import QUALITY
from zoo.inspect.page import Figure, Section
from zoo.inspect.page.tables import Filtered
from zoo.inspect.table import TextTable, clean, text_table
from zoo.inspect.with_data.quality import Quality, Scored, quality_table

VALUES_SCORED = 10  # of a field, the most frequent ones
LARGEST, FURTHEST = 20, 10  # slices that a table over all fields shows
FAR = 4.0  # standard errors by which hardly one of a thousand slices is off by chance
BY_VALUE = "by value"
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
        yield Section(f"by {by}", [figure, *tables], QUALITY)
    elif slices:
        reading = (
            "Each point is a frequent value of a field: below the dashed line the model predicts "
            "more positives than there are, above it fewer."
        )
        figure = Figure(lambda: _draw(slices), reading)
        content, page = [figure, *_of_all(slices)], [figure, *_to_filter(slices)]
        yield Section(BY_VALUE, content, QUALITY, page=page)


def far_slices(slices: Slices) -> tuple[int, int]:
    """How many slices are off by `FAR` standard errors or more, and of how many."""
    every = [part for parts in slices.values() for part in parts]
    return sum(abs(part.gap) >= FAR for part in every), len(every)


def _to_filter(slices: Slices) -> Iterator[Filtered | TextTable]:
    """All slices, for a page, with by how many standard errors each is off."""
    every = [(field, part) for field, parts in slices.items() for part in parts]
    if not every:
        return
    table, *more = _tables("by value, all slices", every)
    off = [f"{part.gap:+.1f}" for _, part in every]
    rows = [[*row, gap] for row, gap in zip(table.rows, off, strict=True)]
    columns = (*table.columns, "off by (s.e.)")
    shown = TextTable(table.title, columns, rows, table.words)
    last, asked = len(columns) - 1, f"off by {FAR:.0f} standard errors or more"
    yield Filtered(shown, "slices", least=2, far=last, limit=FAR, far_name=asked)
    yield from more


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
