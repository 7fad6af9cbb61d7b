"""How much a model's predictions lose where the values of a field are shuffled.

Breiman, *Random Forests*, Machine Learning 2001, section 10.

Shapes: B rows or sessions, R scored labels of them, E events.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from pytorch_lightning import LightningModule
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from zoo.data.batch import SessionBatch
from zoo.data.schema import Field, Schema
from zoo.inspect.sample import SEED, Rows, known, predict
from zoo.models.metrics import ClickMetrics


@dataclass(frozen=True)
class Importance:
    """Of a field.

    Attributes:
        field: its name.
        auc: by how much the AUC falls; None where there is a single class.
        logloss: by how much the logloss rises.
        error: standard error of the latter, over the rows.
    """

    field: str
    auc: float | None
    logloss: float
    error: float


def importance(model: LightningModule, batch: Rows) -> list[Importance]:
    """The permutation importance of each field of a model, the largest first.

    The values of the field are shuffled among the rows, all else stays; of sessions, among the
    events of the first parts, and among the tracks of the second. The order is the same for all
    fields. A cross is a field like any other: it keeps its values where those of a member are
    shuffled.

    Args:
        model: in evaluation.
        batch: rows.
    """
    scored = known(model, batch)
    labels = batch.label[scored]
    auc, losses = _measure(predict(model, batch)[0][scored], labels)
    found = []
    for field in model.schema.fields:
        logits = predict(model, shuffled(batch, model.schema, field))[0][scored]
        worse, risen = _measure(logits, labels)
        rise = risen - losses
        error = float(rise.std(correction=0)) / math.sqrt(len(rise))
        fall = None if math.isnan(auc) else auc - worse
        found.append(Importance(field.name, fall, float(rise.mean()), error))
    return sorted(found, key=lambda item: -item.logloss)


def _measure(logits: Tensor, labels: Tensor) -> tuple[float, Tensor]:
    """The AUC, and [R] the cross-entropy of each row."""
    metrics = ClickMetrics()
    metrics.update(logits, labels)
    losses = binary_cross_entropy_with_logits(logits.double(), labels.double(), reduction="none")
    return float(metrics.compute()["auc"]), losses


def shuffled(batch: Rows, schema: Schema, field: Field) -> Rows:
    """The rows with the values of one field in another order."""
    if isinstance(batch, SessionBatch):
        return batch._replace(**dict(_shuffled_session(batch, schema, field)))
    part = field.kind
    column = getattr(schema, part).index(field)
    values = getattr(batch, part).clone()
    values[:, column] = values[_order(len(values)), column]
    return batch._replace(**{part: values})


def _shuffled_session(
    batch: SessionBatch, schema: Schema, field: Field
) -> Iterator[tuple[str, Tensor]]:
    """The parts of a session that hold a field [B, T, N], with its E values in another order."""
    for part, fields in (("past", schema.numerical), ("future", schema.future)):
        if field in fields:
            values, mask = getattr(batch, part).clone(), getattr(batch, f"{part}_mask")
            column = values[..., fields.index(field)]  # a view
            events = column[mask]
            column[mask] = events[_order(len(events))]
            yield part, values


def _order(count: int) -> Tensor:
    return torch.randperm(count, generator=torch.Generator().manual_seed(SEED))
