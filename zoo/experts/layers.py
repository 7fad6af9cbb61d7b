"""Layers in which no expert's features depend on inputs outside its subset.

Afchar & Hennequin, RecSys 2020, section 3.4.

On CPUs a product for each block that exists, as the others would cost time; on GPUs one product
for each layer, in whose matrix the others are zero, which adds nothing to finite features.

Shapes: B batch, H experts, in_i and out_i widths of expert i.
"""

import math
from collections.abc import Iterator, Sequence
from itertools import accumulate, pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from zoo.experts.joined import JoinedProduct, Run
from zoo.experts.lattice import Lattice
from zoo.nn.linear import Linear, onednn_products

Piece = tuple[int, int, int]  # number of an input, and a run of its columns


class MaskedLinear(nn.Module):
    """Linear layers between the features of the experts (equations 11 and 14).

        h_i' = W_ii h_i + sum_{j in omega(i)} W_ij stop(h_j) + b_i

    A block W_ij exists only where S_j is S_i or lies inside it, and `stop` lets no gradient flow
    back from an expert into those it builds on. Only existing blocks are stored and multiplied.

    Args:
        lattice: Subsets of the experts.
        inputs: Number of inputs of each expert, in_i.
        outputs: Number of outputs of each expert, out_i.
    """

    columns: Tensor

    def __init__(self, lattice: Lattice, inputs: Sequence[int], outputs: Sequence[int]) -> None:
        super().__init__()
        self.pieces = [
            [(j, 0, inputs[j]) for j in (i, *inside)] for i, inside in enumerate(lattice.below)
        ]
        self.experts = _linears(self.pieces, outputs)
        self.own: list[Run] = [*pairwise([0, *accumulate(inputs)])]
        seen = [c for mine in self.pieces for j, _, _ in mine for c in range(*self.own[j])]
        self.register_buffer("columns", torch.tensor(seen), persistent=False)

    def forward(self, features: Sequence[Tensor]) -> list[Tensor]:
        """H tensors [B, in_i] -> H tensors [B, out_i]."""
        tensors = cast_as_linear(*features, *parameters_of(self.experts))
        return list(_Products.apply(self.pieces, 1, *tensors))  # 1: through its own block alone

    def joined(self, x: Tensor) -> Tensor:
        """[B, sum in_i] -> [B, sum out_i] the features of all experts side by side."""
        x, *parameters = cast_as_linear(x, *parameters_of(self.experts))
        return JoinedProduct.apply(x, self.columns, self.own, *parameters)


class Restriction(nn.Module):
    """The first linear layer: each expert sees the columns of its subset alone (equation 8).

        h_i = W_i (x o m_i) + b_i

    Args:
        columns: Columns of x that each expert sees.
        outputs: Number of outputs of each expert, out_i.
    """

    columns: Tensor

    def __init__(self, columns: Sequence[Sequence[int]], outputs: Sequence[int]) -> None:
        super().__init__()
        self.pieces = [[(0, a, b) for a, b in _runs(mine)] for mine in columns]
        self.experts = _linears(self.pieces, outputs)
        seen = [column for mine in columns for column in mine]
        self.register_buffer("columns", torch.tensor(seen, dtype=torch.long), persistent=False)

    def forward(self, x: Tensor) -> list[Tensor]:
        """[B, width] -> H tensors [B, out_i]."""
        tensors = cast_as_linear(x, *parameters_of(self.experts))
        return list(_Products.apply(self.pieces, None, *tensors))

    def joined(self, x: Tensor) -> Tensor:
        """[B, width] -> [B, sum out_i] the features of all experts side by side."""
        x, *parameters = cast_as_linear(x, *parameters_of(self.experts))
        return JoinedProduct.apply(x, self.columns, None, *parameters)


class _Products(torch.autograd.Function):
    """Of pieces of the inputs x_k, for each expert i:

        y_i = sum_{(k, a, b) in pieces_i} x_k[:, a:b] W_i[:, a':b']^T + b_i

    where the pieces' columns lie side by side in W_i, a' to b' the piece's. The gradient flows
    back through the first `learned` pieces of each expert; None is all of them.

    In memory, inputs and outputs are [in, B] and [out, B], of which any rows are a matrix without
    a copy; to the outside they are transposed views.
    """

    @staticmethod
    def forward(
        ctx: Any, pieces: Sequence[Sequence[Piece]], learned: int | None, *tensors: Tensor
    ) -> tuple[Tensor, ...]:
        count = len(pieces)
        weights, biases = tensors[-2 * count : -count], tensors[-count:]
        inputs = [x.t().contiguous() for x in tensors[: -2 * count]]
        ctx.save_for_backward(*inputs, *weights)
        ctx.pieces, ctx.learned = pieces, learned
        outputs = []
        with onednn_products():
            for mine, weight, bias in zip(pieces, weights, biases, strict=True):
                y = bias.unsqueeze(1).repeat(1, inputs[0].shape[1])
                for (k, a, b), block in zip(mine, _blocks(weight, mine), strict=True):
                    y.addmm_(block, inputs[k][a:b])
                outputs.append(y.t())
        return tuple(outputs)

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, *gradients: Tensor
    ) -> tuple[Tensor | None, ...]:
        count = len(ctx.pieces)
        inputs, weights = ctx.saved_tensors[:-count], ctx.saved_tensors[-count:]
        columns = [g.t().contiguous() for g in gradients]
        needed = ctx.needs_input_grad[2:]
        back: list[Tensor | None] = [None] * len(inputs)
        of_weights = []
        with onednn_products():
            for mine, weight, g in zip(ctx.pieces, weights, columns, strict=True):
                blocks = (g @ inputs[k][a:b].t() for k, a, b in mine)
                of_weights.append(torch.cat([weight[:, :0], *blocks], 1))  # no piece, no block
                learned = mine[: ctx.learned]
                for (k, a, b), block in zip(learned, _blocks(weight, mine), strict=False):
                    if needed[k]:
                        back[k] = _add_product(back[k], len(inputs[k]), a, b, block.t(), g)
        of_inputs = [None if x is None else x.t() for x in back]
        return None, None, *of_inputs, *of_weights, *(g.sum(1) for g in columns)


def _add_product(
    total: Tensor | None, rows: int, a: int, b: int, left: Tensor, right: Tensor
) -> Tensor:
    """The total of `rows` rows (None: zeros), with left @ right added to its rows a .. b - 1."""
    if total is None and b - a == rows:
        return left @ right
    total = right.new_zeros(rows, right.shape[1]) if total is None else total
    total[a:b].addmm_(left, right)
    return total


def _blocks(weight: Tensor, pieces: Sequence[Piece]) -> Iterator[Tensor]:
    """The columns of a weight [out, in] that belong to each piece, [out, b - a]."""
    start = 0
    for _, a, b in pieces:
        yield weight[:, start : start + b - a].contiguous()  # oneDNN is slow on parts of rows
        start += b - a


def _linears(pieces: Sequence[Sequence[Piece]], outputs: Sequence[int]) -> nn.ModuleList:
    """The parameters of each expert."""
    sizes = [sum(b - a for _, a, b in mine) for mine in pieces]
    experts = [Linear(n, out) for n, out in zip(sizes, outputs, strict=True)]
    for expert in experts:
        initialise(expert)
    return nn.ModuleList(experts)


def parameters_of(experts: nn.ModuleList) -> list[Tensor]:
    """The weights of linear layers, then their biases."""
    linears = [expert for expert in experts if isinstance(expert, nn.Linear)]
    return [linear.weight for linear in linears] + [linear.bias for linear in linears]


def cast_as_linear(*tensors: Tensor) -> list[Tensor]:
    """The tensors as autocast casts the inputs of a linear layer.

    It does not reach into functions with a `backward` of their own.
    """
    device = tensors[0].device.type
    if not torch.is_autocast_enabled(device):
        return list(tensors)
    return [tensor.to(torch.get_autocast_dtype(device)) for tensor in tensors]


class ExpertNorm(nn.Module):
    """Layer normalisation of each expert's features by themselves.

    Args:
        widths: Width of each expert's features, in_i.
    """

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
