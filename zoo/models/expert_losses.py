"""What each expert of a mixture loses in the rows of each other: exact sums over a split.

The rows of expert i are those in which it has the largest attribution, or all rows, each weighed by
its attribution; with s_bi one or zero, or the attribution, w_b the weight of row b, and l_bj the
cross-entropy of expert j alone,

    L_ij = sum_b w_b s_bi l_bj / W_i,   W_i = sum_b w_b s_bi
    D_ij = L_ii - L_ij                                      nats that j would save there
    E_ij^2 = sum_u (sum_{b in u} w_b s_bi (l_bi - l_bj - D_ij))^2 / W_i^2

with u the units that are independent: rows, or sessions, whose tracks are not.

Shapes: B rows or sessions, T tracks of a session, H experts; .. is [B] or [B, T].
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torchmetrics import Metric

from zoo.models.measures import cross_entropy

KINDS = ("largest", "attribution")  # what makes the rows of an expert


class LossesOfExperts(NamedTuple):
    """Of both `KINDS` of rows: NaN of an expert that has none.

    Attributes:
        share: [2, H] share of each expert in the rows, whatever their weight.
        logloss: [2, H, H] L, in the rows of the first expert that of the second.
        saved: [2, H, H] D, what the second would save.
        error: [2, H, H] E, standard error of D.
        effective: [2, H] number of units of equal weight whose mean is as certain (Kish 1965).
    """

    share: Tensor
    logloss: Tensor
    saved: Tensor
    error: Tensor
    effective: Tensor


def expert_sums(
    attributed: Tensor,
    logits: Tensor,
    label: Tensor,
    weight: Tensor | None = None,
    scored: Tensor | None = None,
) -> Tensor:
    """[2, H, 3 H + 3] float64, what `measured_losses` is computed from; that of batches adds up.

    Args:
        attributed: [.., H] attribution to each expert.
        logits: [.., H] logit of each expert alone.
        label: [..] labels, 0 or 1.
        weight: [B] weights of the rows; None weighs all alike. A row of weight zero is none.
        scored: bool [..], which labels count; None counts all.
    """
    losses = cross_entropy(logits, label.unsqueeze(-1).expand_as(logits))
    counted = ~label.isnan() if scored is None else scored
    if weight is not None:
        counted = counted & (weight > 0)
    losses = losses.masked_fill(~counted.unsqueeze(-1), 0)
    experts = torch.arange(attributed.shape[-1], device=attributed.device)
    largest = attributed.argmax(-1, keepdim=True) == experts
    of = torch.stack((largest.double(), attributed.double()))  # [2, .., H]
    of = of.masked_fill(~counted.unsqueeze(-1), 0)
    shares = of if weight is None else of * weight.double().unsqueeze(-1)
    sums = _sums_of_rows(shares, losses) if label.ndim == 1 else _sums_of_sessions(shares, losses)
    count = of.flatten(1, -2).sum(1)
    return torch.cat((*sums, count.unsqueeze(2)), 2)


def _sums_of_rows(shares: Tensor, losses: Tensor) -> tuple[Tensor, ...]:
    """Sums over rows of shares a [2, B, H] and losses l [B, H], in one product of matrices.

    Returns:
        [2, H, H] sum a_i l_j, sum a_i^2 (l_i - l_j) and sum a_i^2 (l_i - l_j)^2; [2, H, 1] sum a_i
        and sum a_i^2.
    """
    experts, squares = losses.shape[1], shares.square()
    left = torch.cat((*shares, *squares, *(squares * losses)), 1)  # [B, 6 H]
    right = torch.cat((losses, losses.square(), torch.ones_like(losses[:, :1])), 1)
    plain, squared, product = (left.T @ right).unflatten(0, (3, 2, experts))
    first, second, whole = squared.split((experts, experts, 1), 2)
    apart = _own(first) - first
    spread = _own(second) + second - 2 * product[..., :experts]
    return plain[..., :experts], apart, spread, plain[..., -1:], whole


def _sums_of_sessions(shares: Tensor, losses: Tensor) -> tuple[Tensor, ...]:
    """The same of [2, B, T, H] and [B, T, H], whose squares are those of sums over a session."""
    by_session = shares.mT @ losses  # [2, B, H, H]
    apart = _own(by_session) - by_session
    weights = shares.sum(2).unsqueeze(3)  # [2, B, H, 1]
    of = (by_session, weights * apart, apart.square(), weights, weights.square())
    return tuple(part.sum(1) for part in of)


def _own(matrix: Tensor) -> Tensor:
    """[.., H, 1] the diagonal of [.., H, H]."""
    return matrix.diagonal(dim1=-2, dim2=-1).unsqueeze(-1)


def measured_losses(sums: Tensor) -> LossesOfExperts:
    """The losses of what `expert_sums` returns, or of a sum of such."""
    experts = sums.shape[1]
    loss, apart, spread, weight, squares, count = sums.split((experts,) * 3 + (1,) * 3, 2)
    logloss = loss / weight
    saved = _own(logloss) - logloss
    variance = spread - 2 * saved * apart + saved.square() * squares  # that rounds to below zero
    error = variance.clamp_min(0).sqrt() / weight
    share = (count / count.sum(1, keepdim=True)).squeeze(2)
    return LossesOfExperts(share, logloss, saved, error, (weight.square() / squares).squeeze(2))


class ExpertLosses(Metric):
    """`measured_losses` of a split: exact sums over all rows and ranks.

    Args:
        experts: Number of experts, H.
    """

    full_state_update = False
    sums: Tensor

    def __init__(self, experts: int) -> None:
        super().__init__()
        zeros = torch.zeros(2, experts, 3 * experts + 3, dtype=torch.float64)
        self.add_state("sums", zeros, dist_reduce_fx="sum")

    def update(
        self,
        attributed: Tensor,
        logits: Tensor,
        label: Tensor,
        weight: Tensor | None = None,
        scored: Tensor | None = None,
    ) -> None:
        """Adds a batch; see `expert_sums`."""
        self.sums += expert_sums(attributed.detach(), logits.detach(), label, weight, scored)

    def compute(self) -> LossesOfExperts:
        """What each expert loses in the rows of each other."""
        return measured_losses(self.sums)
