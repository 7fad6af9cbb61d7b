"""The pictures of fields, experts, sessions and interactions, each with how to read it.

All names come from the file or from the data: they are shown as text, never as markup.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any, NamedTuple

import plotly.graph_objects as go
from plotly.colors import qualitative

from zoo.data.schema import JOINER
from zoo.inspect.effects import Grid, LinearWeight
from zoo.inspect.explain import Example, Prediction, Session
from zoo.inspect.importance import Importance
from zoo.inspect.interactions import Interactions
from zoo.inspect.scores import ExpertShare
from zoo.inspect.sheets import clean

BLUE, ORANGE, GREY = "#4c8bf5", "#e8833a", "#808894"  # legible on white and on black
SHOWN = 20  # bars
CELLS = 100  # rows, and columns, of a heat map
TICKS = 20  # columns of a heat map that are named on a phone
BELOW = {"y": -0.25, "yanchor": "top", "traceorder": "normal"}  # a legend of many names


class Figure(NamedTuple):
    """A plot, and one sentence that says how to read it."""

    plot: go.Figure
    reading: str


def text(value: Any) -> str:
    """A value as HTML, and plotly, show it as text."""
    return escape(clean(value))


def names(values: Iterable[Any]) -> list[str]:
    """Names as plotly shows them as text."""
    return [text(value) for value in values]


# Fields


def importance(found: Sequence[Importance]) -> Figure:
    """Permutation importance of the first fields."""
    found = found[:SHOWN]
    errors = {"type": "data", "array": [item.error for item in found], "color": ORANGE}
    changes = ["-" if item.auc is None else f"{-item.auc:+.5f}" for item in found]
    plot = _bars(
        [item.field for item in found],
        [item.logloss for item in found],
        error_x=errors,
        customdata=changes,
        hovertemplate="%{y}<br>logloss %{x:+.5f}<br>AUC %{customdata}<extra></extra>",
    )
    plot.update_xaxes(title="rise of the logloss")
    return Figure(
        plot,
        "The longer a bar, the more the predictions lose where the values of the field are "
        "shuffled among the rows; a line is one standard error to each side.",
    )


def linear(weights: Sequence[LinearWeight]) -> Figure:
    """The largest first-order weights."""
    labels = [w.field if w.value is None else f"{w.field} = {w.value}" for w in weights]
    values = [w.weight for w in weights]
    plot = _bars(labels, values, marker_color=[BLUE if value > 0 else ORANGE for value in values])
    plot.update_xaxes(title="weight")
    return Figure(
        plot,
        "A bar is what a value of a field, or each unit of a number, adds to the logit by itself: "
        "to the right it makes a click more likely, to the left less.",
    )


def _bars(labels: Iterable[str], values: Sequence[float], **options: Any) -> go.Figure:
    """Horizontal bars, the first on top; labels that are equal stay apart."""
    places = list(range(len(values)))
    labels = names(_short(label) for label in labels)
    options = {"marker_color": BLUE, "hovertext": labels, **options}
    plot = go.Figure(go.Bar(x=values, y=places, orientation="h", **options))
    if "hovertemplate" in options:
        plot.update_traces(hovertemplate=options["hovertemplate"].replace("%{y}", "%{hovertext}"))
    plot.update_yaxes(autorange="reversed", tickvals=places, ticktext=labels)
    plot.update_layout(height=120 + 22 * len(places))
    return plot


def _short(label: str, width: int = 32) -> str:
    return label if len(label) <= width else f"{label[: width - 1]}…"


def heat(grid: Grid) -> Figure:
    """A heat map."""
    columns, rows = (_largest(grid, by_row) for by_row in (False, True))
    values = [[grid.values[r][c] for c in columns] for r in rows]
    plot = go.Figure(
        go.Heatmap(
            z=values,
            x=list(range(len(columns))),
            y=list(range(len(rows))),
            text=[
                [names((f"{grid.rows[r]}, {grid.columns[c]}",))[0] for c in columns] for r in rows
            ],
            hovertemplate="%{text}<br>%{z:.4f}<extra></extra>",
            zmin=0,
            zmax=max(map(max, values)),
            colorscale="Viridis",
            colorbar={"orientation": "h", "thickness": 10, "y": 1, "yanchor": "bottom"},
        )
    )
    for axis, kept, known, step in (
        ("xaxis", columns, grid.columns, math.ceil(len(columns) / TICKS)),
        ("yaxis", rows, grid.rows, 1),
    ):
        labels = names(_short(known[i], 16) for i in kept[::step])
        ticks = list(range(0, len(kept), step))
        plot.update_layout({axis: {"tickvals": ticks, "ticktext": labels}})
    plot.update_yaxes(autorange="reversed", showgrid=False)
    plot.update_xaxes(showgrid=False)
    plot.update_layout(height=max(340, 140 + 14 * len(rows)))
    cut = len(rows) < len(grid.rows) or len(columns) < len(grid.columns)
    note = f" Only the {CELLS} fields with the largest cells are drawn." if cut else ""
    return Figure(plot, grid.reading + note)


def _largest(grid: Grid, by_row: bool) -> list[int]:
    lines = grid.values if by_row else list(zip(*grid.values, strict=True))
    order = sorted(range(len(lines)), key=lambda i: -max(lines[i]))
    return sorted(order[:CELLS])


def interactions(found: Interactions) -> Figure:
    """The most frequent interactions."""
    from zoo.glider.detect import LEVEL  # which takes a while to load

    shown = found.found[:SHOWN]
    significant = [item.q_permutation is not None and item.q_permutation < LEVEL for item in shown]
    plot = _bars(
        [JOINER.join(item.fields) for item in shown],
        [item.count or 0 for item in shown],
        marker_color=[BLUE if yes else GREY for yes in significant],
        customdata=["-" if i.q_permutation is None else f"{i.q_permutation:.2g}" for i in shown],
        hovertemplate="%{y}<br>count %{x}<br>q %{customdata}<extra></extra>",
    )
    plot.update_xaxes(title="rows in which it was found")
    return Figure(
        plot,
        "The longer a bar, the more rows there are in whose prediction the fields act together; "
        f"blue ones are significant (q < {LEVEL}), grey ones may be chance.",
    )


# Experts


def attribution(experts: Sequence[ExpertShare]) -> Figure:
    """Mean and largest attribution of each expert (Afchar & Hennequin 2020, figure 8)."""
    labels = names(expert.name for expert in experts)
    plot = go.Figure()
    plot.add_bar(x=labels, y=[expert.mean for expert in experts], name="mean", marker_color=BLUE)
    largest = [expert.max for expert in experts]
    plot.add_scatter(x=labels, y=largest, name="max", mode="markers", marker_color=ORANGE)
    plot.update_xaxes(type="category")
    plot.update_yaxes(title="attribution", rangemode="tozero")
    return Figure(
        plot,
        "A bar is an expert's mean share in the predictions, and the point its largest share in "
        "any: an expert whose point is near zero is never heard.",
    )


def examples(found: Sequence[Example]) -> Figure:
    """The attribution of the example rows, the first on top."""
    labels = [f"{e.expert}: p = {e.prediction.probability:.2f}" for e in found]
    labels = names(_short(label) for label in labels)
    places = list(range(len(found)))
    plot = go.Figure()
    for name, values in _shares([example.prediction for example in found]).items():
        plot.add_bar(x=values, y=places, name=text(name), orientation="h")
    plot.update_yaxes(autorange="reversed", tickvals=places, ticktext=labels)
    plot.update_xaxes(title="attribution", range=[0, 1])
    _stack(plot, height=180 + 22 * len(found))
    return Figure(
        plot,
        "Each bar is a row, named by the expert that is surest, and most heard, in it of all rows, "
        "and by its predicted probability; its parts are the experts' shares in that prediction.",
    )


def session(found: Session) -> Figure:
    """The attribution along a session (Afchar & Hennequin 2020, figure 11)."""
    tracks = [f"B{i}" for i in range(1, len(found.tracks) + 1)]
    past = [f"A{i}" for i in range(1, len(found.past) + 1)]
    plot = go.Figure()
    for name, values in _shares(found.tracks).items():
        plot.add_bar(x=tracks, y=values, name=text(name))
    labels = [(x, float(skipped)) for x, skipped in zip(past, found.past, strict=True)]
    labels += [(x, track.label) for x, track in zip(tracks, found.tracks, strict=True)]
    for name, symbol, value in (("skipped", "x", 1), ("not skipped", "circle-open", 0)):
        here = [x for x, label in labels if label == value]
        marker = {"symbol": symbol, "color": GREY, "size": 9}
        plot.add_scatter(x=here, y=[1.08] * len(here), name=name, mode="markers", marker=marker)
    chances = [track.probability for track in found.tracks]
    style = {
        "line_color": GREY,
        "marker": {"color": "white", "line": {"color": "black", "width": 1}},
    }
    plot.add_scatter(x=tracks, y=chances, name="probability", mode="lines+markers", **style)
    plot.update_xaxes(type="category", categoryorder="array", categoryarray=[*past, *tracks])
    plot.update_yaxes(title="attribution", range=[0, 1.15], tickvals=[0, 0.25, 0.5, 0.75, 1])
    _stack(plot, height=420)
    return Figure(
        plot,
        "Each bar is a track of the second part (B) of one session, its parts the experts' shares "
        "in the prediction; the white points are the predicted probability of a skip, and the "
        "crosses on top are the tracks that were skipped, in the first part (A) too.",
    )


def _shares(predictions: Sequence[Prediction]) -> Mapping[str, list[float]]:
    """The attributions of each expert."""
    experts = predictions[0].attribution
    return {name: [p.attribution[name] for p in predictions] for name in experts}


def _stack(plot: go.Figure, height: int) -> None:
    plot.update_layout(barmode="stack", legend=BELOW, colorway=qualitative.D3, height=height)
