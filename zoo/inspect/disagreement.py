"""Where the predictions of two checkpoints differ, on the same rows."""

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import torch

from zoo.data.errors import ZooError
from zoo.data.module import ZooDataModule
from zoo.data.schema import CROSS, Schema
from zoo.inspect.inspection import Inspection
from zoo.inspect.page import Section
from zoo.inspect.scores import check_ids, model_of
from zoo.inspect.shown import Shown
from zoo.inspect.table import TextTable, text_table
from zoo.inspect.with_data import row_differences, slice_differences
from zoo.inspect.with_data.quality import Quality, quality_table, score_rows
from zoo.inspect.with_data.row_differences import RowDifference
from zoo.inspect.with_data.slice_differences import SliceDifference
from zoo.inspect.with_data.source import batches_of, categorical_fields, encoder_of


@dataclass(frozen=True)
class Disagreement(Shown):
    """How the predictions of two checkpoints differ; shows as tables, as `Scores` do.

    Attributes:
        split: Name of the split.
        first: Quality of the first model.
        second: Quality of the second model.
        correlation: Correlation of their probabilities; None where one of them is constant.
        difference: Mean absolute difference of the probabilities.
        largest: Largest absolute difference.
        slices: Values of fields with the largest difference of their mean probabilities.
        rows: Rows with the largest difference.
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

    def sections(self) -> Iterator[Section]:
        """The quality of both, and the values and the rows in which they differ most."""
        yield Section("quality", [*self._quality()])
        yield from slice_differences.sections(self.slices)
        yield from row_differences.sections(self.rows)

    def _quality(self) -> Iterator[TextTable]:
        title = f"quality on the {self.split} rows"
        yield quality_table(title, "", [self.first, self.second])
        shown = {
            "correlation": self.correlation,
            "mean absolute difference": self.difference,
            "largest difference": self.largest,
        }
        yield text_table("probabilities of A and B", ("", "value"), shown.items())


def disagree(
    first: Inspection,
    second: Inspection,
    data: ZooDataModule,
    split: str = "val",
    by: str | None = None,
) -> Disagreement:
    """Scores a split of the data with two inspected checkpoints, on the CPU.

    Args:
        first: The one checkpoint's inspection.
        second: The other's.
        data: Data of the schema of one of them; a checkpoint without some of its fields, such as
            the crosses, is scored with the others.
        split: `val`, `test` or `predict`.
        by: Categorical field whose values alone are compared.

    Raises:
        ZooError: where a checkpoint is another project's, has a field that the data do not have,
            or the data have no such split.
    """
    sides = (first, second)
    models = [model_of(side) for side in sides]
    batches = batches_of(data, split)
    schema = data.schema
    for side in sides:
        _check_schema(side, schema)
        check_ids(side, data)
    fields = categorical_fields(schema, by)
    one, two = (
        score_rows(model, map(partial(_view, schema, model.schema), batches), ())
        for model in models
    )
    p = torch.stack([side.logits.double().sigmoid() for side in (one, two)])
    apart = (p[1] - p[0]).abs()
    correlation = float(torch.corrcoef(p)[0, 1]) if p.shape[1] > 1 else math.nan
    # the run with most fields names most values
    encoder = encoder_of(max(sides, key=lambda side: len(side.fields)).run, data)
    ids = slice_differences.ids_by_field(batches, schema, fields)
    return Disagreement(
        split,
        one.quality("A", slice(None)),
        two.quality("B", slice(None)),
        None if math.isnan(correlation) else correlation,
        float(apart.mean()),
        float(apart.max()),
        tuple(slice_differences.slice_differences(p, one.labels, ids, encoder)),
        tuple(row_differences.row_differences(p, one.labels, batches, schema, encoder)),
    )


def _check_schema(found: Inspection, schema: Schema) -> None:
    mine = found.schema
    absent = [field for field in mine.fields if field not in schema.fields] if mine else []
    if mine and absent:
        hint = "; a config with its crosses, such as that of its own run, scores both"
        raise ZooError(
            f"{found.file} was trained on another schema than these data: "
            f"{mine.difference(schema)}{hint if all(f.group == CROSS for f in absent) else ''}"
        )


def _view(schema: Schema, wanted: Schema, batch: Any) -> Any:
    return batch.view(schema, wanted)
