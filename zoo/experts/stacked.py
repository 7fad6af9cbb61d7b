"""Layers of experts of equal width, whose features lie side by side in one tensor.

The dependencies are those of `zoo.experts.layers` (Afchar & Hennequin, RecSys 2020, section 3.4).
There a product for each expert serves the few wide experts of a perceptron; here one product
serves all the experts of a sequence model, which are many and narrow.

Shapes: ... any leading dimensions, H experts, in and out widths of one expert, P parts.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from zoo.experts.lattice import Lattice
from zoo.experts.layers import Restriction
from zoo.nn.device import is_cpu
from zoo.nn.linear import linear, onednn_products, sum_of_rows


class StackedRestriction(nn.Module):
    """The first linear layer: each expert sees the columns of its subset alone (equation 8).

    Args:
        columns: Columns of x that each expert sees.
        outputs: Number of outputs of each expert, out.
        parts: Number of results, P.
    """

    def __init__(self, columns: Sequence[Sequence[int]], outputs: int, parts: int = 1) -> None:
        super().__init__()
        self.parts = parts
        self.restriction = Restriction(columns, [parts * outputs] * len(columns))

    def forward(self, x: Tensor) -> Tensor:
        """[..., width] -> [..., P * H * out], the parts one after the other."""
        if not is_cpu(x):
            joined = self.restriction.joined(x.flatten(0, -2))  # expert after expert
            by_part = joined.unflatten(1, (len(self.restriction.pieces), self.parts, -1))
            return by_part.transpose(1, 2).flatten(1).unflatten(0, x.shape[:-1])
        found = self.restriction(x.flatten(0, -2))
        parts = [feature.unflatten(1, (self.parts, -1)) for feature in found]
        return torch.cat(parts, 2).flatten(1).unflatten(0, x.shape[:-1])


class StackedLinear(nn.Module):
    """Linear layers between the features of the experts (equations 11 and 14).

        h_i' = W_ii h_i + sum_{j in omega(i)} W_ij stop(h_j) + b_i

    Only the blocks W_ij that exist (S_j is S_i or lies inside it) are stored. They are multiplied
    as one matrix, in which the others are zero and so add nothing to finite features: one
    operation in place of many, and for narrow experts no slower on a CPU than products of the
    existing blocks alone.

    Args:
        lattice: Subsets of the experts.
        inputs: Number of inputs of each expert, in.
        outputs: Number of outputs of each expert, out.
        parts: Number of results, P, such as the gates of a recurrent unit.

    Attributes:
        blocks: [K, P, out, in] the blocks that exist.
        rows: [K] the expert i of each block.
        columns: [K] the expert j of each block.
        bias: [P, H, out] biases.
    """

    rows: Tensor
    columns: Tensor

    def __init__(self, lattice: Lattice, inputs: int, outputs: int, parts: int = 1) -> None:
        super().__init__()
        experts = len(lattice)
        pairs = [(i, j) for i, inside in enumerate(lattice.below) for j in (i, *inside)]
        rows, columns = torch.tensor(pairs).T
        self.register_buffer("rows", rows, persistent=False)
        self.register_buffer("columns", columns, persistent=False)
        self.blocks = nn.Parameter(torch.empty(len(pairs), parts, outputs, inputs))
        self.bias = nn.Parameter(torch.zeros(parts, experts, outputs))
        # features of variance one stay so (LeCun et al. 1998), however many experts lie inside
        sizes = torch.bincount(rows)[rows] * inputs
        with torch.no_grad():
            self.blocks.uniform_(-1, 1).mul_((3 / sizes).sqrt().view(-1, 1, 1, 1))

    def matrix(self) -> Tensor:
        """[P * H * out, H * in] all blocks."""
        _, parts, outputs, inputs = self.blocks.shape
        experts = self.bias.shape[1]
        if experts == 1:
            return self.blocks.view(parts * outputs, inputs)
        whole = self.blocks.new_zeros(parts, experts, outputs, experts, inputs)
        blocks = whole.permute(1, 3, 0, 2, 4).index_put((self.rows, self.columns), self.blocks)
        return blocks.permute(2, 0, 3, 1, 4).reshape(parts * experts * outputs, experts * inputs)

    def forward(self, x: Tensor, matrix: Tensor | None = None) -> Tensor:
        """[..., H * in] -> [..., P * H * out], the parts one after the other.

        Args:
            x: [..., H * in] features.
            matrix: What `matrix()` returned, where there is more than one product with it.
        """
        matrix = self.matrix() if matrix is None else matrix
        rows, bias = x.flatten(0, -2), self.bias.flatten()
        if self.bias.shape[1] == 1:
            return linear(rows, matrix, bias).unflatten(0, x.shape[:-1])
        device = x.device.type
        if torch.is_autocast_enabled(device):  # does not reach into `_MaskedProduct`
            dtype = torch.get_autocast_dtype(device)
            rows, matrix, bias = rows.to(dtype), matrix.to(dtype), bias.to(dtype)
        features = _MaskedProduct.apply(rows, matrix, bias, self.bias.shape)
        return features.unflatten(0, x.shape[:-1])


class _MaskedProduct(torch.autograd.Function):
    """x W^T + b, whose gradient flows back to x through the experts' own blocks alone."""

    @staticmethod
    @onednn_products()
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, shape: torch.Size) -> Tensor:
        x = x.contiguous()
        ctx.save_for_backward(x, weight)
        ctx.shape = shape
        return torch.addmm(bias, x, weight.t())

    @staticmethod
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, gradient: Tensor
    ) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        back = None
        if not is_cpu(gradient):
            if ctx.needs_input_grad[0]:
                back = gradient @ own_blocks(weight, ctx.shape)
            return back, gradient.t() @ x, gradient.sum(0), None
        if ctx.needs_input_grad[0]:
            blocks = weight.unflatten(1, (ctx.shape[1], -1)).unflatten(0, ctx.shape)
            own = blocks.diagonal(0, 1, 3)  # [P, out, in, H]
            back = torch.einsum("npho,poih->nhi", gradient.unflatten(1, ctx.shape), own).flatten(1)
        gradient = gradient.contiguous()
        with onednn_products():
            return back, gradient.t() @ x, sum_of_rows(gradient), None


def own_blocks(matrix: Tensor, shape: torch.Size) -> Tensor:
    """[P * H * out, H * in] of all blocks, with zeros in place of those between experts.

    Args:
        matrix: All blocks; see `StackedLinear.matrix`.
        shape: (P, H, out).
    """
    own = torch.zeros_like(matrix)
    to, of = (m.unflatten(1, (shape[1], -1)).unflatten(0, shape) for m in (own, matrix))
    to.diagonal(0, 1, 3).copy_(of.diagonal(0, 1, 3))
    return own


class StackedNorm(nn.Module):
    """Layer normalisation of each expert's features by themselves.

    Args:
        experts: Number of experts, H.
        width: Width of each expert's features, in.
    """

    def __init__(self, experts: int, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(experts, width))
        self.bias = nn.Parameter(torch.zeros(experts, width))

    def forward(self, x: Tensor) -> Tensor:
        """[..., H * in] -> the same."""
        experts, width = self.weight.shape
        weight, bias = self.weight.flatten(), self.bias.flatten()
        if experts == 1:
            return functional.layer_norm(x, (width,), weight, bias)
        normal = functional.layer_norm(x.unflatten(-1, (experts, width)), (width,))
        return torch.addcmul(bias, normal.flatten(-2), weight)
