"""What a label weighs in a step of the optimizer: the same on each process and in each batch."""

from typing import Any

import torch
from torch import Tensor

from zoo.models.measures import TINY
from zoo.models.optimized import OptimizedModule
from zoo.nn.device import is_cpu


class WeighedModule(OptimizedModule):
    """A module whose loss, over all processes and batches of a step, is a mean over all labels.

        L = sum w l / sum w,   w the weights of the rows, where they have such

    Processes share a batch, and batches whose gradients are accumulated share a step.
    """

    _weight: Tensor | None = None  # of the batch
    _accumulated: tuple[Tensor, Tensor] | None = None  # a unit of weight, and the sum in it

    def scored(self, batch: Any) -> Any:
        """Index of the labels that count in loss and metrics: all."""
        return ...

    def row_weights(self, batch: Any) -> Tensor | None:
        """Weights of the labels that count; None where the data weigh all alike.

        On a GPU [R] those of all labels, zero of those that do not count; see `counting`.
        """
        weight, scored = getattr(batch, "weight", None), self.scored(batch)
        if weight is None or scored is ... or is_cpu(weight):
            return None if weight is None else weight[scored]
        return weight.masked_fill(~scored, 0).flatten()

    def counting(self, batch: Any, *values: Tensor) -> tuple[list[Tensor], Tensor, Tensor | None]:
        """Of the labels that count, what was computed for them, the labels [R] and their weights.

        How many count depends on the data, for which a GPU would be waited for. There R are all
        labels; those that do not count, and what was computed for them, are zero and weigh nothing.

        Args:
            batch: The batch.
            values: Of the shape of the labels, or with further dimensions: [R, ..] on return.

        Returns:
            The values, the labels, and [R] the weights; None weighs all alike.
        """
        scored, weight = self.scored(batch), self.row_weights(batch)
        if scored is ...:
            return [*values], batch.label, weight
        if is_cpu(batch.label):
            return [value[scored] for value in values], batch.label[scored], weight
        others, last = ~scored.flatten(), scored.ndim - 1
        label, *found = (
            value.flatten(0, last).masked_fill(others.view(-1, *[1] * (value.ndim - last - 1)), 0)
            for value in (batch.label, *values)  # which may be NaN
        )
        weight = scored.to(label.dtype).flatten() if weight is None else weight
        return found, label, weight

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Weighs the batch."""
        self._weight = self._weight_of(batch, batch_idx)

    def backward(self, loss: Tensor, *args: Any, **kwargs: Any) -> None:
        """Lets a row weigh the same on each process, whatever the number of rows there.

        DDP takes the mean of the processes' gradients, each of which is a mean over its rows. A
        recorded step has gone backward already.
        """
        if self.captured.replay is not None:
            return
        super().backward(loss if self._weight is None else loss * self._weight, *args, **kwargs)

    def on_before_optimizer_step(self, optimizer: Any) -> None:
        """Makes a mean of gradients that were accumulated by the weights of their batches."""
        if self._accumulated is None:
            return
        factor = self.trainer.accumulate_grad_batches / self._accumulated[1].clamp_min(TINY)
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    parameter.grad.mul_(factor)

    def _weight_of(self, batch: Any, batch_idx: int) -> Tensor | None:
        """How many labels this process has for each that it would have of equal shares.

        Weighted labels count by their weights. Of these a step of several batches needs the sum,
        which only its last batch tells: until then each batch counts by its own, in units of the
        first.
        """
        weights, batches = self.row_weights(batch), self.trainer.accumulate_grad_batches
        accumulates = weights is not None and batches > 1
        processes = self.trainer.world_size if torch.distributed.is_initialized() else 1
        self._accumulated = self._accumulated if accumulates else None
        if processes == 1 and not accumulates:
            return None
        mine = self._labels(batch) if weights is None else weights.sum()
        total = mine.clone()
        if processes > 1:
            torch.distributed.all_reduce(total)
        if not accumulates:
            return mine * processes / total.clamp_min(TINY)
        if batch_idx % batches == 0 or self._accumulated is None:
            self._accumulated = total.masked_fill(total == 0, 1), torch.zeros_like(total)
        unit, before = self._accumulated
        self._accumulated = unit, before + total / unit
        return mine * processes / unit

    def _labels(self, batch: Any) -> Tensor:
        scored = self.scored(batch)
        labels = batch.label.numel() if scored is ... else scored.sum()
        return torch.as_tensor(labels, dtype=batch.label.dtype, device=self.device)
