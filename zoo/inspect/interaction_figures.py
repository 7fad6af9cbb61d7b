"""What is drawn of interactions: shares, counts, a network of fields, a matrix of pairs."""

from collections.abc import Sequence
from typing import Any

from zoo.data.interaction import SIGNIFICANCE_LEVEL, Interaction, Main
from zoo.data.schema import JOINER
from zoo.inspect.page import Figure

FIELDS_DRAWN = 24  # of a matrix
FAINT = 0.01  # of the largest share: fields below it are left out where there are many
SETS_DRAWN = 60  # of a network
SIGNIFICANT = f"blue ones are significant (q < {SIGNIFICANCE_LEVEL}), grey ones may be chance."


def counts(shown: Sequence[Interaction]) -> Figure:
    """In how many rows each interaction was found."""
    return Figure(
        lambda: _count_bars(shown),
        "The longer a bar, the more rows there are in whose prediction the fields act "
        f"together; {SIGNIFICANT}",
    )


def shares(shown: Sequence[Interaction]) -> Figure:
    """The share of each interaction, with its interval."""
    return Figure(
        lambda: _share_bars(shown),
        "The longer a bar, the more of what the model says around a row comes from the fields "
        f"acting together; a line is the 95 % interval; {SIGNIFICANT}",
    )


def ranks(found: Sequence[Interaction]) -> Figure:
    """Count against rank (Tsang et al., ICLR 2020, figure 2)."""
    return Figure(
        lambda: _ranks(found),
        "Each point is an interaction, the number beside it that of its fields where it has more "
        f"than two; {SIGNIFICANT}",
    )


def strength(fields: Sequence[str], matrix: Sequence[Sequence[float]]) -> Figure:
    """The mean share of the variance of each pair, of the fields with the largest ones.

    Args:
        fields: [d] names of the fields.
        matrix: [d][d] shares.
    """
    kept = _strong(matrix)
    note = f" Only the {len(kept)} fields with the largest shares are drawn."
    return Figure(
        lambda: _matrix([fields[i] for i in kept], [[matrix[i][j] for j in kept] for i in kept]),
        "The lighter a cell, the more of what the model says around a row comes from the two "
        f"fields acting together.{note if len(kept) < len(fields) else ''}",
    )


def _strong(matrix: Sequence[Sequence[float]]) -> list[int]:
    """The fields to draw, in their order: all of a few, of many those with the largest pairs."""
    if len(matrix) <= FIELDS_DRAWN:
        return [*range(len(matrix))]
    largest = [max(x for j, x in enumerate(row) if j != i) for i, row in enumerate(matrix)]
    first = sorted(range(len(matrix)), key=lambda i: -largest[i])[:FIELDS_DRAWN]
    return sorted(i for i in first if largest[i] >= FAINT * max(largest))


def network(found: Sequence[Interaction], mains: Sequence[Main]) -> Figure:
    """The significant interactions as edges between fields; larger ones as areas."""
    drawn = [item for item in found if item.significant][:SETS_DRAWN]
    note = f" Only the first {SETS_DRAWN} are drawn."
    return Figure(
        lambda: _network(drawn, mains),
        "Each point is a field, the larger, the more it explains by itself; each line a "
        "significant interaction of two, the wider, the larger its share, and each area one of "
        "more; blue ones raise the score on average, orange ones lower it, grey ones do both, "
        f"depending on the row.{note if len(drawn) < sum(i.significant for i in found) else ''}",
    )


def _count_bars(shown: Sequence[Interaction]) -> Any:
    plot = _bars(shown, [item.count or 0 for item in shown], "count %{x}")
    plot.update_xaxes(title="rows in which it was found")
    return plot


def _share_bars(shown: Sequence[Interaction]) -> Any:
    from zoo.inspect import plots

    values = [item.share or 0 for item in shown]
    ends = [(item.share_low, item.share_high) for item in shown]
    line = plots.error_bars(values, ends, plots.ORANGE)
    plot = _bars(shown, values, "share %{x:.2%}", error_x=line)
    plot.update_xaxes(title="share of the variance of the scores", tickformat=".1%")
    return plot


def _bars(shown: Sequence[Interaction], values: Sequence[float], hover: str, **options: Any) -> Any:
    from zoo.inspect import plots

    return plots.bars(
        [JOINER.join(item.fields) for item in shown],
        values,
        marker_color=[plots.BLUE if item.significant else plots.GREY for item in shown],
        customdata=[_q(item) for item in shown],
        hovertemplate=f"%{{y}}<br>{hover}<br>q %{{customdata}}<extra></extra>",
        **options,
    )


def _q(item: Interaction) -> str:
    return "-" if item.q_value is None else f"{item.q_value:.2g}"


def _ranks(found: Sequence[Interaction]) -> Any:
    from zoo.inspect import plots

    order = sorted(found, key=lambda item: -(item.count or 0))
    plot = plots.new()
    plot.add_scatter(
        x=[*range(1, len(order) + 1)],
        y=[item.count or 0 for item in order],
        text=[str(len(item.fields)) if len(item.fields) > 2 else "" for item in order],
        hovertext=plots.names(JOINER.join(item.fields) for item in order),
        customdata=[_q(item) for item in order],
        hovertemplate="%{hovertext}<br>count %{y}<br>q %{customdata}<extra></extra>",
        mode="markers+text",
        textposition="top center",
        marker={"color": [plots.BLUE if item.significant else plots.GREY for item in order]},
    )
    plot.update_xaxes(title="rank", type="log")
    plot.update_yaxes(title="rows in which it was found", rangemode="tozero")
    return plot


def _matrix(names: Sequence[str], shares: Sequence[Sequence[float]]) -> Any:
    """A heat map without its diagonal, which would make all else look dark."""
    from zoo.inspect import plots

    pairs = [[None if i == j else x for j, x in enumerate(row)] for i, row in enumerate(shares)]
    plot = plots.heat(pairs, names, names, "%{z:.2%}")
    plot.update_traces(colorbar_tickformat=".1%")
    return plot


def _network(drawn: Sequence[Interaction], mains: Sequence[Main]) -> Any:
    from zoo.inspect.network import Edge, network

    edges = [
        Edge(
            item.fields,
            item.share or 0,
            _colour(item),
            f"share {item.share or 0:.2%}, q {_q(item)}",
        )
        for item in drawn
    ]
    return network(edges, {main.field: main.share or 0 for main in mains})


def _colour(item: Interaction) -> str:
    """By the sign of the mean effect, where its interval says one."""
    from zoo.inspect import plots

    if item.effect_low is not None and item.effect_low > 0:
        return plots.BLUE
    if item.effect_high is not None and item.effect_high < 0:
        return plots.ORANGE
    return plots.GREY
