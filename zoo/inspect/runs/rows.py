"""The labelled rows that runs are scored on.

Shapes: R rows, or tracks of sessions; U units.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor

from zoo.data.errors import ZooError
from zoo.data.lists import Lists
from zoo.inspect.with_data.quality import counting


@dataclass(frozen=True)
class Rows:
    """Labelled rows (or tracks of sessions) that models are scored on.

    Attributes:
        labels: [R] labels.
        weight: [R] weights, all more than zero; None weighs all alike.
        group: [R] number of each row's group; None has no groups.
        query: [R] number of the list that each row is ranked in; None where none is ranked.
        place: [R, 2] number of each track's session, and its place in it; None of rows.
    """

    labels: Tensor
    weight: Tensor | None = None
    group: Tensor | None = None
    query: Tensor | None = None
    place: Tensor | None = None

    @property
    def unit(self) -> str:
        """What is drawn and tested: what is independent of the others."""
        if self.place is not None:
            return "session"
        return "list" if self.query is not None else "row" if self.group is None else "group"

    def units(self) -> Tensor | None:
        """[R] number of each row's unit, 0 .. U - 1; None where each row is one."""
        owner = self.query if self.query is not None else self.group
        owner = owner if self.place is None else self.place[:, 0]
        return None if owner is None else torch.unique(owner, return_inverse=True)[1]

    @property
    def digest(self) -> str:
        """A checksum of all of it: where it is the same, the rows are."""
        found = hashlib.sha256()
        for field in fields(self):
            found.update(field.name.encode())
            if (part := getattr(self, field.name)) is not None:
                found.update(part.contiguous().numpy().tobytes())
        return found.hexdigest()


def rows_of(batches: Iterable[Any], seen: Callable[[Tensor], None] = lambda part: None) -> Rows:
    """The rows of some batches, in the order in which `score_rows` scores them.

    Args:
        batches: The batches.
        seen: Called with each tensor of each batch.

    Raises:
        ZooError: where no row has a label (and a weight).
    """
    parts, sessions = [], 0
    for batch in batches:
        for part in _tensors(batch):
            seen(part)
        scored, place = counting(batch), None
        if batch.label.ndim > 1:
            place = scored.nonzero() + torch.tensor([sessions, 0])
            sessions += len(batch.label)
        further = (getattr(batch, name, None) for name in ("weight", "group", "query"))
        parts.append(
            (batch.label[scored], *(x if x is None else x[scored] for x in further), place)
        )
    columns = [[part for part in column if part is not None] for column in zip(*parts, strict=True)]
    if not columns or not sum(map(len, columns[0])):
        raise ZooError("the split holds no labelled rows")
    label, *further = (torch.cat(column) if column else None for column in columns)
    assert label is not None
    return Rows(label.float(), *further)


def _tensors(parts: Iterable[Any]) -> Iterator[Tensor]:
    """The tensors of a batch, those of its lists too."""
    for part in parts:
        if isinstance(part, Tensor):
            yield part
        elif isinstance(part, Lists):
            yield from part.flat()
