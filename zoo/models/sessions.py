"""What all models of sessions share.

Shapes: B batch, T past events, T' tracks to predict, R of these that exist.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from zoo.data.batch import SessionBatch
from zoo.data.batch_checks import row_numbers
from zoo.data.errors import ZooError
from zoo.data.schema import Schema
from zoo.models.base import ZooModule
from zoo.models.class_spec import ClassSpec
from zoo.models.metrics import MetricDict, SessionMetrics


class SessionModule(ZooModule):
    """A model of P(track t of the second part is skipped) = sigmoid(logit_t).

    Args:
        schema: Fields of the batches, all numerical; see `Schema`.
        optimizer: Optimizer of all parameters: the name of one of torch's, such as `adagrad`,
            `adam`, `adamw` or `sgd`, or a class_path with init_args; see `OptimizedModule`.
        learning_rate: Learning rate of the optimizer.
        shared: Options of `ZooModule`.
    """

    def __init__(
        self,
        schema: Schema | Mapping[str, Any],
        optimizer: ClassSpec = "adam",
        learning_rate: float = 0.0001,
        **shared: Any,
    ) -> None:
        super().__init__(schema, optimizer, learning_rate, **shared)
        if others := [field.name for field in self.schema.fields if field.has_ids]:
            raise ZooError(
                f"{type(self).__name__} takes sessions, whose fields are numerical; of ids here: "
                f"{', '.join(others)}"
            )
        splits = ("train/", "val/", "test/")
        self.metrics = MetricDict({split: SessionMetrics() for split in splits})

    def scored(self, batch: SessionBatch) -> Tensor:
        """bool [B, T'], the tracks that count: those that exist and have a label."""
        return batch.labelled

    @torch.compiler.disable  # float64 sums gain nothing by it
    def _score(  # pyright: ignore[reportIncompatibleMethodOverride]  # `disable` has no types
        self, logits: Tensor, batch: SessionBatch, split: str
    ) -> None:
        self.metrics[split].update(logits, batch.label, self.scored(batch))

    @property
    def prediction_keys(self) -> tuple[str, ...]:
        """Columns that identify a line: the session, and the position in its second part."""
        return ("row", "position")

    def predict_step(self, batch: SessionBatch) -> dict[str, Tensor]:
        """`row` [R], `position` [R] from 1, and the `prediction_columns` [R]."""
        real = batch.future_mask
        position = torch.arange(1, real.shape[1] + 1, device=real.device)
        columns = {
            "row": row_numbers(batch).unsqueeze(1).expand(real.shape),
            "position": position.expand(real.shape),
            **self.predicted(batch),
        }
        return {name: column[real] for name, column in columns.items()}
