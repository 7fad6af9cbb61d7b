"""Scores of rows by a black box, a few thousand at a time.

Shapes: N rows.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import Tensor

from zoo.data.batch import AnyBatch, chunks, concatenate
from zoo.data.errors import ZooError
from zoo.nn.device import is_cpu

ROWS = 16_384  # that are scored at once


class NotFinite(ZooError):
    """A black box gave a row no score, such as one with a NaN in it."""


def score(scores: Callable[[Any], Any], rows: AnyBatch | Tensor, size: int = ROWS) -> Tensor:
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
    scores: Callable[[Any], Any], parts: Iterable[AnyBatch | Tensor]
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


def _groups(parts: Iterable[AnyBatch | Tensor]) -> Iterator[list[Any]]:
    group: list[Any] = []
    for part in parts:
        if is_cpu(part if isinstance(part, Tensor) else part.label):
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


def _count(rows: AnyBatch | Tensor) -> int:
    return len(rows) if isinstance(rows, Tensor) else len(rows.label)


def _logits(scores: Callable[[Any], Any], rows: AnyBatch | Tensor, size: int) -> Tensor:
    count = _count(rows)
    pieces = rows.split(size) if isinstance(rows, Tensor) else chunks(rows, size)
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
