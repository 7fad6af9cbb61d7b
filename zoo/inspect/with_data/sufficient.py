"""Whether the expert with the largest attribution is the right one; see `zoo.models.judged`.

Shapes: R scored labels, H experts.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from zoo.inspect.chapters import USES
from zoo.inspect.page import Figure, Section
from zoo.inspect.table import TextTable, text_table
from zoo.inspect.with_data.in_part import InPart, in_part
from zoo.inspect.with_data.quality import Scored
from zoo.models.base import ZooModule
from zoo.models.description import Expert
from zoo.models.expert_losses import KINDS, measured_losses
from zoo.models.judged import ERRORS, HEARD, Against, Judged, complaints, judge

SHARED = 0.05  # share of the rows from which two experts are said to be redundant
TITLES = (
    "is it the right expert? mean logloss where an expert has the largest attribution",
    "the same over all rows, each weighed by the attribution of the expert",
)


@dataclass(frozen=True)
class Redundant:
    """Two experts, neither inside the other, between which the largest attribution is chance.

    Attributes:
        first: Name of an expert.
        second: Name of another.
        share: Share of the rows in which one of them has the largest attribution, the other at
            least half of that, and both predict the same, up to the tolerance.
        means: Mean attribution of both.
    """

    first: str
    second: str
    share: float
    means: tuple[float, float]


@dataclass(frozen=True)
class Sufficiency:
    """What is known of the experts of a mixture beside their shares.

    Attributes:
        judged: Each expert in the rows in which it has the largest attribution, then in all rows,
            weighed by its attribution.
        in_part: Where that is another's in a part of its rows.
        redundant: Experts that say the same.
    """

    judged: tuple[Judged, ...]
    in_part: tuple[InPart, ...]
    redundant: tuple[Redundant, ...]


def sufficiency_of(scored: Scored, model: ZooModule) -> Sufficiency | None:
    """Compares the experts of a model, which has scored some rows; None of one without such."""
    experts = {expert.name: expert for expert in model.description.experts}
    if scored.expert_sums is None or tuple(experts) != scored.experts or len(experts) < 2:
        return None
    described = [*experts.values()]
    judged = judge(described, measured_losses(scored.expert_sums), model.tolerance)
    return Sufficiency(
        (*judged["largest"], *judged["attribution"]),
        tuple(in_part(scored, described, judged["largest"], model.tolerance)),
        tuple(_redundant(scored, described, model.tolerance)),
    )


def _redundant(scored: Scored, experts: Sequence[Expert], tolerance: float) -> Iterator[Redundant]:
    said, logits = scored.attribution, scored.expert_logits
    assert logits is not None
    means, top = said.double().mean(0).tolist(), said.amax(1)
    for i, j in combinations(range(len(experts)), 2):
        first, second = set(experts[i].fields), set(experts[j].fields)
        if first <= second or second <= first or min(means[i], means[j]) < HEARD:
            continue
        pair, both = said[:, [i, j]], logits[:, [i, j]]
        close = pair.amin(1) >= pair.amax(1) / 2
        apart = both.sigmoid().diff(dim=1) * both.diff(dim=1) / 2  # mean of both divergences
        same = close & (pair.amax(1) == top) & (apart.squeeze(1) <= tolerance)
        share = same.double().mean().item()
        if share >= SHARED:
            yield Redundant(experts[i].name, experts[j].name, share, (means[i], means[j]))


def warnings_of(found: Sufficiency | None, split: str) -> Iterator[str]:
    """A sentence for each expert that is not the right one, and each two that say the same."""
    if found is None:
        return
    largest = [expert for expert in found.judged if expert.rows == KINDS[0]]
    yield from complaints(largest, f"{split} rows")
    shares = {expert.name: expert.share for expert in largest}
    for part in found.in_part:
        if shares[part.name] >= HEARD:
            would = "would do" if part.inside else "would save more than the tolerance"
            where = f"the {split} rows in which {part.name} has the largest attribution"
            yield f"expert {part.other} {would} in {part.share:.0%} of {where}"
    for pair in found.redundant:
        means = f"{pair.first} {pair.means[0]:.2f}, {pair.second} {pair.means[1]:.2f}"
        yield (
            f"experts {pair.first} and {pair.second} say the same in {pair.share:.1%} of the "
            f"{split} rows: there the largest attribution is chance, read the mean ({means})"
        )


def sections(found: Sufficiency | None) -> Iterator[Section]:
    """Each expert in its rows beside those around and inside it."""
    if found is None:
        return
    kinds = [[expert for expert in found.judged if expert.rows == kind] for kind in KINDS]
    tables = [_table(title, judged) for title, judged in zip(TITLES, kinds, strict=True)]
    yield Section("the right expert", [_figure(kinds[0]), *tables], USES)


def _table(title: str, judged: Sequence[Judged]) -> TextTable:
    columns = ("expert", "verdict", "rows", "its logloss", "best around", "best inside")
    rows = (
        (e.name, e.verdict, f"{e.share:.2%}", _number(e.logloss), *map(_cell, _others(e)))
        for e in judged
    )
    return text_table(title, columns, rows, words=2)


def _others(expert: Judged) -> tuple[Against | None, Against | None]:
    return expert.best_around, expert.best_inside


def _number(value: float) -> str:
    return "-" if value != value else f"{value:.4f}"


def _cell(other: Against | None) -> str:
    if other is None or other.logloss != other.logloss:  # of no rows
        return "-"
    return f"{other.name} {other.logloss:.4f} +- {other.error:.4f}"


def _figure(judged: Sequence[Judged]) -> Figure:
    reading = (
        "Three bars are the mean logloss of an expert in the rows in which its attribution is the "
        "largest, of the best of those around it there, and of the best inside it: where those "
        "around it are clearly lower it is not sufficient, and where one inside it is as low, that "
        "would do. Lines are two standard errors of the difference."
    )
    return Figure(lambda: _draw(judged), reading)


def _draw(judged: Sequence[Judged]) -> Any:
    from zoo.inspect import plots

    judged = [expert for expert in judged if expert.share > 0]
    labels = plots.names(expert.name for expert in judged)
    plot = plots.new()
    plot.add_bar(x=labels, y=[e.logloss for e in judged], name="itself", marker_color=plots.BLUE)
    colours = (("best around", plots.ORANGE), ("best inside", plots.GREY))
    for (name, colour), others in zip(
        colours, zip(*map(_others, judged), strict=True), strict=True
    ):
        lines = [0 if o is None else ERRORS * o.error for o in others]
        plot.add_bar(
            x=labels,
            y=[None if o is None else o.logloss for o in others],
            name=name,
            marker_color=colour,
            hovertext=plots.names("" if o is None else o.name for o in others),
            error_y={"type": "data", "array": lines, "thickness": 1},
        )
    plot.update_xaxes(type="category")
    plot.update_yaxes(title="logloss", rangemode="tozero")
    return plot
