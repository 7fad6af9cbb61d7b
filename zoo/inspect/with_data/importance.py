"""How much a model's predictions lose where the values of a field are shuffled.

Breiman, *Random Forests*, Machine Learning 2001, section 10.

Shapes: R scored labels.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from zoo.data.batch import AnyBatch
from zoo.inspect.chapters import USES
from zoo.inspect.page import Figure, Section
from zoo.inspect.table import TextTable, text_table, titled
from zoo.inspect.with_data.sample import SEED, predict
from zoo.models.base import ZooModule
from zoo.models.measures import area_under_curve, cross_entropy, weighted_mean

FIELDS_SHOWN = 20


@dataclass(frozen=True)
class Importance:
    """The importance of a field.

    Attributes:
        field: Name of the field.
        auc: By how much the AUC falls; None where there is a single class.
        logloss: By how much the logloss rises.
        error: Standard error of the latter, over the rows.
    """

    field: str
    auc: float | None
    logloss: float
    error: float


def importance_of(model: ZooModule, batch: AnyBatch) -> list[Importance]:
    """The permutation importance of each field of a model, the largest first.

    The values of the field are shuffled among the rows, all else stays; of sessions, among the
    events of the first parts, and among the tracks of the second. The order is the same for all
    fields. A cross is a field like any other: it keeps its values where those of a member are
    shuffled.

    Args:
        model: A model in evaluation.
        batch: Rows of its schema.
    """
    scored, schema, weight = batch.labelled, model.schema, getattr(batch, "weight", None)
    if weight is not None:
        scored &= weight > 0
        weight = weight[scored].double()
    labels = batch.label[scored]
    auc, losses = _measure(predict(model, batch)[0][scored], labels, weight)
    found = []
    for field in schema.fields:
        logits = predict(model, batch.shuffled(schema, field, SEED))[0][scored]
        worse, risen = _measure(logits, labels, weight)
        fall = None if math.isnan(auc) else auc - worse
        found.append(Importance(field.name, fall, *_mean(risen - losses, weight)))
    return sorted(found, key=lambda item: -item.logloss)


def _measure(logits: Tensor, labels: Tensor, weight: Tensor | None = None) -> tuple[float, Tensor]:
    """The AUC, and [R] the cross-entropy of each row."""
    return float(area_under_curve(logits, labels > 0.5, weight)), cross_entropy(logits, labels)


def _mean(values: Tensor, weight: Tensor | None) -> tuple[float, float]:
    """The mean of values [R], weighted, and its standard error."""
    if weight is None:
        return float(values.mean()), float(values.std(correction=0)) / math.sqrt(len(values))
    mean, shares = weighted_mean(values, weight), weight / weight.sum()
    spread = weighted_mean((values - mean) ** 2, weight)
    return float(mean), float((spread * (shares**2).sum()).sqrt())


def sections(found: Sequence[Importance], rows: int) -> Iterator[Section]:
    """The importance of the first fields.

    Args:
        found: Importance of each field, the largest first.
        rows: Number of labels that it was measured on.
    """
    yield Section("importance", [figure(found), _table(found, rows)], USES)


def figure(found: Sequence[Importance]) -> Figure:
    """The importance of the first fields."""
    return Figure(
        lambda: _draw(found[:FIELDS_SHOWN]),
        "The longer a bar, the more the predictions lose where the values of the field are "
        "shuffled among the rows; a line is one standard error to each side.",
    )


def _auc(item: Importance) -> str:
    return "-" if item.auc is None else f"{-item.auc:+.5f}"


def _table(found: Sequence[Importance], rows: int) -> TextTable:
    cells = [
        (item.field, f"{item.logloss:+.5f}", f"{item.error:.5f}", _auc(item))
        for item in found[:FIELDS_SHOWN]
    ]
    title = f"importance: what changes where a field is shuffled among {rows:,} labels"
    title = titled(title, len(found), FIELDS_SHOWN)
    return text_table(title, ("field", "logloss", "+-", "AUC"), cells)


def _draw(found: Sequence[Importance]) -> Any:
    from zoo.inspect import plots

    plot = plots.bars(
        [item.field for item in found],
        [item.logloss for item in found],
        error_x={
            "type": "data",
            "array": [item.error for item in found],
            "color": plots.ORANGE,
        },
        customdata=[_auc(item) for item in found],
        hovertemplate="%{y}<br>logloss %{x:+.5f}<br>AUC %{customdata}<extra></extra>",
    )
    plot.update_xaxes(title="rise of the logloss")
    return plot
