"""Metrics that are exact over a whole split and over all ranks."""

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits
from torchmetrics import Metric
from torchmetrics.functional.classification import binary_auroc
from torchmetrics.utilities import dim_zero_cat


class ClickMetrics(Metric):
    """Exact AUC and logloss of a split.

    AUC is the probability that a random positive scores above a random negative, ties counting
    one half; logloss is the mean of -y log p - (1 - y) log(1 - p). Logits are kept, in batches,
    until they are asked for, and gathered from all ranks then.
    """

    full_state_update = False
    logits: list[Tensor]
    labels: list[Tensor]

    def __init__(self) -> None:
        super().__init__()
        self.add_state("logits", [], dist_reduce_fx="cat")
        self.add_state("labels", [], dist_reduce_fx="cat")

    def update(self, logits: Tensor, labels: Tensor) -> None:
        """Adds a batch: logits [B], labels [B]."""
        self.logits.append(logits.detach())
        self.labels.append(labels)

    def compute(self) -> dict[str, Tensor]:
        """`auc` (NaN where only one class is present) and `logloss`."""
        logits, labels = dim_zero_cat(self.logits), dim_zero_cat(self.labels)
        # float64: neither the sum nor the sigmoid may merge scores that differ
        logits, labels = logits.double(), labels.double()
        logloss = binary_cross_entropy_with_logits(logits, labels)
        if labels.min() == labels.max():
            return {"auc": torch.full_like(logloss, torch.nan), "logloss": logloss}
        # a shift moves no rank, and keeps the sigmoid away from its ends
        probability = (logits - logits.mean()).sigmoid()
        return {"auc": binary_auroc(probability, labels.long()).double(), "logloss": logloss}
