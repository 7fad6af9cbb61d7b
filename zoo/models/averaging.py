"""Averaged weights, as Lightning's `WeightAveraging` and `EMAWeightAveraging` keep them."""

from collections.abc import Callable, Sequence
from typing import Any

from pytorch_lightning import Trainer
from pytorch_lightning.callbacks import WeightAveraging
from torch import Tensor
from torch.optim.swa_utils import get_swa_avg_fn


def average_numbers_alone(trainer: Trainer) -> None:
    """Lets averages leave whole numbers and truth values as they are.

    Buffers are averaged too, such as where a field begins in the table of embeddings: of two equal
    whole numbers, 0.9 x + 0.1 x is below x for some, and would be rounded to x - 1.

    Args:
        trainer: Trainer whose callbacks have made their averages, in their `setup`.
    """
    for callback in trainer.callbacks:  # pyright: ignore[reportAttributeAccessIssue]
        average: Any = getattr(callback, "_average_model", None)
        if not isinstance(callback, WeightAveraging) or average is None:
            continue
        if average.multi_avg_fn is None:
            average.avg_fn = _of_numbers(average.avg_fn or get_swa_avg_fn())
        else:
            average.multi_avg_fn = _of_lists(average.multi_avg_fn)


def _of_numbers(mean: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def of(average: Tensor, current: Tensor, count: Any) -> Tensor:
        return mean(average, current, count) if current.is_floating_point() else current

    return of


def _of_lists(mean: Callable[..., None]) -> Callable[..., None]:
    def of(averages: Sequence[Tensor], currents: Sequence[Tensor], count: Any) -> None:
        if currents[0].is_floating_point():  # all are of one type
            mean(averages, currents, count)

    return of
