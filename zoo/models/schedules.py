"""Schedules of the learning rate, made of what a model's options say."""

import inspect
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pytorch_lightning import Trainer
from torch.optim import Optimizer, lr_scheduler
from torch.optim.lr_scheduler import LRScheduler

from zoo.data.errors import ZooError
from zoo.models.class_spec import ClassSpec, arguments_of, class_of, classes_of, parts_of

# they need functions or other schedules, which are no plain data, or metrics
UNUSABLE = (
    "LambdaLR",
    "MultiplicativeLR",
    "SequentialLR",
    "ChainedScheduler",
    "ReduceLROnPlateau",
)
SCHEDULES = classes_of(lr_scheduler, LRScheduler, but=UNUSABLE)
LENGTHS = ("total_steps", "T_max")  # arguments that say how long a schedule lasts


def make_schedule(
    spec: ClassSpec,
    optimizer: Optimizer,
    rate: float,
    length: Callable[[], int],
    beside: Iterable[Path] = (),
) -> LRScheduler:
    """The schedule that `model.lr_scheduler` names.

    Left out, `total_steps` (of OneCycleLR) and `T_max` (of CosineAnnealingLR) are those of the fit,
    and `max_lr` is the learning rate.

    Args:
        spec: Value of the option.
        optimizer: Whose learning rate changes.
        rate: The learning rate.
        length: Gives the number of times that it is stepped in the fit.
        beside: Folders of the config that names it, from which no code is taken.

    Raises:
        ZooError: where it cannot be made.
    """
    found = class_of("lr_scheduler", spec, SCHEDULES, LRScheduler, beside)
    if issubclass(found, lr_scheduler.ReduceLROnPlateau):
        raise ZooError("model.lr_scheduler: give model.plateau_decay instead of ReduceLROnPlateau")
    _, arguments = parts_of(spec)
    options = dict(arguments)
    for name in open_lengths(found, arguments):
        options[name] = length()
    if "max_lr" in inspect.signature(found).parameters:
        options.setdefault("max_lr", rate)
    with arguments_of("lr_scheduler", found, arguments):
        return found(optimizer, **options)


def open_lengths(schedule: type, arguments: Mapping[str, Any]) -> list[str]:
    """The arguments of a schedule that are to hold the length of the fit."""
    if {"epochs", "steps_per_epoch"} & arguments.keys():  # the other way to say it
        return []
    takes = inspect.signature(schedule).parameters
    return [name for name in LENGTHS if name in takes and arguments.get(name) is None]


def length_of(trainer: Trainer, interval: str, max_steps: int | None = None) -> int:
    """The number of steps, or of epochs, that a fit comes to at most.

    Args:
        trainer: Of the fit.
        interval: `step` or `epoch`.
        max_steps: In place of the trainer's, where that does not say it while it loads a
            checkpoint.

    Raises:
        ZooError: where the fit has no end.
    """
    trainer.fit_loop.setup_data()
    each = trainer.num_training_batches / trainer.accumulate_grad_batches
    if math.isfinite(each):
        each = max(1, math.ceil(each))  # steps of an epoch
    limit = trainer.max_steps if max_steps is None else max_steps
    steps = each * trainer.max_epochs if trainer.max_epochs not in (None, -1) else math.inf
    steps = min(steps, limit) if limit >= 0 else steps
    length = steps if interval == "step" else steps / each
    if not 0 < length < math.inf:
        raise ZooError(
            "model.lr_scheduler: the length of the fit is not known, give trainer.max_epochs "
            "or trainer.max_steps, or the argument of the schedule that says its length"
        )
    return math.ceil(length)


@contextmanager
def warmed_up(optimizer: Optimizer, steps: int, done: int) -> Iterator[None]:
    """While it lasts, the learning rates are min(1, (done + 1) / steps) of what they were.

    They are put back exactly, so that whatever schedule there is knows nothing of it.

    Args:
        optimizer: Whose learning rates.
        steps: Number of the first step of full rate.
        done: Number of steps that were made before.
    """
    before = [group["lr"] for group in optimizer.param_groups]
    share = (done + 1) / steps if done < steps else 1
    try:
        if share < 1:
            for group in optimizer.param_groups:
                group["lr"] = group["lr"] * share
        yield
    finally:
        for group, rate in zip(optimizer.param_groups, before, strict=True):
            group["lr"] = rate
