"""Explained rows of a split that a page lets one choose from."""

from collections.abc import Iterator
from dataclasses import dataclass
from statistics import median
from typing import Any

from rich.text import Text

from zoo.inspect.chapters import ROWS
from zoo.inspect.explained_row import ExplainedRow
from zoo.inspect.explained_rows import ExplainedRows
from zoo.inspect.page import Section
from zoo.inspect.row_picker import PickedRow, RowPicker
from zoo.inspect.shown import Shown
from zoo.inspect.table import TextTable, clean, text_table
from zoo.inspect.with_data.chosen import RANDOM

TITLE = "explained rows"
LARGEST = 3  # contributions in a line of the table
READING = (
    "Choose a row to see what its fields and their interactions add to its logit, by being on as "
    "they are in this row, where the other fields are on or off at random; what a contribution is, "
    "docs/explain.md says. Half of the rows are random; the others are those whose prediction is "
    "furthest from the label, or the highest and the lowest of all."
)
CHOSEN = READING[READING.index("Half of") :]
EXACT = f"Choose a row to see exactly what each term of the model adds to its logit. {CHOSEN}"


@dataclass(frozen=True)
class PickedRows(Shown):
    """Explained rows, or the reason why there are none.

    Attributes:
        source: Where the rows are from, such as `the validation split`.
        rows: The rows, each with why it was chosen.
        left_out: Number of rows around which the model gave no finite scores.
        reason: Why no row is explained, one sentence; empty where some are.
    """

    source: str
    rows: tuple[PickedRow, ...]
    left_out: int = 0
    reason: str = ""

    def heading(self) -> Iterator[Text]:
        """Where the rows are from."""
        if self.rows:
            yield Text(clean(f"{len(self.rows)} explained rows of {self.source}"), "bold")

    def sections(self) -> Iterator[Section]:
        """The rows to choose from; in a terminal a line for each."""
        if self.rows:
            page = [EXACT if self.exact else READING, RowPicker(self.rows)]
            yield Section(TITLE, [self._table()], ROWS, page=page)
        else:
            yield Section(TITLE, [f"No row is explained: {self.reason}"], ROWS)

    def labelled_warnings(self) -> Iterator[tuple[str, str]]:
        """That rows were left out."""
        if self.left_out:
            said = "no row" if not self.rows else f"{self.left_out:,} rows are not"
            yield "", f"{said} explained: NaN or infinite scores around them"

    def to_dict(self) -> dict[str, Any]:
        """As plain data."""
        rows = [{"why": picked.why, **picked.row.to_dict()} for picked in self.rows]
        return {"source": self.source, "left_out": self.left_out, "rows": rows}

    @property
    def exact(self) -> bool:
        """Whether the model is the sum of what is shown."""
        return bool(self.rows) and all(picked.row.exact for picked in self.rows)

    @property
    def explained(self) -> float:
        """Median share of what the model does around a row that fields and interactions explain."""
        return median(picked.row.r2.with_interactions for picked in self.rows)

    def means(self) -> ExplainedRows:
        """The means of the random rows."""
        model = self.rows[0].row.model if self.rows else ""
        found = ExplainedRows(model, self.source)
        for picked in self.rows:
            if picked.why == RANDOM:
                found.add(picked.row)
        return found

    def _table(self) -> TextTable:
        rows = ((*_cells(picked.row), picked.why, _largest(picked.row)) for picked in self.rows)
        columns = ("row", "probability", "label", "why", "most of its logit")
        shown = text_table("explained rows", columns, rows, 0)
        return shown


def _cells(row: ExplainedRow) -> tuple[str, str, str]:
    place = f"{row.row}" if row.position is None else f"{row.row}, track {row.position}"
    return place, f"{row.probability:.4f}", "-" if row.label is None else f"{row.label:g}"


def _largest(row: ExplainedRow) -> str:
    return ", ".join(f"{c.name} {c.contribution:+.3f}" for c in row.contributions[:LARGEST])
