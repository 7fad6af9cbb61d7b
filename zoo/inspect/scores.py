"""How well a checkpoint predicts a split: overall, by probability, by the values of a field.

Shapes: R scored labels of a split (rows, or known tracks of sessions), H experts.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import LightningDataModule, LightningModule
from rich.console import Group
from rich.jupyter import JupyterMixin
from torch import Tensor

import zoo
from zoo.data.encoder import value_names
from zoo.data.errors import ZooError
from zoo.experts.mixture import AttributionMetrics
from zoo.experts.module import MixtureModule
from zoo.inspect.data import batches_of, columns_of, encoder_of
from zoo.inspect.explain import Explanation, explain
from zoo.inspect.facts import EXPLAINED, Inspection
from zoo.inspect.sample import known
from zoo.inspect.units import Layer, layers, watched
from zoo.models.metrics import ClickMetrics

BINS = 10  # of the calibration, of equal numbers of rows
SLICES = 10  # values of a field, the most frequent ones
UNHEARD = 0.01  # an expert whose attribution never exceeds this says nothing


@dataclass(frozen=True)
class Quality:
    """Of some rows.

    Attributes:
        name: of the rows.
        rows: their number.
        predicted: mean probability.
        observed: share of positives.
        auc: None where there is a single class.
        logloss: mean cross-entropy.
        attribution: mean of each expert's, by name.
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
class ExpertShare:
    """What an expert of a mixture has to say.

    Attributes:
        name: of its subset.
        mean: of its attribution over the rows.
        max: of its attribution.
        largest: share of rows in which it has most to say.
    """

    name: str
    mean: float
    max: float
    largest: float


@dataclass(frozen=True)
class Scores(JupyterMixin):
    """The quality of a model on a split; in a notebook and in `rich.print` it shows as tables.

    Attributes:
        split: its name.
        overall: all rows.
        calibration: rows of rising probability, in bins of equal size.
        by: the one field that was asked for.
        slices: the most frequent values of that field, or of every categorical field.
        experts: of a mixture.
        layers: with ReLU.
        explanation: of a sample of the rows.
        not_finite: number of predictions that are NaN or infinite.
    """

    split: str
    overall: Quality
    calibration: tuple[Quality, ...]
    by: str | None
    slices: dict[str, tuple[Quality, ...]]
    experts: tuple[ExpertShare, ...]
    layers: tuple[Layer, ...] = ()
    explanation: Explanation | None = None
    not_finite: int = 0

    @property
    def warnings(self) -> tuple[str, ...]:
        """What to be wary of, each in one sentence."""
        dead = (
            f"{layer.dead:,} of {layer.units:,} units of {layer.name} are dead: zero on every row"
            for layer in self.layers
            if layer.dead
        )
        unheard = (
            f"expert {expert.name} is never heard: its attribution is at most {expert.max:.4f}"
            for expert in self.experts
            if expert.max <= UNHEARD
        )
        broken = f"{self.not_finite:,} of {self.overall.rows:,} predictions are NaN or infinite"
        return (*([broken] if self.not_finite else []), *unheard, *dead)

    def to_dict(self) -> dict[str, Any]:
        """As plain data."""
        return {**asdict(self), "warnings": self.warnings}

    def __rich__(self) -> Group:
        from zoo.inspect.tables import scores

        return scores(self)


@dataclass(frozen=True)
class Scored:
    """The scored labels: logits [R], labels [R], attribution [R, H], ids [R, fields]."""

    logits: Tensor
    labels: Tensor
    attribution: Tensor
    ids: Tensor
    experts: tuple[str, ...]

    def quality(self, name: str, chosen: Tensor | slice) -> Quality:
        """Of some rows."""
        logits, labels = self.logits[chosen], self.labels[chosen]
        metrics = ClickMetrics()
        metrics.update(logits, labels)
        found = {key: float(value) for key, value in metrics.compute().items()}
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


def score(
    found: Inspection,
    data: LightningDataModule,
    split: str = "val",
    by: str | None = None,
    sample: int = EXPLAINED,
) -> Scores:
    """Scores a split of the data with an inspected checkpoint, on the CPU.

    Args:
        found: the checkpoint's inspection.
        data: of the checkpoint's schema.
        split: `val`, `test`, or `predict`: the labelled rows of the data's `predict_path`.
        by: categorical field whose values are scored one by one; None scores those of all.
        sample: rows to explain at most; 0 explains none.

    Raises:
        ZooError: where the checkpoint is another project's, its schema is not that of the data,
            or `by` is not a categorical field.
    """
    model = model_of(found)
    loader = batches_of(data, split)
    difference = found.schema.difference(data.schema)
    if difference:
        same = [f.name for f in found.schema.fields] == [f.name for f in data.schema.fields]
        hint = "; --split predict --data.predict_path FILE encodes other rows as its run did"
        raise ZooError(
            f"{found.file} was trained on another schema than these data: "
            f"{difference}{hint if same else ''}"
        )
    columns = columns_of(data.schema, by)
    encoder = encoder_of(found.run, data)
    with watched(model) as fired:
        scored = score_rows(model, loader, [*columns.values()])
    bins = scored.logits.argsort(stable=True).tensor_split(BINS)
    return Scores(
        split,
        scored.quality("all", slice(None)),
        tuple(scored.quality(str(i), rows) for i, rows in enumerate(bins, 1) if len(rows)),
        by,
        _slices(scored, [*columns], encoder),
        tuple(_shares(scored)),
        tuple(layers(fired, scored.experts)),
        explain(model, loader, sample, encoder),
        int((~scored.logits.isfinite()).sum()),
    )


def model_of(found: Inspection) -> LightningModule:
    """The model of a checkpoint, on the CPU.

    Raises:
        ZooError: where it is another project's.
    """
    if found.architecture is None:
        raise ZooError(f"{found.file} holds no model of this project: it cannot be scored")
    model_class = getattr(zoo, found.architecture.model)
    model = model_class.load_from_checkpoint(found.file, map_location="cpu", weights_only=True)
    return model.eval()


@torch.no_grad()
def score_rows(model: LightningModule, loader: Iterable[Any], columns: Sequence[int]) -> Scored:
    """Scores all labels of some batches, and keeps the ids in some of their columns."""
    mixture = isinstance(model, MixtureModule)
    parts: list[tuple[Tensor, Tensor, Tensor, Tensor]] = []
    for batch in loader:
        logits, attribution = model.explain(batch) if mixture else (model(batch), None)
        mine = known(model, batch)
        label = batch.label[mine]
        said = label.new_zeros(len(label), 0) if attribution is None else attribution[mine]
        ids = batch.categorical[mine][:, columns] if columns else label.new_zeros(len(label), 0)
        parts.append((logits[mine].float(), label, said, ids))
    if not sum(len(label) for _, label, _, _ in parts):
        raise ZooError("the split holds no labelled rows")
    joined = (torch.cat(columns) for columns in zip(*parts, strict=True))
    return Scored(*joined, model.lattice.names if mixture else ())


def _slices(
    scored: Scored, fields: Sequence[str], encoder: Path | None
) -> dict[str, tuple[Quality, ...]]:
    """The most frequent values of fields, whose ids are the columns of `scored.ids`."""
    largest = {}
    for field, ids in zip(fields, scored.ids.unbind(1), strict=True):
        counts = ids.bincount()
        top = counts.argsort(descending=True, stable=True)[:SLICES]
        largest[field] = top[counts[top] > 0].tolist()
    names = value_names(encoder, largest)
    return {
        field: tuple(
            scored.quality(names[field].get(i, f"id {i}"), ids == i) for i in largest[field]
        )
        for field, ids in zip(fields, scored.ids.unbind(1), strict=True)
    }


def _shares(scored: Scored) -> list[ExpertShare]:
    if not scored.experts:
        return []
    metrics = AttributionMetrics(len(scored.experts))
    metrics.update(scored.attribution)
    found = metrics.compute()
    columns = (found["mean"], scored.attribution.amax(0), found["largest"])
    return list(map(ExpertShare, scored.experts, *(column.tolist() for column in columns)))
