"""Two checkpoints side by side as one HTML file; see `zoo.inspect.report`."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import plotly.graph_objects as go

from zoo.inspect import pair_sheets
from zoo.inspect.compare import Comparison
from zoo.inspect.disagreement import Disagreement, RowDifference, SliceDifference
from zoo.inspect.figures import BLUE, GREY, ORANGE, Figure, names
from zoo.inspect.report import Section, page, save

POINT = {"color": GREY, "size": 10, "symbol": "diamond", "line": {"color": "white", "width": 1}}


def write(path: Path, found: Comparison, scores: Disagreement | None = None) -> None:
    """Writes the report."""
    save(path, report(found, scores))


def report(found: Comparison, scores: Disagreement | None = None) -> str:
    """The report as HTML."""
    sides = {"A": found.first, "B": found.second}
    warned = [f"{name}: {text}" for name, side in sides.items() for text in side.warnings]
    title = ", ".join(f"{name}: {side.file}" for name, side in sides.items())
    schemas = f"<p>schemas: {names([found.schema or 'equal'])[0]}</p>"
    differing = Section("what differs", [schemas, *pair_sheets.comparison_sheets(found)])
    return page(title, warned, [differing, *(_scored(scores) if scores else ())])


def _scored(found: Disagreement) -> Iterator[Section]:
    quality, probabilities, *slices, rows = pair_sheets.disagreement_sheets(found)
    yield Section("quality", [quality, probabilities])
    if slices:
        yield Section("by value", [_slices(found), *slices])
    yield Section("rows", [_rows(found), rows])


def _slices(found: Disagreement) -> Figure:
    labels = [f"{part.field} = {part.value}" for part in found.slices]
    observed = [part.observed for part in found.slices]
    plot = _bars(labels, found.slices, "observed", observed)
    plot.update_yaxes(title="share of positives")
    return Figure(plot, "Of each value, the model whose bar ends nearer to the point is right.")


def _rows(found: Disagreement) -> Figure:
    labels = [f"row {row.row}" for row in found.rows]
    plot = _bars(labels, found.rows, "label", [row.label for row in found.rows])
    plot.update_yaxes(title="probability")
    return Figure(plot, "Of each row, the model whose bar ends nearer to the point is right.")


def _bars(
    labels: Iterable[str],
    parts: Sequence[SliceDifference | RowDifference],
    name: str,
    truth: Sequence[float],
) -> go.Figure:
    """What both models predict of each part, and points at what is true of it."""
    labels = names(labels)
    plot = go.Figure()
    for side, values, colour in (
        ("A", [part.first for part in parts], BLUE),
        ("B", [part.second for part in parts], ORANGE),
    ):
        plot.add_bar(x=labels, y=values, name=side, marker_color=colour)
    plot.add_scatter(x=labels, y=truth, name=name, mode="markers", marker=POINT)
    plot.update_xaxes(type="category")
    plot.update_yaxes(rangemode="tozero")
    return plot
