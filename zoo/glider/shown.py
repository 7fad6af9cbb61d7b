"""What `train.py detect` shows in the terminal.

Of Walsh regression effects and shares of the variance, of surrogates counts; of several checkpoints
what they have in common.
"""

from typing import Any

from rich.console import Console
from rich.table import Table

from zoo.data.interactions import SIGNIFICANCE_LEVEL
from zoo.data.schema import JOINER

SHOWN = 20  # interactions in the terminal
Row = dict[str, Any]  # an interaction


def report(found: dict[str, Any]) -> None:
    """Prints the first interactions."""
    console = Console(highlight=False)
    title = f"interactions of {found['model']} in {found['instances']:,} rows"
    table = Table(title=title, title_justify="left")
    table.add_column("fields", overflow="fold")
    cells = _in_each if "checkpoints" in found else _effects if has_effects(found) else _counts
    for row in found["interactions"][:SHOWN]:
        named = cells(row)
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
