"""What a checkpoint says beside its weights, and what is refused by it."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.trainer.states import TrainerFn

from zoo.data.errors import ZooError
from zoo.data.module import datamodule_of
from zoo.data.schema import Schema
from zoo.data.shard_content import of_weights, restored
from zoo.nn.embedding import FusedEmbedding

_loaded: ContextVar[Path | None] = ContextVar("checkpoint that is loaded", default=None)


def checksums_of(trainer: Trainer | None) -> dict[str, str]:
    """The checksums of the data that a trainer runs with; none without a datamodule."""
    data = datamodule_of(trainer) if trainer else None
    return dict(data.checksums()) if data else {}


def versions() -> dict[str, str]:
    """The versions of torch and of this project, where it is installed."""
    found = {"torch": str(torch.__version__)}
    with suppress(PackageNotFoundError):  # where it is run from a folder
        found["interpretable-zoo"] = version("interpretable-zoo")
    return found


def check_model(checkpoint: Mapping[str, Any], model: str, schema: Schema) -> None:
    """Refuses the weights of another model, or of a model of another schema.

    Args:
        checkpoint: Content of the checkpoint.
        model: Name of the class that is to take the weights.
        schema: Its schema.

    Raises:
        ZooError: where they differ.
    """
    saved = checkpoint.get("model_class")
    if saved != model:
        raise ZooError(f"the checkpoint holds {saved or 'no model'}, not {model}")
    difference = Schema.from_dict(checkpoint["hyper_parameters"]["schema"]).difference(schema)
    if difference:
        raise ZooError(
            f"the checkpoint was trained on another schema than these data: {difference}"
        )


@contextmanager
def loading(path: Any) -> Iterator[None]:
    """A block in which a model is made of this checkpoint; None where it has no path."""
    before = _loaded.set(Path(path) if isinstance(path, str | os.PathLike) else None)
    try:
        yield
    finally:
        _loaded.reset(before)


def restore_tables(checkpoint: dict[str, Any], model: LightningModule) -> None:
    """Puts tables that lie beside a checkpoint in their place, unless processes share them.

    What an optimizer keeps of them is put there for a fit alone. A model that was made without
    tables gets none.

    Args:
        checkpoint: Content of the checkpoint.
        model: The model that is to take its weights.

    Raises:
        ZooError: where they are missing or damaged.
    """
    embeddings = [m for m in model.modules() if isinstance(m, FusedEmbedding)]
    without = any(module.is_shared or module.table.is_meta for module in embeddings)
    if "shards" not in checkpoint or without:
        return
    trainer = model._trainer
    path = trainer._checkpoint_connector._ckpt_path if trainer else _loaded.get()
    if path is None:
        raise ZooError("the tables of this checkpoint lie beside its file: load it by its path")
    fits = trainer is not None and trainer.state.fn == TrainerFn.FITTING
    devices = {x.device for x in checkpoint["state_dict"].values() if not x.is_meta}
    found = restored(checkpoint, Path(path), (lambda key: True) if fits else of_weights)
    if len(devices) == 1:  # to which a caller has mapped the file
        (device,) = devices
        state = found["state_dict"]
        found["state_dict"] = {name: x.to(device) for name, x in state.items()}
    del checkpoint["shards"]
    checkpoint.update(found)


def check_options(checkpoint: Mapping[str, Any], model: LightningModule) -> None:
    """Refuses weights that do not fit a model, as it has other options.

    Args:
        checkpoint: Content of the checkpoint.
        model: The model that is to take its weights.

    Raises:
        ZooError: names the options.
    """
    different = different_options(checkpoint.get("hyper_parameters") or {}, model)
    # a strategy may have split the weights of a model that has a trainer
    if not model.strict_loading or (model._trainer and not different):
        return
    own, saved = _shapes(model.state_dict()), _shapes(checkpoint.get("state_dict") or {})
    if saved and own != saved:
        name = min(name for name, _ in own.items() ^ saved.items())
        reason = ", ".join(different) or f"{name} is of another shape, or only in one of them"
        raise ZooError(f"the weights of the checkpoint do not fit this model: {reason}")


def different_options(options: Mapping[str, Any], model: LightningModule) -> list[str]:
    """The options in which a model differs from another, in words.

    Args:
        options: Those of the other.
        model: The model.
    """
    return [
        f"model.{name} is {_shown(options[name])} there and {_shown(value)} here"
        for name, value in model.hparams.items()
        if name in options and _shown(options[name]) != _shown(value)
    ]


def _shapes(weights: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(getattr(tensor, "shape", ())) for name, tensor in weights.items()}


def _shown(option: Any) -> str:
    return str(list(option) if isinstance(option, tuple) else option)
