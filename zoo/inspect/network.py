"""A network of names on a circle: points, lines between two, areas between more."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import plotly.graph_objects as go

from zoo.data.schema import JOINER
from zoo.inspect import plots
from zoo.inspect.page import GREY

WIDEST, LARGEST = 9.0, 34.0  # line and point, in pixels
THINNEST, SMALLEST = 1.0, 8.0


@dataclass(frozen=True)
class Edge:
    """What joins two names or more.

    Attributes:
        names: The names.
        weight: How much, at least 0.
        colour: Colour of the line or area.
        text: What is said of it beside its names.
    """

    names: tuple[str, ...]
    weight: float
    colour: str
    text: str


def network(edges: Sequence[Edge], sizes: Mapping[str, float]) -> go.Figure:
    """A network on a circle, whose order puts names that are joined beside each other.

    Args:
        edges: The lines and areas, at least one.
        sizes: How large the point of each name is, at least 0; a name without one is small.
    """
    order = circle(edges, sizes)
    places = {name: _place(i, len(order)) for i, name in enumerate(order)}
    most = max(edge.weight for edge in edges)
    plot = go.Figure()
    for edge in sorted(edges, key=lambda edge: (-len(edge.names), edge.weight)):
        corners = [places[name] for name in (*edge.names, edge.names[0])]
        width = THINNEST + (WIDEST - THINNEST) * _root(edge.weight, most)
        x, y = zip(*corners, strict=True)
        area = {"fill": "toself", "opacity": 0.25} if len(edge.names) > 2 else {}
        line = {"color": edge.colour, "width": 1 if area else width}
        plot.add_scatter(x=x, y=y, mode="lines", line=line, hoverinfo="skip", **area)
    _add_middles(plot, edges, places)
    _add_points(plot, places, sizes)
    plot.update_xaxes(visible=False, range=[-1.5, 1.5])
    plot.update_yaxes(visible=False, range=[-1.2, 1.2], scaleanchor="x")
    plot.update_layout(showlegend=False, height=480)
    return plot


def circle(edges: Sequence[Edge], sizes: Mapping[str, float]) -> list[str]:
    """The names in an order in which each, if it can, follows one that it is strongly joined to."""
    joined: dict[str, dict[str, float]] = {}
    for edge in edges:
        for name in edge.names:
            mine = joined.setdefault(name, {})
            for other in edge.names:
                if other != name:
                    mine[other] = mine.get(other, 0.0) + edge.weight
    left = sorted(joined, key=lambda name: (-sizes.get(name, 0.0), name))
    order = left[:1]
    while len(order) < len(joined):
        left = [name for name in left if name not in order]
        last = joined[order[-1]]
        order.append(max(left, key=lambda name: (last.get(name, 0.0), _ties(name, order, joined))))
    return order


def _ties(name: str, order: Sequence[str], joined: Mapping[str, Mapping[str, float]]) -> float:
    return sum(joined[name].get(other, 0.0) for other in order)


def _place(i: int, count: int) -> tuple[float, float]:
    """The first on top, the others clockwise."""
    angle = math.pi / 2 - 2 * math.pi * i / count
    return math.cos(angle), math.sin(angle)


def _root(value: float, most: float) -> float:
    return math.sqrt(max(value, 0.0) / most) if most > 0 else 0.0


def _add_middles(
    plot: go.Figure, edges: Sequence[Edge], places: Mapping[str, tuple[float, float]]
) -> None:
    """Points that are not seen, and say what a line is where a pointer meets its middle."""
    middles = [_mean([places[name] for name in edge.names]) for edge in edges]
    plot.add_scatter(
        x=[x for x, _ in middles],
        y=[y for _, y in middles],
        mode="markers",
        marker={"size": 14, "opacity": 0},
        hovertext=plots.names(f"{JOINER.join(edge.names)}: {edge.text}" for edge in edges),
        hovertemplate="%{hovertext}<extra></extra>",
    )


def _mean(corners: Sequence[tuple[float, float]]) -> tuple[float, float]:
    return (
        sum(x for x, _ in corners) / len(corners),
        sum(y for _, y in corners) / len(corners),
    )


def _add_points(
    plot: go.Figure, places: Mapping[str, tuple[float, float]], sizes: Mapping[str, float]
) -> None:
    most = max((sizes.get(name, 0.0) for name in places), default=0.0)
    share = [_root(sizes.get(name, 0.0), most) for name in places]
    plot.add_scatter(
        x=[x for x, _ in places.values()],
        y=[y for _, y in places.values()],
        mode="markers+text",
        marker={
            "size": [SMALLEST + (LARGEST - SMALLEST) * s for s in share],
            "color": GREY,
            "opacity": 1,  # which would be less with sizes of their own
            "line": {"color": "white", "width": 1},
        },
        text=plots.names(plots.short(name, 18) for name in places),
        textposition=[*_sides(places.values())],
        hovertext=plots.names(places),
        customdata=[sizes.get(name, 0.0) for name in places],
        hovertemplate="%{hovertext}<br>by itself %{customdata:.2%}<extra></extra>",
    )


def _sides(places: Iterable[tuple[float, float]]) -> Iterator[str]:
    """Where the name of each point stands: outside of the circle."""
    for x, y in places:
        across = "right" if x > 0.3 else "left" if x < -0.3 else "center"
        up = "top" if y > 0.3 else "bottom" if y < -0.3 else "middle"
        yield f"{up} {across}"
