"""Whether the expert that speaks is the right one: sufficient, and no smaller one is.

An expert is sufficient in its rows where no expert around it, whose subset strictly contains its
own, would save more than a tolerance; a smaller one, inside it, would do where it loses less than
that. Both are said only where two standard errors do not change it.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from zoo.models.description import Expert
from zoo.models.expert_losses import KINDS, LossesOfExperts
from zoo.models.measures import TINY

ERRORS = 2  # standard errors
FEWEST = 30  # rows, or sessions, of which a mean is said
HEARD = 0.01  # share of the rows from which an expert is complained of


@dataclass(frozen=True)
class Against:
    """Another expert in the rows of one.

    Attributes:
        name: Name of the other expert.
        logloss: Its mean logloss there.
        saves: What it would save there, in nats; below zero, what it would lose.
        error: Standard error of that, of rows in pairs.
    """

    name: str
    logloss: float
    saves: float
    error: float

    def saves_more(self, nats: float) -> bool:
        """Whether it saves more than that, beyond doubt."""
        return self.saves - ERRORS * self.error > nats

    def saves_less(self, nats: float) -> bool:
        """Whether it saves less than that, beyond doubt."""
        return self.saves + ERRORS * self.error < nats


@dataclass(frozen=True)
class Judged:
    """An expert in its rows.

    Attributes:
        name: Name of the expert.
        rows: What makes rows its own: `largest`, that its attribution is; or `attribution`, by
            which each row is weighed.
        share: Share of the rows.
        logloss: Its mean logloss there.
        around: The experts whose subsets contain its own, the smallest first.
        inside: Those whose subsets lie inside its own, the smallest first.
        better: The one around it that would save most, where that is more than the tolerance.
        enough: The smallest inside it that would do.
        verdict: In words; of an expert that is compared with none, empty.
    """

    name: str
    rows: str
    share: float
    logloss: float
    around: tuple[Against, ...]
    inside: tuple[Against, ...]
    better: Against | None
    enough: Against | None
    verdict: str

    @property
    def best_around(self) -> Against | None:
        """The expert around it that would save most."""
        return max(self.around, key=lambda other: other.saves, default=None)

    @property
    def best_inside(self) -> Against | None:
        """The expert inside it that would lose least."""
        return max(self.inside, key=lambda other: other.saves, default=None)

    @property
    def shortfall(self) -> float:
        """Nats that the best of those around it would save; NaN where there is none."""
        return self.best_around.saves if self.best_around else math.nan


def judge(
    experts: Sequence[Expert], found: LossesOfExperts, tolerance: float
) -> dict[str, tuple[Judged, ...]]:
    """All experts in their rows, by what makes these their own.

    Args:
        experts: The experts, with the fields that they see.
        found: Their losses.
        tolerance: Nats that an expert may miss and still be sufficient.
    """
    judged: dict[str, tuple[Judged, ...]] = {}
    for kind, *parts in zip(KINDS, *(part.tolist() for part in found), strict=True):
        lines = enumerate(zip(*parts, strict=True))
        judged[kind] = tuple(_judged(experts, i, kind, tolerance, *line) for i, line in lines)
    return judged


def _judged(
    experts: Sequence[Expert],
    i: int,
    kind: str,
    tolerance: float,
    share: float,
    logloss: Sequence[float],
    saved: Sequence[float],
    error: Sequence[float],
    effective: float,
) -> Judged:
    """Expert i, of what was measured in its rows."""
    seen = [frozenset(expert.fields) for expert in experts]
    names = [expert.name for expert in experts]
    others = [*zip(seen, map(Against, names, logloss, saved, error), strict=True)]
    others.sort(key=lambda pair: len(pair[0]))
    around = tuple(other for fields, other in others if fields > seen[i])
    inside = tuple(other for fields, other in others if fields < seen[i])
    better = enough = None
    if effective >= FEWEST:
        beyond = [other for other in around if other.saves_more(tolerance)]
        better = max(beyond, key=lambda other: other.saves, default=None)
        enough = next((other for other in inside if other.saves_more(-tolerance)), None)
    verdict = _in_words(better, enough) or _no_complaint(around, inside, tolerance, effective)
    if verdict and share < (HEARD if kind == "attribution" else TINY):
        verdict = "hardly heard" if kind == "attribution" else "leads no row"
    parts = (names[i], kind, share, logloss[i], around, inside)
    return Judged(*parts, better, enough, verdict)


def _in_words(better: Against | None, enough: Against | None) -> str:
    said = [f"not sufficient: {better.name} saves {better.saves:.3f} nats"] if better else []
    return "; ".join(said + ([f"{enough.name} would do: it {_costs(enough)}"] if enough else []))


def _costs(other: Against) -> str:
    return f"{'saves' if other.saves > 0 else 'loses'} {abs(other.saves):.3f} nats"


def _no_complaint(
    around: Sequence[Against], inside: Sequence[Against], tolerance: float, effective: float
) -> str:
    if not around and not inside:
        return ""
    if not effective >= FEWEST:
        return "too few rows"
    enough = all(other.saves_less(tolerance) for other in around)
    needed = all(other.saves_less(-tolerance) for other in inside)
    if not (enough and needed):
        return "not certain"
    if not around:
        return "no smaller one is sufficient"
    return "sufficient, no smaller one is" if inside else "sufficient"


def complaints(judged: Iterable[Judged], rows: str) -> Iterator[str]:
    """A sentence for each expert that speaks without being sufficient, or where a smaller would do.

    Args:
        judged: The experts in the rows in which each has the largest attribution.
        rows: What the rows are, such as `val rows`.
    """
    for expert in judged:
        where = f"expert {expert.name} has the largest attribution in {expert.share:.1%} of the "
        if expert.better and expert.share >= HEARD:
            saved = f"{expert.better.name} would save {expert.better.saves:.3f} nats"
            yield f"{where}{rows}, but is not sufficient there: {saved}"
        if expert.enough and expert.share >= HEARD:
            lost = f"it {_costs(expert.enough)}"
            yield f"{where}{rows}, where {expert.enough.name} would do: {lost}"
