"""What is drawn of the terms of a glass box: curves, bars and heat maps of what they add."""

from collections.abc import Sequence
from typing import Any, Protocol

from zoo.inspect.page import Figure
from zoo.inspect.with_data.term_shapes import Cells, Curve, Level, Levels, Shape
from zoo.inspect.with_data.term_ticks import ticks

NAMED = 20  # terms in the figure of all
ODDS = "+0.69 doubles the odds of a positive, -0.69 halves them"
KINDS = {
    "frequent": "most frequent",
    "extreme": "highest and lowest of the others",
    "special": "unknown, missing or none",
}


class Strength(Protocol):
    """What is drawn of a term among all; see `TermOfSample`."""

    @property
    def name(self) -> str:
        """Its name."""
        ...

    @property
    def on(self) -> bool:
        """Whether it is added."""
        ...

    @property
    def spread(self) -> float:
        """Standard deviation of what it adds."""
        ...

    @property
    def size(self) -> float:
        """Mean of the absolute value."""
        ...


def strengths(terms: Sequence[Strength]) -> Figure:
    """How much the terms that are on vary between rows."""
    drawn = [term for term in terms if term.on][:NAMED]
    note = f" The {len(drawn)} that vary most are drawn." if len(drawn) < len(terms) else ""
    return Figure(
        lambda: _strengths(drawn),
        "The logit is the sum of these terms and a constant; the longer a bar, the more what the "
        "term adds differs between rows (one standard deviation), and the point is the mean of "
        f"its size.{note}",
    )


def figures_of(name: str, shape: Shape) -> list[Figure]:
    """The figures of a shape.

    Args:
        name: Name of the term.
        shape: Its shape.
    """
    found: list[Figure] = []
    if shape.curve:
        found.append(_of_curve(shape.curve))
    if shape.levels:
        found.append(_of_levels(shape.levels))
    most = max((abs(x) for c in shape.cells for row in c.means for x in row if x), default=1.0)
    return [*found, *(_of_cells(cells, most) for cells in shape.cells)]


def _of_curve(curve: Curve) -> Figure:
    taken = "" if curve.raw else ", as the model takes it"
    reading = (
        f"The line is what {curve.field} adds to the log-odds at each number{taken}: {ODDS}; the "
        "grey bars beneath say how many rows are there."
    )
    if curve.raw != curve.values and curve.raw:
        reading += " The axis is that of the model, with the numbers of the table."
    if curve.missing:
        reading += " The dotted line is what it adds where the number is missing."
    return Figure(lambda: _curve(curve), reading)


def _of_levels(levels: Levels) -> Figure:
    more = f" {levels.others:,} further values lie between." if levels.others else ""
    return Figure(
        lambda: _bars(levels),
        f"Each bar is what {levels.field} adds to the log-odds where it has that value: {ODDS}; "
        f"behind the name is the number of rows.{more}",
    )


def _of_cells(cells: Cells, most: float) -> Figure:
    where = f"Where {cells.given}, each" if cells.given else "Each"
    return Figure(
        lambda: _heat(cells, most),
        f"{where} cell is what the term adds to the log-odds where the fields have these values: "
        f"blue is up, orange is down ({ODDS}); grey cells have no rows.",
    )


# Plots


def _strengths(terms: Sequence[Strength]) -> Any:
    from zoo.inspect import plots

    sizes = [term.size for term in terms]
    plot = plots.bars(
        [term.name for term in terms],
        [term.spread for term in terms],
        customdata=sizes,
        hovertemplate="%{y}<br>between rows %{x:.4f}<br>mean size %{customdata:.4f}<extra></extra>",
    )
    places = list(range(len(terms)))
    plot.add_scatter(x=sizes, y=places, mode="markers", marker=plots.POINT, hoverinfo="skip")
    plot.update_layout(showlegend=False)
    plot.update_xaxes(title="log-odds", rangemode="nonnegative")
    return plot


def _curve(curve: Curve) -> Any:
    from zoo.inspect import plots

    plot = plots.new()
    plot.add_scatter(
        x=curve.values,
        y=curve.contributions,
        mode="lines+markers" if len(curve.values) < 30 else "lines",
        line={"color": plots.BLUE, "width": 2},
        customdata=curve.shown,
        hovertemplate="%{customdata:.5g}<br>%{y:+.4f}<extra></extra>",
        showlegend=False,
    )
    if curve.missing and curve.edges:
        _line_of_missing(plot, curve, curve.missing)
    if curve.counts:
        widths = [b - a for a, b in zip(curve.edges, curve.edges[1:], strict=False)]
        middles = [a + w / 2 for a, w in zip(curve.edges, widths, strict=False)]
        plot.add_bar(
            x=middles,
            y=curve.counts,
            width=widths,
            yaxis="y2",
            marker_color=plots.GREY,
            hovertemplate="%{y:,} rows<extra></extra>",
            showlegend=False,
        )
    field = plots.names([plots.short(curve.field, 48)])[0]
    title = field if curve.raw else f"{field}, as the model takes it"
    drawn = [curve.edges[0], curve.edges[-1]] if curve.counts else None
    plot.update_layout(
        xaxis={"title": title, "range": drawn, "anchor": "y2", **ticks(curve)},
        yaxis={"title": "adds to the log-odds", "domain": [0.28, 1], "zeroline": True},
        yaxis2={"title": "rows", "domain": [0, 0.2], "rangemode": "tozero", "nticks": 3},
        height=360,
    )
    return plot


def _line_of_missing(plot: Any, curve: Curve, missing: Level) -> None:
    from zoo.inspect import plots

    plot.add_scatter(
        x=[curve.edges[0], curve.edges[-1]],
        y=[missing.mean] * 2,
        mode="lines",
        name=f"missing: {missing.mean:+.3f}, {missing.rows:,} rows",
        line={"color": plots.ORANGE, "dash": "dot"},
        hoverinfo="name",
    )


def _bars(levels: Levels) -> Any:
    from zoo.inspect import plots

    shown = levels.levels
    colours = {"frequent": plots.BLUE, "extreme": plots.ORANGE, "special": plots.GREY}
    plot = plots.new()
    for kind, colour in colours.items():
        places = [i for i, level in enumerate(shown) if level.kind == kind]
        if not places:
            continue
        mine = [shown[i] for i in places]
        text = [
            f"{plots.names([level.name])[0]}<br>{level.mean:+.4f} (+- {level.spread:.4f}), "
            f"{level.rows:,} rows"
            for level in mine
        ]
        plot.add_bar(
            x=[level.mean for level in mine],
            y=places,
            orientation="h",
            name=KINDS[kind],
            marker_color=colour,
            error_x={"type": "data", "array": [level.spread for level in mine], "thickness": 1}
            if any(level.spread > 1e-6 for level in mine)
            else None,
            hovertext=text,
            hoverinfo="text",
        )
    labels = plots.names(f"{plots.short(level.name, 24)} · {level.rows:,}" for level in shown)
    plot.update_yaxes(autorange="reversed", tickvals=[*range(len(shown))], ticktext=labels)
    plot.update_xaxes(title="adds to the log-odds")
    kinds = {level.kind for level in shown}
    plot.update_layout(height=140 + 22 * len(shown), showlegend=len(kinds) > 1)
    return plot


def _heat(cells: Cells, most: float) -> Any:
    from zoo.inspect import plots

    text = [[_said(cells, g, h) for h in range(len(cells.columns))] for g in range(len(cells.rows))]
    plot = plots.signed_heat(cells.means, cells.rows, cells.columns, most, text)
    first, second = (plots.names([plots.short(name, 40)])[0] for name in cells.fields)
    plot.update_yaxes(title=first, title_standoff=8)
    plot.update_xaxes(title=second, ticklabeloverflow="allow")
    return plot


def _said(cells: Cells, g: int, h: int) -> str:
    """What a cell shows when it is pointed at."""
    from zoo.inspect import plots

    first, second = cells.fields
    where = f"{first} = {cells.rows[g]}, {second} = {cells.columns[h]}"
    mean, spread = cells.means[g][h], cells.spreads[g][h]
    said = "no rows" if mean is None else f"{mean:+.4f} (+- {spread:.4f})"
    return f"{plots.names([where])[0]}<br>{said}, {cells.counts[g][h]:,} rows"
