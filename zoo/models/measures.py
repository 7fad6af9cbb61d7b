"""What is measured of scored rows that one process holds.

A row of weight w counts as w rows do. Shapes: R rows, G groups, T runs of equal scores.
"""

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

TINY = torch.finfo(torch.float32).tiny


def click_metrics(
    logits: Tensor, labels: Tensor, weight: Tensor | None = None, group: Tensor | None = None
) -> dict[str, Tensor]:
    """`auc` and `logloss` of rows, and `gauc` where they have groups; see `ClickMetrics`.

    Args:
        logits: [R] logits.
        labels: [R] labels, 0 or 1.
        weight: [R] weights; None weighs all alike.
        group: [R] number of each row's group; None has no groups.
    """
    found = {
        "auc": area_under_curve(logits, labels > 0.5, weight),
        "logloss": weighted_mean(cross_entropy(logits, labels), weight),
    }
    if group is not None:
        found["gauc"] = grouped_area(logits, labels > 0.5, group, weight)
    return found


def weighted_mean(values: Tensor, weight: Tensor | None) -> Tensor:
    """sum w v / sum w over rows [R]; a row of weight zero counts for nothing, whatever its value.

    NaN where the weights sum to zero. Without weights the mean.
    """
    if weight is None:
        return values.mean()
    weight = weight.to(values.dtype)
    return (values * weight).masked_fill(weight == 0, 0).sum() / weight.sum()


def batch_mean(losses: Tensor, weight: Tensor | None = None) -> Tensor:
    """Mean of the losses [R] of a batch, weighted by rows.

    Zero where the weights sum to zero: such a batch moves nothing.
    """
    if weight is None:
        return losses.mean()
    return (losses * weight).sum() / weight.sum().clamp_min(TINY)


def mean_loss(logits: Tensor, labels: Tensor, weight: Tensor | None = None) -> Tensor:
    """The `batch_mean` of the cross-entropy, which is what is trained.

    Args:
        logits: [R] or [R, H] logits.
        labels: Labels of the same shape.
        weight: [R] or [R, 1] weights; None weighs all alike.
    """
    if weight is None:
        return binary_cross_entropy_with_logits(logits, labels)
    loss = binary_cross_entropy_with_logits(logits, labels, weight, reduction="sum")
    return loss / weight.expand_as(logits).sum().clamp_min(TINY)


def area_under_curve(scores: Tensor, positive: Tensor, weight: Tensor | None = None) -> Tensor:
    """Share of the pairs of a positive and a negative in which the positive scores higher.

    Ties count one half, those of two infinities too. Without weights, pairs are counted in whole
    numbers, so the share is exact; with weights, a pair counts the product of both. NaN where there
    is no such pair, or where a score is NaN.

    Args:
        scores: [R] scores of the rows.
        positive: [R] bool, true for the positives.
        weight: [R] weights; None weighs all alike.
    """
    values, place = torch.unique(scores, return_inverse=True)
    counted = torch.ones_like(place) if weight is None else weight.double()
    positives, negatives = (total(place, counted * of, len(values)) for of in (positive, ~positive))
    twice = (positives * (2 * negatives.cumsum(0) - negatives)).sum()  # of a tie, one of two
    share = twice.double() / (2 * positives.sum() * negatives.sum())
    return share.masked_fill(scores.isnan().any(), torch.nan)


def grouped_area(
    scores: Tensor, positive: Tensor, group: Tensor, weight: Tensor | None = None
) -> Tensor:
    """Mean `area_under_curve` of the groups with both classes, weighted by their rows.

        sum_g n_g auc_g / sum_g n_g,   n_g the number of rows, or the sum of their weights

    (Zhou et al., Deep Interest Network, KDD 2018, section 6.2, where n_g are impressions). NaN
    where no group has both classes, or where a score is NaN.

    Args:
        scores: [R] scores of the rows.
        positive: [R] bool, true for the positives.
        group: [R] number of each row's group.
        weight: [R] weights; None weighs all alike.
    """
    areas, sizes = areas_of_groups(scores, positive, group, weight)
    return weighted_mean(areas, sizes).masked_fill(scores.isnan().any(), torch.nan)


def areas_of_groups(
    scores: Tensor, positive: Tensor, group: Tensor, weight: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """[G] the `area_under_curve` of each group, in order of their numbers, and [G] how much it
    counts: its rows, or the sum of their weights; zero where it has a single class.

    Args:
        scores: [R] scores of the rows.
        positive: [R] bool, true for the positives.
        group: [R] number of each row's group.
        weight: [R] weights; None weighs all alike.
    """
    groups, place = torch.unique(group, return_inverse=True)
    counted = torch.ones_like(place) if weight is None else weight.double()
    sizes = total(place, counted, len(groups))
    if weight is not None:  # in shares of their group: large groups round nothing off small ones
        counted = _shares(counted, 2 * place + positive, 2 * len(groups))
    positives, negatives = (total(place, counted * of, len(groups)) for of in (positive, ~positive))
    order = scores.argsort(stable=True)
    order = order[place[order].argsort(stable=True)]  # by group, then by score
    ranked, scores = place[order], scores[order]
    starts = torch.ones_like(ranked, dtype=torch.bool)
    starts[1:] = (ranked[1:] != ranked[:-1]) | (scores[1:] != scores[:-1])
    run, of_run = starts.cumsum(0) - 1, ranked[starts]  # [T] the group of each run
    up, down = (total(run, (counted * of)[order], len(of_run)) for of in (positive, ~positive))
    below = down.cumsum(0) - down - (negatives.cumsum(0) - negatives)[of_run]  # of the same group
    twice = total(of_run, up * (2 * below + down), len(groups))  # of a tie, one of two
    areas = twice.double() / (2 * positives * negatives)
    return areas, sizes * ((positives > 0) & (negatives > 0))


def _shares(weight: Tensor, place: Tensor, places: int) -> Tensor:
    """[R] weights divided by the sum of their place; zero where that is zero."""
    sums = total(place, weight, places)
    return weight / sums.masked_fill(sums == 0, 1)[place]


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """-y log p - (1 - y) log(1 - p) of each row, in float64; NaN where the label is.

    An infinite logit costs nothing where it is right, infinity where it is wrong; torch multiplies
    infinity by zero, which is NaN.
    """
    logits, labels = logits.double(), labels.double()
    loss = binary_cross_entropy_with_logits(logits, labels, reduction="none")
    certain = logits.isinf()
    right = certain & ((logits > 0) == (labels > 0.5))
    loss = loss.masked_fill(certain, torch.inf).masked_fill(right, 0)
    return loss.masked_fill(labels.isnan(), torch.nan)


def total(place: Tensor, values: Tensor, places: int) -> Tensor:
    """Sums of values [R] by their place, as many as there are places."""
    return values.new_zeros(places).index_add_(0, place, values)
