"""How well a model predicts some rows, and how its probabilities agree with what happens.

Shapes: R scored labels of a split (rows, or tracks of sessions), H experts, C fields.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from zoo.data.errors import ZooError
from zoo.inspect.chapters import QUALITY
from zoo.inspect.page import Figure, Section
from zoo.inspect.runs.delong import areas
from zoo.inspect.table import TextTable, text_table
from zoo.models.base import ZooModule
from zoo.models.expert_losses import expert_sums
from zoo.models.measures import click_metrics, cross_entropy, grouped_area, weighted_mean

BINS = 10  # of the calibration, of equal numbers of rows


@dataclass(frozen=True)
class Quality:
    """The quality of the predictions of some rows, by their weights where they have such.

    Attributes:
        name: Name of the rows.
        rows: Number of rows.
        predicted: Mean probability.
        observed: Share of positives.
        auc: AUC; None where there is a single class.
        logloss: Mean cross-entropy.
        attribution: Mean attribution of each expert, by name; not weighted.
        effective: Number of rows of equal weight whose mean is as certain, (sum w)^2 / sum w^2
            (Kish, Survey Sampling, 1965); None where all weigh alike.
        gauc: Mean AUC of groups, of all rows of data with such; None where none has both classes.
        auc_error: Standard error of the AUC, of all rows alone; tracks of a session are no
            independent rows.
        logloss_error: Standard error of the logloss, of all rows alone, as above.
    """

    name: str
    rows: int
    predicted: float
    observed: float
    auc: float | None
    logloss: float
    attribution: dict[str, float]
    effective: float | None = None
    gauc: float | None = None
    auc_error: float | None = None
    logloss_error: float | None = None

    @property
    def gap(self) -> float:
        """Predicted less observed, in standard errors of a share of so many rows."""
        error = math.sqrt(self.predicted * (1 - self.predicted) / (self.effective or self.rows))
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
        weight: [R] weights, all more than zero; None weighs all alike.
        group: [R] number of each row's group; None has no groups.
        place: [R, 1] number of each row in the split, from 0; [R, 2] number of the session, and of
            the track in it.
        expert_logits: [R, H] logit of each expert alone; None where the model does not say them.
        expert_sums: What each expert loses in the rows of each other; see `expert_sums`.
    """

    logits: Tensor
    labels: Tensor
    attribution: Tensor
    ids: Tensor
    experts: tuple[str, ...]
    weight: Tensor | None = None
    group: Tensor | None = None
    place: Tensor | None = None
    expert_logits: Tensor | None = None
    expert_sums: Tensor | None = None

    def overall(self) -> Quality:
        """The quality of all rows, with standard errors, and within groups."""
        found = self.quality("all", slice(None))
        positive = self.labels > 0.5
        losses = cross_entropy(self.logits, self.labels)
        found = replace(
            found,
            auc_error=self._error_of_auc(positive),
            logloss_error=_known(error_of_mean(losses, self.weight, self.unit())),
        )
        if self.group is None:
            return found
        gauc = grouped_area(self.logits, positive, self.group, self.weight)
        return replace(found, gauc=_known(gauc))

    def unit(self) -> Tensor | None:
        """[R] number of the session of each track, from 0; None of rows, which stand alone."""
        if self.place is None or self.place.shape[1] < 2:
            return None
        return self.place[:, 0].unique(return_inverse=True)[1]

    def _error_of_auc(self, positive: Tensor) -> float | None:
        weight = None if self.weight is None else self.weight.numpy()
        unit = self.unit()
        unit = None if unit is None else unit.numpy()
        logits = self.logits.double().unsqueeze(0).numpy()
        _, covariance = areas(logits, positive.numpy(), weight, unit)
        return _known(torch.from_numpy(covariance)[0, 0].sqrt())

    def quality(self, name: str, chosen: Tensor | slice) -> Quality:
        """The quality of some rows."""
        logits, labels = self.logits[chosen], self.labels[chosen]
        weight = None if self.weight is None else self.weight[chosen].double()
        # not the metric, which waits for the other processes of a fit
        found = {key: float(value) for key, value in click_metrics(logits, labels, weight).items()}
        mean = self.attribution[chosen].double().mean(0).tolist()
        return Quality(
            name,
            len(labels),
            float(weighted_mean(logits.double().sigmoid(), weight)),
            float(weighted_mean(labels.double(), weight)),
            None if math.isnan(found["auc"]) else found["auc"],
            found["logloss"],
            dict(zip(self.experts, mean, strict=True)),
            None if weight is None else float(weight.sum() ** 2 / (weight**2).sum()),
        )

    def calibration(self) -> tuple[Quality, ...]:
        """The quality of rows of rising probability, in bins of equal size."""
        bins = self.logits.argsort(stable=True).tensor_split(BINS)
        return tuple(self.quality(str(i), rows) for i, rows in enumerate(bins, 1) if len(rows))


def _known(value: Tensor) -> float | None:
    return float(value) if value.isfinite() else None


def error_of_mean(values: Tensor, weight: Tensor | None, unit: Tensor | None) -> Tensor:
    """Standard error of the weighted mean of values [R], whose units [R] are independent."""
    weight = torch.ones_like(values) if weight is None else weight.to(values.dtype)
    apart = weight * (values - weighted_mean(values, weight))
    if unit is not None:
        apart = apart.new_zeros(int(unit.max()) + 1).index_add_(0, unit, apart)
    return (apart**2).sum().sqrt() / weight.sum()


@torch.no_grad()
def score_rows(model: ZooModule, batches: Iterable[Any], fields: Sequence[str]) -> Scored:
    """Scores all labels of some batches; rows of weight zero, which count for nothing, are left
    out.

    Args:
        model: A model in evaluation.
        batches: Batches of its schema.
        fields: Names of the categorical fields whose ids are kept.

    Raises:
        ZooError: where no row has a label (and a weight).
    """
    parts: list[tuple[Tensor | None, ...]] = []
    sums: Tensor | None = None
    start = 0
    for batch in batches:
        logits, attribution, alone = model.explain_experts(batch)
        scored = counting(batch)
        weight, group = (getattr(batch, part, None) for part in ("weight", "group"))
        label = batch.label[scored]
        ids = label.new_zeros(len(label), 0)
        if fields:
            inputs = batch.inputs(model.schema)
            ids = torch.stack([inputs[field][scored] for field in fields], 1)
        further = (part if part is None else part[scored] for part in (weight, group))
        place = scored.nonzero()
        place[:, 0] += start
        start += len(batch.label)
        of_experts = None
        if alone.shape == attribution.shape and model.experts:
            of_experts = alone[scored].float()
            further_sums = expert_sums(attribution, alone, batch.label, weight, scored)
            sums = further_sums if sums is None else sums + further_sums
        of_rows = (logits[scored].float(), label, attribution[scored], ids)
        parts.append((*of_rows, *further, place, of_experts))
    columns = [[part for part in column if part is not None] for column in zip(*parts, strict=True)]
    if not columns or not sum(map(len, columns[0])):
        raise ZooError("the split holds no labelled rows")
    logits, labels, attribution, ids = map(torch.cat, columns[:4])
    weight, group, place, alone = (torch.cat(part) if part else None for part in columns[4:])
    found = (logits, labels, attribution, ids, model.experts)
    return Scored(*found, weight, group, place, alone, sums)


def counting(batch: Any) -> Tensor:
    """bool, of the shape of the labels: those that are known, of rows that weigh something."""
    weight = getattr(batch, "weight", None)
    return batch.labelled if weight is None else batch.labelled & (weight > 0)


def sections(split: str, overall: Quality, calibration: Sequence[Quality]) -> Iterator[Section]:
    """The quality on a split, and the calibration.

    Args:
        split: Name of the split.
        overall: Quality of all rows.
        calibration: Quality of rows of rising probability.
    """
    title = f"quality on the {split} rows"
    yield Section("quality", [quality_table(title, "rows", [overall])], QUALITY)
    title = "calibration: rows of rising probability, where predicted should equal observed"
    reading = (
        "Each point is a tenth of the rows: below the dashed line the model predicts more "
        "positives than there are, above it fewer."
    )
    figure = Figure(lambda: _draw(calibration), reading)
    content = [figure, quality_table(title, "bin", calibration)]
    yield Section("calibration", content, QUALITY)


def quality_table(title: str, name: str, rows: Sequence[Quality]) -> TextTable:
    """A line for each of some rows."""
    columns = (name, "number", "predicted", "observed", "AUC", "logloss")
    grouped = any(row.gauc is not None for row in rows)
    columns = (*columns, "GAUC") if grouped else columns
    return text_table(title, columns, (_cells(row, grouped) for row in rows))


def _cells(row: Quality, grouped: bool) -> tuple[Any, ...]:
    numbers = (row.predicted, row.observed, row.auc, row.logloss, *([row.gauc] if grouped else []))
    return row.name, row.rows, *("-" if value is None else f"{value:.4f}" for value in numbers)


def _draw(bins: Sequence[Quality]) -> Any:
    from zoo.inspect import plots

    predicted, observed = [b.predicted for b in bins], [b.observed for b in bins]
    plot = plots.diagonal(zip(predicted, observed, strict=True))
    style = {"mode": "lines+markers", "marker_color": plots.BLUE}
    plot.add_scatter(x=predicted, y=observed, name="model", **style)
    return plot
