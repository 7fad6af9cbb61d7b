"""How much each expert of a mixture has to say.

Shapes: R scored labels, H experts.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from zoo.inspect.chapters import USES
from zoo.inspect.page import Figure, Section
from zoo.inspect.table import text_table
from zoo.inspect.with_data.quality import Scored

UNHEARD = 0.01  # an expert whose attribution never exceeds this says nothing


@dataclass(frozen=True)
class ExpertShare:
    """What an expert of a mixture has to say.

    Attributes:
        name: Name of the expert.
        mean: Mean of its attribution over the rows.
        median: Median of it.
        max: Largest attribution.
        largest: Share of rows in which its attribution is the largest.
    """

    name: str
    mean: float
    median: float
    max: float
    largest: float


def shares_of(scored: Scored) -> tuple[ExpertShare, ...]:
    """The share of each expert in the predictions; none of a model without experts."""
    if not scored.experts:
        return ()
    attribution = scored.attribution.double()  # [R, H]
    rows, experts = attribution.shape
    largest = torch.bincount(attribution.argmax(1), minlength=experts).double() / rows
    columns = (
        attribution.sum(0) / rows,
        attribution.median(0).values,
        attribution.amax(0),
        largest,
    )
    return tuple(map(ExpertShare, scored.experts, *(column.tolist() for column in columns)))


def unheard_warnings(experts: Sequence[ExpertShare]) -> Iterator[str]:
    """A sentence for each expert that has nothing to say."""
    for expert in experts:
        if expert.max <= UNHEARD:
            most = f"its attribution is at most {expert.max:.4f}"
            yield f"expert {expert.name} is never heard: {most}"


def sections(experts: Sequence[ExpertShare]) -> Iterator[Section]:
    """The attribution to each expert."""
    if not experts:
        return
    columns = ("expert", "mean attribution", "median", "max", "largest in")
    rows = (
        (e.name, *(f"{value:.4f}" for value in (e.mean, e.median, e.max)), f"{e.largest:.2%}")
        for e in experts
    )
    table = text_table("what each expert has to say", columns, rows)
    yield Section("attribution", [figure(experts), table], USES)


def figure(experts: Sequence[ExpertShare]) -> Figure:
    """Mean and largest attribution of each expert (Afchar & Hennequin 2020, figure 8)."""
    return Figure(
        lambda: _draw(experts),
        "A bar is an expert's mean share in the predictions, and the point its largest share in "
        "any: an expert whose point is near zero is never heard.",
    )


def _draw(experts: Sequence[ExpertShare]) -> Any:
    from zoo.inspect import plots

    labels = plots.names(expert.name for expert in experts)
    mean, largest = [expert.mean for expert in experts], [expert.max for expert in experts]
    plot = plots.new()
    plot.add_bar(x=labels, y=mean, name="mean", marker_color=plots.BLUE)
    plot.add_scatter(x=labels, y=largest, name="max", mode="markers", marker_color=plots.ORANGE)
    plot.update_xaxes(type="category")
    plot.update_yaxes(title="attribution", rangemode="tozero")
    return plot
