"""Scores of rows by a black box, a few thousand at a time.

Shapes: N rows.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol

import torch
from torch import Tensor

from zoo.data.batch import AnyBatch, Batch, SessionBatch, chunks, concatenate
from zoo.data.errors import ZooError
from zoo.nn.device import is_cpu

ROWS = 16_384  # that are scored at once


class Pieces(Protocol):
    """Rows that are taken some at a time: a tensor, or what is made when it is asked for."""

    def __len__(self) -> int: ...

    def split(self, size: int, /) -> Iterable[Tensor]:
        """All rows, so many at most at a time."""
        ...


class NotFinite(ZooError):
    """A black box gave a row no score, such as one with a NaN in it."""


def score(scores: Callable[[Any], Any], rows: AnyBatch | Pieces, size: int = ROWS) -> Tensor:
    """[N] float32 logits of a black box, a few thousand rows at a time.

    Args:
        scores: The black box, any function from rows to logits.
        rows: The rows, or sessions, to score.
        size: Largest number of rows of a call.

    Raises:
        NotFinite: Where a score is NaN or infinite.
        ZooError: Where the scores are not one number a row.
    """
    return _finite(_logits(scores, rows, size))


def score_each(
    scores: Callable[[Any], Any], parts: Iterable[AnyBatch | Pieces]
) -> Iterator[Tensor | NotFinite]:
    """What `score` gives for each of several parts, or the error of one without finite scores.

    On a GPU, where a call costs its launches, and its answer is waited for, as many parts go into
    one call as it takes rows; on a CPU each is scored when it comes.

    Args:
        scores: The black box, any function from rows to logits.
        parts: Rows, or sessions, of each part.

    Raises:
        ZooError: Where the scores are not one number a row.
    """
    for group in _groups(parts):
        counts = [_count(part) for part in group]
        joined: Any = group[0] if len(group) == 1 else _joined(group)
        for found in _logits(scores, joined, ROWS).split(counts):
            try:
                yield _finite(found)
            except NotFinite as error:
                yield error


def _groups(parts: Iterable[AnyBatch | Pieces]) -> Iterator[list[Any]]:
    group: list[Any] = []
    for part in parts:
        own: Any = part.label if isinstance(part, Batch | SessionBatch) else part
        if not isinstance(own, Tensor) or is_cpu(own):
            yield [part]
            continue
        if group and sum(map(_count, group)) + _count(part) > ROWS:
            yield group
            group = []
        group.append(part)
    if group:
        yield group


def _joined(parts: list[Any]) -> Any:
    return torch.cat(parts) if isinstance(parts[0], Tensor) else concatenate(parts)


def _is_batch(rows: Any) -> bool:
    return isinstance(rows, Batch | SessionBatch)


def _count(rows: Any) -> int:
    return len(rows.label) if _is_batch(rows) else len(rows)


def _logits(scores: Callable[[Any], Any], rows: Any, size: int) -> Tensor:
    count = _count(rows)
    pieces = chunks(rows, size) if _is_batch(rows) else rows.split(size)
    with torch.no_grad():
        logits = [torch.as_tensor(scores(piece)).detach().float().cpu() for piece in pieces]
    if sum(part.numel() for part in logits) != count:
        shape = [*logits[0].shape]
        raise ZooError(f"the black box gave scores of shape {shape} for {min(size, count)} rows")
    return torch.cat([part.flatten() for part in logits])


def _finite(logits: Tensor) -> Tensor:
    bad = int((~logits.isfinite()).sum())
    if bad:
        raise NotFinite(
            f"the black box gave NaN or infinite scores for {bad} of {len(logits)} rows"
        )
    return logits
