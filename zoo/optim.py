"""Optimisers."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


class Adagrad(torch.optim.Adagrad):
    """torch's Adagrad (Duchi et al. 2011), with a faster step for sparse gradients.

        s_i += g_i^2,   p_i -= lr * g_i / (sqrt(s_i) + eps)     for the rows i of the batch

    The result is that of torch's own sparse step, and of the dense one, whose other rows do not
    move: theirs is a gradient of zero. Repeated rows are summed without building further sparse
    tensors, which takes most of the time of torch's step.

    eps is 1e-13, where torch's default is 1e-10: behind embeddings that start near zero, the
    first gradients of a mean loss are not larger than that, and would make no full steps.
    """

    def __init__(self, *args: Any, eps: float = 1e-13, **kwargs: Any) -> None:
        super().__init__(*args, eps=eps, **kwargs)
        self._places: dict[tuple[int, torch.device], Tensor] = {}

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step; the sparse gradients are taken away when they have been used."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None and parameter.grad.is_sparse:
                    self._sparse_step(parameter, group)
                    parameter.grad = None
        super().step()
        return loss

    def _sparse_step(self, parameter: Tensor, group: dict[str, Any]) -> None:
        ids, values = parameter.grad._indices()[0], parameter.grad._values()
        rows, position = self._distinct(ids, len(parameter))
        summed = values.new_zeros(len(rows), values.shape[1]).index_add_(0, position, values)
        if group["maximize"]:
            summed.neg_()
        state = self.state[parameter]
        state["step"] += 1
        rate = group["lr"] / (1 + (float(state["step"]) - 1) * group["lr_decay"])
        squares = state["sum"].index_select(0, rows).addcmul_(summed, summed)
        state["sum"].index_put_((rows,), squares)
        step = summed.div_(squares.sqrt_().add_(group["eps"]))
        parameter.index_put_((rows,), parameter.index_select(0, rows).sub_(step, alpha=rate))

    def _distinct(self, ids: Tensor, count: int) -> tuple[Tensor, Tensor]:
        """The distinct ids in any order, and the position of each id among them.

        Each id writes its place into a table; the one that stays represents its equals. This
        needs no sorting, as `torch.unique` does.
        """
        key = (count, ids.device)
        if key not in self._places:
            self._places[key] = torch.empty(count, dtype=torch.long, device=ids.device)
        places = self._places[key]
        place = torch.arange(len(ids), device=ids.device)
        places.index_put_((ids,), place)
        winner = places.index_select(0, ids)
        stays = winner == place
        return ids[stays], (stays.cumsum(0) - 1).index_select(0, winner)
