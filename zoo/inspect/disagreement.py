"""Where the predictions of two checkpoints differ, on the same rows.

Shapes: R scored labels of a split (rows, or known tracks of sessions), F fields.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import LightningDataModule, LightningModule
from rich.console import Group
from rich.jupyter import JupyterMixin
from torch import Tensor

from zoo.data.batch import SessionBatch
from zoo.data.encoder import value_names
from zoo.data.errors import ZooError
from zoo.data.schema import CROSS, Schema
from zoo.inspect.data import batches_of, columns_of, encoder_of
from zoo.inspect.facts import Inspection
from zoo.inspect.sample import known
from zoo.inspect.scores import Quality, model_of, score_rows

SHARE = 0.01  # of all rows, which a slice has at least
SLICES, ROWS = 15, 5  # that are told


@dataclass(frozen=True)
class SliceDifference:
    """The rows in which a field has a value.

    Attributes:
        field: its name.
        value: of the field.
        rows: their number.
        observed: share of positives.
        first: mean probability of the first model.
        second: of the second.
    """

    field: str
    value: str
    rows: int
    observed: float
    first: float
    second: float


@dataclass(frozen=True)
class RowDifference:
    """A row.

    Attributes:
        row: its place among the scored labels of the split, from 0.
        label: 0 or 1.
        first: probability of the first model.
        second: of the second.
        inputs: by field, as the models see numbers; of sessions, those of the track.
    """

    row: int
    label: float
    first: float
    second: float
    inputs: dict[str, str]


@dataclass(frozen=True)
class Disagreement(JupyterMixin):
    """How the predictions of two checkpoints differ; shows as tables, as `Scores` do.

    Attributes:
        split: its name.
        first: quality of the first model.
        second: of the second.
        correlation: of their probabilities; None where one of them is constant.
        difference: mean absolute difference of the probabilities.
        largest: absolute difference.
        slices: values of fields with the largest difference of their mean probabilities.
        rows: with the largest difference.
    """

    split: str
    first: Quality
    second: Quality
    correlation: float | None
    difference: float
    largest: float
    slices: tuple[SliceDifference, ...]
    rows: tuple[RowDifference, ...]

    def to_dict(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self)

    def __rich__(self) -> Group:
        from zoo.inspect.tables import disagreement

        return disagreement(self)


def disagree(
    first: Inspection,
    second: Inspection,
    data: LightningDataModule,
    split: str = "val",
    by: str | None = None,
) -> Disagreement:
    """Scores a split of the data with two inspected checkpoints, on the CPU.

    Args:
        first: the one checkpoint's inspection.
        second: the other's.
        data: of the schema of one of them; a checkpoint that lacks some of its fields, such as
            the crosses, is scored with the others.
        split: `val`, `test` or `predict`.
        by: categorical field whose values alone are compared.

    Raises:
        ZooError: where a checkpoint is another project's, or has a field that the data lack.
    """
    sides = (first, second)
    models = [model_of(side) for side in sides]
    loader = batches_of(data, split)
    views = [_view(side, data.schema) for side in sides]
    columns = columns_of(data.schema, by)
    one, two = (
        score_rows(model, map(view, loader), ()) for model, view in zip(models, views, strict=True)
    )
    p = torch.stack([side.logits.double().sigmoid() for side in (one, two)])
    apart = (p[1] - p[0]).abs()
    correlation = float(torch.corrcoef(p)[0, 1]) if p.shape[1] > 1 else math.nan
    top = apart.argsort(descending=True, stable=True)[:ROWS].tolist()
    # the run with most fields names most values
    encoder = encoder_of(max(sides, key=lambda side: len(side.schema.fields)).run, data)
    return Disagreement(
        split,
        one.quality("A", slice(None)),
        two.quality("B", slice(None)),
        None if math.isnan(correlation) else correlation,
        float(apart.mean()),
        float(apart.max()),
        tuple(_slices(p, one.labels, _ids(models[0], loader, columns), encoder)),
        tuple(_rows(p, one.labels, _inputs(models[0], loader, data.schema, top), encoder)),
    )


def _view(found: Inspection, schema: Schema) -> Callable[[Any], Any]:
    """Makes of a batch of the schema one of the checkpoint's fields."""
    mine = found.schema
    lacking = [field for field in mine.fields if field not in schema.fields]
    if lacking:
        hint = "; a config with its crosses, such as that of its own run, scores both"
        raise ZooError(
            f"{found.file} was trained on another schema than these data: "
            f"{mine.difference(schema)}{hint if all(f.group == CROSS for f in lacking) else ''}"
        )
    numerical = [schema.numerical.index(field) for field in mine.numerical]
    categorical = [schema.categorical.index(field) for field in mine.categorical]
    future = [schema.future.index(field) for field in mine.future]

    def view(batch: Any) -> Any:
        if isinstance(batch, SessionBatch):
            past, coming = batch.past[..., numerical], batch.future[..., future]
            return batch._replace(past=past, future=coming)
        columns = batch.numerical[:, numerical], batch.categorical[:, categorical]
        return batch._replace(numerical=columns[0], categorical=columns[1])

    return view


def _slices(
    p: Tensor, labels: Tensor, ids: Mapping[str, Tensor], encoder: Path | None
) -> Iterator[SliceDifference]:
    """The values of fields with the largest difference of the mean probabilities p [2, R]."""
    found = []
    for field, column in ids.items():
        counts = column.bincount()
        means = column.bincount(weights=p[1] - p[0]) / counts
        enough = (counts >= SHARE * len(column)).nonzero().flatten().tolist()
        found += [(abs(float(means[i])), field, i) for i in enough]
    found = sorted(found, key=lambda item: -item[0])[:SLICES]
    names = value_names(encoder, _grouped((field, i) for _, field, i in found))
    for _, field, i in found:
        rows = ids[field] == i
        share, first, second = (float(x[rows].double().mean()) for x in (labels, *p))
        name = names[field].get(i, f"id {i}")
        yield SliceDifference(field, name, int(rows.sum()), share, first, second)


def _rows(
    p: Tensor, labels: Tensor, inputs: Mapping[int, Mapping[str, Tensor]], encoder: Path | None
) -> Iterator[RowDifference]:
    """Some rows, given by their fields."""
    values = [item for row in inputs.values() for item in row.items()]
    names = value_names(
        encoder, _grouped((f, int(x)) for f, x in values if not x.is_floating_point())
    )
    for i, row in inputs.items():
        told = {
            field: f"{x:.4g}" if x.is_floating_point() else names[field].get(int(x), f"id {x}")
            for field, x in row.items()
        }
        yield RowDifference(i, float(labels[i]), *p[:, i].tolist(), told)


def _grouped(pairs: Iterable[tuple[str, int]]) -> dict[str, set[int]]:
    """The ids of each field."""
    found: dict[str, set[int]] = {}
    for field, i in pairs:
        found.setdefault(field, set()).add(i)
    return found


def _ids(
    model: LightningModule, loader: Iterable[Any], columns: Mapping[str, int]
) -> dict[str, Tensor]:
    """[R] the ids of each field."""
    if not columns:
        return {}
    every = torch.cat([batch.categorical[known(model, batch)] for batch in loader])
    return {field: every[:, i] for field, i in columns.items()}


def _inputs(
    model: LightningModule, loader: Iterable[Any], schema: Schema, rows: Sequence[int]
) -> dict[int, dict[str, Tensor]]:
    """The fields of some of the R labels, by field."""
    found, start = {}, 0
    for batch in loader:
        mine = known(model, batch)
        if isinstance(batch, SessionBatch):
            columns = ((schema.future, batch.future[mine]),)
        else:
            columns = (
                (schema.numerical, batch.numerical[mine]),
                (schema.categorical, batch.categorical[mine]),
            )
        stop = start + int(mine.sum())
        for row in (row for row in rows if start <= row < stop):
            found[row] = {
                field.name: value
                for fields, values in columns
                for field, value in zip(fields, values[row - start], strict=True)
            }
        start = stop
    return {row: found[row] for row in rows}
