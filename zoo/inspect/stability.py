"""What several checkpoints of one config say of the same interactions."""

from collections.abc import Iterator, Sequence
from typing import Any

from zoo.data.interaction import SIGNIFICANCE_LEVEL, Interaction
from zoo.data.schema import JOINER
from zoo.inspect.chapters import USES
from zoo.inspect.page import Figure, Section
from zoo.inspect.table import TextTable, text_table, titled

INTERACTIONS_SHOWN = 20
CHECKPOINTS_SHOWN = 6  # with a column of their own
READING = (
    "Learned in: the checkpoints in which it is significant; spread: standard deviation of the "
    "share between them; agreement: 1 where all say the same of the same rows, 0 where they have "
    "nothing in common."
)


def sections(found: Sequence[Interaction], checkpoints: Sequence[str]) -> Iterator[Section]:
    """Which interactions every checkpoint has learned, and which are luck of the seed.

    Args:
        found: The interactions, those that most have learned first.
        checkpoints: Paths of the checkpoints; nothing is shown of one.
    """
    found = [item for item in found if item.checkpoints]
    if found:
        named = "; ".join(f"{i}: {path}" for i, path in enumerate(checkpoints, 1))
        content = [figure(found), READING, named, table(found, len(checkpoints))]
        yield Section("stability", content, USES)


def table(found: Sequence[Interaction], count: int) -> TextTable:
    """The interactions with their share in each checkpoint, or, of many, the ends of these."""
    columns = [f"in {i}" for i in range(1, count + 1)]
    if count > CHECKPOINTS_SHOWN:
        columns = ["least", "most"]
    rows = [
        (
            JOINER.join(item.fields),
            f"{item.significant_in} of {count}",
            *_shares(item),
            "-" if item.spread is None else f"{item.spread:.2%}",
            "-" if item.agreement is None else f"{item.agreement:.2f}",
        )
        for item in found[:INTERACTIONS_SHOWN]
    ]
    title = titled(f"shares in {count} checkpoints", len(found), INTERACTIONS_SHOWN)
    return text_table(title, ("fields", "learned in", *columns, "spread", "agreement"), rows)


def _shares(item: Interaction) -> list[str]:
    shares = [each.share or 0 for each in item.checkpoints]
    shown = shares if len(shares) <= CHECKPOINTS_SHOWN else [min(shares), max(shares)]
    return [f"{share:.2%}" for share in shown]


def figure(found: Sequence[Interaction]) -> Figure:
    """The share of each interaction in each checkpoint."""
    return Figure(
        lambda: _draw(found[:INTERACTIONS_SHOWN]),
        "Each point is the share of an interaction in a checkpoint, with its interval of 95 %; "
        f"blue ones are significant in all checkpoints (q < {SIGNIFICANCE_LEVEL}), orange ones in "
        "some, grey ones in none.",
    )


def _draw(shown: Sequence[Interaction]) -> Any:
    from zoo.inspect import plots

    points = [
        (place, item, i, each)
        for place, item in enumerate(shown)
        for i, each in enumerate(item.checkpoints)
    ]
    shares = [each.share or 0 for *_, each in points]
    plot = plots.new()
    plot.add_scatter(
        x=shares,
        y=[place + 0.5 * ((i + 0.5) / len(item.checkpoints) - 0.5) for place, item, i, _ in points],
        error_x=plots.error_bars(shares, [(x.share_low, x.share_high) for *_, x in points]),
        mode="markers",
        marker={"color": [_colour(item) for _, item, *_ in points], "size": 8},
        hovertext=plots.names(f"{JOINER.join(item.fields)}, {i + 1}" for _, item, i, _ in points),
        hovertemplate="%{hovertext}<br>share %{x:.2%}<extra></extra>",
    )
    places = [*range(len(shown))]
    labels = plots.names(plots.short(JOINER.join(item.fields)) for item in shown)
    plot.update_yaxes(autorange="reversed", tickvals=places, ticktext=labels, zeroline=False)
    plot.update_xaxes(title="share of the variance around a row", tickformat=".1%")
    plot.update_layout(showlegend=False, height=120 + 26 * len(places))
    return plot


def _colour(item: Interaction) -> str:
    from zoo.inspect import plots

    if item.significant_in == len(item.checkpoints):
        return plots.BLUE
    return plots.ORANGE if item.significant_in else plots.GREY
