"""Plots of plotly: bars, heat maps, scatters, diagrams.

All names come from a file or from data: they are shown as text, never as markup.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import plotly.graph_objects as go
from plotly.colors import qualitative

from zoo.inspect.page import GREY
from zoo.inspect.table import escaped

BLUE, ORANGE = "#4c8bf5", "#e8833a"  # legible on white and on black
EMPTY = "rgba(128,136,148,0.35)"  # of cells that hold nothing
TICKS = 20  # columns of a heat map that are named on a phone
BELOW = {"y": -0.25, "yanchor": "top", "traceorder": "normal"}  # a legend of many names
POINT = {"color": GREY, "size": 10, "symbol": "diamond", "line": {"color": "white", "width": 1}}


def new() -> go.Figure:
    """A plot without content."""
    return go.Figure()


def names(values: Iterable[Any]) -> list[str]:
    """Names as plotly shows them as text."""
    return [escaped(value) for value in values]


def short(label: str, width: int = 32) -> str:
    """A label of so many characters at most."""
    return label if len(label) <= width else f"{label[: width - 1]}…"


def bars(labels: Iterable[str], values: Sequence[float], **options: Any) -> go.Figure:
    """Horizontal bars, the first on top; labels that are equal stay apart."""
    places = list(range(len(values)))
    labels = names(short(label) for label in labels)
    options = {"marker_color": BLUE, "hovertext": labels, **options}
    plot = go.Figure(go.Bar(x=values, y=places, orientation="h", **options))
    if "hovertemplate" in options:
        plot.update_traces(hovertemplate=options["hovertemplate"].replace("%{y}", "%{hovertext}"))
    plot.update_yaxes(autorange="reversed", tickvals=places, ticktext=labels)
    plot.update_layout(height=120 + 22 * len(places))
    return plot


def error_bars(
    values: Iterable[float], ends: Iterable[tuple[float | None, float | None]], colour: str = GREY
) -> dict[str, Any]:
    """What plotly takes for the intervals of values; none where an end is None."""
    both = [(value, *end) for value, end in zip(values, ends, strict=True)]
    return {
        "type": "data",
        "symmetric": False,
        "array": [0 if high is None else high - x for x, _, high in both],
        "arrayminus": [0 if low is None else x - low for x, low, _ in both],
        "color": colour,
        "thickness": 1,
    }


def share_bars(shares: Mapping[str, float], title: str) -> go.Figure:
    """Horizontal bars of shares by name, the first on top."""
    plot = go.Figure(
        go.Bar(x=list(shares.values()), y=names(shares), orientation="h", marker_color=BLUE)
    )
    plot.update_xaxes(title=title, tickformat=".0%")
    plot.update_yaxes(autorange="reversed", type="category")
    return plot


def grouped_bars(
    labels: Iterable[str], groups: Mapping[str, Sequence[float]], title: str
) -> go.Figure:
    """Two bars side by side for each label."""
    labels = names(labels)
    plot = go.Figure()
    for (name, values), colour in zip(groups.items(), (BLUE, ORANGE), strict=True):
        plot.add_bar(x=labels, y=values, name=name, marker_color=colour)
    plot.update_xaxes(type="category")
    plot.update_yaxes(title=title)
    return plot


def with_points(
    plot: go.Figure, labels: Iterable[str], values: Sequence[float], name: str
) -> go.Figure:
    """The bars of a plot with a point for each label."""
    plot.add_scatter(x=names(labels), y=values, name=name, mode="markers", marker=POINT)
    plot.update_yaxes(rangemode="tozero")
    return plot


def stacked_bars(
    places: Sequence[Any], parts: Mapping[str, Sequence[float]], horizontal: bool = False
) -> go.Figure:
    """Bars made of named parts."""
    plot = go.Figure()
    for name, values in parts.items():
        axes = {"x": values, "y": places} if horizontal else {"x": places, "y": values}
        plot.add_bar(**axes, name=escaped(name), orientation="h" if horizontal else "v")
    plot.update_layout(barmode="stack", legend=BELOW, colorway=qualitative.D3)
    return plot


def diagonal(parts: Iterable[tuple[float, float]]) -> go.Figure:
    """The line on which predicted equals observed, as long as the largest of these."""
    end = max(value for part in parts for value in part)
    plot = go.Figure()
    line = {"color": GREY, "dash": "dash"}
    plot.add_scatter(x=[0, end], y=[0, end], mode="lines", name="calibrated", line=line)
    plot.update_layout(xaxis_title="predicted probability", yaxis_title="share of positives")
    return plot


def heat(
    values: Sequence[Sequence[float | None]],
    rows: Sequence[str],
    columns: Sequence[str],
    form: str = "%{z:.4f}",
) -> go.Figure:
    """A heat map of numbers from zero up; a cell that is None stays empty."""
    text = [[escaped(f"{row}, {column}") for column in columns] for row in rows]
    plot = go.Figure(
        go.Heatmap(
            z=values,
            x=list(range(len(columns))),
            y=list(range(len(rows))),
            text=text,
            hovertemplate=f"%{{text}}<br>{form}<extra></extra>",
            zmin=0,
            zmax=max((x for row in values for x in row if x is not None), default=0),
            hoverongaps=False,
            colorscale="Viridis",
            colorbar={"orientation": "h", "thickness": 10, "y": 1, "yanchor": "bottom"},
        )
    )
    step = math.ceil(len(columns) / TICKS)
    for axis, labels, every in (("xaxis", columns, step), ("yaxis", rows, 1)):
        ticks = list(range(0, len(labels), every))
        shown = names(short(label, 16) for label in labels[::every])
        plot.update_layout({axis: {"tickvals": ticks, "ticktext": shown}})
    plot.update_yaxes(autorange="reversed", showgrid=False, zeroline=False)
    plot.update_xaxes(showgrid=False, zeroline=False)
    plot.update_layout(height=max(340, 140 + 14 * len(rows)))
    return plot


def signed_heat(
    values: Sequence[Sequence[float | None]],
    rows: Sequence[str],
    columns: Sequence[str],
    most: float,
    text: Sequence[Sequence[str]],
) -> go.Figure:
    """A heat map of numbers on both sides of zero; a cell that is None is grey.

    Args:
        values: Numbers by row and column.
        rows: Names of the rows.
        columns: Names of the columns.
        most: Where the scale ends, to both sides.
        text: What a cell shows when it is pointed at, as plotly shows it as text.
    """
    places = {"x": list(range(len(columns))), "y": list(range(len(rows)))}
    shared = {**places, "text": text, "hovertemplate": "%{text}<extra></extra>", "xgap": 1}
    plot = go.Figure()
    if any(x is None for row in values for x in row):
        empty = [[1 if x is None else None for x in row] for row in values]
        scale = [[0, EMPTY], [1, EMPTY]]
        shown = {"showscale": False, "hoverongaps": False, "ygap": 1}
        plot.add_heatmap(z=empty, colorscale=scale, **shared, **shown)
    plot.add_heatmap(
        z=values,
        zmin=-most,
        zmax=most,
        colorscale=[[0, ORANGE], [0.5, "#f2f2f2"], [1, BLUE]],
        colorbar={"orientation": "h", "thickness": 10, "y": 1, "yanchor": "bottom"},
        hoverongaps=False,
        ygap=1,
        **shared,
    )
    for axis, labels in (("xaxis", columns), ("yaxis", rows)):
        shown = names(short(label, 16) for label in labels)
        ticks = {"tickvals": list(range(len(labels))), "ticktext": shown}
        plot.update_layout({axis: {**ticks, "showgrid": False, "zeroline": False}})
    plot.update_yaxes(autorange="reversed")
    plot.update_layout(height=max(340, 170 + 22 * len(rows)))
    return plot


def hasse(sets: Mapping[str, Sequence[str]], inside: Mapping[str, Sequence[str]]) -> go.Figure:
    """The Hasse diagram of some sets: small ones below, edges for inclusion.

    Args:
        sets: Members of each set, by its name.
        inside: Of each set the names of the largest ones strictly inside it.
    """
    levels: dict[str, int] = {}
    for name in sorted(sets, key=lambda name: len(sets[name])):
        levels[name] = max((levels[other] + 1 for other in inside[name]), default=0)
    rows = [[n for n in sets if levels[n] == level] for level in range(max(levels.values()) + 1)]
    x = {name: (row.index(name) + 0.5) / len(row) for row in rows for name in row}
    plot = go.Figure()
    for name, others in inside.items():
        for other in others:
            line = {"x": [x[other], x[name]], "y": [levels[other], levels[name]]}
            plot.add_scatter(**line, mode="lines", line_color="#c0c0c0", hoverinfo="skip")
    plot.add_scatter(
        x=[x[name] for name in sets],
        y=[levels[name] for name in sets],
        text=names(sets),
        customdata=names(", ".join(members) for members in sets.values()),
        hovertemplate="%{customdata}<extra>%{text}</extra>",
        mode="markers+text",
        textposition="top center",
        marker={"size": 16, "color": "#1f77b4"},
    )
    axis = {"visible": False}
    plot.update_layout(
        xaxis={**axis, "range": [0, 1]},
        yaxis={**axis, "range": [-0.5, max(levels.values()) + 0.5]},
        showlegend=False,
    )
    return plot
