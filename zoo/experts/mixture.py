"""How experts are gated, selected, joined and trained.

Afchar & Hennequin, RecSys 2020, sections 3.1 and 3.3. All in terms of z, of which F = tanh(z) is
the expert's output, and in logarithms, so that nothing of a confident expert is rounded away:

    f = (F + 1) / 2 = sigmoid(2 z)                                          (equation 5)
    alpha_i = g_i prod_{j in omega(i)} (1 - g_j)                            (section 3.3.2)
    p = sum_i alpha_i f_i / sum_i alpha_i                                   (equation 1)

Shapes: B batch, H experts; of sessions all but the loss and the metrics also take [B, T, H].
"""

import math
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional
from torchmetrics import Metric

from zoo.models.measures import TINY, batch_mean, mean_loss

GATES = ("abs", "square", "smooth")
NORMALIZATIONS = ("none", "sample", "expert")
Gate = Literal["abs", "square", "smooth"]
Normalization = Literal["none", "sample", "expert"]
NO_EVIDENCE = 1e-12  # least |z|: experts without evidence are selected alike where all are


def log_gate(z: Tensor, gate: Gate, power: float = 3.0) -> tuple[Tensor, Tensor]:
    """log g and log(1 - g) of z, any shape.

    `abs` |F| (equation 6), `square` F^2, `smooth` 2 |F|^p / (1 + |F|^(p - 1)) of power p, the two
    of section 3.3.3 that dampen what is near zero.

    Args:
        z: Outputs of experts before tanh.
        gate: Name of the gate.
        power: Power p of the smooth gate.
    """
    a = z.abs().clamp_min(NO_EVIDENCE)
    small = torch.exp(-2 * a)
    log_f = torch.where(  # log |F|, exact at both ends
        a < 0.5,
        torch.log(-torch.expm1(-2 * a)) - torch.log1p(small),
        torch.log1p(-2 * small / (1 + small)),
    )
    log_rest = math.log(2) - functional.softplus(2 * a)  # log(1 - |F|)
    if gate == "abs":
        return log_f, log_rest
    if gate == "square":  # 1 - F^2 = (1 - |F|) (1 + |F|)
        return 2 * log_f, log_rest + torch.log1p(log_f.exp())
    # 1 + |F|^(p-1) - 2 |F|^p = (1 - |F|^p) + |F|^(p-1) (1 - |F|)
    log_denominator = torch.log1p(((power - 1) * log_f).exp())
    log_g = math.log(2) + power * log_f - log_denominator
    # near |F| = 1, where |F|^p rounds to one, 1 - |F|^p is p (1 - |F|)
    log_first = torch.where(
        log_f < -1e-6, torch.log(-torch.expm1(power * log_f)), math.log(power) + log_rest
    )
    log_second = (power - 1) * log_f + log_rest
    return log_g, torch.logaddexp(log_first, log_second) - log_denominator


def log_selection(
    z: Tensor, inclusion: Tensor, gate: Gate, power: float = 3.0, fallback: int | None = None
) -> Tensor:
    """[B, H] log alpha of the experts.

    Args:
        z: [B, H] outputs of the experts before tanh.
        inclusion: [H, H] inclusion of their subsets; see `Lattice.inclusion`.
        gate: Name of the gate; see `log_gate`.
        power: Power of the smooth gate; see `log_gate`.
        fallback: Number of the expert whose subset holds all the others, `Lattice.greatest`, if it
            is to be selected where they are not, confident or not: its g is one, hence
            alpha = prod_j (1 - g_j). None is the paper: where no expert is confident, the most
            confident of them is selected.
    """
    return log_selected(*log_gate(z, gate, power), inclusion, fallback)


def log_selected(
    log_g: Tensor, log_rest: Tensor, inclusion: Tensor, fallback: int | None = None
) -> Tensor:
    """[B, H] log alpha of the experts by what their gates say; see `log_selection`.

    Args:
        log_g: [B, H] log g of the experts.
        log_rest: [B, H] log(1 - g).
        inclusion: [H, H] inclusion of their subsets; see `Lattice.inclusion`.
        fallback: Number of the expert whose g is one; None is none.
    """
    if fallback is not None:
        experts = torch.arange(log_g.shape[-1], device=log_g.device)
        log_g = log_g.masked_fill(experts == fallback, 0.0)
    return log_g + log_rest @ inclusion.T.to(log_rest.dtype)


def mixture_logit(z: Tensor, log_alpha: Tensor) -> Tensor:
    """[B] logit of equation 1, log(sum alpha f) - log(sum alpha (1 - f))."""
    positive = torch.logsumexp(log_alpha + functional.logsigmoid(2 * z), -1)
    return positive - torch.logsumexp(log_alpha + functional.logsigmoid(-2 * z), -1)


def attribution(log_alpha: Tensor) -> Tensor:
    """[B, H] alpha_i / sum_i alpha_i: the share of each expert in the prediction."""
    return log_alpha.softmax(-1)


def gem_loss(
    z: Tensor,
    label: Tensor,
    log_alpha: Tensor,
    normalization: Normalization = "none",
    weight: Tensor | None = None,
) -> Tensor:
    """The loss of the generalised M-step, mean over the batch (equations 4 and 7).

        L = mean_b sum_i w_i BCE(y, f_i),   w held constant

    with w = alpha (`none`, as the paper), alpha / sum_i alpha_i (`sample`: every sample counts
    alike), or alpha_i / mean_b alpha_i / H (`expert`: every expert counts alike).

    Args:
        z: [B, H] outputs of the experts before tanh.
        label: [B] labels, 0 or 1.
        log_alpha: [B, H] log alpha of the experts; see `log_selection`.
        normalization: Normalization of the weights w, as above.
        weight: [B] weights of the rows in all means over the batch; None weighs all alike.
    """
    alpha = gem_weights(log_alpha, normalization, weight)
    return batch_mean((alpha * expert_losses(z, label)).sum(1), weight)


def gem_weights(
    log_alpha: Tensor, normalization: Normalization = "none", weight: Tensor | None = None
) -> Tensor:
    """[B, H] the weights of `gem_loss`, held constant."""
    alpha = log_alpha.detach().exp()
    if normalization == "sample":
        alpha = attribution(log_alpha.detach())
    elif normalization == "expert":
        mean = alpha.mean(0) if weight is None else weight @ alpha / weight.sum().clamp_min(TINY)
        alpha = alpha / (mean + 1e-6) / alpha.shape[1]
    return alpha


def expert_losses(z: Tensor, label: Tensor) -> Tensor:
    """[B, H] binary cross-entropy of labels [B] and each expert, of outputs z [B, H]."""
    target = label.unsqueeze(1).expand_as(z)
    return functional.binary_cross_entropy_with_logits(2 * z, target, reduction="none")


def auxiliary_loss(z: Tensor, label: Tensor, weight: Tensor | None = None) -> Tensor:
    """Binary cross-entropy of all experts on all rows, mean over both.

        L = mean_b mean_i BCE(y, f_i)

    By the GEM loss alone an expert learns from the rows that it is selected for, so one that lags
    behind is selected for fewer and learns still less. Not in the paper.

    Args:
        z: [B, H] outputs of the experts before tanh.
        label: [B] labels, 0 or 1.
        weight: [B] weights of the rows; None weighs all alike.
    """
    target = label.unsqueeze(1).expand_as(z)
    return mean_loss(2 * z, target, None if weight is None else weight.unsqueeze(1))


def silence_loss(
    z: Tensor,
    inclusion: Tensor,
    gate: Gate,
    power: float = 3.0,
    weight: Tensor | None = None,
) -> Tensor:
    """The cost of an expert's output where those inside it are confident, mean over the batch.

        L = mean_b sum_i (1 - prod_{j in omega(i)} (1 - g_j)) KL(1/2 || f_i)

    with the product held constant. The GEM loss gives such rows next to no weight, so that an
    expert keeps what it once learned of them: it stays confident, and is selected wherever its
    children are less so. Not in the paper, whose section 3.3.1 asks for the sparsest selection that
    explains the data.

    Args:
        z: [B, H] outputs of the experts before tanh.
        inclusion: [H, H] inclusion of their subsets; see `Lattice.inclusion`.
        gate: Name of the gate; see `log_gate`.
        power: Power of the smooth gate; see `log_gate`.
        weight: [B] weights of the rows; None weighs all alike.
    """
    log_rest = log_gate(z.detach(), gate, power)[1]
    decided = -torch.expm1(log_rest @ inclusion.T)
    surprise = functional.softplus(2 * z) - z - math.log(2)  # -(log f + log(1 - f)) / 2 - log 2
    return batch_mean((decided * surprise).sum(1), weight)


class AttributionMetrics(Metric):
    """Attributions of a split: exact sums over all rows and ranks.

    Args:
        experts: Number of experts, H.
    """

    full_state_update = False
    total: Tensor
    largest: Tensor
    entropy: Tensor
    rows: Tensor

    def __init__(self, experts: int) -> None:
        super().__init__()
        for name, size in (("total", experts), ("largest", experts), ("entropy", 1), ("rows", 1)):
            zeros = torch.zeros(size, dtype=torch.float64)
            self.add_state(name, zeros, dist_reduce_fx="sum")

    def update(self, attributed: Tensor, scored: Tensor | None = None) -> None:
        """Adds a batch of attributions [B, H], and bool [B] which count; None counts all."""
        a = attributed.detach().double()
        # of a GPU, `bincount` asks for the largest
        largest = a.argmax(1, keepdim=True) == torch.arange(a.shape[1], device=a.device)
        if scored is not None:
            a = a.masked_fill(~scored.unsqueeze(1), 0)
            largest &= scored.unsqueeze(1)
        self.total += a.sum(0)
        self.largest += largest.sum(0)
        self.entropy -= torch.xlogy(a, a).sum()
        self.rows += len(a) if scored is None else scored.sum()

    def compute(self) -> dict[str, Tensor]:
        """`mean` [H], `largest` [H] (share of rows in which it is the largest), `entropy` []."""
        return {
            "mean": self.total / self.rows,
            "largest": self.largest / self.rows,
            "entropy": (self.entropy / self.rows).squeeze(0),
        }
