"""The batches that models take, and what is done with them, by the names of their parts.

Shapes: B rows or sessions, N numerical fields, C categorical fields, M fields of lists, T past
events, T' tracks to predict.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple, Self, TypeVar

import torch
from torch import Tensor
from torch.nn import functional

from zoo.data.lists import Lists, concatenate_lists
from zoo.data.schema import Field, Schema


class Batch(NamedTuple):
    """Rows as the models take them. Its parts are read by name: later versions may add some.

    Attributes:
        numerical: float32 [B, N], in the order of `Schema.numerical`.
        categorical: int [B, C], in the order of `Schema.categorical`; the ids of field c are
            0 (unknown), 1 (missing), 2 .. cardinality_c - 1 (most frequent first; bins of a
            number in its order).
        label: float32 [B], 0 or 1; NaN where the label is not known.
        row: int64 [B], number of the row in its raw file; only where predictions are made, or where
            the model that is trained asks for it (`numbered_rows`).
        query: int64 [B], number of the list that the row is ranked in; only where lists are
            ranked.
        lists: [B, M] lists of ids, in the order of `Schema.lists`; only where there are such
            fields.
        weight: float32 [B], how much the row counts, at least 0; only where rows have weights.
        group: int64 [B], number of the row's group, such as its user; only where rows have groups.
    """

    numerical: Tensor
    categorical: Tensor
    label: Tensor
    row: Tensor | None = None
    query: Tensor | None = None
    lists: Lists | None = None
    weight: Tensor | None = None
    group: Tensor | None = None

    @property
    def rows(self) -> int:
        """Number of rows."""
        return len(self.label)

    @property
    def labelled(self) -> Tensor:
        """[B] bool: the rows whose label is known."""
        return ~self.label.isnan()

    def inputs(self, schema: Schema) -> dict[str, Tensor]:
        """[B] the values of each field, by name: what the label of a row is predicted from.

        Those of lists are ids [B, longest], with -1 behind the end of each list.

        Args:
            schema: Fields of this batch.
        """
        numbers = {f.name: self.numerical[:, i] for i, f in enumerate(schema.numerical)}
        ids = {f.name: self.categorical[:, i] for i, f in enumerate(schema.categorical)}
        if self.lists is None:
            return {**numbers, **ids}
        lists = {f.name: self.lists.padded(i) for i, f in enumerate(schema.lists)}
        return {**numbers, **ids, **lists}

    def view(self, schema: Schema, wanted: Schema) -> Self:
        """The rows with some of their fields, as a model that takes these alone sees them.

        Args:
            schema: Fields of this batch.
            wanted: Fields to keep, in their new order; all are in `schema`.
        """
        return self._replace(
            numerical=_chosen(self.numerical, schema.numerical, wanted.numerical),
            categorical=_chosen(self.categorical, schema.categorical, wanted.categorical),
            lists=self.lists and self.lists.columns(_columns(schema.lists, wanted.lists)),
        )

    def shuffled(self, schema: Schema, field: Field, seed: int) -> Self:
        """The rows with the values of one field in another order, which depends on the seed.

        Args:
            schema: Fields of this batch.
            field: The field to shuffle.
            seed: Seed of the order.
        """
        order = _order(len(self.label), seed)
        if self.lists and field in schema.lists:
            return self._replace(lists=self.lists.permuted(schema.lists.index(field), order))
        part = field.kind
        values = getattr(self, part).clone()
        column = getattr(schema, part).index(field)
        values[:, column] = values[order, column]
        return self._replace(**{part: values})


class SessionBatch(NamedTuple):
    """Sessions cut in two: all is known of the first part, the second is to be predicted.

    Padding lies at the end of each part: zeros, and false in the mask.

    Attributes:
        past: float32 [B, T, N], in the order of `Schema.numerical`.
        past_mask: bool [B, T], true where there is an event.
        future: float32 [B, T', M], in the order of `Schema.future`.
        future_mask: bool [B, T'].
        label: float32 [B, T'], 0 or 1; NaN where not known, 0 where padded.
        row: int64 [B], number of the session in its raw file; as that of `Batch`.
    """

    past: Tensor
    past_mask: Tensor
    future: Tensor
    future_mask: Tensor
    label: Tensor
    row: Tensor | None = None

    @property
    def rows(self) -> int:
        """Number of tracks to predict."""
        return int(self.future_mask.sum())

    @property
    def labelled(self) -> Tensor:
        """[B, T'] bool: the tracks that exist and whose label is known."""
        return self.future_mask & ~self.label.isnan()

    def inputs(self, schema: Schema) -> dict[str, Tensor]:
        """[B, T'] what is known of each track to predict, by the name of the field.

        Args:
            schema: Fields of this batch.
        """
        return {field.name: self.future[..., i] for i, field in enumerate(schema.future)}

    def view(self, schema: Schema, wanted: Schema) -> Self:
        """The sessions with some of their fields; see `Batch.view`."""
        return self._replace(
            past=_chosen(self.past, schema.numerical, wanted.numerical),
            future=_chosen(self.future, schema.future, wanted.future),
        )

    def shuffled(self, schema: Schema, field: Field, seed: int) -> Self:
        """The sessions with the values of one field in another order.

        They are shuffled among the events of all first parts, and among all tracks to predict.

        Args:
            schema: Fields of this batch.
            field: The field to shuffle.
            seed: Seed of the order.
        """
        parts = {}
        for part, fields in (("past", schema.numerical), ("future", schema.future)):
            if field in fields:
                values, mask = getattr(self, part).clone(), getattr(self, f"{part}_mask")
                column = values[..., fields.index(field)]  # a view
                events = column[mask]
                column[mask] = events[_order(len(events), seed)]
                parts[part] = values
        return self._replace(**parts)


AnyBatch = TypeVar("AnyBatch", Batch, SessionBatch)
NUMBERS = torch.int64, torch.int32  # types of row numbers


def take(batch: AnyBatch, rows: Tensor | slice) -> AnyBatch:
    """Some rows (or sessions) of a batch, by number or by mask."""
    parts = {name: part for name, part in batch._asdict().items() if part is not None}
    return batch._replace(
        **{k: p.take(rows) if isinstance(p, Lists) else _taken(p, rows) for k, p in parts.items()}
    )


def _taken(part: Tensor, rows: Tensor | slice) -> Tensor:
    if isinstance(rows, Tensor) and rows.dtype in NUMBERS and rows.ndim == 1:
        return part.index_select(0, rows)  # faster than indexing
    return part[rows]


def concatenate(batches: Sequence[AnyBatch]) -> AnyBatch:
    """The rows of all batches; of sessions, the shorter ones are padded with zeros."""
    first = batches[0]
    joined = {}
    for name in first._fields:
        parts = [getattr(batch, name) for batch in batches]
        if any(part is None for part in parts):
            joined[name] = None
        elif name == "lists":
            joined[name] = concatenate_lists(parts)
        else:
            joined[name] = torch.cat(_padded(parts))
    return first._replace(**joined)


def chunks(batch: AnyBatch, rows: int) -> Iterator[AnyBatch]:
    """The batch in parts of so many rows at most."""
    for start in range(0, len(batch.label), rows):
        yield take(batch, slice(start, start + rows))


def _padded(parts: list[Tensor]) -> list[Tensor]:
    """Tensors [B, T, ..] padded to one T; those of rows, [B] and [B, C], have one already."""
    if parts[0].ndim < 2:
        return parts
    time = max(part.shape[1] for part in parts)
    rest = [0, 0] * (parts[0].ndim - 2)
    return [functional.pad(part, [*rest, 0, time - part.shape[1]]) for part in parts]


def _chosen(values: Tensor, fields: Sequence[Field], wanted: Sequence[Field]) -> Tensor:
    """The columns of some fields, taken without an index that a GPU would wait for."""
    columns = [values[..., column] for column in _columns(fields, wanted)]
    return torch.stack(columns, -1) if columns else values[..., :0]


def _columns(fields: Sequence[Field], wanted: Sequence[Field]) -> list[int]:
    return [fields.index(field) for field in wanted]


def _order(count: int, seed: int) -> Tensor:
    return torch.randperm(count, generator=torch.Generator().manual_seed(seed))
