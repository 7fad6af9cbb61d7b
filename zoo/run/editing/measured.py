"""What switching terms changes on the rows of a split.

Shapes: R labelled rows, P terms.
"""

import math
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from zoo.inspect.edited import Change, Changes, Cost
from zoo.inspect.runs.delong import areas
from zoo.inspect.with_data.quality import Scored, counting
from zoo.models.base import ZooModule
from zoo.models.measures import cross_entropy, weighted_mean

FARTHEST, HALVINGS = 40.0, 80  # of the constant, and of the interval in which it is looked for


def changes(before: Scored, after: Tensor) -> Changes:
    """What changes where other logits take the place of those of some rows.

    Args:
        before: The rows with their logits.
        after: [R] the other logits.
    """
    risen = cross_entropy(after, before.labels) - cross_entropy(before.logits, before.labels)
    weight = torch.ones_like(risen) if before.weight is None else before.weight.double()
    mean = weighted_mean(risen, weight)
    error = ((weight * (risen - mean)) ** 2).sum().sqrt() / weight.sum()
    return Changes(Change(float(mean), float(error)), _auc(before, after))


def _auc(before: Scored, after: Tensor) -> Change | None:
    scores = torch.stack((before.logits, after)).double().numpy()
    weight = None if before.weight is None else before.weight.numpy()
    both, covariance = areas(scores, (before.labels > 0.5).numpy(), weight)
    if math.isnan(both[0]):
        return None
    variance = covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1]
    error = math.sqrt(max(variance, 0.0)) if math.isfinite(variance) else None
    return Change(float(both[1] - both[0]), error)


@torch.no_grad()
def costs(model: ZooModule, batches: Iterable[Any], scored: Scored) -> tuple[Cost, ...]:
    """What switching off each term that is on would cost, the largest logloss first.

    Args:
        model: The model, in evaluation.
        batches: Batches of the split.
        scored: Their labelled rows with the model's logits.
    """
    added = torch.cat([model.contributions(batch)[counting(batch)] for batch in batches])  # [R, P]
    found = [
        Cost(term.name, changes(scored, scored.logits.double() - added[:, place].double()))
        for place, term in enumerate(model.terms)
        if term.on
    ]
    return tuple(sorted(found, key=lambda cost: -cost.changes.logloss.value))


def shift_to_mean(scored: Scored, mean: float) -> float:
    """What has to be added to the logits of some rows so that their mean probability is `mean`.

    Args:
        scored: The rows.
        mean: A probability.
    """
    logits = scored.logits.double()
    low, high = -FARTHEST, FARTHEST  # the mean rises with what is added
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        if float(weighted_mean((logits + middle).sigmoid(), scored.weight)) < mean:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def renamed(scored: Scored, name: str) -> Any:
    """The quality of all rows, under another name."""
    return replace(scored.overall(), name=name)
