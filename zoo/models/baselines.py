"""Rules without parameters that models of sessions are compared with.

Shapes: B batch, T past events, T' tracks to predict.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from zoo.data.batch import SessionBatch
from zoo.data.errors import ZooError, missing
from zoo.data.schema import SKIP, Schema
from zoo.models.sessions import SessionModule


class SkipBaseline(SessionModule):
    """A rule without parameters: the same probability for all tracks of the second part.

    Of n events of the first part that it looks at, s of them skipped, the probability is that of
    Laplace's rule of succession, (s + 1) / (n + 2): above one half where most of them were
    skipped, never zero or one, and one half where there are none.

    Args:
        schema: Fields of the batches, among them `skip_2`, which is 0 or 1; see `Schema`.
    """

    def __init__(self, schema: Schema | Mapping[str, Any]) -> None:
        super().__init__(schema)
        names = [field.name for field in self.schema.numerical]
        if SKIP not in names:
            raise ZooError(
                f"{type(self).__name__} reads the field {SKIP}, which these data do not have; "
                "fields: "
                f"{', '.join(names)}"
            )
        self.column = names.index(SKIP)

    def looked_at(self, past_mask: Tensor) -> Tensor:
        """[B, T] the events of the first part that the rule looks at."""
        missing(self, "looked_at", "events to look at")

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
        """No optimizer, as there are no parameters."""


class LastSkip(SkipBaseline):
    """Repeats the last known skip of a session (Afchar & Hennequin 2020, equation 17)."""

    def looked_at(self, past_mask: Tensor) -> Tensor:
        """[B, T] the last event."""
        order = past_mask.cumsum(1)
        return past_mask & (order == order[:, -1:])


class MeanSkip(SkipBaseline):
    """Rounds the mean of a session's known skips (Afchar & Hennequin 2020, equation 18).

    Where the mean is one half, it guesses.
    """

    def looked_at(self, past_mask: Tensor) -> Tensor:
        """[B, T] all events."""
        return past_mask
