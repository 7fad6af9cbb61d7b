"""Layers in which no expert's features depend on inputs outside its subset.

Afchar & Hennequin, RecSys 2020, section 3.4.

Shapes: B batch, H experts, in_i and out_i widths of expert i.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from zoo.experts.lattice import Lattice
from zoo.linear import Linear, product, weight_gradient

Run = tuple[int, int]  # columns start .. stop - 1


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
        tensors = cast_as_linear(*features, *parameters_of(self.experts))
        return list(_MaskedProducts.apply(self.below, *tensors))


class _MaskedProducts(torch.autograd.Function):
    """The products of `MaskedLinear` of features, weights and biases, H of each.

    The features of several experts are laid side by side for each product, and again for its
    gradient, so that nothing but the features themselves is kept in between.
    """

    @staticmethod
    def forward(ctx: Any, below: Sequence[Sequence[int]], *tensors: Tensor) -> tuple[Tensor, ...]:
        features, weights, biases = _thirds(tensors)
        ctx.save_for_backward(*features, *weights)
        ctx.below = below
        inputs = _joined(features, below)
        return tuple(product(*part) for part in zip(inputs, weights, biases, strict=True))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        saved = ctx.saved_tensors
        features, weights = saved[: len(ctx.below)], saved[len(ctx.below) :]
        gradients = [g.contiguous() for g in gradients]
        back = [
            product(g, w[:, : x.shape[1]].contiguous().t())  # its own block alone
            for g, w, x in zip(gradients, weights, features, strict=True)
        ]
        inputs = _joined(features, ctx.below)
        return None, *back, *_parameter_gradients(gradients, inputs)


def _joined(features: Sequence[Tensor], below: Sequence[Sequence[int]]) -> Iterator[Tensor]:
    """Of each expert, its own features and those of the experts inside it side by side."""
    for own, inside in zip(features, below, strict=True):
        yield torch.cat((own, *(features[j] for j in inside)), 1) if inside else own.contiguous()


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

    def forward(self, x: Tensor) -> list[Tensor]:
        """[B, width] -> H tensors [B, out_i]."""
        tensors = cast_as_linear(x, *parameters_of(self.experts))
        return list(_RestrictedProducts.apply(self.runs, *tensors))


class _RestrictedProducts(torch.autograd.Function):
    """The products of `Restriction` of x, H weights and H biases; x alone is kept."""

    @staticmethod
    def forward(ctx: Any, runs: Sequence[Sequence[Run]], *tensors: Tensor) -> tuple[Tensor, ...]:
        x, weights, biases = tensors[0], *_halves(tensors[1:])
        ctx.save_for_backward(x, *weights)
        ctx.runs = runs
        inputs = _selected(x, runs)
        return tuple(product(*part) for part in zip(inputs, weights, biases, strict=True))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, *weights = ctx.saved_tensors
        gradients = [g.contiguous() for g in gradients]
        back = None
        if ctx.needs_input_grad[1]:
            back = torch.zeros_like(x)
            for g, weight, runs in zip(gradients, weights, ctx.runs, strict=True):
                parts = product(g, weight.t()).split([b - a for a, b in runs], 1)
                for (a, b), part in zip(runs, parts, strict=True):
                    back[:, a:b] += part
        return None, back, *_parameter_gradients(gradients, _selected(x, ctx.runs))


def _selected(x: Tensor, runs: Sequence[Sequence[Run]]) -> Iterator[Tensor]:
    """The columns of x that each expert sees."""
    for mine in runs:
        parts = [x[:, a:b] for a, b in mine]
        yield torch.cat(parts, 1) if len(parts) > 1 else parts[0].contiguous()


def parameters_of(linears: Iterable[nn.Linear]) -> list[Tensor]:
    """Their weights, then their biases."""
    linears = list(linears)
    return [linear.weight for linear in linears] + [linear.bias for linear in linears]


def cast_as_linear(*tensors: Tensor) -> list[Tensor]:
    """As autocast casts the inputs of a linear layer; it does not reach into our functions."""
    device = tensors[0].device.type
    if not torch.is_autocast_enabled(device):
        return list(tensors)
    return [tensor.to(torch.get_autocast_dtype(device)) for tensor in tensors]


def _parameter_gradients(gradients: Sequence[Tensor], inputs: Iterable[Tensor]) -> list[Tensor]:
    """Of the weights, then of the biases."""
    weights = [weight_gradient(g, x) for g, x in zip(gradients, inputs, strict=True)]
    return [*weights, *(g.sum(0) for g in gradients)]


def _thirds(tensors: Sequence[Tensor]) -> tuple[Sequence[Tensor], ...]:
    third = len(tensors) // 3
    return tensors[:third], tensors[third : 2 * third], tensors[2 * third :]


def _halves(tensors: Sequence[Tensor]) -> tuple[Sequence[Tensor], ...]:
    half = len(tensors) // 2
    return tensors[:half], tensors[half:]


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


def _runs(columns: Sequence[int]) -> list[Run]:
    """Ascending columns as slices."""
    runs: list[Run] = []
    for column in columns:
        if runs and runs[-1][1] == column:
            runs[-1] = (runs[-1][0], column + 1)
        else:
            runs.append((column, column + 1))
    return runs
