"""AUC and logloss of any number of rows, in bounded memory.

Rows are counted in bins of their logits, those of a bin as ties. Of a pair of a positive and a
negative in one bin the exact AUC counts 0, 1/2 or 1, this one 1/2, so that it is off by at most

    1/2 sum_b p_b n_b / (P N)

with p_b positives and n_b negatives in bin b, P and N in all.

Shapes: R rows.
"""

import torch
from torch import Tensor

from zoo.models.measures import cross_entropy, total

BINS = 2**21
LIMIT = 16.0  # logits beyond it, of either sign, fall into the last bins


def counted(logits: Tensor, labels: Tensor, weight: Tensor | None) -> tuple[Tensor, Tensor]:
    """The counts of rows, which add up over rows, batches and ranks.

    Args:
        logits: [R] logits.
        labels: [R] labels, 0 or 1.
        weight: [R] weights; None weighs all alike.

    Returns:
        float64 [2 BINS] rows without and with the label 1 in each bin; and [3] the sums of losses
        and of weights, and the number of logits that are NaN.
    """
    weight = torch.ones_like(logits, dtype=torch.float64) if weight is None else weight.double()
    scaled = (logits.double().nan_to_num(0.0) / LIMIT + 1) * (BINS / 2)
    place = scaled.clamp(0, BINS - 1).long() + BINS * (labels > 0.5)
    losses = (cross_entropy(logits, labels) * weight).masked_fill(weight == 0, 0)
    sums = torch.stack((losses.sum(), weight.sum(), logits.isnan().sum().double()))
    return total(place, weight, 2 * BINS), sums


def measured(counts: Tensor, sums: Tensor) -> dict[str, Tensor]:
    """`auc` (NaN where only one class is present, or a logit is NaN), `auc_error`, `logloss`."""
    negatives, positives = counts.view(2, BINS)
    pairs = positives.sum() * negatives.sum()
    ties = (positives * negatives).sum()
    below = (positives * (negatives.cumsum(0) - negatives)).sum()
    return {
        "auc": ((below + ties / 2) / pairs).masked_fill(sums[2] > 0, torch.nan),
        "auc_error": ties / 2 / pairs,
        "logloss": sums[0] / sums[1],
    }
