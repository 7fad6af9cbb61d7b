"""What is refused of the options of an optimizer and its schedule, before it is made."""

import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from zoo.data.errors import ZooError, require
from zoo.models.class_spec import (
    ClassSpec,
    arguments_of,
    check_name,
    checked_spec,
    parts_of,
    same_class,
)
from zoo.models.optimizers import OPTIMIZERS, make_optimizer
from zoo.models.schedules import SCHEDULES, make_schedule

# a resumed fit has those of its checkpoint; those of 0.1.0 have none of them
RESUMED = {
    "optimizer": None,
    "lr_scheduler": None,
    "lr_scheduler_interval": "epoch",
    "weight_decay": 0.0,
    "embedding_weight_decay": 0.0,
    "warmup_steps": 0,
}


def check_rates(learning_rate: float, min_learning_rate: float, **options: float | None) -> None:
    """Refuses learning rates, decays and steps that cannot be.

    Args:
        learning_rate: Learning rate of the optimizer.
        min_learning_rate: Learning rate below which it does not go.
        options: The other options of a model's training that are numbers.

    Raises:
        ZooError: where one is out of its range.
    """
    require(learning_rate > 0, "learning_rate must be positive", learning_rate)
    decay = options.pop("plateau_decay")
    ranges = decay is None or 0 < decay < 1
    require(ranges, "plateau_decay must be between 0 and 1", decay)
    require(
        0 <= min_learning_rate <= learning_rate,
        "min_learning_rate must be between 0 and learning_rate",
        min_learning_rate,
    )
    for name, value in options.items():
        require(value is not None and value >= 0, f"{name} must not be negative", value)


def checked_specs(
    optimizer: Any, lr_scheduler: Any, plateau_decay: float | None
) -> tuple[ClassSpec, ClassSpec | None]:
    """The options that name classes, as plain data; nothing is imported.

    Args:
        optimizer: Value of `model.optimizer`.
        lr_scheduler: Value of `model.lr_scheduler`.
        plateau_decay: Value of `model.plateau_decay`, which goes without another schedule.

    Raises:
        ZooError: where they are neither names nor class paths, or do not go together.
    """
    made = checked_spec("optimizer", optimizer)
    check_name("optimizer", made, OPTIMIZERS)
    if lr_scheduler is None:
        return made, None
    schedule = checked_spec("lr_scheduler", lr_scheduler)
    check_name("lr_scheduler", schedule, SCHEDULES)
    require(
        plateau_decay is None,
        "plateau_decay and lr_scheduler both set the learning rate: leave one of them out",
        plateau_decay,
    )
    return made, schedule


def check_optimization(options: Mapping[str, Any], beside: Iterable[Path] = ()) -> None:
    """Refuses an optimizer or a schedule that cannot train, before any data are read.

    Args:
        options: Arguments of a model, as a config has them.
        beside: Folders of the config, from which no code is taken.

    Raises:
        ZooError: where the classes are not found, or not with these arguments.
    """
    decay = options.get("plateau_decay")
    made = checked_specs(options.get("optimizer", "adam"), options.get("lr_scheduler"), decay)
    decays = bool(options.get("weight_decay") or options.get("embedding_weight_decay"))
    try_out(*made, options.get("learning_rate", 0.001), decays, beside)


def try_out(
    optimizer: ClassSpec,
    schedule: ClassSpec | None,
    rate: float,
    decays: bool,
    beside: Iterable[Path] = (),
) -> None:
    """Makes the optimizer and the schedule of a vector and a matrix, and takes a step.

    Args:
        optimizer: Value of `model.optimizer`.
        schedule: Value of `model.lr_scheduler`.
        rate: The learning rate.
        decays: Whether any weights decay.
        beside: Folders of the config, from which no code is taken.

    Raises:
        ZooError: where that fails.
    """
    parameters = [nn.Parameter(torch.zeros(2, device="cpu")) for _ in range(2)]
    parameters[1].data = torch.zeros(2, 2, device="cpu")
    groups: list[dict[str, Any]] = [{"params": parameters}]
    if decays:
        groups = [{"params": [p], "weight_decay": 0.1} for p in parameters]

    for parameter in parameters:
        parameter.grad = torch.zeros_like(parameter)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = make_optimizer(optimizer, groups, rate, fusible=True, beside=beside)
        with arguments_of("optimizer", type(made), parts_of(optimizer)[1]):
            made.step()
        if schedule is not None:
            scheduler = make_schedule(schedule, made, rate, lambda: 10, beside)
            with arguments_of("lr_scheduler", type(scheduler), parts_of(schedule)[1]):
                scheduler.step()


def check_resumed(saved: Mapping[str, Any], here: Mapping[str, Any]) -> None:
    """Refuses options of a resumed fit that do not fit the state of the optimizer.

    Args:
        saved: Arguments of the model of the checkpoint; those of 0.1.0 lack some.
        here: Arguments of the model that goes on.

    Raises:
        ZooError: where they differ.
    """
    for name, default in RESUMED.items():
        old, new = saved.get(name, default), here.get(name, default)
        is_class = name in ("optimizer", "lr_scheduler")
        if not (same_class(old, new) if is_class else old == new):
            raise ZooError(
                f"model.{name} of the checkpoint is {old!r}, and {new!r} here: a fit goes on with "
                "the optimizer and the schedule that it began with"
            )
