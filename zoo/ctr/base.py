"""What the click-through models share: a bias, first-order effects, interactions.

Shapes: B batch.
"""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from zoo.data.batch import Batch
from zoo.data.errors import missing
from zoo.data.module import datamodule_of
from zoo.data.schema import Schema
from zoo.models.tabular import RowModule
from zoo.nn.embedding import Embedded


class CTRModule(RowModule):
    """A model of P(click) = sigmoid(logit), trained by binary cross-entropy on the logit.

    A subclass implements `interact`.

    Args:
        schema: Fields of the batches and their cardinalities; see `Schema`.
        shared: Options of `RowModule`.
    """

    recalibrates = True

    def __init__(self, schema: Schema | Mapping[str, Any], **shared: Any) -> None:
        super().__init__(schema, **shared)
        self.bias = torch.nn.Parameter(torch.zeros(1))

    def interact(self, embedded: Embedded) -> Tensor:
        """[B] what the architecture adds to the first-order logit."""
        missing(self, "interact", "interaction part")

    def forward(self, batch: Batch) -> Tensor:
        """[B] logits."""
        embedded = self.embedding(batch)
        return self.recalibrated(self.bias + embedded.linear + self.interact(embedded))

    def on_train_start(self) -> None:
        """Starts the bias at the log-odds of the training clicks, if their share is known.

        Otherwise the first steps of all weights go into learning the click rate. A warm start keeps
        the bias, but for another share of the negatives than those weights were trained on.
        """
        data = datamodule_of(self.trainer)
        rate = data.positive_rate if data else None
        if self.global_step:
            return
        with torch.no_grad():
            if self.warm_started:
                self.bias += math.log(self.rate_before / self.negative_sampling_rate)
            elif rate and rate < 1:  # of one class there are no odds
                self.bias.fill_(math.log(rate / (1 - rate)))
