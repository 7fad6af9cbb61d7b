"""Optimisers whose steps take the rows of a batch alone, where a gradient is sparse.

Shapes: R rows of a batch, D columns of a row.
"""

from abc import abstractmethod
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import embedding

from zoo.nn.device import is_cpu
from zoo.nn.row_sums import sum_by_row, sum_in_place


class RowOptimizer(torch.optim.Optimizer):
    """An optimizer of torch, given a step of its own for sparse gradients.

    On GPUs neither step asks anything of the device, nor depends its shapes on the data, so that it
    can be recorded (see `zoo.nn.captured`): numbers of steps, and a learning rate that is a tensor,
    are read where they lie.
    """

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
            # one kernel for all dense parameters; by the device, not by what a checkpoint says:
            # on GPUs, where a step is recorded alone, as it does not go with fp16
            group["fused"] = all(map(is_cpu, group["params"])) or isinstance(group["lr"], Tensor)
            for parameter in group["params"]:
                if parameter.grad is not None and parameter.grad.is_sparse:
                    self.sparse_step(parameter, parameter.grad, group)
                    parameter.grad = None
        self.dense_step()
        return loss

    def dense_step(self) -> None:
        """The step of all parameters that still have a gradient; torch's own."""
        super().step()

    @abstractmethod
    def sparse_step(self, parameter: Tensor, grad: Tensor, group: dict[str, Any]) -> None:
        """The step of a parameter by a sparse gradient, of a group of options."""


class Adagrad(RowOptimizer, torch.optim.Adagrad):
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

    def dense_step(self) -> None:
        """torch's step on CPUs; the same on GPUs, where torch's reads the number of steps."""
        if all(is_cpu(p) for group in self.param_groups for p in group["params"]):
            super().dense_step()
            return
        for group in self.param_groups:
            parameters = [p for p in group["params"] if p.grad is not None]
            if parameters:
                self._step_together(parameters, group)

    def _step_together(self, parameters: list[Tensor], group: dict[str, Any]) -> None:
        together: Any = torch  # whose functions of lists have no types
        states = [self.state[p] for p in parameters]
        sums, gradients = [s["sum"] for s in states], [p.grad for p in parameters]
        steps = [s["step"] for s in states]
        together._foreach_add_(steps, 1)
        names = ("lr_decay", "weight_decay", "eps", "maximize")
        if isinstance(group["lr"], Tensor) and _has_kernel(parameters[0].device):
            options = {name: group[name] for name in ("lr", *names)}
            together._fused_adagrad_(parameters, gradients, sums, steps, **options)
            return
        if group["maximize"]:
            gradients = together._foreach_neg(gradients)
        if group["weight_decay"]:
            decay = group["weight_decay"]
            gradients = together._foreach_add(gradients, parameters, alpha=decay)
        together._foreach_addcmul_(sums, gradients, gradients)
        roots = together._foreach_sqrt(sums)
        together._foreach_add_(roots, group["eps"])
        moves = together._foreach_div(gradients, roots)
        decays = group["lr_decay"]  # by the steps of each, of which some may have begun later
        together._foreach_mul_(moves, [_rate(s, group) for s in states] if decays else group["lr"])
        together._foreach_sub_(parameters, moves)

    def sparse_step(self, parameter: Tensor, grad: Tensor, group: dict[str, Any]) -> None:
        """The step of the rows of a batch."""
        state = self.state[parameter]
        state["step"] += 1
        ids, values = grad._indices()[0], grad._values()
        if not is_cpu(parameter):
            rows, summed, _ = sum_in_place(ids, values, len(parameter))
            state["sum"].index_add_(0, rows, summed.square())
            root = embedding(rows, state["sum"]).sqrt_().add_(group["eps"])
            step = summed.div_(root).mul_(_rate(state, group))
            parameter.index_add_(0, rows, step, alpha=1 if group["maximize"] else -1)
            return
        rows, summed = sum_by_row(ids, values, len(parameter))
        if group["maximize"]:
            summed.neg_()
        # gathers and scatters rows faster than indexing does
        squares = embedding(rows, state["sum"]).addcmul_(summed, summed)
        state["sum"].index_copy_(0, rows, squares)
        step = summed.div_(squares.sqrt_().add_(group["eps"]))
        rate = group["lr"] / (1 + (float(state["step"]) - 1) * group["lr_decay"])
        parameter.index_copy_(0, rows, embedding(rows, parameter).sub_(step, alpha=rate))


def _has_kernel(device: torch.device) -> bool:
    """Whether PyTorch has one kernel for Adagrad's step, by a rate that is a tensor."""
    has_kernel = getattr(torch._C, "_dispatch_has_kernel_for_dispatch_key", lambda *_: False)
    return has_kernel("aten::_fused_adagrad_.tensor_lr", device.type.upper())


def _rate(state: dict[str, Any], group: dict[str, Any]) -> Any:
    """lr / (1 + (t - 1) lr_decay), a number or a tensor as lr is, after t steps."""
    if not group["lr_decay"]:
        return group["lr"]
    return group["lr"] / (1 + (state["step"] - 1) * group["lr_decay"])


class LazyAdam(RowOptimizer, torch.optim.Adam):
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

    def sparse_step(self, parameter: Tensor, grad: Tensor, group: dict[str, Any]) -> None:
        """The step of the rows of a batch."""
        if group["weight_decay"]:
            raise ValueError("LazyAdam has no weight decay of parameters with sparse gradients")
        recorded = isinstance(group["lr"], Tensor)
        state, (beta1, beta2) = self.state[parameter], group["betas"]
        if not state:  # as torch's Adam names and keeps it
            place = parameter.device if recorded else "cpu"
            state["step"] = torch.zeros((), dtype=torch.float32, device=place)
            state["exp_avg"] = torch.zeros_like(parameter)
            state["exp_avg_sq"] = torch.zeros_like(parameter)
        state["step"] += 1
        step = state["step"] if recorded else float(state["step"])
        rate = group["lr"] * (1 - beta2**step) ** 0.5 / (1 - beta1**step)
        ids, values = grad._indices()[0], grad._values()
        if not is_cpu(parameter):
            self._step_in_place(parameter, ids, values, rate, group)
            return
        rows, summed = sum_by_row(ids, values, len(parameter))
        if group["maximize"]:
            summed.neg_()
        mean = embedding(rows, state["exp_avg"]).lerp_(summed, 1 - beta1)
        square = embedding(rows, state["exp_avg_sq"]).mul_(beta2)
        square.addcmul_(summed, summed, value=1 - beta2)
        state["exp_avg"].index_copy_(0, rows, mean)
        state["exp_avg_sq"].index_copy_(0, rows, square)
        moved = mean.div_(square.sqrt_().add_(group["eps"]))
        parameter.index_copy_(0, rows, embedding(rows, parameter).sub_(moved, alpha=float(rate)))

    def _step_in_place(
        self, parameter: Tensor, ids: Tensor, values: Tensor, rate: Any, group: dict[str, Any]
    ) -> None:
        """The step of rows some of which repeat: what is added to each stands at its first."""
        state, (beta1, beta2) = self.state[parameter], group["betas"]
        rows, summed, first = sum_in_place(ids, values, len(parameter))
        is_first = (first == torch.arange(len(rows), device=rows.device)).unsqueeze(1)
        repeats = ~is_first
        mean, square = embedding(rows, state["exp_avg"]), embedding(rows, state["exp_avg_sq"])
        if group["maximize"]:
            summed.neg_()
        added = summed.sub(mean).mul_(is_first * (1 - beta1))
        state["exp_avg"].index_add_(0, rows, added)
        mean.add_(added)
        added = summed.square_().sub_(square).mul_(is_first * (1 - beta2))
        state["exp_avg_sq"].index_add_(0, rows, added)
        moved = mean.div_(square.add_(added).sqrt_().add_(group["eps"])).mul_(rate)
        # not by a product with zero: with eps 0 they may be 0 / 0
        parameter.index_add_(0, rows, moved.masked_fill_(repeats, 0), alpha=-1)
