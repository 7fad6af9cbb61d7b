"""One HTML page of explained instances, each with its picture, main effects and interactions.

Shapes: d parts of an instance, such as its words.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from zoo.inspect.page import Part, Section
from zoo.inspect.page.content import Head
from zoo.inspect.page.html import page as page_of
from zoo.inspect.page.parts import Bar, Bars

BARS = 12  # of an instance, of each kind
Sets = Sequence[tuple[Sequence[int], float]]  # features and what they add together


@dataclass(frozen=True)
class ExplainedInstance:
    """What was found around an instance.

    Attributes:
        title: What it is, such as the beginning of a text.
        said: What the model says of it, one sentence.
        names: [d] names of its parts.
        mains: [d] what each part adds by itself to the score.
        interactions: Parts and what they add together, the largest first.
        picture: The instance itself, with what was found drawn on it.
        r2: R^2 on fresh perturbations of the main effects, and of these with the interactions.
    """

    title: str
    said: str
    names: Sequence[str]
    mains: Sequence[float]
    interactions: Sets
    picture: Part
    r2: tuple[float, float]


@dataclass(frozen=True)
class Beside:
    """Parts of a page side by side where there is room, and under each other where not."""

    parts: Sequence[Part]

    def html(self) -> str:
        """The parts in the columns of a grid."""
        return f'<div class="beside">{"".join(_column(part) for part in self.parts)}</div>'


def _column(part: Part) -> str:
    return f"<div>{part.html()}</div>"


def page(
    title: str, lead: str, instances: Iterable[ExplainedInstance], facts: Sequence[str] = ()
) -> str:
    """HTML of explained instances.

    Args:
        title: Title of the page.
        lead: What the model is, one sentence.
        instances: What was found around each.
        facts: Further short facts, such as the accuracy of the model.
    """
    head = Head(title, lead, facts)
    return page_of(title, [], [_section(instance) for instance in instances], head)


def _section(instance: ExplainedInstance) -> Section:
    order = sorted(range(len(instance.mains)), key=lambda i: -abs(instance.mains[i]))
    mains = [_bar(instance.names[i], instance.mains[i]) for i in order[:BARS]]
    sets = [
        _bar(" · ".join(instance.names[i] for i in features), value)
        for features, value in instance.interactions[:BARS]
    ]
    linear, joined = instance.r2
    fit = (
        f"On fresh perturbations main effects explain {linear:.1%} of the variance of the scores, "
        f"with the interactions {joined:.1%}."
    )
    found = Bars(sets, title="interactions") if sets else _NONE
    bars = Beside([Bars(mains, title="main effects"), found])
    return Section(instance.title, [instance.said, instance.picture, bars, fit])


def _bar(name: str, value: float) -> Bar:
    return Bar(name, value, f"{value:+.3g}")


class _Nothing:
    def html(self) -> str:
        return "<h3>interactions</h3><p>None was found.</p>"


_NONE = _Nothing()
