"""In which part of the rows of an expert another one of a mixture would be the right one.

In the mean over its rows an expert may be needed, or sufficient, and yet not in all of them.

Shapes: R scored labels, H experts.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from torch import Tensor

from zoo.inspect.with_data.quality import Scored, error_of_mean
from zoo.models.description import Expert
from zoo.models.judged import ERRORS, FEWEST, Judged
from zoo.models.measures import cross_entropy, weighted_mean

PARTS = 10  # of an expert's rows, of equal size
LEAST = 0.1  # share of an expert's rows from which it is said that they are another's


@dataclass(frozen=True)
class InPart:
    """Rows that an expert has the largest attribution in, and that are another's by right.

    Its rows are cut into ten parts by the prediction of the smaller of the two: to that one rows
    look alike of which it predicts the same.

    Attributes:
        name: Name of the expert that has the largest attribution.
        other: Name of an expert inside it, which would do there; or around it, which would save.
        share: Share of the rows of the expert in which that is so.
        inside: Whether the other one is inside it.
    """

    name: str
    other: str
    share: float
    inside: bool


def in_part(
    scored: Scored, experts: Sequence[Expert], judged: Sequence[Judged], tolerance: float
) -> Iterator[InPart]:
    """Of each expert that is not another's in all its rows, the one that most of them are by right.

    Args:
        scored: The rows.
        experts: The experts.
        judged: The experts in the rows in which each has the largest attribution.
        tolerance: Nats that an expert may miss.
    """
    largest = scored.attribution.argmax(1)
    numbers = {expert.name: i for i, expert in enumerate(experts)}
    for i, expert in enumerate(judged):
        rows = (largest == i).nonzero().squeeze(1)
        if len(rows) < PARTS * FEWEST:
            continue
        for others, inside in ((expert.around, False), (expert.inside, True)):
            if (expert.enough if inside else expert.better) is not None:
                continue
            found = [
                InPart(
                    expert.name,
                    o.name,
                    _part(scored, rows, i, numbers[o.name], inside, tolerance),
                    inside,
                )
                for o in others
            ]
            best = max(found, key=lambda part: part.share, default=None)
            if best and best.share >= LEAST:
                yield best


def _part(
    scored: Scored, rows: Tensor, mine: int, other: int, inside: bool, tolerance: float
) -> float:
    """Share of an expert's rows in which another one would do, or would save."""
    assert scored.expert_logits is not None
    logits = scored.expert_logits[rows]
    smaller, larger = (other, mine) if inside else (mine, other)
    label = scored.labels[rows]
    missed = cross_entropy(logits[:, smaller], label) - cross_entropy(logits[:, larger], label)
    weight, unit = (x if x is None else x[rows] for x in (scored.weight, scored.unit()))
    parts, theirs = _parts(logits[:, smaller]), 0
    for part in map(parts.eq, range(PARTS)):
        if (count := int(part.sum())) >= FEWEST:
            w, u = (x if x is None else x[part] for x in (weight, unit))
            theirs += count * _is_theirs(missed[part], w, u, inside, tolerance)
    return theirs / len(rows)


def _parts(logits: Tensor) -> Tensor:
    """[R] numbers of parts of logits [R], of equal size as far as equal ones stay together."""
    _, place, counts = logits.unique(return_inverse=True, return_counts=True)
    middle = counts.cumsum(0) - counts / 2
    return (middle * PARTS / len(logits)).long()[place]


def _is_theirs(
    missed: Tensor, weight: Tensor | None, unit: Tensor | None, inside: bool, tolerance: float
) -> bool:
    """Whether what the smaller of two experts misses is surely under, or over, a tolerance."""
    mean = weighted_mean(missed, weight)
    if unit is not None:
        unit = unit.unique(return_inverse=True)[1]
    error = ERRORS * error_of_mean(missed, weight, unit)
    return bool(mean + error < tolerance if inside else mean - error > tolerance)
