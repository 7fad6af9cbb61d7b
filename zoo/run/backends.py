"""What looks up and steps the rows of tables that processes share: our exchange, or TorchRec."""

from collections.abc import Iterator
from typing import Any, Literal, get_args

import torch
from pytorch_lightning.callbacks import (
    GradientAccumulationScheduler,
    StochasticWeightAveraging,
    WeightAveraging,
)
from torch import Tensor, nn
from torch.optim import Optimizer

from zoo.data.errors import ZooError
from zoo.models.optimizers import make_optimizer
from zoo.nn.optim import Adagrad
from zoo.nn.torchrec_shard import COMMAND, TorchRecShard, is_installed

Backend = Literal["auto", "exchange", "torchrec"]

OPTION = "backend of trainer.strategy"
KINDS = {Adagrad: "adagrad", torch.optim.Adagrad: "adagrad", torch.optim.SGD: "sgd"}
PLAIN = {"lr_decay": 0, "weight_decay": 0, "momentum": 0, "maximize": False}  # what FBGEMM steps


def torchrec_optimizer(wanted: Backend, trainer: Any, device: torch.device) -> str | None:
    """The optimizer of the rows where TorchRec steps them, as FBGEMM calls it; else None.

    Args:
        wanted: The strategy's option; `auto` is TorchRec on GPUs, if it can be.
        trainer: Trainer of the fit.
        device: Where the rows are to lie.

    Raises:
        ZooError: where TorchRec is wanted, and cannot be.
    """
    if wanted not in get_args(Backend):
        raise ZooError(f"{OPTION} must be one of {', '.join(get_args(Backend))}, got {wanted!r}")
    if wanted == "exchange" or (wanted == "auto" and device.type != "cuda"):
        return None
    optimizer = _optimizer_of(trainer.lightning_module)
    reason = next(_reasons(trainer, optimizer), None)
    if reason is not None and wanted == "torchrec":
        raise ZooError(f"{OPTION}: {reason}")
    return None if reason is not None else kind_of(optimizer)


def _reasons(trainer: Any, optimizer: Optimizer) -> Iterator[str]:
    """Why a fit cannot be TorchRec's, whose steps are part of the backward pass."""
    if not is_installed():
        yield f"TorchRec is not installed; `{COMMAND}` installs it (docs/scale.md)"
    instead = "take it out, or set the backend to exchange"
    if trainer.gradient_clip_val:
        yield f"TorchRec cannot clip gradients (trainer.gradient_clip_val): {instead}"
    schedules = any(isinstance(c, GradientAccumulationScheduler) for c in trainer.callbacks)
    if trainer.accumulate_grad_batches != 1 or schedules:
        yield (
            "TorchRec cannot accumulate gradients (trainer.accumulate_grad_batches, or a "
            f"GradientAccumulationScheduler): {instead}"
        )
    if trainer.precision not in ("32-true", "bf16-mixed"):
        yield f"TorchRec cannot train in trainer.precision {trainer.precision}: {instead}"
    averaging = (WeightAveraging, StochasticWeightAveraging)
    found = [type(c).__name__ for c in trainer.callbacks if isinstance(c, averaging)]
    if found:
        yield f"TorchRec's tables cannot be averaged ({found[0]}): {instead}"
    if kind_of(optimizer) is None:
        yield (
            "TorchRec steps its tables by adagrad or sgd without momentum, weight decay of the "
            "embeddings, lr_decay or maximize: choose such a model.optimizer, or set the backend "
            "to exchange"
        )


def _optimizer_of(model: Any) -> Optimizer:
    """The optimizer of the tables that the model's options say, with a parameter of its own."""
    group: dict[str, Any] = {"params": [nn.Parameter(torch.zeros(1, 1, device="cpu"))]}
    if model.hparams.get("weight_decay") or model.hparams.get("embedding_weight_decay"):
        group["weight_decay"] = model.hparams.get("embedding_weight_decay")
    return make_optimizer(model.optimizer, [group], model.learning_rate)


def kind_of(optimizer: Optimizer, parameter: Tensor | None = None) -> str | None:
    """The steps of FBGEMM that are equal to those of an optimizer, by name; None without such.

    Args:
        optimizer: The optimizer.
        parameter: What it steps; None is the first group.
    """
    groups = optimizer.param_groups
    mine = [group for group in groups if any(p is parameter for p in group["params"])]
    group, kind = (mine or groups)[0], KINDS.get(type(optimizer))
    return kind if all(group.get(name, plain) == plain for name, plain in PLAIN.items()) else None


def join(shard: TorchRecShard, optimizers: list[Optimizer], table: Tensor) -> None:
    """Lets TorchRec step rows as the optimizer of a model would.

    Args:
        shard: The rows.
        optimizers: Those of the model.
        table: The rows, as a parameter.

    Raises:
        ZooError: where the model has made another optimizer than its options say.
    """
    if len(optimizers) != 1 or kind_of(optimizers[0], table) != shard.optimizer:
        raise ZooError(
            f"{OPTION}: TorchRec steps its tables by {shard.optimizer}, as model.optimizer says, "
            "and the model's configure_optimizers makes another: set the backend to exchange"
        )
    shard.join(optimizers[0], table)
