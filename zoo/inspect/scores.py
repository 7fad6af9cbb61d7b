"""How well a checkpoint predicts a split: overall, by probability, by the values of a field.

Shapes: R scored labels of a split (rows, or known tracks of sessions), H experts.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from pytorch_lightning import LightningDataModule, LightningModule
from rich.console import Group
from rich.jupyter import JupyterMixin
from torch import Tensor

from zoo.experts.mixture import AttributionMetrics
from zoo.experts.module import MixtureModule
from zoo.inspect.architecture import models
from zoo.inspect.explain import Explanation, explain
from zoo.inspect.facts import Inspection
from zoo.inspect.vocabulary import names as value_names
from zoo.metrics import ClickMetrics
from zoo.parser import ZooParser
from zoo.schema import ZooError
from zoo.sessions import SessionModule

BINS = 10  # of the calibration, of equal numbers of rows
SLICES = 10  # values of a field, the most frequent ones
UNHEARD = 0.01  # an expert whose attribution never exceeds this says nothing
EXPLAINED = 4000  # rows of a split on which the importance of fields is computed


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
        by: the field whose values the slices are.
        slices: its most frequent values.
        experts: of a mixture.
        explanation: of a sample of the rows.
    """

    split: str
    overall: Quality
    calibration: tuple[Quality, ...]
    by: str | None
    slices: tuple[Quality, ...]
    experts: tuple[ExpertShare, ...]
    explanation: Explanation | None = None

    @property
    def warnings(self) -> tuple[str, ...]:
        """What to be wary of, each in one sentence."""
        return tuple(
            f"expert {expert.name} is never heard: its attribution is at most {expert.max:.4f}"
            for expert in self.experts
            if expert.max <= UNHEARD
        )

    def to_dict(self) -> dict[str, Any]:
        """As plain data."""
        return {**asdict(self), "warnings": self.warnings}

    def __rich__(self) -> Group:
        from zoo.inspect.tables import scores

        return scores(self)


@dataclass(frozen=True)
class _Scored:
    """The scored labels: logits [R], labels [R], attribution [R, H], ids [R] of one field."""

    logits: Tensor
    labels: Tensor
    attribution: Tensor
    ids: Tensor
    experts: tuple[str, ...]

    def quality(self, name: str, chosen: Tensor | slice) -> Quality:
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
        split: `val` or `test`.
        by: categorical field whose values are scored one by one.
        sample: rows to explain at most; 0 explains none.

    Raises:
        ZooError: where the checkpoint is another project's, its schema is not that of the data,
            or `by` is not a categorical field.
    """
    if found.architecture is None:
        raise ZooError(f"{found.file} holds no model of this project: it cannot be scored")
    data.prepare_data()
    difference = found.schema.difference(data.schema)
    if difference:
        raise ZooError(f"{found.file} was trained on another schema than these data: {difference}")
    names = [field.name for field in found.schema.categorical]
    if by is not None and by not in names:
        raise ZooError(f"by: {by!r} is not a categorical field; these are {', '.join(names)}")
    data.setup("test" if split == "test" else "validate")
    loader = data.test_dataloader() if split == "test" else data.val_dataloader()
    model_class = models()[found.architecture.model]
    model = model_class.load_from_checkpoint(found.file, map_location="cpu", weights_only=True)
    scored = _score(model.eval(), loader, None if by is None else names.index(by))
    bins = scored.logits.argsort(stable=True).tensor_split(BINS)
    return Scores(
        split,
        scored.quality("all", slice(None)),
        tuple(scored.quality(str(i), rows) for i, rows in enumerate(bins, 1) if len(rows)),
        by,
        () if by is None else tuple(_slices(scored, value_names(found.run, {by: None})[by])),
        tuple(_shares(scored)),
        explain(model, loader, sample, found.run),
    )


@torch.no_grad()
def _score(model: LightningModule, loader: Any, column: int | None) -> _Scored:
    mixture = isinstance(model, MixtureModule)
    parts: list[tuple[Tensor, Tensor, Tensor, Tensor]] = []
    for batch in loader:
        logits, attribution = model.explain(batch) if mixture else (model(batch), None)
        known = model.known(batch) if isinstance(model, SessionModule) else ~batch.label.isnan()
        label = batch.label[known]
        said = label.new_zeros(len(label), 0) if attribution is None else attribution[known]
        ids = label.new_zeros(0) if column is None else batch.categorical[known, column]
        parts.append((logits[known].float(), label, said, ids))
    if not sum(len(label) for _, label, _, _ in parts):
        raise ZooError("the split holds no labelled rows")
    joined = (torch.cat(columns) for columns in zip(*parts, strict=True))
    return _Scored(*joined, model.lattice.names if mixture else ())


def _slices(scored: _Scored, names: Mapping[int, str]) -> list[Quality]:
    ids, counts = scored.ids.unique(return_counts=True)
    largest = ids[counts.argsort(descending=True, stable=True)[:SLICES]].tolist()
    return [scored.quality(names.get(i, f"id {i}"), scored.ids == i) for i in largest]


def _shares(scored: _Scored) -> list[ExpertShare]:
    if not scored.experts:
        return []
    metrics = AttributionMetrics(len(scored.experts))
    metrics.update(scored.attribution)
    found = metrics.compute()
    columns = (found["mean"], scored.attribution.amax(0), found["largest"])
    return list(map(ExpertShare, scored.experts, *(column.tolist() for column in columns)))


def data_of(config: Path) -> LightningDataModule:
    """The datamodule of a config file, such as a run's `config.yaml`.

    Raises:
        ZooError: where the file has no section `data`, or cannot be read.
    """
    try:
        content = yaml.safe_load(config.read_text())
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise ZooError(f"{config} cannot be read: {error}".splitlines()[0]) from error
    if not isinstance(content, dict) or "data" not in content:
        raise ZooError(f"{config} has no section data")
    parser = ZooParser(prog="train.py inspect", parser_mode="omegaconf")
    parser.add_subclass_arguments(LightningDataModule, "data", required=True)
    options = parser.parse_object({"data": content["data"]})
    return parser.instantiate_classes(options).data
