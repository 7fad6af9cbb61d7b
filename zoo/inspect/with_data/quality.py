"""How well a model predicts some rows, and how its probabilities agree with what happens.

Shapes: R scored labels of a split (rows, or tracks of sessions), H experts, C fields.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from zoo.data.errors import ZooError
from zoo.inspect.page import Figure, Section
from zoo.inspect.table import TextTable, text_table
from zoo.models.base import ZooModule
from zoo.models.measures import click_metrics

BINS = 10  # of the calibration, of equal numbers of rows


@dataclass(frozen=True)
class Quality:
    """The quality of the predictions of some rows.

    Attributes:
        name: Name of the rows.
        rows: Number of rows.
        predicted: Mean probability.
        observed: Share of positives.
        auc: AUC; None where there is a single class.
        logloss: Mean cross-entropy.
        attribution: Mean attribution of each expert, by name.
    """

    name: str
    rows: int
    predicted: float
    observed: float
    auc: float | None
    logloss: float
    attribution: dict[str, float]

    @property
    def gap(self) -> float:
        """Predicted less observed, in standard errors of a share of so many rows."""
        error = math.sqrt(self.predicted * (1 - self.predicted) / self.rows)
        return (self.predicted - self.observed) / max(error, 1e-12)


@dataclass(frozen=True)
class Scored:
    """The scored labels of a split.

    Attributes:
        logits: [R] logits.
        labels: [R] labels.
        attribution: [R, H] attribution to each expert.
        ids: [R, C] ids of some fields.
        experts: Names of the experts.
    """

    logits: Tensor
    labels: Tensor
    attribution: Tensor
    ids: Tensor
    experts: tuple[str, ...]

    def quality(self, name: str, chosen: Tensor | slice) -> Quality:
        """The quality of some rows."""
        logits, labels = self.logits[chosen], self.labels[chosen]
        # not the metric, which waits for the other processes of a fit
        found = {key: float(value) for key, value in click_metrics(logits, labels).items()}
        mean = self.attribution[chosen].double().mean(0).tolist()
        return Quality(
            name,
            len(labels),
            float(logits.double().sigmoid().mean()),
            float(labels.double().mean()),
            None if math.isnan(found["auc"]) else found["auc"],
            found["logloss"],
            dict(zip(self.experts, mean, strict=True)),
        )

    def calibration(self) -> tuple[Quality, ...]:
        """The quality of rows of rising probability, in bins of equal size."""
        bins = self.logits.argsort(stable=True).tensor_split(BINS)
        return tuple(self.quality(str(i), rows) for i, rows in enumerate(bins, 1) if len(rows))


@torch.no_grad()
def score_rows(model: ZooModule, batches: Iterable[Any], fields: Sequence[str]) -> Scored:
    """Scores all labels of some batches.

    Args:
        model: A model in evaluation.
        batches: Batches of its schema.
        fields: Names of the categorical fields whose ids are kept.

    Raises:
        ZooError: where no row has a label.
    """
    parts: list[tuple[Tensor, Tensor, Tensor, Tensor]] = []
    for batch in batches:
        logits, attribution = model.explain(batch)
        scored = batch.labelled
        label = batch.label[scored]
        ids = label.new_zeros(len(label), 0)
        if fields:
            inputs = batch.inputs(model.schema)
            ids = torch.stack([inputs[field][scored] for field in fields], 1)
        parts.append((logits[scored].float(), label, attribution[scored], ids))
    if not sum(len(label) for _, label, _, _ in parts):
        raise ZooError("the split holds no labelled rows")
    logits, labels, attribution, ids = (torch.cat(column) for column in zip(*parts, strict=True))
    return Scored(logits, labels, attribution, ids, model.experts)


def sections(split: str, overall: Quality, calibration: Sequence[Quality]) -> Iterator[Section]:
    """The quality on a split, and the calibration.

    Args:
        split: Name of the split.
        overall: Quality of all rows.
        calibration: Quality of rows of rising probability.
    """
    title = f"quality on the {split} rows"
    yield Section("quality", [quality_table(title, "rows", [overall])])
    title = "calibration: rows of rising probability, where predicted should equal observed"
    reading = (
        "Each point is a tenth of the rows: below the dashed line the model predicts more "
        "positives than there are, above it fewer."
    )
    figure = Figure(lambda: _draw(calibration), reading)
    yield Section("calibration", [figure, quality_table(title, "bin", calibration)])


def quality_table(title: str, name: str, rows: Sequence[Quality]) -> TextTable:
    """A line for each of some rows."""
    columns = (name, "number", "predicted", "observed", "AUC", "logloss")
    return text_table(title, columns, map(_cells, rows))


def _cells(row: Quality) -> tuple[Any, ...]:
    numbers = (row.predicted, row.observed, row.auc, row.logloss)
    return row.name, row.rows, *("-" if value is None else f"{value:.4f}" for value in numbers)


def _draw(bins: Sequence[Quality]) -> Any:
    from zoo.inspect import plots

    predicted, observed = [b.predicted for b in bins], [b.observed for b in bins]
    plot = plots.diagonal(zip(predicted, observed, strict=True))
    style = {"mode": "lines+markers", "marker_color": plots.BLUE}
    plot.add_scatter(x=predicted, y=observed, name="model", **style)
    return plot
