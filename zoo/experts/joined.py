"""Linear layers of all experts as one product, for GPUs: a few large kernels in place of many.

Shapes: B batch, H experts, in_i inputs that expert i sees, out_i its outputs, in all inputs, out
the sum of out_i.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

Run = tuple[int, int]  # columns start .. stop - 1


class JoinedProduct(torch.autograd.Function):
    """y = x W^T + b, with W [out, in] made of the weights of the experts [out_i, in_i].

    Row for row W has the weights of an expert in the columns that it sees, and zeros elsewhere.
    What an expert does not see adds nothing to its outputs, as long as it is finite.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, columns: Tensor, own: Sequence[Run] | None, *parameters: Tensor
    ) -> Tensor:
        """[B, out] of [B, in].

        Args:
            ctx: Context of the gradient.
            x: Inputs.
            columns: [sum in_i] columns that each expert sees, in the order of its weights.
            own: Columns of each expert through which the gradient flows back to x, the first of its
                weights, which are those of no other expert; None is all columns of all experts.
            parameters: Weights of the experts, then their biases [out_i].
        """
        weights, biases = parameters[: len(parameters) // 2], parameters[len(parameters) // 2 :]
        ctx.outputs = [len(weight) for weight in weights]
        ctx.seen = [weight.shape[1] for weight in weights]
        ctx.own = own
        whole = x.new_zeros(sum(ctx.outputs), x.shape[1])
        start = 0
        for mine, weight in zip(columns.split(ctx.seen), weights, strict=True):
            # no `split`, into whose views torch.export lets nothing be written
            whole[start : start + len(weight)].index_copy_(1, mine, weight)
            start += len(weight)
        ctx.save_for_backward(x, whole, columns)
        return torch.addmm(torch.cat(biases), x, whole.t())

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, gradient: Tensor
    ) -> tuple[Tensor | None, ...]:
        """The gradients of x, the weights and the biases."""
        x, whole, columns = ctx.saved_tensors
        back = None
        if ctx.needs_input_grad[0]:
            back = gradient @ whole if ctx.own is None else _through_own(ctx, gradient, whole)
        of_whole = (gradient.t() @ x).split(ctx.outputs)
        of_weights = [
            rows.index_select(1, mine)
            for rows, mine in zip(of_whole, columns.split(ctx.seen), strict=True)
        ]
        return back, None, None, *of_weights, *gradient.sum(0).split(ctx.outputs)


def _through_own(ctx: Any, gradient: Tensor, whole: Tensor) -> Tensor:
    """[B, in] the gradient of x through the experts' own columns."""
    back = gradient.new_empty(len(gradient), whole.shape[1])
    parts = zip(gradient.split(ctx.outputs, 1), whole.split(ctx.outputs), ctx.own, strict=True)
    for mine, rows, (start, stop) in parts:
        torch.mm(mine, rows[:, start:stop], out=back[:, start:stop])
    return back
