"""What all models of sessions share, and the two baselines without parameters.

Shapes: B batch, T past events, T' tracks to predict, R of these that exist.
"""

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor

from zoo.metrics import SessionMetrics
from zoo.module import ZooModule
from zoo.schema import Schema, SessionBatch, ZooError

SKIP = "skip_2"  # the field that the labels are of (Afchar & Hennequin 2020, section 4.3.1)


class SessionModule(ZooModule):
    """A model of P(track t of the second part is skipped) = sigmoid(logit_t).

    Args:
        schema: of the batches; all of its fields are numerical.
        optimizer: `adagrad`, `adam` or `sgd`.
        learning_rate: of the optimizer.
        shared: the options of `ZooModule`.
    """

    def __init__(
        self,
        schema: Schema | Mapping[str, Any],
        optimizer: Literal["adagrad", "adam", "sgd"] = "adam",
        learning_rate: float = 0.0001,
        **shared: Any,
    ) -> None:
        super().__init__(schema, optimizer, learning_rate, **shared)
        if self.schema.categorical:
            names = ", ".join(field.name for field in self.schema.categorical)
            raise ZooError(
                f"{type(self).__name__} takes sessions, whose fields are numerical; categorical "
                f"here: {names}"
            )
        splits = ("train/", "val/", "test/")
        self.metrics = torch.nn.ModuleDict({split: SessionMetrics() for split in splits})

    @abstractmethod
    def forward(self, batch: SessionBatch) -> Tensor:
        """[B, T'] logits."""

    def known(self, batch: SessionBatch) -> Tensor:
        """[B, T'] the tracks that a batch is scored by: those that exist and have a label."""
        return batch.future_mask & ~batch.label.isnan()

    @torch.compiler.disable  # float64 sums gain nothing by it
    def _score(self, logits: Tensor, batch: SessionBatch, split: str) -> None:
        self.metrics[split].update(logits, batch.label, self.known(batch))

    @property
    def prediction_keys(self) -> tuple[str, ...]:
        """A line of predictions is told by its session and its position in the second part."""
        return ("row", "position")

    def predict_step(self, batch: SessionBatch) -> dict[str, Tensor]:
        """`row` [R], `position` [R] from 1, and the `prediction_columns` [R]."""
        real = batch.future_mask
        position = torch.arange(1, real.shape[1] + 1, device=real.device)
        columns = {
            "row": batch.row.unsqueeze(1).expand(real.shape),
            "position": position.expand(real.shape),
            **self.predicted(batch),
        }
        return {name: column[real] for name, column in columns.items()}


class SkipBaseline(SessionModule):
    """A rule without parameters: the same probability for all tracks of the second part.

    Of n events of the first part that it looks at, s of them skipped, the probability is that of
    Laplace's rule of succession, (s + 1) / (n + 2): above one half where most of them were
    skipped, never zero or one, and one half where there are none.

    Args:
        schema: of the batches; holds the field `skip_2`, which is 0 or 1.
    """

    def __init__(self, schema: Schema | Mapping[str, Any]) -> None:
        super().__init__(schema)
        names = [field.name for field in self.schema.numerical]
        if SKIP not in names:
            raise ZooError(
                f"{type(self).__name__} reads the field {SKIP}, which these data lack; fields: "
                f"{', '.join(names)}"
            )
        self.column = names.index(SKIP)

    @abstractmethod
    def looked_at(self, past_mask: Tensor) -> Tensor:
        """[B, T] the events of the first part that the rule looks at."""

    def forward(self, batch: SessionBatch) -> Tensor:
        """[B, T'] logits, log((s + 1) / (n - s + 1))."""
        events = self.looked_at(batch.past_mask)
        skipped = ((batch.past[..., self.column] > 0.5) & events).sum(1)
        kept = events.sum(1) - skipped
        logit = torch.log((skipped + 1) / (kept + 1))
        return logit.unsqueeze(1).expand(batch.label.shape)

    def training_step(self, batch: SessionBatch) -> Tensor:
        """The loss, from which no gradient reaches anything."""
        return super().training_step(batch).requires_grad_()

    def configure_optimizers(self) -> None:
        """There is nothing to optimise."""


class LastSkip(SkipBaseline):
    """Repeats the last known skip of a session (Afchar & Hennequin 2020, equation 17)."""

    def looked_at(self, past_mask: Tensor) -> Tensor:
        """[B, T] the last event."""
        order = past_mask.cumsum(1)
        return past_mask & (order == order[:, -1:])


class MeanSkip(SkipBaseline):
    """Rounds the mean of a session's known skips (Afchar & Hennequin 2020, equation 18).

    Of a mean of one half it guesses.
    """

    def looked_at(self, past_mask: Tensor) -> Tensor:
        """[B, T] all events."""
        return past_mask
