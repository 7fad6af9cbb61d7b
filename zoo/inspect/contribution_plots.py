"""Plots of signed contributions: a waterfall, and a matrix of fields and pairs.

All names come from a file or from data: they are shown as text, never as markup.
"""

from collections.abc import Mapping, Sequence

import plotly.graph_objects as go

from zoo.inspect.page import GREY
from zoo.inspect.plots import BLUE, ORANGE, names, short

Z_95 = 1.96  # standard errors of a 95 % interval


def waterfall(
    labels: Sequence[str], values: Sequence[float], errors: Sequence[float], total: str
) -> go.Figure:
    """Bars that begin where the one above ends, the first at zero; below them their sum.

    The axis shows where they end.

    Args:
        labels: What each value is.
        values: The values; the first is grey, as what all begins with.
        errors: Standard errors; 0 where there is none.
        total: What the sum is.
    """
    ends = [sum(values[: i + 1]) for i in range(len(values))]
    starts = [0.0, *ends[:-1]]
    colours = [GREY, *(BLUE if value >= 0 else ORANGE for value in values[1:]), GREY]
    text = [f"{label}: {value:+.4f}" for label, value in zip(labels, values, strict=True)]
    places = list(range(len(values) + 1))
    plot = go.Figure(
        go.Bar(
            x=[*values, ends[-1]],
            base=[*starts, 0.0],
            y=places,
            orientation="h",
            marker_color=colours,
            hovertext=names([*text, f"{total}: {ends[-1]:+.4f}"]),
            hoverinfo="text",
            error_x={
                "type": "data",
                "array": [*(Z_95 * error for error in errors), 0.0],
                "color": GREY,
                "thickness": 1,
                "width": 3,
            },
        )
    )
    shown = names(short(label, 40) for label in [*labels, total])
    plot.update_yaxes(autorange="reversed", tickvals=places, ticktext=shown, showgrid=False)
    margin = 0.08 * (max(ends) - min(ends)) or 1.0  # the bars from zero may begin outside
    plot.update_xaxes(title=total, range=[min(ends) - margin, max(ends) + margin])
    plot.update_layout(height=140 + 22 * len(places), showlegend=False)
    return plot


def matrix(fields: Sequence[str], values: Mapping[tuple[str, ...], float]) -> go.Figure:
    """A symmetric heat map of signed numbers of fields (the diagonal) and of pairs.

    Args:
        fields: Fields in their order.
        values: A number for each field, and for pairs.
    """
    cells: list[list[float | None]] = [[None] * len(fields) for _ in fields]
    for members, value in values.items():
        if set(members) <= set(fields):
            i, j = fields.index(members[0]), fields.index(members[-1])
            cells[i][j] = cells[j][i] = value
    text = [[f"{a} x {b}" if a != b else a for a in fields] for b in fields]
    most = max((abs(v) for row in cells for v in row if v is not None), default=1.0)
    plot = go.Figure(
        go.Heatmap(
            z=cells,
            x=list(range(len(fields))),
            y=list(range(len(fields))),
            text=[names(row) for row in text],
            hovertemplate="%{text}<br>%{z:+.4f}<extra></extra>",
            zmin=-most,
            zmax=most,
            colorscale=[[0, ORANGE], [0.5, "#f2f2f2"], [1, BLUE]],
            colorbar={"orientation": "h", "thickness": 10, "y": 1, "yanchor": "bottom"},
        )
    )
    ticks, shown = list(range(len(fields))), names(short(field, 16) for field in fields)
    axis = {"tickvals": ticks, "ticktext": shown, "showgrid": False, "zeroline": False}
    plot.update_xaxes(**axis)
    plot.update_yaxes(**axis, autorange="reversed")
    plot.update_layout(height=max(340, 140 + 22 * len(fields)))
    return plot
