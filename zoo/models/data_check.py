"""Data are compared with the schema of the model that they are given."""

from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer

from zoo.data.batch_checks import check
from zoo.data.encoder import check_encoder
from zoo.data.errors import ZooError
from zoo.data.module import datamodule_of
from zoo.data.schema import Schema
from zoo.models.checkpoint import checksums_of


class DataCheck(Callback):
    """Refuses what is not of a schema, or cannot be trained on; every `ZooModule` has one.

    The first batch of each split is compared, and on a CPU, where that takes no waiting, every
    batch of data that have no encoder: an id beyond its field's cardinality would be the embedding
    of another field.

    Args:
        schema: The schema of the model.

    Attributes:
        trained_on: Checksums of the data that the weights come from, as a checkpoint holds them.
    """

    def __init__(self, schema: Schema) -> None:
        self.schema = schema
        self.trained_on: object = None
        self._encoded = False

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Refuses a datamodule of another schema, or of another encoder than the weights."""
        data = datamodule_of(trainer)
        difference = self.schema.difference(data.schema) if data else None
        if difference:
            raise ZooError(
                f"the model was made for another schema than that of these data: {difference}"
            )
        checksums = checksums_of(trainer)
        check_encoder(self.trained_on, checksums)
        self._encoded = bool(checksums)
        if data and stage == "fit":
            _sample(pl_module, data.negative_sampling_rate)

    def _check(self, batch: Any, number: int) -> None:
        if number == 0 or not (self._encoded or batch.label.is_cuda):
            check(batch, self.schema)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Notes what the weights come from."""
        self.trained_on = checksums_of(trainer)

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Refuses a batch that is not what the schema says."""
        self._check(batch, batch_idx)

    def on_validation_batch_start(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Refuses a batch that is not what the schema says."""
        self._check(batch, batch_idx)

    on_test_batch_start = on_predict_batch_start = on_validation_batch_start


def _sample(model: Any, rate: float) -> None:
    """Lets a model know that it is trained on a share of the negatives.

    Raises:
        ZooError: where its probabilities would be those of the sampled rows.
    """
    if rate != 1 and not model.recalibrates:
        raise ZooError(
            f"data.negative_sampling_rate is {rate}, but {type(model).__name__} does not say that "
            "it returns recalibrated logits (see zoo.ZooModule.recalibrated): leave the option "
            "out, or return them"
        )
    model.negative_sampling_rate = rate
