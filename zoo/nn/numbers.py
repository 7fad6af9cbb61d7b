"""Encodings of numbers, which stand beside the plain values.

Shapes: B batch, N numerical fields, T bins of a number.
"""

from collections.abc import Mapping
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor, nn

from zoo.data.errors import require

NumericalEncoding = Literal["none", "piecewise_linear", "learned_bins"]
SHARPNESS = 4  # of learned bins: in the middle of one, e^2 to each of its neighbours' 1


class Bins(nn.Module):
    """Edges b_0 < b_1 < .. of the bins of each number: quantiles of the training rows.

    Before they are fitted there are no bins.

    Args:
        fields: Number of numerical fields, N.
        bins: Largest number of bins of each, T; of a number of few values there are fewer.

    Attributes:
        bin_edges: [N, T + 1] edges, ascending; the last one fills up what is left.
    """

    bin_edges: Tensor

    def __init__(self, fields: int, bins: int) -> None:
        super().__init__()
        self.register_buffer("bin_edges", torch.zeros(fields, bins + 1))

    @property
    def is_fitted(self) -> bool:
        """Whether there are edges."""
        return bool(self.bin_edges.any())

    def fit(self, quantiles: np.ndarray) -> None:
        """Takes [T + 1, N] the k / T quantiles, k = 0 .. T; equal ones are merged."""
        size = self.bin_edges.shape[1]
        columns = [np.unique(column) for column in quantiles.T]
        edges = [np.pad(column, (0, size - len(column)), "edge") for column in columns]
        self.bin_edges.copy_(torch.from_numpy(np.array(edges, np.float32).reshape(-1, size)))

    def shares(self, numbers: Tensor) -> tuple[Tensor, Tensor]:
        """[B, N] -> [B, N, T] (x - b_{t-1}) / (b_t - b_{t-1}), and bool [N, T] which bins exist."""
        low, widths = self.bin_edges[:, :-1], self.bin_edges.diff()
        real = widths > 0
        shares = (numbers.unsqueeze(2) - low) / widths.masked_fill(~real, 1)
        return shares.masked_fill(~real, 0), real


class PiecewiseLinear(Bins):
    """The piecewise-linear encoding of numbers, [B, N] -> [B, N, T].

        e_t = 0                                   where x < b_{t-1} and t > 1
            = 1                                   where x >= b_t and t < T
            = (x - b_{t-1}) / (b_t - b_{t-1})     else

    Gorishniy et al., *On Embeddings for Numerical Features in Tabular Deep Learning*, NeurIPS
    2022, equation 1, with the quantile bins of section 3.2.1. A linear layer of it is a function of
    x that is linear within each bin.
    """

    def forward(self, numbers: Tensor) -> Tensor:
        """The encodings; those of bins that do not exist are zero."""
        shares, real = self.shares(numbers)
        last = real & ~nn.functional.pad(real[:, 1:], (0, 1))
        least, most = torch.zeros_like(shares[0]), torch.ones_like(shares[0])
        least[:, 0] = -torch.inf
        return shares.clamp(least, most.masked_fill(last, torch.inf))


class LearnedBins(Bins):
    """Soft bins whose cuts are learned, [B, N] -> [B, N, T].

        p = softmax((w u + c) / tau),   w = [1, .., T],   c = [0, -a_1, -a_1 - a_2, ..]

    Yang et al., *Deep Neural Decision Trees*, 2018, equation 1, of the place u of a number among
    the training rows, from 0 to 1, linear within each quantile bin. The cuts a_t begin at t / T:
    at the quantiles. tau = 1 / (4 T).

    Args:
        fields: Number of numerical fields, N.
        bins: Number of bins of each, T.

    Attributes:
        bias: [N, T] the offsets c.
    """

    def __init__(self, fields: int, bins: int) -> None:
        super().__init__(fields, bins)
        cuts = torch.arange(bins) / bins
        self.bias = nn.Parameter(-cuts.cumsum(0).repeat(fields, 1))

    def forward(self, numbers: Tensor) -> Tensor:
        """The weights of all bins, which sum to one."""
        shares, real = self.shares(numbers)
        place = shares.clamp(0, 1).sum(2) / real.sum(1).clamp(min=1)
        bins = self.bias.shape[1]
        steps = torch.arange(1, bins + 1, device=place.device, dtype=place.dtype)
        return (SHARPNESS * bins * (place.unsqueeze(2) * steps + self.bias)).softmax(2)


ENCODINGS: dict[str, type[Bins]] = {
    "piecewise_linear": PiecewiseLinear,
    "learned_bins": LearnedBins,
}


def bins_of(options: Mapping[str, Any]) -> int:
    """Columns that each number has beside its plain value, T, by the options of a model."""
    encoding = options.get("numerical_encoding", "none")  # which earlier checkpoints do not name
    return 0 if encoding == "none" else options["numerical_bins"]


def encoding_of(encoding: NumericalEncoding, fields: int, bins: int) -> Bins | None:
    """The encoding of the numbers of a schema; None where there is none."""
    known = get_args(NumericalEncoding)
    require(encoding in known, f"numerical_encoding must be one of {known}", encoding)
    require(bins >= 2, "numerical_bins must be at least 2", bins)
    return ENCODINGS[encoding](fields, bins) if encoding != "none" and fields else None
