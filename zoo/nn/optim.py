"""Optimisers."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import embedding, embedding_bag, pad

from zoo.nn.device import is_cpu

RADIX_SORT_FROM = 1 << 15  # ids from which PyTorch sorts by digits on CPUs, which is faster


class Adagrad(torch.optim.Adagrad):
    """torch's Adagrad (Duchi et al. 2011), with a faster step for sparse gradients.

        s_i += g_i^2,   p_i -= lr * g_i / (sqrt(s_i) + eps)     for the rows i of the batch

    The result is that of torch's own sparse step, and of the dense one, whose other rows do not
    move, as their gradient is zero. Repeated rows are summed without building further sparse
    tensors, which takes most of the time of torch's step.

    s starts at 1e-8, as in the code of AutoInt's authors, where torch's starts at 0: from there the
    first steps of all weights are lr long, however small their gradients, from which wide layers
    do not recover.

    Args:
        args: Parameters and options of `torch.optim.Adagrad`.
        initial_accumulator_value: Where s starts.
        kwargs: Options of `torch.optim.Adagrad`.
    """

    def __init__(self, *args: Any, initial_accumulator_value: float = 1e-8, **kwargs: Any) -> None:
        super().__init__(*args, initial_accumulator_value=initial_accumulator_value, **kwargs)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step; sparse gradients are set to None when they have been used."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            # one kernel for all dense parameters; by the device, not by what a checkpoint says,
            # as on GPUs it would not go with clipping and fp16
            group["fused"] = all(is_cpu(p) for p in group["params"])
            for parameter in group["params"]:
                if parameter.grad is not None and parameter.grad.is_sparse:
                    self._sparse_step(parameter, parameter.grad, group)
                    parameter.grad = None
        super().step()
        return loss

    def _sparse_step(self, parameter: Tensor, grad: Tensor, group: dict[str, Any]) -> None:
        state = self.state[parameter]
        state["step"] += 1
        rate = group["lr"] / (1 + (float(state["step"]) - 1) * group["lr_decay"])
        ids, values = grad._indices()[0], grad._values()
        if not is_cpu(parameter):
            rows, summed, _ = sum_in_place(ids, values, len(parameter))
            state["sum"].index_add_(0, rows, summed.square())
            root = embedding(rows, state["sum"]).sqrt_().add_(group["eps"])
            sign = 1 if group["maximize"] else -1
            parameter.index_add_(0, rows, summed.div_(root), alpha=sign * rate)
            return
        rows, summed = sum_by_row(ids, values, len(parameter))
        if group["maximize"]:
            summed.neg_()
        # gathers and scatters rows faster than indexing does
        squares = embedding(rows, state["sum"]).addcmul_(summed, summed)
        state["sum"].index_copy_(0, rows, squares)
        step = summed.div_(squares.sqrt_().add_(group["eps"]))
        parameter.index_copy_(0, rows, embedding(rows, parameter).sub_(step, alpha=rate))


class LazyAdam(torch.optim.Adam):
    """Adam (Kingma & Ba 2015) whose moments move only for the rows of the batch: not Adam itself.

    Parameters with dense gradients take the steps of torch's Adam. Those with sparse gradients take
    the steps of `torch.optim.SparseAdam`, for the rows i of the batch alone:

        m_i += (1 - b1) (g_i - m_i),   v_i += (1 - b2) (g_i^2 - v_i)
        p_i -= lr * sqrt(1 - b2^t) / (1 - b1^t) * m_i / (sqrt(v_i) + eps)

    with t the steps of the whole parameter. Adam itself also decays m and v, and moves p, of rows
    that the batch does not have, so that a step costs the whole table. The results differ: a rare
    row is not moved by what it met long ago, and keeps the moments of when it was met last.

    Args:
        params: Parameters, or groups of them.
        lr: Learning rate.
        betas: Decays b1 and b2 of the moments.
        eps: Added to the root of v.
        weight_decay: Weight decay of parameters with dense gradients, as of torch's Adam.
        maximize: Whether to climb.

    Raises:
        ValueError: in a step, where a sparse gradient meets a weight decay.
    """

    def __init__(
        self,
        params: Any,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        *,
        maximize: bool = False,
    ) -> None:
        super().__init__(params, lr, betas, eps, weight_decay, maximize=maximize)

    @torch.no_grad()
    def step(  # pyright: ignore[reportIncompatibleMethodOverride]  # typed for closures alone
        self, closure: Callable[[], Any] | None = None
    ) -> Any:
        """One step; sparse gradients are set to None when they have been used."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            group["fused"] = all(is_cpu(p) for p in group["params"])  # as of Adagrad
            for parameter in group["params"]:
                if parameter.grad is not None and parameter.grad.is_sparse:
                    self._sparse_step(parameter, parameter.grad, group)
                    parameter.grad = None
        super().step()
        return loss

    def _sparse_step(self, parameter: Tensor, grad: Tensor, group: dict[str, Any]) -> None:
        if group["weight_decay"]:
            raise ValueError("LazyAdam has no weight decay of parameters with sparse gradients")
        ids, values, first = grad._indices()[0], grad._values(), None
        if is_cpu(parameter):
            rows, summed = sum_by_row(ids, values, len(parameter))
        else:
            rows, summed, first = sum_in_place(ids, values, len(parameter))
        if group["maximize"]:
            summed.neg_()
        state, (beta1, beta2) = self.state[parameter], group["betas"]
        if not state:  # as torch's Adam names and keeps it
            state["step"] = torch.tensor(0.0, dtype=torch.float32)
            state["exp_avg"] = torch.zeros_like(parameter)
            state["exp_avg_sq"] = torch.zeros_like(parameter)
        state["step"] += 1
        step = float(state["step"])
        mean = embedding(rows, state["exp_avg"]).lerp_(summed, 1 - beta1)
        square = embedding(rows, state["exp_avg_sq"]).mul_(beta2)
        square.addcmul_(summed, summed, value=1 - beta2)
        _put(state["exp_avg"], rows, mean, first)
        _put(state["exp_avg_sq"], rows, square, first)
        rate = group["lr"] * (1 - beta2**step) ** 0.5 / (1 - beta1**step)
        moved = mean.div_(square.sqrt_().add_(group["eps"]))
        _put(parameter, rows, embedding(rows, parameter).sub_(moved, alpha=float(rate)), first)


def _put(table: Tensor, rows: Tensor, values: Tensor, first: Tensor | None) -> None:
    """Gives rows [R] of a table values [R, D]; of rows that repeat, those of the first.

    Args:
        table: The table, which is changed.
        rows: Rows of it.
        values: Their values.
        first: bool [R] which rows are the first of equal ones; None where none repeats.
    """
    if first is None:
        table.index_copy_(0, rows, values)
    else:
        table.index_add_(0, rows, (values - embedding(rows, table)).mul_(first.unsqueeze(1)))


def sum_by_row(ids: Tensor, values: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """[U] the distinct ids, ascending, and [U, D] the sums of their values.

    The same values always give the same sums.

    Args:
        ids: [R] ids, at least 0 and below `count`.
        values: [R, D] values.
        count: Number of ids that there may be.
    """
    ids, order = _sorted(ids, count)
    rows, counts = torch.unique_consecutive(ids, return_counts=True)
    starts = counts.cumsum(0) - counts
    sums = embedding_bag(order.to(ids.dtype), values, starts.to(ids.dtype), mode="sum")
    return rows.long(), sums


def sum_in_place(ids: Tensor, values: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """[R] the ids, ascending, and [R, D] the sums of the values of equal ones, each at the first
    of these, and zeros at the others; bool [R] which are the first.

    Shapes do not depend on the data, as those of `sum_by_row` do, for which a GPU is waited for.

    Args:
        ids: [R] ids, at least 0 and below `count`.
        values: [R, D] values.
        count: Number of ids that there may be.
    """
    ascending, order = _sorted(ids, count)
    first = torch.searchsorted(ascending, ascending)
    places = torch.arange(len(ids), device=ids.device)
    ordered = embedding(order, values)
    sums = torch.ops.aten.embedding_dense_backward(ordered, first, len(ids), -1, False)
    return ascending, sums, first == places


def distinct(ids: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """int64 [U] the distinct ids, ascending, and int64 [R] the place of each id among them.

    Args:
        ids: [R] ids, at least 0 and below `count`.
        count: Number of ids that there may be.
    """
    ascending, order = _sorted(ids, count)
    rows, place = torch.unique_consecutive(ascending, return_inverse=True)
    return rows.long(), torch.empty_like(place).index_copy_(0, order, place)


def _sorted(ids: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """[R] ids, ascending, equal ones in their order, and where each of them was."""
    wanted = len(ids)
    if count < 2**31:
        ids = ids.int()  # twice as fast to sort
    if is_cpu(ids):  # where few numbers are compared, and many sorted by their digits
        ids = pad(ids, (0, max(0, RADIX_SORT_FROM - wanted)), value=count)
    ids, order = ids.sort(stable=True)
    return ids[:wanted], order[:wanted]
