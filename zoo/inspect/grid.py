"""A number for each pair of names, such as a weight between two fields."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from zoo.inspect.page import Figure, Section
from zoo.inspect.table import TextTable, text_table, titled

ROWS_SHOWN = 20  # of a narrow grid
PAIRS_SHOWN = 10  # of a wide grid
NARROW = 8  # columns of a grid that is shown whole
CELLS_DRAWN = 100  # rows, and columns, of a heat map


@dataclass(frozen=True)
class Grid:
    """A number for each pair.

    Attributes:
        title: What it shows.
        reading: How to read it, one sentence.
        rows: Names of the rows.
        columns: Names of the columns.
        values: Numbers by row and column.
    """

    title: str
    reading: str
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    values: tuple[tuple[float, ...], ...]

    def table(self) -> TextTable:
        """The rows of a narrow grid, or the largest pairs of a wide one."""
        if len(self.columns) <= NARROW:
            order = sorted(range(len(self.rows)), key=lambda r: -max(self.values[r]))
            rows = [
                (self.rows[r], *(f"{v:.4f}" for v in self.values[r])) for r in order[:ROWS_SHOWN]
            ]
            title = titled(self.title, len(order), ROWS_SHOWN)
            return text_table(title, ("field", *self.columns), rows)
        pairs = [
            (value, row, column)
            for row, values in zip(self.rows, self.values, strict=True)
            for column, value in zip(self.columns, values, strict=True)
        ]
        largest = sorted(pairs, key=lambda pair: -pair[0])[:PAIRS_SHOWN]
        rows = [(row, column, f"{value:.4f}") for value, row, column in largest]
        return text_table(f"{self.title}: the largest", ("field", "with", "value"), rows, 2)

    def figure(self) -> Figure:
        """A heat map of the rows and columns with the largest cells."""
        rows, columns = _largest(self.values), _largest([*zip(*self.values, strict=True)])

        def draw() -> Any:
            from zoo.inspect import plots

            values = [[self.values[r][c] for c in columns] for r in rows]
            return plots.heat(
                values, [self.rows[r] for r in rows], [self.columns[c] for c in columns]
            )

        cut = len(rows) < len(self.rows) or len(columns) < len(self.columns)
        note = f" Only the {CELLS_DRAWN} fields with the largest cells are drawn." if cut else ""
        return Figure(draw, self.reading + note)


def grid_section(title: str, grids: Iterable[Grid], chapter: str) -> Section:
    """A section of grids, each as a figure and a table."""
    content = [shown for grid in grids for shown in (grid.figure(), grid.table())]
    return Section(title, content, chapter)


def _largest(lines: Sequence[Sequence[float]]) -> list[int]:
    order = sorted(range(len(lines)), key=lambda i: -max(lines[i]))
    return sorted(order[:CELLS_DRAWN])
