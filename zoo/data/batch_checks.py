"""What a batch must be, and the messages where it is not."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from zoo.data.batch import Batch, SessionBatch
from zoo.data.errors import ZooError
from zoo.data.lists import Lists
from zoo.data.schema import Field, Schema


def check(batch: Any, schema: Schema) -> None:
    """Raises `ZooError` where a batch is not what its schema says."""
    if not isinstance(batch, Batch | SessionBatch):
        raise ZooError(
            f"a dataloader gives a {type(batch).__name__}: batches must be zoo.Batch, or "
            "zoo.SessionBatch of sessions"
        )
    rows = isinstance(batch, Batch)
    parts = ("numerical", "categorical") if rows else ("past", "future")
    first, second = schema.numerical, schema.categorical if rows else schema.future
    for part, fields in zip(parts, (first, second), strict=True):
        columns = getattr(batch, part).shape[-1]
        if columns != len(fields):
            raise ZooError(f"batch.{part} has {columns} columns, but the schema has {len(fields)}")
    if rows:
        _check_lists(batch.lists, schema)
        _check_weight(batch)
    if rows and batch.rows:
        _check_ids(batch.categorical, schema.categorical, "categorical")


def _check_lists(lists: Lists | None, schema: Schema) -> None:
    columns = lists.lengths.shape[1] if lists else 0
    if columns != len(schema.lists):
        raise ZooError(
            f"batch.lists has {columns} fields, but the schema has {len(schema.lists)} of the kind "
            "multi or sequence"
        )
    for column, field in enumerate(schema.lists):
        assert lists is not None
        _check_ids(lists.columns([column]).flat()[0].unsqueeze(1), [field], "lists")


def _check_ids(ids: Tensor, fields: Sequence[Field], part: str) -> None:
    extremes = torch.stack(ids.aminmax(dim=0), 1).tolist() if ids.numel() else []
    for field, (least, most) in zip(fields, extremes, strict=False):
        if least < 0 or most >= field.cardinality:
            raise ZooError(
                f"batch.{part} holds the id {least if least < 0 else most} of the field "
                f"{field.name}: its cardinality in the schema is {field.cardinality}, so ids "
                f"are 0 to {field.cardinality - 1}"
            )


def _check_weight(batch: Batch) -> None:
    if batch.weight is None:
        return
    wrong = ~(batch.weight.isfinite() & (batch.weight >= 0))
    if batch.weight.shape != batch.label.shape or wrong.any():
        found = batch.weight[wrong][0].item() if wrong.any() else f"of shape {[*wrong.shape]}"
        raise ZooError(
            f"batch.weight holds {found}: weights are a finite number of at least 0 for each row"
        )


def check_labels(batch: Any, split: str) -> None:
    """Raises `ZooError` where a row to train on or to measure has no label."""
    if split == "predict" or not isinstance(batch, Batch):
        return
    if unknown := int((~batch.labelled).sum()):
        raise ZooError(
            f"{unknown} of the {batch.rows} rows of a batch of {split}_dataloader have no label "
            "(NaN): leave them out; predict_dataloader alone may give such rows"
        )


def row_numbers(batch: Batch | SessionBatch) -> Tensor:
    """[B] the numbers of the rows (or sessions) in the file that is scored.

    Raises:
        ZooError: where the batch does not say them.
    """
    if batch.row is None:
        raise ZooError(
            "the batches to predict do not say which row of the file each row is: set their `row` "
            "in predict_dataloader"
        )
    return batch.row
