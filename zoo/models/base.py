"""What all models share: loss, steps, checkpoint; `optimized.py` has the optimizer.

Shapes: B batch.
"""

import inspect
import math
import os
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from pytorch_lightning import Callback
from pytorch_lightning.plugins.precision import DoublePrecision
from pytorch_lightning.trainer.states import TrainerFn
from pytorch_lightning.utilities.model_helpers import _restricted_classmethod
from torch import Tensor, nn

from zoo.data.archive import check_archive
from zoo.data.batch_checks import row_numbers
from zoo.data.encoder import check_encoder
from zoo.data.errors import missing
from zoo.data.schema import Schema
from zoo.models.averaging import average_numbers_alone
from zoo.models.checkpoint import (
    check_model,
    check_options,
    checksums_of,
    loading,
    restore_tables,
    versions,
)
from zoo.models.class_spec import ClassSpec
from zoo.models.data_check import DataCheck
from zoo.models.description import Description, class_name, layer_name, paragraphs_of
from zoo.models.gates import Gate
from zoo.models.measures import mean_loss
from zoo.models.metrics import MetricDict, check_shapes
from zoo.models.terms import Term
from zoo.models.weighed import WeighedModule
from zoo.nn.memory import keep_freed_memory


class ZooModule(WeighedModule):
    """A model of probabilities sigmoid(logit), trained by their cross-entropy.

    A subclass implements `forward` and `_score`, and sets `metrics`. A checkpoint holds all
    constructor arguments as plain data, so `load_from_checkpoint(path)` needs nothing else.

    Args:
        schema: Fields of the batches and their cardinalities; see `Schema`.
        optimizer: Optimizer of all parameters: the name of one of torch's, such as `adagrad`,
            `adam`, `adamw` or `sgd`, or a class_path with init_args; see `OptimizedModule`.
        learning_rate: Learning rate of the optimizer.
        shared: Options of `OptimizedModule`.

    Attributes:
        metrics: A metric for each split, by prefix: `train/` (where wanted), `val/` and `test/`.
        numbered_rows: Whether training batches should say which row each row is, where the data
            know.
        recalibrates: Whether `forward` and `explain` return `recalibrated` logits.
        tolerance: Nats of logloss that an expert may miss and still be said to be sufficient.
        negative_sampling_rate: Share of the negatives that it was trained on; a checkpoint keeps
            it.
        data_check: Refuses data that do not suit the schema, or the weights.
        warm_started: Whether its first weights are those of another fit.
        rate_before: The `negative_sampling_rate` of that fit.
        settled: Options that the constructor has made of what it was given, by name.
    """

    metrics: MetricDict
    numbered_rows = False
    recalibrates = False
    tolerance = 0.02

    def __init__(
        self,
        schema: Schema | Mapping[str, Any],
        optimizer: ClassSpec = "adam",
        learning_rate: float = 0.001,
        **shared: Any,
    ) -> None:
        super().__init__(optimizer, learning_rate, **shared)
        self.schema = Schema.from_dict(schema)
        # plain data, so that a checkpoint loads with weights_only=True
        self.save_hyperparameters({"schema": self.schema.to_dict()}, logger=False)
        self.data_check = DataCheck(self.schema)
        self.warm_started = False
        self.rate_before = 1.0
        self.negative_sampling_rate = 1.0
        self.settled: dict[str, Any] = {}

    def settle(self, **options: Any) -> None:
        """Options as checkpoints and the config of a run are to hold them, in place of those given.

        They are plain data, and need nothing that lies elsewhere, such as a file.
        """
        self.settled |= options
        self.save_hyperparameters(options, logger=False)

    def recalibrated(self, logits: Tensor) -> Tensor:
        """Logits of all rows, from those of rows of which the negatives were sampled.

            p = q / (q + (1 - q) / w),   logit p = logit q + log w

        with w the `negative_sampling_rate` (He et al., "Practical lessons from predicting clicks on
        ads at Facebook", ADKDD 2014, section 6.3). Training is on sampled rows, so in training the
        logits stay theirs. A model that sets `recalibrates` returns these from `forward` and
        `explain`; another one is not trained on such rows.
        """
        if self.training or self.negative_sampling_rate == 1:
            return logits
        return logits + math.log(self.negative_sampling_rate)

    def forward(self, batch: Any) -> Tensor:
        """Logits, of the shape of the labels."""
        missing(self, "forward", "logits of a batch")

    # One step serves all splits

    def training_step(self, batch: Any) -> Tensor:
        """The loss of a batch; a recorded step trains on it, too."""
        if self.captured.replay is None:
            return self._step(batch, "train/")
        loss, *scores = self.captured.take(batch)
        self._add(scores, batch, "train/")
        return loss

    def validation_step(self, batch: Any) -> None:
        """Adds a batch to the validation metrics."""
        self._step(batch, "val/")

    def test_step(self, batch: Any) -> None:
        """Adds a batch to the test metrics."""
        self._step(batch, "test/")

    def _step(self, batch: Any, split: str) -> Tensor:
        loss, *scores = self.losses(batch)
        self._add(scores, batch, split)
        return loss

    def losses(self, batch: Any) -> tuple[Tensor, ...]:
        """The loss of a batch, and what its metrics are computed from: the logits."""
        logits = self(batch)
        check_shapes(logits, batch.label)
        (counted,), label, weight = self.counting(batch, logits)
        return mean_loss(counted, label, weight), logits

    def _add(self, scores: Sequence[Tensor], batch: Any, split: str) -> None:
        """Adds a batch to the metrics of a split.

        Args:
            scores: What `losses` returns behind the loss.
            batch: The batch.
            split: Prefix of the split, such as `train/`.
        """
        self._score(scores[0], batch, split)

    def _score(self, logits: Tensor, batch: Any, split: str) -> None:
        """Adds a batch to the metrics of a split."""
        missing(self, "_score", "metrics of a batch")

    def on_train_epoch_end(self) -> None:
        """Logs the metrics `train/...`; of an epoch that was resumed in its midst, none."""
        if not self.resuming.partly:
            self._log_metrics("train/")
        for kind in self.children():
            if isinstance(kind, MetricDict) and "train/" in kind:
                kind["train/"].reset()

    def on_validation_epoch_end(self) -> None:
        """Logs the metrics `val/...`."""
        self._log_metrics("val/")

    def on_test_epoch_end(self) -> None:
        """Logs the metrics `test/...`."""
        self._log_metrics("test/")

    def _log_metrics(self, split: str) -> None:
        if not hasattr(self, "metrics"):
            missing(self, "metrics", "metrics")
        if split not in self.metrics:
            return
        self.log_dict(
            {split + name: value for name, value in self._measure(split).items()},
            prog_bar=True,
            sync_dist=True,  # equal on all ranks, but Lightning warns without it
        )

    def metric_names(self, split: str, batch: Any) -> set[str]:
        """Names of the metrics that are logged of a split whose batches are like this one.

        Args:
            split: Prefix of the split, such as `val/`.
            batch: Any batch of the data.
        """
        metrics = getattr(self, "metrics", {})
        names = getattr(metrics[split], "names", ()) if split in metrics else ()
        return {split + name for name in names}

    def _measure(self, split: str) -> dict[str, Tensor]:
        values = self.metrics[split].compute()
        self.metrics[split].reset()
        return values

    # Predictions

    @property
    def prediction_keys(self) -> tuple[str, ...]:
        """Columns that identify a line of predictions: whole numbers, `row` first."""
        return ("row",)

    @property
    def prediction_columns(self) -> tuple[str, ...]:
        """Columns that `predict_step` returns beside the keys."""
        return ("probability", "label")

    def predicted(self, batch: Any) -> dict[str, Tensor]:
        """The `prediction_columns`, of the shape of the labels (NaN where these are unknown)."""
        return {"probability": self(batch).sigmoid(), "label": batch.label}

    def predict_step(self, batch: Any) -> dict[str, Tensor]:
        """`row` [B] and the `prediction_columns` [B]."""
        return {"row": row_numbers(batch), **self.predicted(batch)}

    # What the model says of itself

    @classmethod
    def describe(cls, schema: Schema, options: Mapping[str, Any]) -> Description:
        """What a checkpoint says of its model, so that `inspect` need not import it.

        A subclass adds which of its weights belong to which fields.

        Args:
            schema: Fields of the batches and their cardinalities; see `Schema`.
            options: Arguments of the constructor without the schema.
        """
        return Description(paragraphs_of(inspect.getdoc(cls) or ""))

    @property
    def description(self) -> Description:
        """What a checkpoint of this model says of it; see `describe`."""
        options = {name: value for name, value in self.hparams.items() if name != "schema"}
        return self.describe(self.schema, options)

    @property
    def experts(self) -> tuple[str, ...]:
        """Names of the experts that a prediction is attributed to; none."""
        return ()

    def explain(self, batch: Any) -> tuple[Tensor, Tensor]:
        """Logits, of the shape of the labels, and [.., H] the attribution to each expert."""
        logits = self(batch)
        return logits, logits.new_zeros(*logits.shape, 0)

    def explain_experts(self, batch: Any) -> tuple[Tensor, Tensor, Tensor]:
        """What `explain` returns, and [.., H] the logit of each expert alone; [.., 0] is none."""
        logits, attributed = self.explain(batch)
        return logits, attributed, logits.new_zeros(*logits.shape, 0)

    def selection(self, batch: Any) -> Tensor:
        """[.., H] log alpha of each expert: how confident it is, and those inside it are not."""
        return self.explain(batch)[1]

    def rectified(self) -> list[tuple[str, nn.Module]]:
        """Name and module of each layer whose output [B, .., units] is that of a ReLU."""
        found = [(name, m) for name, m in self.named_modules() if isinstance(m, nn.ReLU)]
        return [(layer_name(name), module) for name, module in found]

    def attention(self, batch: Any) -> tuple[tuple[str, ...], list[Tensor]]:
        """Names of F fields, and [B, heads, F, F] of each layer the weights of the attention.

        A row holds how much the representation of its field takes from each field (column).
        """
        return (), []

    def gates(self, batch: Any) -> list[Gate]:
        """Weights that the model gives, row by row, to fields or parts of itself; none."""
        return []

    @property
    def terms(self) -> tuple[Term, ...]:
        """Functions of a few fields each whose sum, with a constant, is the logit; none."""
        return ()

    def contributions(self, batch: Any) -> Tensor:
        """[B, P] what each of the P `terms` adds to the logit of a row, zero where it is off."""
        return batch.label.new_zeros(*batch.label.shape, 0)

    def switch(self, names: Collection[str], on: bool) -> None:
        """Switches some of the `terms` on or off, which a checkpoint keeps.

        Args:
            names: Names of the terms.
            on: Whether they are added to the logit from now on.
        """
        missing(self, "switch", "terms to switch")

    def shift(self, by: float) -> None:
        """Adds to the constant of a model of `terms`.

        Args:
            by: What the logit of each row rises by.
        """
        missing(self, "shift", "a constant beside its terms")

    # Checkpoint

    def setup(self, stage: str) -> None:
        """Prepares the process for training."""
        if stage == "fit":
            average_numbers_alone(self.trainer)
            if self.trainer.strategy.root_device.type == "cpu":
                keep_freed_memory()

    def configure_callbacks(self) -> list[Callback]:
        """What refuses data of another schema, lets a fit go on from any checkpoint, and records
        steps."""
        return [self.data_check, self.resuming, self.captured]

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Adds to a checkpoint, as plain data, its model, metrics so far, data and versions."""
        trainer = self._trainer
        checkpoint["model_class"] = class_name(type(self))
        checkpoint["description"] = self.description.to_dict()
        values = trainer.callback_metrics if trainer else {}
        checkpoint["metrics"] = {name: float(x) for name, x in values.items() if "/" in name}
        checkpoint["data"] = checksums_of(trainer)
        checkpoint["versions"] = versions()
        if self.negative_sampling_rate != 1:
            checkpoint["negative_sampling_rate"] = self.negative_sampling_rate

    @_restricted_classmethod  # of Lightning, as this is no method of a model that exists
    def load_from_checkpoint(cls, checkpoint_path: Any, *args: Any, **kwargs: Any) -> Self:
        """The model of a checkpoint, as Lightning loads it; a damaged file is refused."""
        _check_file(checkpoint_path)
        with loading(checkpoint_path):
            return super().load_from_checkpoint(checkpoint_path, *args, **kwargs)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuses the weights of another model, schema or options, and data of another encoder."""
        _check_file(self._trainer.ckpt_path if self._trainer else None)
        check_model(checkpoint, class_name(type(self)), self.schema)
        check_options(checkpoint, self)
        restore_tables(checkpoint, self)
        plugin = self._trainer and self._trainer.precision_plugin
        if isinstance(plugin, DoublePrecision):
            plugin.convert_module(self)  # else its weights are rounded to float32
        super().on_load_checkpoint(checkpoint)
        if self._trainer is None or self._trainer.state.fn != TrainerFn.FITTING:
            self.negative_sampling_rate = checkpoint.get("negative_sampling_rate", 1.0)
        self.data_check.trained_on = checkpoint.get("data")
        check_encoder(self.data_check.trained_on, checksums_of(self._trainer))


def _check_file(path: Any) -> None:
    """Compares a checkpoint with its checksums, which neither torch nor Lightning does."""
    if isinstance(path, str | os.PathLike) and os.path.isfile(path):
        check_archive(Path(path))
