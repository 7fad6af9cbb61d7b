"""Some rows of a split, and what a model predicts of them.

Shapes: B rows or sessions, R scored labels of them, H experts.
"""

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from pytorch_lightning import LightningModule
from torch import Tensor
from torch.nn import functional

from zoo.data.batch import Batch, SessionBatch
from zoo.experts.module import MixtureModule

SEED = 0  # of all that is random in an inspection
CHUNK = 512  # rows predicted at once
Rows = Batch | SessionBatch


def sample(batches: Iterable[Rows], count: int) -> Rows | None:
    """Labelled rows drawn without replacement from all batches, in their order.

    Of each row a random number is drawn, and those with the largest are kept, so that memory
    stays bounded and the number of rows need not be known.

    Args:
        batches: of a split.
        count: of the rows at most; of sessions, of their tracks.

    Returns None where there are none.
    """
    random = torch.Generator().manual_seed(SEED)
    kept, keys, tracks = None, torch.empty(0, dtype=torch.float64), 1
    for batch in batches:
        labelled = ~batch.label.isnan()
        if isinstance(batch, SessionBatch):
            labelled = (labelled & batch.future_mask).any(1)
            tracks = max(tracks, batch.label.shape[1])
        drawn = torch.rand(len(batch.label), generator=random, dtype=torch.float64)
        most = max(count // tracks, 1)
        least = keys.min() if len(keys) >= most else -1
        chosen = labelled & (drawn > least)
        if not chosen.any():
            continue
        part = _take(batch, chosen)
        kept, keys = part if kept is None else _join(kept, part), torch.cat((keys, drawn[chosen]))
        if len(keys) > most:
            best = keys.topk(most).indices.sort().values
            kept, keys = _take(kept, best), keys[best]
    return kept


def _take(batch: Rows, rows: Tensor | slice) -> Rows:
    return type(batch)(*(None if column is None else column[rows] for column in batch))


def _join(one: Rows, two: Rows) -> Rows:
    """Both; of sessions, the shorter ones are padded."""

    def joined(a: Tensor | None, b: Tensor | None) -> Tensor | None:
        if a is None or b is None:
            return None
        if a.ndim > 1 and a.shape[1] != b.shape[1]:
            time = max(a.shape[1], b.shape[1])
            rest = [0, 0] * (a.ndim - 2)
            a, b = (functional.pad(x, [*rest, 0, time - x.shape[1]]) for x in (a, b))
        return torch.cat((a, b))

    return type(one)(*map(joined, one, two))


def chunks(batch: Rows) -> Iterator[Rows]:
    """The rows in parts that a model predicts at once."""
    for start in range(0, len(batch.label), CHUNK):
        yield _take(batch, slice(start, start + CHUNK))


def known(model: LightningModule, batch: Rows) -> Tensor:
    """[B] or [B, T'] the labels that are scored."""
    return batch.labelled


@torch.no_grad()
def predict(model: LightningModule, batch: Rows) -> tuple[Tensor, Tensor]:
    """[B] logits, and [B, H] attribution, H = 0 where the model is no mixture; [B] as labels."""
    parts: list[Any] = []
    for part in chunks(batch):
        if isinstance(model, MixtureModule):
            parts.append(model.explain(part))
        else:
            logits = model(part)
            parts.append((logits, logits.new_zeros(*logits.shape, 0)))
    logits, attribution = (torch.cat(column) for column in zip(*parts, strict=True))
    return logits.float(), attribution
