"""The interactions that the command `detect` has found in a model, from its interactions.json."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from zoo.data.errors import ZooError
from zoo.data.interaction import Interaction, Main
from zoo.data.interactions import read_interactions
from zoo.data.schema import JOINER, Schema
from zoo.inspect import interaction_figures as figures
from zoo.inspect import stability
from zoo.inspect.chapters import USES
from zoo.inspect.page import Figure, Section
from zoo.inspect.shown import Shown
from zoo.inspect.table import TextTable, text_table, titled
from zoo.inspect.with_data.values import Values, text_of

INTERACTIONS_SHOWN = 20
MAINS_SHOWN = 10
ROWS_SHOWN = 12  # rows in which interactions are strongest
WITHOUT = "-"


@dataclass(frozen=True)
class DetectedInteractions(Shown):
    """The interactions of a file, in its order: the strongest, or the most frequent, first.

    Attributes:
        file: Path of the file.
        model: Class of the model in which they were found; None where the file does not say.
        instances: Number of rows that were explained; None where the file does not say.
        found: The interactions.
        fidelity: R^2 by name.
        mains: What each field adds by itself; none where the file does not say.
        fields: [d] names of the fields that were looked at, in the order of the matrix.
        matrix: [d][d] mean share of the variance of each pair; empty where the file does not say.
        checkpoints: Paths of the checkpoints that were compared; empty of one.
        values: Values of the fields of the rows in which interactions are strongest, by the number
            of the row; empty without data.
    """

    file: str
    model: str | None
    instances: int | None
    found: tuple[Interaction, ...]
    fidelity: dict[str, float] = field(default_factory=dict)
    mains: tuple[Main, ...] = ()
    fields: tuple[str, ...] = ()
    matrix: tuple[tuple[float, ...], ...] = ()
    checkpoints: tuple[str, ...] = ()
    values: dict[int, Values] = field(default_factory=dict)

    @property
    def title(self) -> str:
        """The title of a page that begins with it."""
        rows = "" if self.instances is None else f" in {self.instances:,} rows"
        return f"{self.model or 'a model'}: interactions{rows}"

    @property
    def strongest_rows(self) -> list[int]:
        """The numbers in the split of the rows in which interactions are strongest."""
        return sorted({row.row for item in self.found for row in item.strongest})

    def to_dict(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self)

    def sections(self) -> Iterator[Section]:
        """The first interactions; where shares are known also network, matrix and rows."""
        if not self._measured:
            yield Section("interactions", [self.figure(), self._counts()], USES)
            return
        yield Section("interactions", [self.figure(), self._shares(), *self._fit()], USES)
        yield from stability.sections(self.found, self.checkpoints)
        if any(item.significant for item in self.found):
            yield Section("network", [figures.network(self.found, self.mains)], USES)
        if self.matrix:
            yield Section("strength", [figures.strength(self.fields, self.matrix)], USES)
        yield Section("count against rank", [figures.ranks(self.found)], USES)
        if self.mains:
            yield Section("fields by themselves", [self._mains()], USES)
        if any(item.strongest and item.significant for item in self.found):
            yield Section("strongest rows", [self._rows()], USES)

    def figure(self) -> Figure:
        """The first interactions: their shares, or in how many rows each was found."""
        shown = self.found[:INTERACTIONS_SHOWN]
        return figures.shares(shown) if self._measured else figures.counts(shown)

    @property
    def _measured(self) -> bool:
        return any(item.share is not None for item in self.found)

    @property
    def _title(self) -> str:
        title = f"interactions found in {self.model or 'a model'}"
        title += "" if self.instances is None else f", in {self.instances:,} rows"
        return titled(title, len(self.found), INTERACTIONS_SHOWN)

    def _counts(self) -> TextTable:
        rows = []
        for item in self.found[:INTERACTIONS_SHOWN]:
            numbers = (item.p_uniform, item.p_permutation, item.q_permutation)
            cells = (WITHOUT if value is None else f"{value:.2g}" for value in numbers)
            rows.append((JOINER.join(item.fields), item.count, item.null_count, *cells))
        columns = ("fields", "count", "permuted", "p uniform", "p permutation", "q permutation")
        return text_table(self._title, columns, rows)

    def _shares(self) -> TextTable:
        rows = [
            (
                JOINER.join(item.fields),
                item.count,
                *interval(item.share, item.share_low, item.share_high, "{:.2%}"),
                WITHOUT if item.size is None else f"{item.size:.3f}",
                *interval(item.effect, item.effect_low, item.effect_high, "{:+.3f}"),
                WITHOUT if item.q_value is None else f"{item.q_value:.2g}",
            )
            for item in self.found[:INTERACTIONS_SHOWN]
        ]
        columns = ("fields", "count", "share", "95 %", "size", "mean", "95 %", "q")
        return text_table(self._title, columns, rows)

    def _fit(self) -> Iterator[str]:
        known = {"linear": "fields alone", "with_interactions": "with these interactions"}
        named = [f"{self.fidelity[k]:.3f} {v}" for k, v in known.items() if k in self.fidelity]
        if named:
            yield f"R^2 of the scores around a row: {', '.join(named)}."

    def _mains(self) -> TextTable:
        largest = sorted(self.mains, key=lambda main: -(main.share or 0))[:MAINS_SHOWN]
        rows = [
            (m.field, *interval(m.share, None, None, "{:.2%}")[:1], _signed(m.effect))
            for m in largest
        ]
        title = titled("fields by themselves", len(self.mains), MAINS_SHOWN)
        return text_table(title, ("field", "share", "effect"), rows)

    def _rows(self) -> TextTable:
        known = [item for item in self.found if item.strongest and item.significant]
        rows = [
            (
                JOINER.join(item.fields),
                *([self._text(row.row, item)] if self.values else []),
                row.row,
                _signed(row.effect),
                WITHOUT if row.error is None else f"{row.error:.3f}",
            )
            for item in known[:ROWS_SHOWN]
            for row in item.strongest
        ]
        title = titled("rows in which each is strongest", len(known), ROWS_SHOWN)
        words = ("fields", "values") if self.values else ("fields",)
        return text_table(title, (*words, "row", "effect", "+-"), rows, len(words))

    def _text(self, row: int, item: Interaction) -> str:
        values = self.values.get(row, {})
        named = (f"{name}={text_of(values[name])}" for name in item.fields if name in values)
        return ", ".join(named) or WITHOUT


def interval(
    value: float | None, low: float | None, high: float | None, form: str
) -> tuple[str, str]:
    """A number and its interval, as cells of a table; a form such as `{:.2%}`."""
    cells = [WITHOUT if x is None else form.format(x) for x in (value, low, high)]
    return cells[0], WITHOUT if low is None or high is None else f"{cells[1]} .. {cells[2]}"


def _signed(effect: float | None) -> str:
    return WITHOUT if effect is None else f"{effect:+.3f}"


def interactions_in(path: Path, schema: Schema) -> DetectedInteractions:
    """Reads a file of interactions between the fields of a schema.

    Raises:
        ZooError: where it cannot be read, or names other fields.
    """
    names = [field.name for field in schema.fields]
    read = read_interactions(path, names, "--interactions")
    mentioned = (*read.fields, *(main.field for main in read.mains))
    for name in (name for name in mentioned if name not in names):
        raise ZooError(f"{path} names an unknown field: {name}; the file is of other data")
    return DetectedInteractions(
        read.file,
        read.model,
        read.instances,
        read.interactions,
        read.fidelity,
        read.mains,
        read.fields,
        read.matrix,
        read.checkpoints,
    )
