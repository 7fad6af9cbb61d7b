"""Training rows that are kept, to tell the terms of an additive model apart by."""

import torch
import torch.distributed as dist
from torch import Tensor

from zoo.data.batch import Batch

MOST_ROWS = 50_000  # of a process


class KeptRows:
    """The first training rows of a fit, which data come in a random order.

    Attributes:
        rows: Their number.
    """

    def __init__(self) -> None:
        self._batches: list[Batch] = []
        self.rows = 0

    def add(self, batch: Batch) -> None:
        """Keeps a copy of a batch, unless there are enough rows."""
        if self.rows >= MOST_ROWS:
            return
        parts = {k: x.detach().clone() for k, x in batch._asdict().items() if isinstance(x, Tensor)}
        self._batches.append(batch._replace(**parts))
        self.rows += len(batch.label)

    def batches(self) -> list[Batch]:
        """The batches; of several processes each has as many, as they look up tables together."""
        if not dist.is_initialized() or not self._batches:
            return self._batches
        count = torch.tensor(len(self._batches), device=self._batches[0].label.device)
        dist.all_reduce(count, dist.ReduceOp.MIN)
        return self._batches[: int(count)]


def mean_of(total: Tensor, weight: Tensor) -> Tensor:
    """The sums of all processes, divided by the sum of their weights.

    Args:
        total: Weighted sums of this process, in float64.
        weight: [] sum of its weights.
    """
    if dist.is_initialized():
        total, weight = total.clone(), weight.clone()
        dist.all_reduce(total)
        dist.all_reduce(weight)
    return total / weight.clamp_min(torch.finfo(weight.dtype).tiny)
