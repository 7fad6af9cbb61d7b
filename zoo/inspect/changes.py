"""How the interactions of two checkpoints differ, on the same rows."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from zoo.data.interaction import InteractionChange
from zoo.data.schema import JOINER
from zoo.inspect.page import Figure, Section
from zoo.inspect.shown import Shown
from zoo.inspect.table import TextTable, text_table, titled
from zoo.inspect.with_data.values import Values, text_of

CHANGES_SHOWN = 20
ROWS_SHOWN = 6  # interactions of which rows are shown
SAME = "same"


@dataclass(frozen=True)
class InteractionChanges(Shown):
    """The interactions of two models, A and B: which appeared, vanished, grew.

    Attributes:
        split: Name of the split whose rows were explained.
        instances: Number of these rows.
        left_out: Number of rows around which a model gives NaN or infinite scores.
        min_gain: Share of the variance around a row up to which nothing matters.
        changes: The interactions, those that differ most first, those that are the same last.
        values: Values of the fields of the rows in which interactions differ most, by number.
    """

    split: str
    instances: int
    left_out: int
    min_gain: float
    changes: tuple[InteractionChange, ...]
    values: dict[int, Values] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self)

    def sections(self) -> Iterator[Section]:
        """What became of each interaction, and the rows in which those that changed differ most."""
        rows = [self._rows()] if self._changed else []
        shown = [*self._figure(), self._reading(), self._table(), *rows]
        yield Section("interactions of A and B", shown)

    def labelled_warnings(self) -> Iterator[tuple[str, str]]:
        """That rows were left out."""
        if self.left_out:
            yield "", f"{self.left_out:,} rows left out: NaN or infinite scores around them"

    @property
    def _changed(self) -> list[InteractionChange]:
        return [change for change in self.changes if change.what != SAME]

    def _reading(self) -> str:
        return (
            "Size is the root of the mean square of what an interaction adds to a logit; a change "
            f"counts where the difference of both has more than {self.min_gain:.2%} of the "
            "variance around a row. Moved: as strong, in other rows."
        )

    def _table(self) -> TextTable:
        shown = self.changes[:CHANGES_SHOWN]
        title = f"interactions of A and B, in {self.instances:,} {self.split} rows"
        columns = ("change", "fields", "size in A", "size in B", "share of B - A", "95 %", "q")
        return text_table(
            titled(title, len(self.changes), CHANGES_SHOWN), columns, map(_cells, shown), 2
        )

    def _figure(self) -> Iterator[Figure]:
        if self.changes:
            yield Figure(
                lambda: _draw(self.changes[:CHANGES_SHOWN]),
                "The longer a bar, the more of what a model says around a row comes from these "
                "fields acting together; a line is the 95 % interval.",
            )

    def _rows(self) -> TextTable:
        rows = [
            (
                JOINER.join(change.fields),
                self._text(row.row, change.fields),
                *(f"{x:+.3f}" for x in (row.first, row.second, row.second - row.first)),
                f"{row.error:.3f}",
            )
            for change in self._changed[:ROWS_SHOWN]
            for row in change.rows
        ]
        title = titled("rows in which they differ most", len(self._changed), ROWS_SHOWN)
        return text_table(title, ("fields", "values", "A", "B", "B - A", "+-"), rows, 2)

    def _text(self, row: int, fields: Sequence[str]) -> str:
        values = self.values.get(row, {})
        return ", ".join(f"{name}={text_of(values[name])}" for name in fields if name in values)


def _cells(change: InteractionChange) -> Iterator[str]:
    difference = change.difference
    yield from (change.what, JOINER.join(change.fields))
    yield from (f"{side.size or 0:.3f}" for side in (change.first, change.second))
    share, low, high = difference.share, difference.share_low, difference.share_high
    yield from (f"{share or 0:.2%}", f"{low or 0:.2%} .. {high or 0:.2%}")
    yield "-" if difference.q is None else f"{difference.q:.2g}"


def _draw(changes: Sequence[InteractionChange]) -> Any:
    from zoo.inspect import plots

    places = [*range(len(changes))]
    plot = plots.new()
    for name, colour in (("first", plots.BLUE), ("second", plots.ORANGE)):
        sides = [getattr(change, name) for change in changes]
        values = [side.share or 0 for side in sides]
        ends = [(side.share_low, side.share_high) for side in sides]
        plot.add_bar(
            x=values,
            y=places,
            orientation="h",
            error_x=plots.error_bars(values, ends),
            name="A" if name == "first" else "B",
            marker_color=colour,
            hovertemplate="share %{x:.2%}<extra></extra>",
        )
    labels = (plots.short(f"{JOINER.join(c.fields)}: {c.what}") for c in changes)
    plot.update_yaxes(autorange="reversed", tickvals=places, ticktext=plots.names(labels))
    plot.update_xaxes(title="share of the variance around a row", tickformat=".1%")
    plot.update_layout(height=140 + 34 * len(places))
    return plot
