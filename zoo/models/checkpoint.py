"""What a checkpoint says beside its weights, and what is refused by it."""

from collections.abc import Mapping
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch
from pytorch_lightning import Trainer

from zoo.data.errors import ZooError
from zoo.data.module import datamodule_of
from zoo.data.schema import Schema


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
