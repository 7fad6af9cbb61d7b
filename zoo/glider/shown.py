"""What `train.py detect` shows: a table in the terminal, and a picture.

Of Walsh regression effects and shares of the variance, of surrogates counts; of several checkpoints
what they have in common.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from zoo.data.interactions import SIGNIFICANCE_LEVEL
from zoo.data.schema import JOINER

SHOWN = 20  # interactions in the terminal
SIGNIFICANT, SOME, OTHER = "#1f77b4", "#ff7f0e", "#c0c0c0"
RANKS = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000]
Row = dict[str, Any]  # an interaction


@dataclass(frozen=True)
class Kind:
    """How the interactions of a kind of detection are shown.

    Attributes:
        cells: The cells of an interaction, by column.
        heights: Where interactions lie in the picture, in a colour.
        groups: Colours of the groups of interactions, by name.
        group: The name of the group of an interaction.
    """

    cells: Callable[[Row], dict[str, str]]
    heights: Callable[[list[Row], str], dict[str, Any]]
    groups: dict[str, str]
    group: Callable[[Row], str]


def report(found: dict[str, Any]) -> None:
    """Prints the first interactions."""
    console = Console(highlight=False)
    title = f"interactions of {found['model']} in {found['instances']:,} rows"
    table = Table(title=title, title_justify="left")
    table.add_column("fields", overflow="fold")
    kind = _kind(found)
    for row in found["interactions"][:SHOWN]:
        named = kind.cells(row)
        for column in named if not table.rows else ():
            table.add_column(column, justify="right")
        table.add_row(JOINER.join(row["fields"]), *named.values())
    console.print(table)
    console.print(_learned(found) if "checkpoints" in found else _summary(found))


def has_effects(found: dict[str, Any]) -> bool:
    """Whether the interactions have effects and shares, and not counts alone."""
    return "matrix" in found


def is_significant(row: Row) -> bool:
    """Whether the q-value of an interaction is below the level."""
    return row.get("q", row["q_permutation"]) < SIGNIFICANCE_LEVEL


def _summary(found: dict[str, Any]) -> str:
    significant = sum(map(is_significant, found["interactions"]))
    of_all, linear, joined = (f"{value:.3f}" for value in found["fidelity"].values())
    whole = "all coefficients" if has_effects(found) else "the surrogates"
    return (
        f"{significant} of {len(found['interactions']):,} are significant (q < "
        f"{SIGNIFICANCE_LEVEL}); mean R^2 of {whole} {of_all}, of main effects {linear}, with the "
        f"interactions {joined}"
    )


def _learned(found: dict[str, Any]) -> str:
    """Which interactions all checkpoints have learned, and which some of them."""
    count, every, some = len(found["checkpoints"]), list[str](), list[str]()
    for row in found["interactions"]:
        name, times = JOINER.join(row["fields"]), row["significant_in"]
        if times == count:
            every.append(name)
        elif times:
            some.append(f"{name} ({times})")
    return (
        f"learned by all {count} checkpoints (q < {SIGNIFICANCE_LEVEL}): "
        f"{', '.join(every) or 'none'}\nby some of them, luck of the seed or near the line: "
        f"{', '.join(some) or 'none'}"
    )


# What an interaction says


def _effects(row: Row) -> dict[str, str]:
    low, high = (f"{100 * row[f'share_{end}']:.2f}" for end in ("low", "high"))
    null, second = row["null_count"], {}
    if "context_share" in row:
        share = row["context_share"]
        second = {"contexts, %": "-" if share is None else f"{100 * share:.2f}", "by": row["by"]}
    return {
        "rows": f"{row['count']:,}",
        **({} if null is None else {"permuted": f"{null:g}"}),
        "size": f"{row['size']:.3f}",
        "mean": f"{row['effect']:+.3f}",
        "share, %": f"{100 * row['share']:.2f}",
        "95 % interval": f"{low} to {high}",
        "q": f"{row['q']:.2g}",
        **second,
    }


def _counts(row: Row) -> dict[str, str]:
    return {
        "count": f"{row['count']:,}",
        "permuted": "-" if row["null_count"] is None else f"{row['null_count']:g}",
        "p uniform": f"{row['p_uniform']:.2g}",
        "q permutation": f"{row['q_permutation']:.2g}",
    }


def _in_each(row: Row) -> dict[str, str]:
    shares = [of["share"] for of in row["checkpoints"]]
    low, high = (f"{100 * end(shares):.2f}" for end in (min, max))
    return {
        "in": f"{row['significant_in']} of {len(shares)}",
        "share, %": f"{100 * sum(shares) / len(shares):.2f}",
        "of each": f"{low} to {high}",
        "spread": f"{100 * row['spread']:.2f}",
        "agreement": "-" if row["agreement"] is None else f"{row['agreement']:.2f}",
    }


# Where it lies in the picture


def _by_count(rows: list[Row], colour: str) -> dict[str, Any]:
    return {"y": [row["count"] for row in rows]}


def _by_share(rows: list[Row], colour: str) -> dict[str, Any]:
    """The shares, with their intervals."""
    return _between(((row["share"], row["share_low"], row["share_high"]) for row in rows), colour)


def _by_shares(rows: list[Row], colour: str) -> dict[str, Any]:
    """The mean shares, from the smallest to the largest of all checkpoints."""
    every = [[of["share"] for of in row["checkpoints"]] for row in rows]
    return _between(((sum(x) / len(x), min(x), max(x)) for x in every), colour)


def _between(values: Iterable[tuple[float, float, float]], colour: str) -> dict[str, Any]:
    """Shares between two ends, in percent."""
    y, low, high = 100 * np.array([*values]).reshape(-1, 3).T
    interval = {
        "symmetric": False,
        "array": (high - y).tolist(),
        "arrayminus": (y - low).tolist(),
        "color": colour,
        "thickness": 1,
        "width": 2,
    }
    return {"y": y.tolist(), "error_y": interval}


def _by_significance(row: Row) -> str:
    return "significant" if is_significant(row) else "not"


def _by_checkpoints(row: Row) -> str:
    if row["significant_in"] == len(row["checkpoints"]):
        return "in all checkpoints"
    return "in some" if row["significant_in"] else "in none"


def _kind(found: dict[str, Any]) -> Kind:
    """How the interactions that were found are shown."""
    if "checkpoints" in found:
        groups = {"in all checkpoints": SIGNIFICANT, "in some": SOME, "in none": OTHER}
        return Kind(_in_each, _by_shares, groups, _by_checkpoints)
    groups = {"significant": SIGNIFICANT, "not": OTHER}
    if has_effects(found):
        return Kind(_effects, _by_share, groups, _by_significance)
    return Kind(_counts, _by_count, groups, _by_significance)


def picture(found: dict[str, Any]) -> Any:
    """Share of the variance, or count, against rank, with the orders of the larger sets.

    As figures 2 and 7 of Tsang et al. 2020 do for counts.
    """
    import plotly.graph_objects as go

    figure, kind = go.Figure(), _kind(found)
    for name, colour in kind.groups.items():
        ranked = enumerate(found["interactions"], 1)
        chosen = {rank: row for rank, row in ranked if kind.group(row) == name}
        rows = [*chosen.values()]
        figure.add_scatter(
            x=[*chosen],
            text=[str(r["order"]) if colour != OTHER and r["order"] > 2 else "" for r in rows],
            hovertext=[_hover(row, kind) for row in rows],
            hoverinfo="text",
            mode="markers+text",
            textposition="top center",
            marker={"color": colour},
            name=name,
            **kind.heights(rows, colour),
        )
    _lines(figure, found)
    return figure


def _hover(row: Row, kind: Kind) -> str:
    cells = (f"{name} {value}" for name, value in kind.cells(row).items())
    return "<br>".join([JOINER.join(row["fields"]), *cells])


def _lines(figure: Any, found: dict[str, Any]) -> None:
    """The line above which a point matters, titles and axes."""
    effects = has_effects(found)
    level, name = found["critical_count"], f"uniform null, p < {SIGNIFICANCE_LEVEL}"
    if effects:
        level, name = 100 * found["min_gain"], "what counts as an interaction (min_gain)"
    figure.add_hline(level, line_dash="dash", annotation_text=name, annotation_position="top left")
    figure.update_layout(
        title=f"{found['model']}: interactions in {found['instances']:,} rows",
        xaxis={"title": "rank", "type": "log", "tickvals": RANKS},
        yaxis={"title": "share of the variance around a row, %" if effects else "count"},
        legend_title=f"q < {SIGNIFICANCE_LEVEL}",
        template="plotly_white",
    )
