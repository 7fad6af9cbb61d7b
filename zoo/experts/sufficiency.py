"""The gate of sufficiency: an expert is selected where those around it would add nothing.

The paper's gates ask how confident an expert is. Here second outputs of each expert, over the same
inputs, learn its shortfall: the logloss in nats that a better prediction would save, in the mean
over rows that look alike to it. It is sufficient where that is below a tolerance. Beyond the paper.

    d_ik(x_Si) = E[BCE(y, f_i) - BCE(y, p_k) | x_Si],   d_i = max_k d_ik
    g_i = 1 / (1 + (d_i / tolerance)^p),   g_widest = 1

with p_1 the prediction of the widest expert, and p_2 that of the mixture, which is better where the
widest is overfitted. Rows that are held out of all other losses teach it: what an expert knows by
heart of the rows it was trained on counts for nothing.

Shapes: B batch, R labels that count, H experts, U units, K = 2; ... any leading dimensions.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from zoo.data.batch import Batch, SessionBatch

UNITS = 16  # of each expert's second output
LEAST = 1 / 20  # in tolerances: of less it does not matter how much less
MOST = 20.0  # nats


class Shortfall(nn.Module):
    """The second outputs of each expert, log d_ik = v_ik^T relu(h_i) + c_ik.

    Args:
        experts: Number of experts, H.
        widest: Number of the expert that sees all, which misses nothing.
        tolerance: Nats, near which all begin.
    """

    counted: Tensor

    def __init__(self, experts: int, widest: int, tolerance: float) -> None:
        super().__init__()
        bound = math.sqrt(3 / UNITS) / 4
        self.weight = nn.Parameter(torch.empty(experts, 2, UNITS).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.full((experts, 2), math.log(tolerance)))
        self.widest = widest
        counted = (torch.arange(experts) != widest).float().unsqueeze(1) / experts
        self.register_buffer("counted", counted, persistent=False)

    def forward(self, hidden: Tensor) -> Tensor:
        """[..., H, K] log d of hidden units h [..., H, U]; in half precision in single."""
        hidden = hidden.to(self.weight.dtype).relu().unsqueeze(-2)
        return (hidden * self.weight).sum(-1) + self.bias

    def loss(
        self, losses: Tensor, of_mixture: Tensor, log_shortfall: Tensor, tolerance: float
    ) -> Tensor:
        """[R] what teaches it, the mean over the experts.

            L = mean_i sum_k (d_ik - t_ik log d_ik),   t_ik = BCE(y, f_i) - BCE(y, p_k)

        with t held constant; see `poisson_cost`, whose bounds are a twentieth of the tolerance, and
        MOST.

        Args:
            losses: [R, H] BCE of the experts.
            of_mixture: [R, 1] BCE of the mixture.
            log_shortfall: [R, H, K] log d; that of the widest expert is not used.
            tolerance: Tolerance in nats.
        """
        losses = losses.detach()
        widest = losses[:, self.widest : self.widest + 1]
        missed = losses.unsqueeze(2) - torch.stack((widest, of_mixture), 2)
        cost = poisson_cost(missed, log_shortfall, LEAST * tolerance, MOST)
        return (cost * self.counted).sum((1, 2))


def poisson_cost(missed: Tensor, log_d: Tensor, least: float, most: float) -> Tensor:
    """What teaches d, which a row misses in the mean: d - t log d, of any shape.

    Its minimum is at d = E[t] (as in Poisson regression), with an error that is small beside d. A
    row's t may be negative, and so may its mean, where what it is compared with is worse: beyond
    the bounds (log d - bound)^2 / 2 stands in place of d.

    Args:
        missed: Nats that each row misses, t.
        log_d: log d.
        least: Lower bound of d, nats.
        most: Upper bound.
    """
    bounded = log_d.clamp(math.log(least), math.log(most))
    return bounded.exp() - missed * log_d + (log_d - bounded).square() / 2


def log_sufficiency(log_shortfall: Tensor, tolerance: float, power: float) -> tuple[Tensor, Tensor]:
    """[..., H] log g and log(1 - g) of [..., H, K] log d: g = 1 / (1 + (max_k d / tolerance)^p).

    Args:
        log_shortfall: What each expert misses, log d of d in nats.
        tolerance: Nats at which g is one half.
        power: Power p.
    """
    odds = power * (math.log(tolerance) - log_shortfall.amax(-1))
    return functional.logsigmoid(odds), functional.logsigmoid(-odds)


def held_out(batch: Batch | SessionBatch, share: float) -> Tensor:
    """bool [B], the rows (or sessions) that are held out: the same ones in each epoch.

    They are drawn by their numbers, or, where the data do not say these, by their content.

    Args:
        batch: The batch.
        share: Share of the rows.
    """
    mixed = (_content(batch) if batch.row is None else batch.row.long()) * 0x2545F4914F6CDD1D
    mixed = (mixed ^ (mixed >> 29)) * 0x1B873593CC9E2D51  # any int64, as likely as another
    return mixed < round((2 * share - 1) * (1 << 62)) * 2


def _content(batch: Batch | SessionBatch) -> Tensor:
    """int64 [B], a hash of all that is known of each row."""
    if isinstance(batch, Batch):
        parts = [batch.categorical, batch.numerical]
    else:  # padding, which is zero here, adds nothing
        parts = [
            batch.past.masked_fill(~batch.past_mask.unsqueeze(2), 0),
            batch.future.masked_fill(~batch.future_mask.unsqueeze(2), 0),
        ]
    total = torch.zeros(len(batch.label), dtype=torch.int64, device=batch.label.device)
    for odd, part in enumerate(parts, 1):
        bits = part.float().view(torch.int32) if part.is_floating_point() else part
        place = torch.arange(bits[0].numel(), device=total.device)
        factors = (2 * place + odd) * 0x1E3779B97F4A7C15 | 1
        total += (bits.flatten(1).long() * factors).sum(1)
    return total
