"""An inspection as tables in the terminal.

All names come from the file: they are shown as text, neither as markup nor as control characters.
"""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from rich.console import Group
from rich.table import Table
from rich.text import Text

from zoo.inspect import explain_sheets, pair_sheets, sheets
from zoo.inspect.compare import Comparison
from zoo.inspect.facts import Inspection
from zoo.inspect.interactions import Interactions
from zoo.inspect.sheets import Sheet, clean

if TYPE_CHECKING:  # it needs Lightning, which takes seconds to import
    from zoo.inspect.disagreement import Disagreement
    from zoo.inspect.scores import Scores


def table(sheet: Sheet) -> Group:
    """A table under its title."""
    made = Table()
    for i, column in enumerate(sheet.columns):
        side = "left" if i < sheet.words else "right"
        words = i < sheet.words  # only these may be folded: a broken number is another one
        made.add_column(Text(clean(column)), justify=side, overflow="fold", no_wrap=not words)
    for row in sheet.rows:
        made.add_row(*map(Text, row))
    return Group(Text(clean(sheet.title), "italic"), made)


def tables(inspection: Inspection) -> Group:
    """All that is known of a checkpoint."""
    return Group(*_blocks(inspection))


def _blocks(found: Inspection) -> Iterator[Text | Group]:
    yield Text(clean(f"{found.file} ({found.bytes / 1e6:,.1f} MB)"), "bold")
    if found.architecture:
        model = found.architecture
        yield Text(f"\n{model.model}: {model.description}\n")
        yield table(sheets.options_sheet(model.options))
        if model.experts:
            yield table(sheets.experts_sheet(found))
    if found.fields:
        yield table(sheets.schema_sheet(found.fields))
    yield table(sheets.parts_sheet(found.parts))
    yield table(sheets.training_sheet(found))
    yield from map(table, sheets.metrics_sheets(found))
    yield from map(table, explain_sheets.effect_sheets(found.effects))
    yield from _warnings("warning", found.warnings)


def _warnings(label: str, warnings: Iterable[str]) -> Iterator[Text]:
    for warning in warnings:
        yield Text(clean(f"{label}: {warning}"), "yellow")


def comparison(found: Comparison) -> Group:
    """Two checkpoints side by side."""
    return Group(*_comparison_blocks(found))


def _comparison_blocks(found: Comparison) -> Iterator[Text | Group]:
    yield Text(clean(f"A  {found.first.file}\nB  {found.second.file}\n"), "bold")
    yield Text(clean(f"schemas: {found.schema or 'equal'}"))
    yield from map(table, pair_sheets.comparison_sheets(found))
    for side, inspection in (("A", found.first), ("B", found.second)):
        yield from _warnings(f"warning of {side}", inspection.warnings)


def scores(found: "Scores") -> Group:
    """The quality of a model on a split."""
    shown = [*sheets.score_sheets(found)]
    if found.explanation:
        shown += explain_sheets.explanation_sheets(found.explanation)
    return Group(*map(table, shown), *_warnings("warning", found.warnings))


def disagreement(found: "Disagreement") -> Group:
    """Where the predictions of two models differ."""
    return Group(*map(table, pair_sheets.disagreement_sheets(found)))


def interactions(found: Interactions) -> Group:
    """The interactions of a file."""
    return Group(table(explain_sheets.interactions_sheet(found)))
