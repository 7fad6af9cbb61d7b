"""A trained model whose probabilities another learns."""

import math
import pickle
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from zoo.data.archive import check_archive
from zoo.data.batch import Batch
from zoo.data.encoder import check_encoder
from zoo.data.errors import ZooError, require_file
from zoo.data.schema import Schema
from zoo.models.installed import folders_of
from zoo.models.registry import model_class
from zoo.models.tabular import RowModule

OPTION = "model.teacher"


class Teacher:
    """The model of a checkpoint, which is no part of the one that learns from it.

    Args:
        path: Its checkpoint.
        schema: Fields of the model that learns.
        checksums: Those of the data; see `ZooDataModule.checksums`.

    Raises:
        ZooError: where there is no such checkpoint, it is damaged, of another schema, or was
            trained on ids that mean other values.
    """

    def __init__(self, path: Path, schema: Schema, checksums: Mapping[str, str]) -> None:
        self.model = _loaded(path).requires_grad_(False)
        if difference := self.model.schema.difference(schema):
            raise ZooError(
                f"{OPTION}: {path} was trained on another schema than these data: {difference}"
            )
        try:
            check_encoder(self.model.data_check.trained_on, checksums)
        except ZooError as error:
            raise ZooError(f"{OPTION}: {path}: {error}") from error

    @torch.no_grad()
    def probability(self, batch: Batch, rate: float) -> Tensor:
        """[B] its probabilities.

        Args:
            batch: The rows.
            rate: Share of the negatives that are among them.
        """
        model = self.model.to(batch.label.device)
        return (model(batch) - math.log(rate)).sigmoid()


def _loaded(path: Path) -> RowModule:
    """The model in evaluation; only an installed class is imported."""
    require_file(path, OPTION)
    try:
        check_archive(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
        named = content.get("model_class") if isinstance(content, dict) else None
        found = model_class(str(named), folders_of(path))
    except (ZooError, OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        reason = " ".join(str(error).split()).partition(".")[0]
        raise ZooError(f"{OPTION}: {path} cannot be used: {reason}") from error
    if not issubclass(found, RowModule):
        raise ZooError(f"{OPTION}: {path} holds {named}, which is no model of rows")
    return found.load_from_checkpoint(path, map_location="cpu", weights_only=True).eval()
