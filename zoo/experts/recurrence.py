"""Gated recurrent units over all times at once, for GPUs: as few kernels as it goes.

Shapes: B batch, T time, N units of all experts.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


def recur(
    gates: Tensor, mask: Tensor, state: Tensor, matrix: Tensor, own: Tensor, bias: Tensor
) -> Tensor:
    """[T, B, N] the states of gated recurrent units; see `zoo.experts.gru.MaskedGRU`.

        r = sigmoid(x_r + U_r h),   u = sigmoid(x_u + U_u h),   n = tanh(x_n + r o (U_n h))
        h' = (1 - u) o n + u o h

    Args:
        gates: [B, T, 3 N] what the inputs give, x_r, x_u and x_n.
        mask: bool [B, T], false where the state stays as it is.
        state: [B, N] states before the first time.
        matrix: [3 N, N] U_r, U_u and U_n.
        own: [3 N, N] those of their weights through which the gradient flows back, zeros elsewhere.
        bias: [3 N] biases of the products with U.
    """
    units = state.shape[1]
    reset, update, new = gates.transpose(0, 1).split(units, 2)
    # where u is one, h' is h to the bit
    update = update.masked_fill(~mask.t().unsqueeze(2), torch.inf)
    return _Recurrence.apply(torch.cat((reset, update, new), 2), state, matrix, own, bias)


class _Recurrence(torch.autograd.Function):
    """`recur` of gates [T, B, 3 N], and its gradient in a single way back through time."""

    @staticmethod
    def forward(
        ctx: Any, gates: Tensor, state: Tensor, matrix: Tensor, own: Tensor, bias: Tensor
    ) -> Tensor:
        units, turned = state.shape[1], matrix.t()
        two, new = gates.split((2 * units, units), 2)
        states, opened, fresh, inner = [state], [], [], []
        for two_now, new_now in zip(two.unbind(0), new.unbind(0), strict=True):
            by_state = torch.addmm(bias, states[-1], turned)
            two_h, new_h = by_state.split((2 * units, units), 1)
            both = torch.sigmoid_(two_now + two_h)
            reset, update = both.split(units, 1)
            n = torch.addcmul(new_now, reset, new_h).tanh_()
            states.append(torch.lerp(n, states[-1], update))
            opened.append(both)
            fresh.append(n)
            inner.append(new_h)
        states = torch.stack(states)
        saved = (torch.stack(opened), torch.stack(fresh), torch.stack(inner))
        ctx.save_for_backward(states, *saved, own)
        return states[1:]

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, gradient: Tensor
    ) -> tuple[Tensor | None, ...]:
        """Of gates, first states, matrix and bias.

        All derivatives but that of h' by h are products of the gradient of h' with factors that are
        known for all times at once.
        """
        states, opened, fresh, inner, own = ctx.saved_tensors
        reset, update = opened.chunk(2, 2)
        before = states[:-1]
        of_new = (1 - update) * (1 - fresh.square())  # dh' / dx_n
        of_update = (before - fresh) * update * (1 - update)
        of_reset = of_new * inner * reset * (1 - reset)
        factors = torch.stack((of_reset, of_update, of_new * reset), 2)  # [T, B, 3, N], by U h
        by_gates, totals = torch.empty_like(factors), torch.zeros_like(states)
        totals[1:] = gradient
        for t in range(len(gradient) - 1, -1, -1):
            now = totals[t + 1]
            torch.mul(factors[t], now.unsqueeze(1), out=by_gates[t])
            kept = torch.addcmul(totals[t], now, update[t])
            torch.addmm(kept, by_gates[t].flatten(1), own, out=totals[t])
        rows = by_gates.flatten(2).flatten(0, 1)
        of_gates = torch.cat((by_gates[:, :, :2].flatten(2), of_new * totals[1:]), 2)
        return of_gates, totals[0], rows.t() @ before.flatten(0, 1), None, rows.sum(0)
