"""The interactions that the command `detect` has found in a model, from its interactions.json."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from zoo.data.interactions import SIGNIFICANCE_LEVEL, Interaction, read_interactions
from zoo.data.schema import JOINER, Schema
from zoo.inspect.page import Figure, Section
from zoo.inspect.shown import Shown
from zoo.inspect.table import TextTable, text_table, titled

INTERACTIONS_SHOWN = 20


@dataclass(frozen=True)
class DetectedInteractions(Shown):
    """The interactions of a file, in its order: the most frequent first.

    Attributes:
        file: Path of the file.
        model: Class of the model in which they were found; None where the file does not say.
        instances: Number of rows that were explained; None where the file does not say.
        found: The interactions.
    """

    file: str
    model: str | None
    instances: int | None
    found: tuple[Interaction, ...]

    def to_dict(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self)

    def sections(self) -> Iterator[Section]:
        """The most frequent interactions."""
        yield Section("interactions", [self.figure(), self._table()])

    def figure(self) -> Figure:
        """In how many rows each of the most frequent interactions was found."""
        return Figure(
            lambda: _draw(self.found[:INTERACTIONS_SHOWN]),
            "The longer a bar, the more rows there are in whose prediction the fields act "
            f"together; blue ones are significant (q < {SIGNIFICANCE_LEVEL}), grey ones may be "
            "chance.",
        )

    def _table(self) -> TextTable:
        rows = []
        for item in self.found[:INTERACTIONS_SHOWN]:
            numbers = (item.p_uniform, item.p_permutation, item.q_permutation)
            cells = ("-" if value is None else f"{value:.2g}" for value in numbers)
            rows.append((JOINER.join(item.fields), item.count, item.null_count, *cells))
        title = f"interactions found in {self.model or 'a model'}"
        title += "" if self.instances is None else f", in {self.instances:,} rows"
        columns = ("fields", "count", "permuted", "p uniform", "p permutation", "q permutation")
        return text_table(titled(title, len(self.found), INTERACTIONS_SHOWN), columns, rows)


def interactions_in(path: Path, schema: Schema) -> DetectedInteractions:
    """Reads a file of interactions between the fields of a schema.

    Raises:
        ZooError: where it cannot be read, or names other fields.
    """
    names = [field.name for field in schema.fields]
    read = read_interactions(path, names, "--interactions")
    return DetectedInteractions(read.file, read.model, read.instances, read.interactions)


def _draw(shown: tuple[Interaction, ...]) -> Any:
    from zoo.inspect import plots

    q_values = [item.q_permutation for item in shown]
    significant = [q is not None and q < SIGNIFICANCE_LEVEL for q in q_values]
    plot = plots.bars(
        [JOINER.join(item.fields) for item in shown],
        [item.count or 0 for item in shown],
        marker_color=[plots.BLUE if yes else plots.GREY for yes in significant],
        customdata=["-" if q is None else f"{q:.2g}" for q in q_values],
        hovertemplate="%{y}<br>count %{x}<br>q %{customdata}<extra></extra>",
    )
    plot.update_xaxes(title="rows in which it was found")
    return plot
