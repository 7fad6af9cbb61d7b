"""What the options of the trainer make of this machine, found out before data are read."""

import os
import re
import warnings
from collections.abc import Mapping, MutableMapping
from difflib import get_close_matches
from typing import Any

from lightning_fabric.utilities.exceptions import MisconfigurationException
from pytorch_lightning import Trainer
from pytorch_lightning.accelerators import AcceleratorRegistry
from pytorch_lightning.strategies import StrategyRegistry

from zoo.data.errors import ZooError

# What Lightning raises where options of a trainer do not go together
REFUSALS = (MisconfigurationException, ValueError, TypeError, RuntimeError, ImportError)
# Options by which Lightning divides, whatever they are
POSITIVE = ("accumulate_grad_batches", "check_val_every_n_epoch", "val_check_interval")
PROFILERS = ("simple", "advanced", "pytorch", "xla")


def check_trainer(options: Mapping[str, Any]) -> None:
    """Refuses options of which no trainer can be made on this machine.

    Args:
        options: Options `trainer` of the command line, without what is made of them.

    Raises:
        ZooError: names the options.
    """
    _check_names(options)
    for name in POSITIVE:
        value = options[name]
        if isinstance(value, int | float) and value <= 0:
            raise ZooError(f"trainer.{name} must be positive, got {value}")
    plain = {name: value for name, value in options.items() if _is_plain(value)}
    if {"accelerator", "strategy", "devices", "precision"} - set(plain) or options["plugins"]:
        return  # an object, which can be made once
    plain |= {"logger": False, "callbacks": None}
    try:
        with warnings.catch_warnings(action="ignore"):  # the trainer that is used repeats them
            Trainer(**plain)
    except REFUSALS as error:
        raise refusal(options, error) from error


def check_limit(subcommand: str, options: Mapping[str, Any]) -> None:
    """Refuses a command that would look at no batch."""
    split = {"validate": "val", "test": "test", "predict": "predict"}.get(subcommand)
    name = f"limit_{split}_batches"
    if split and options[name] == 0:
        raise ZooError(f"trainer.{name} is 0: {subcommand} needs at least 1")


def refusal(options: Mapping[str, Any], error: Exception) -> ZooError:
    """What is said where Lightning makes no trainer of the options."""
    message = " ".join(str(error).split())
    named = [
        f"trainer.{name}={value}"
        for name, value in options.items()
        if value not in (None, "auto", True, False) and _is_plain(value)
        if re.search(rf"\b({name}|{re.escape(str(value))})\b", message)
    ]
    return ZooError(f"{', '.join(named) or 'trainer'}: {message}")


def _check_names(options: Mapping[str, Any]) -> None:
    strategies = ["auto", *StrategyRegistry.available_strategies()]
    accelerators = ["auto", "gpu", *AcceleratorRegistry.available_accelerators()]
    known = {"strategy": strategies, "accelerator": accelerators, "profiler": PROFILERS}
    for option, names in known.items():
        value = options[option]
        if isinstance(value, str) and value.lower() not in names:
            close = get_close_matches(value, names, 1)
            hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(names)}"
            raise ZooError(f"trainer.{option}: no {option} {value}; {hint}")


def _is_plain(value: Any) -> bool:
    if isinstance(value, list):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, str | int | float)


def take_launched(options: MutableMapping[str, Any]) -> None:
    """Uses all processes that a launcher such as torchrun has started, unless options say else."""
    local = os.environ.get("LOCAL_WORLD_SIZE")  # of torchrun; Lightning knows the others itself
    if local and options["devices"] == "auto":
        options["devices"] = int(local)
        if options["num_nodes"] == 1:
            options["num_nodes"] = max(_launched() // int(local), 1)


def check_launched(trainer: Trainer) -> None:
    """Refuses processes that a launcher has started and that know nothing of each other."""
    launched = _launched()
    if launched not in (1, trainer.world_size):
        raise ZooError(
            f"{launched} processes were launched (WORLD_SIZE), and the trainer uses "
            f"{trainer.world_size}: give --trainer.devices (of each machine) and "
            "--trainer.num_nodes whose product is the number of processes, or unset WORLD_SIZE"
        )


def _launched() -> int:
    return int(os.environ.get("WORLD_SIZE") or 1)
