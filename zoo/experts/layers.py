"""Layers in which no expert's features depend on inputs outside its subset.

Afchar & Hennequin, RecSys 2020, section 3.4.

Shapes: B batch, H experts, in_i and out_i widths of expert i.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from zoo.experts.lattice import Lattice
from zoo.linear import Linear


class MaskedLinear(nn.Module):
    """Linear layers between the features of the experts (equations 11 and 14).

        h_i' = W_ii h_i + sum_{j in omega(i)} W_ij stop(h_j) + b_i

    A block W_ij exists only where S_j is S_i or lies inside it, and `stop` lets no gradient flow
    back from an expert into those it builds on. Only existing blocks are stored and multiplied.

    Args:
        lattice: of the experts.
        inputs: in_i of each expert.
        outputs: out_i of each expert.
    """

    def __init__(self, lattice: Lattice, inputs: Sequence[int], outputs: Sequence[int]) -> None:
        super().__init__()
        self.below = lattice.below
        self.experts = nn.ModuleList(
            Linear(inputs[i] + sum(inputs[j] for j in inside), outputs[i])
            for i, inside in enumerate(lattice.below)
        )
        for expert in self.experts:
            initialise(expert)

    def forward(self, features: Sequence[Tensor]) -> list[Tensor]:
        """H tensors [B, in_i] -> H tensors [B, out_i]."""
        stopped = [feature.detach() for feature in features]
        return [
            expert(
                torch.cat((features[i], *(stopped[j] for j in inside)), 1)
                if inside
                else features[i]
            )
            for i, (expert, inside) in enumerate(zip(self.experts, self.below, strict=True))
        ]


class Restriction(nn.Module):
    """The first linear layer: each expert sees the columns of its subset alone (equation 8).

        h_i = W_i (x o m_i) + b_i

    Args:
        columns: of each expert, among those of x.
        width: of x.
        outputs: out_i of each expert.
    """

    def __init__(
        self, columns: Sequence[Sequence[int]], width: int, outputs: Sequence[int]
    ) -> None:
        super().__init__()
        self.experts = nn.ModuleList(
            Linear(len(mine), out) for mine, out in zip(columns, outputs, strict=True)
        )
        for expert in self.experts:
            initialise(expert)
        self.runs = [_runs(mine) for mine in columns]
        self.whole = [len(mine) == width for mine in columns]

    def forward(self, x: Tensor) -> list[Tensor]:
        """[B, width] -> H tensors [B, out_i]."""
        return [
            expert(x if whole else torch.cat([x[:, a:b] for a, b in runs], 1))
            for expert, runs, whole in zip(self.experts, self.runs, self.whole, strict=True)
        ]


class ExpertNorm(nn.Module):
    """Layer normalisation of each expert's features by themselves."""

    def __init__(self, widths: Sequence[int]) -> None:
        super().__init__()
        self.experts = nn.ModuleList(nn.LayerNorm(width) for width in widths)

    def forward(self, features: Sequence[Tensor]) -> list[Tensor]:
        """H tensors [B, in_i] -> the same."""
        return [norm(feature) for norm, feature in zip(self.experts, features, strict=True)]


def initialise(linear: nn.Linear) -> None:
    """Kaiming's uniform weights for ReLU over the inputs that exist (He et al. 2015).

    The biases spread the kinks: with zeros, all units of an expert that sees a single number
    would have theirs at the same place.
    """
    inputs = max(linear.in_features, 1)
    nn.init.uniform_(linear.weight, -math.sqrt(6 / inputs), math.sqrt(6 / inputs))
    nn.init.uniform_(linear.bias, -1 / math.sqrt(inputs), 1 / math.sqrt(inputs))


def _runs(columns: Sequence[int]) -> list[tuple[int, int]]:
    """Ascending columns as slices."""
    runs: list[tuple[int, int]] = []
    for column in columns:
        if runs and runs[-1][1] == column:
            runs[-1] = (runs[-1][0], column + 1)
        else:
            runs.append((column, column + 1))
    return runs
