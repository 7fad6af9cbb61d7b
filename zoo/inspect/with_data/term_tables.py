"""The numbers of the shape of a term as tables, which a terminal shows too."""

from collections.abc import Iterator

from zoo.inspect.table import TextTable, text_table
from zoo.inspect.with_data.term_shapes import Cells, Curve, Level, Levels, Shape

PLACES = 9  # of a curve, evenly spread over its points
CELLS_SHOWN = 8  # of a heat map, the largest by |mean|


def tables_of(name: str, shape: Shape) -> list[TextTable]:
    """The tables of a shape.

    Args:
        name: Name of the term.
        shape: Its shape.
    """
    found: list[TextTable] = []
    if shape.curve:
        found.append(_of_curve(name, shape.curve))
    if shape.levels:
        found.append(_of_levels(name, shape.levels))
    return [*found, *(_of_cells(name, cells) for cells in shape.cells)]


def _of_curve(name: str, curve: Curve) -> TextTable:
    last = len(curve.values) - 1
    places = sorted({round(i * last / (PLACES - 1)) for i in range(PLACES)})
    rows = [(f"{curve.shown[i]:.5g}", f"{curve.contributions[i]:+.4f}") for i in places]
    if curve.missing:
        rows.append((curve.missing.name, f"{curve.missing.mean:+.4f}"))
    return text_table(f"{name}: what it adds at some numbers", (curve.field, "adds"), rows, 1)


def _of_levels(name: str, levels: Levels) -> TextTable:
    title = f"{name}: what it adds"
    if levels.others:
        shown, every = len(levels.levels), len(levels.levels) + levels.others
        title += f", the {shown} most frequent and most extreme of {every:,} values"
    return text_table(title, (levels.field, "rows", "adds", "+-"), map(_cells_of, levels.levels))


def _cells_of(level: Level) -> tuple[str, int, str, str]:
    return level.name, level.rows, f"{level.mean:+.4f}", f"{level.spread:.4f}"


def _of_cells(name: str, cells: Cells) -> TextTable:
    every = [*_filled(cells)]
    largest = sorted(every, key=lambda cell: -abs(cell[3]))[:CELLS_SHOWN]
    rows = [
        (row, column, count, f"{mean:+.4f}", f"{spread:.4f}")
        for row, column, count, mean, spread in largest
    ]
    given = f", {cells.given}" if cells.given else ""
    title = f"{name}{given}: what it adds"
    if len(every) > CELLS_SHOWN:
        title += f", the largest {CELLS_SHOWN} of {len(every)} cells with rows"
    return text_table(title, (*cells.fields, "rows", "adds", "+-"), rows, 2)


def _filled(cells: Cells) -> Iterator[tuple[str, str, int, float, float]]:
    """The cells with rows: values, number of rows, mean and spread."""
    for g, row in enumerate(cells.rows):
        for h, column in enumerate(cells.columns):
            mean, spread = cells.means[g][h], cells.spreads[g][h]
            if mean is not None and spread is not None:
                yield row, column, cells.counts[g][h], mean, spread
