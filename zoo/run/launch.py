"""What the options of the trainer make of this machine, found out before data are read."""

import os
import re
import warnings
from collections.abc import Mapping, MutableMapping
from difflib import get_close_matches
from typing import Any

from lightning_fabric.plugins.environments.slurm import SLURMEnvironment
from lightning_fabric.utilities.exceptions import MisconfigurationException
from pytorch_lightning import Trainer
from pytorch_lightning.accelerators import AcceleratorRegistry
from pytorch_lightning.strategies import StrategyRegistry
from pytorch_lightning.utilities import rank_zero_only

from zoo.data.errors import ZooError
from zoo.run.directory import rank_of_process

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
        devices = str(options["devices"])  # an object, which can be made once
        if devices.isdecimal():
            _check_number(int(devices) * options["num_nodes"])
        return
    plain |= {"logger": False, "callbacks": None}
    try:
        with warnings.catch_warnings(action="ignore"):  # the trainer that is used repeats them
            made = Trainer(**plain)
    except REFUSALS as error:
        raise refusal(options, error) from error
    check_launched(made)


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
    """Uses all processes that a launcher has started on each machine, unless options say else.

    Where machines are numbered by hand (NODE_RANK), takes the number of this one.

    Raises:
        ZooError: where that number is none of as many machines.
    """
    # of torchrun and Ray Train, and of SLURM; Lightning knows the number of all processes itself
    local = os.environ.get("LOCAL_WORLD_SIZE")
    if local is None and _is_slurm():
        local = os.environ.get("SLURM_NTASKS_PER_NODE")
    if local and options["devices"] == "auto":
        options["devices"] = int(local)
        if options["num_nodes"] == 1:
            options["num_nodes"] = max(_launched() // int(local), 1)
    machine = int(os.environ.get("NODE_RANK") or 0)
    if machine == 0 or local or "RANK" in os.environ:
        return
    if machine >= options["num_nodes"]:
        raise ZooError(
            f"NODE_RANK is {machine}, which makes this machine {machine + 1} of those that train, "
            f"and trainer.num_nodes is {options['num_nodes']}: give --trainer.num_nodes, or unset "
            "NODE_RANK"
        )
    if rank_of_process() == 0:  # as no process of another machine is; a trainer says which it is
        setattr(rank_zero_only, "rank", machine)  # noqa: B010  # which its type does not know


def check_launched(trainer: Trainer) -> None:
    """Refuses processes that a launcher has started and that know nothing of each other."""
    _check_number(trainer.world_size)
    rank = int(os.environ.get("RANK") or 0)
    if _launched() > 1 and rank not in (0, trainer.global_rank):
        raise ZooError(
            f"this process is the one of RANK {rank} of those that were launched, and would take "
            f"itself for that of rank {trainer.global_rank}: start it with torchrun (see "
            "docs/launching.md), or unset RANK"
        )


def _check_number(processes: int) -> None:
    if _launched() not in (1, processes):
        variable = "WORLD_SIZE" if os.environ.get("WORLD_SIZE") else "SLURM_NTASKS"
        raise ZooError(
            f"{_launched()} processes were launched ({variable}), and the trainer uses "
            f"{processes}: give --trainer.devices (of each machine) and "
            "--trainer.num_nodes whose product is the number of processes, or unset "
            f"{variable}"
        )


def _launched() -> int:
    slurm = os.environ.get("SLURM_NTASKS") if _is_slurm() else None
    return int(os.environ.get("WORLD_SIZE") or slurm or 1)


def _is_slurm() -> bool:
    """Whether SLURM has started this process, and others like it."""
    with warnings.catch_warnings(action="ignore"):
        return "SLURM_NTASKS" in os.environ and SLURMEnvironment.detect()
