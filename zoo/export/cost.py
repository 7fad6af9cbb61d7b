"""What small embedding tables save and cost: bytes, and metrics of the validation rows."""

from collections.abc import Mapping

import torch

from zoo.data.errors import ZooError
from zoo.data.module import ZooDataModule
from zoo.export.quantized import EmbeddingType, table_bytes
from zoo.models.base import ZooModule
from zoo.models.metrics import ClickMetrics, RankingMetrics


def cost_of(
    full: ZooModule, small: ZooModule, kind: EmbeddingType, data: ZooDataModule
) -> list[str]:
    """What a user is told of embeddings of another type, in lines.

    Args:
        full: The model as it was trained.
        small: The same with embeddings of that type.
        kind: The type.
        data: The data of its run.
    """
    sizes = [table_bytes(model) / 1e6 for model in (full, small)]
    if not sizes[0]:
        return [f"{type(full).__name__} has no embeddings that could be {kind}"]
    said = [f"embeddings: {sizes[0]:,.2f} MB as float32, {sizes[1]:,.2f} MB as {kind}"]
    try:
        data.setup("validate")
        before, after = (validation_metrics(model, data) for model in (full, small))
    except ZooError as error:
        return [*said, f"what this costs is not measured, as there are no validation rows: {error}"]
    changes = (
        f"{name} {before[name]:.5f} to {after[name]:.5f} ({after[name] - before[name]:+z.5f})"
        for name in before
    )
    return [*said, f"validation rows: {', '.join(changes)}"]


def validation_metrics(model: ZooModule, data: ZooDataModule) -> Mapping[str, float]:
    """AUC and logloss of the validation rows, and of ranked lists what these are measured by."""
    clicks, ranking = ClickMetrics(), RankingMetrics()
    with torch.inference_mode():
        for batch in data.val_dataloader():
            logits = model(batch)
            clicks.update(logits, batch.label, batch.weight, batch.group)
            if batch.query is not None:
                ranking.update(logits, batch.label, batch.query)
    found = clicks.compute() | (ranking.compute() if ranking.update_called else {})
    return {name: float(value) for name, value in found.items()}
