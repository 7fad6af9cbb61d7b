"""Sums of the rows of a batch that belong to the same row of a table.

Shapes: R rows of a batch, U distinct ids, D columns of a row.
"""

import torch
from torch import Tensor
from torch.nn.functional import embedding, embedding_bag, pad

from zoo.nn.device import is_cpu

RADIX_SORT_FROM = 1 << 15  # ids from which PyTorch sorts by digits on CPUs, which is faster


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
    of these, and zeros at the others; [R] the place of the first of its equals, for each.

    Shapes do not depend on the data, as those of `sum_by_row` do, for which a GPU is waited for.

    Args:
        ids: [R] ids, at least 0 and below `count`.
        values: [R, D] values.
        count: Number of ids that there may be.
    """
    ascending, order = _sorted(ids, count)
    first = torch.searchsorted(ascending, ascending)
    ordered = embedding(order, values)
    sums = torch.ops.aten.embedding_dense_backward(ordered, first, len(ids), -1, False)
    return ascending, sums, first


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
    if not is_cpu(ids):
        return ids.sort(stable=True)
    # few numbers are compared, and many sorted by their digits
    ids = pad(ids, (0, max(0, RADIX_SORT_FROM - wanted)), value=count)
    ids, order = ids.sort(stable=True)
    return ids[:wanted], order[:wanted]
