"""Gradients that are clipped, sparse ones and those of tables that processes share among them."""

from collections.abc import Collection, Iterable

import torch
from torch import Tensor, distributed, nn

from zoo.nn.device import is_cpu
from zoo.nn.row_sums import sum_by_row, sum_in_place


def clip_by_norm(
    parameters: Iterable[nn.Parameter], largest: float, shared: Collection[nn.Parameter] = ()
) -> Tensor:
    """Shortens the gradients g of all parameters, taken as one vector; returns its norm.

        g <- g min(1, largest / (|g| + 1e-6))

    as `torch.nn.utils.clip_grad_norm_`, which takes no sparse gradients.

    Args:
        parameters: The parameters; those without a gradient do not count.
        largest: Norm that none exceeds afterwards.
        shared: Those of which each process has other rows, whose norm is over all processes.
    """
    values, squares, of_all = [], [], []
    own = {id(parameter) for parameter in shared}
    for parameter in parameters:
        if parameter.grad is not None:
            value = _values(parameter)
            values.append(value)
            (of_all if id(parameter) in own else squares).append(value.square().sum())
    if not values:
        return torch.zeros(())
    if shared:
        found = torch.stack(of_all).sum() if of_all else torch.zeros_like(squares[0])
        distributed.all_reduce(found)
        squares.append(found)
    norm = torch.stack(squares).sum().sqrt()
    factor = (largest / (norm + 1e-6)).clamp(max=1)
    for value in values:
        value.mul_(factor)
    return norm


def clip_by_value(parameters: Iterable[nn.Parameter], largest: float) -> None:
    """Brings each number of the gradients to at least -largest and at most `largest`."""
    for parameter in parameters:
        if parameter.grad is not None:
            _values(parameter).clamp_(-largest, largest)


def _values(parameter: nn.Parameter) -> Tensor:
    """The numbers of a gradient, to be changed in place; a sparse one becomes sums of rows."""
    gradient = parameter.grad
    assert gradient is not None
    if not gradient.is_sparse:
        return gradient
    # on a GPU the sum of a row stands at the first of its places, beside zeros at the others
    sums = sum_by_row if is_cpu(gradient) else sum_in_place
    ids, rows, *_ = sums(gradient._indices()[0], gradient._values(), len(gradient))
    with torch.sparse.check_sparse_tensor_invariants(False):
        parameter.grad = torch.sparse_coo_tensor(
            ids.unsqueeze(0), rows, gradient.shape, check_invariants=False
        )
    return parameter.grad._values()
