"""What `train.py detect` shows: a table in the terminal, and a picture.

Of Walsh regression effects and shares of the variance, of surrogates counts.
"""

from typing import Any

from rich.console import Console
from rich.table import Table

from zoo.data.interactions import SIGNIFICANCE_LEVEL
from zoo.data.schema import JOINER

SHOWN = 20  # interactions in the terminal
SIGNIFICANT, OTHER = "#1f77b4", "#c0c0c0"
RANKS = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000]


def report(found: dict[str, Any]) -> None:
    """Prints the first interactions."""
    console = Console(highlight=False)
    title = f"interactions of {found['model']} in {found['instances']:,} rows"
    table = Table(title=title, title_justify="left")
    table.add_column("fields", overflow="fold")
    cells = _effects if has_effects(found) else _counts
    for row in found["interactions"][:SHOWN]:
        named = cells(row, found["permutations"] > 0)
        for column in named if not table.rows else ():
            table.add_column(column, justify="right")
        table.add_row(JOINER.join(row["fields"]), *named.values())
    console.print(table)
    significant = sum(map(is_significant, found["interactions"]))
    of_all, linear, joined = (f"{value:.3f}" for value in found["fidelity"].values())
    whole = "all coefficients" if has_effects(found) else "the surrogates"
    console.print(
        f"{significant} of {len(found['interactions']):,} are significant (q < "
        f"{SIGNIFICANCE_LEVEL}); mean R^2 of {whole} {of_all}, of main effects {linear}, with the "
        f"interactions {joined}"
    )


def has_effects(found: dict[str, Any]) -> bool:
    """Whether the interactions have effects and shares, and not counts alone."""
    return "matrix" in found


def is_significant(row: dict[str, Any]) -> bool:
    """Whether the q-value of an interaction is below the level."""
    return row.get("q", row["q_permutation"]) < SIGNIFICANCE_LEVEL


def _effects(row: dict[str, Any], permuted: bool) -> dict[str, str]:
    low, high = (f"{100 * row[f'share_{end}']:.2f}" for end in ("low", "high"))
    null = {"permuted": f"{row['null_count']:g}"} if permuted else {}
    second = {}
    if "context_share" in row:
        share = row["context_share"]
        second = {
            "contexts, %": "-" if share is None else f"{100 * share:.2f}",
            "by": row["by"],
        }
    return {
        "rows": f"{row['count']:,}",
        **null,
        "size": f"{row['size']:.3f}",
        "mean": f"{row['effect']:+.3f}",
        "share, %": f"{100 * row['share']:.2f}",
        "95 % interval": f"{low} to {high}",
        "q": f"{row['q']:.2g}",
        **second,
    }


def _counts(row: dict[str, Any], permuted: bool) -> dict[str, str]:
    return {
        "count": f"{row['count']:,}",
        "permuted": f"{row['null_count']:g}" if permuted else "-",
        "p uniform": f"{row['p_uniform']:.2g}",
        "q permutation": f"{row['q_permutation']:.2g}",
    }


def picture(found: dict[str, Any]) -> Any:
    """Share of the variance, or count, against rank, with the orders of the larger sets.

    As figures 2 and 7 of Tsang et al. 2020 do for counts.
    """
    import plotly.graph_objects as go

    effects = has_effects(found)
    figure = go.Figure()
    for significant, name, colour in ((True, "significant", SIGNIFICANT), (False, "not", OTHER)):
        chosen = [
            (rank, row)
            for rank, row in enumerate(found["interactions"], 1)
            if is_significant(row) == significant
        ]
        rows = [row for _, row in chosen]
        figure.add_scatter(
            x=[rank for rank, _ in chosen],
            text=[str(row["order"]) if significant and row["order"] > 2 else "" for row in rows],
            hovertext=[_hover(row, effects) for row in rows],
            hoverinfo="text",
            mode="markers+text",
            textposition="top center",
            marker={"color": colour},
            name=name,
            **(_shares(rows, colour) if effects else {"y": [row["count"] for row in rows]}),
        )
    _lines(figure, found, effects)
    return figure


def _hover(row: dict[str, Any], effects: bool) -> str:
    cells = _effects(row, False) if effects else _counts(row, row["null_count"] is not None)
    return "<br>".join([JOINER.join(row["fields"]), *(f"{k} {v}" for k, v in cells.items())])


def _shares(rows: list[dict[str, Any]], colour: str) -> dict[str, Any]:
    """The shares in percent, with their intervals."""
    y = [100 * row["share"] for row in rows]
    interval = {
        "symmetric": False,
        "array": [100 * (row["share_high"] - row["share"]) for row in rows],
        "arrayminus": [100 * (row["share"] - row["share_low"]) for row in rows],
        "color": colour,
        "thickness": 1,
        "width": 2,
    }
    return {"y": y, "error_y": interval}


def _lines(figure: Any, found: dict[str, Any], effects: bool) -> None:
    """The line above which a point matters, titles and axes."""
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
