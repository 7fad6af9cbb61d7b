"""Which rows of a split a report explains one by one: those that are wrong, sure ones, any ones.

Shapes: R scored labels of a split (rows, or tracks of sessions).
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from zoo.inspect.with_data.quality import Scored
from zoo.inspect.with_data.sample import SEED

PART = 8  # of all that are chosen, an eighth of each kind; the others, half of them, are random
LOW, HIGH, SUREST, LEAST, RANDOM = (
    "far too low",
    "far too high",
    "among the highest",
    "among the lowest",
    "random",
)


@dataclass(frozen=True)
class Chosen:
    """A scored label.

    Attributes:
        row: Number of the row, or of the session, in the split, from 0.
        position: Number of the track in a session, from 1; None of a row.
        why: Why it was chosen.
    """

    row: int
    position: int | None
    why: str


def choose(scored: Scored, count: int) -> tuple[Chosen, ...]:
    """Some of the scored labels, each once, always the same ones.

    Args:
        scored: Scored labels.
        count: Number of them at most.
    """
    assert scored.place is not None
    finite, places = scored.logits.isfinite(), scored.place
    found: dict[int, str] = {}
    for why, order in _orders(scored.logits, scored.labels, count):
        wanted = count // PART if why != RANDOM else count
        for i in order.tolist():
            if wanted and len(found) < count and i not in found and finite[i]:
                found[i] = why
                wanted -= 1
    return tuple(_chosen(*places[i].tolist(), why=why) for i, why in found.items())


def _chosen(row: int, track: int | None = None, *, why: str) -> Chosen:
    return Chosen(row, None if track is None else track + 1, why)


def _orders(logits: Tensor, labels: Tensor, count: int) -> Iterator[tuple[str, Tensor]]:
    """Of each kind the labels to take first, as many as may be needed."""
    logits = logits.nan_to_num(0.0)
    most = min(count, len(logits))
    positive = labels > 0.5
    for why, score, among in (
        (LOW, -logits, positive),
        (HIGH, logits, ~positive),
        (SUREST, logits, None),
        (LEAST, -logits, None),
    ):
        score = score if among is None else score.masked_fill(~among, -torch.inf)
        best = score.topk(most)
        yield why, best.indices[best.values > -torch.inf]
    random = torch.Generator().manual_seed(SEED)
    yield RANDOM, torch.randperm(len(logits), generator=random)
