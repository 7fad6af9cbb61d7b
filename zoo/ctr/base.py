"""What the click-through models share: a bias, first-order effects, interactions.

Shapes: B batch.
"""

import math
from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from zoo.embedding import Embedded
from zoo.rows import RowModule
from zoo.schema import Batch, Schema


class CTRModule(RowModule):
    """A model of P(click) = sigmoid(logit), trained by binary cross-entropy on the logit.

    A subclass implements `interact`.

    Args:
        schema: of the batches.
        shared: the options of `RowModule`.
    """

    def __init__(self, schema: Schema | Mapping[str, Any], **shared: Any) -> None:
        super().__init__(schema, **shared)
        self.bias = torch.nn.Parameter(torch.zeros(1))

    @abstractmethod
    def interact(self, embedded: Embedded) -> Tensor:
        """[B] what the architecture adds to the first-order logit."""

    def forward(self, batch: Batch) -> Tensor:
        """[B] logits."""
        embedded = self.embedding(batch)
        return self.bias + embedded.linear + self.interact(embedded)

    def on_train_start(self) -> None:
        """Starts the bias at the log-odds of the training clicks, if the data know them.

        Otherwise the first steps of all weights go into learning the click rate.
        """
        rate = getattr(self.trainer.datamodule, "positive_rate", None)
        if rate is not None and self.global_step == 0:
            with torch.no_grad():
                self.bias.fill_(math.log(rate / (1 - rate)))
