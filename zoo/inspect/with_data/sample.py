"""Some rows of a split, and what a model predicts of them.

Shapes: B rows or sessions, H experts; [B] stands for [B, T'] of sessions.
"""

from collections.abc import Iterable

import torch
from torch import Tensor

from zoo.data.batch import AnyBatch, SessionBatch, chunks, concatenate, take
from zoo.models.base import ZooModule

SEED = 0  # of all that is random in an inspection
ROWS_PER_CHUNK = 512  # are predicted at once


def sample(batches: Iterable[AnyBatch], count: int) -> AnyBatch | None:
    """Labelled rows drawn without replacement from all batches, in their order.

    Of each row a random number is drawn, and those with the largest are kept, so that memory
    stays bounded and the number of rows need not be known.

    Args:
        batches: Batches of a split.
        count: Number of rows at most; of sessions, of their tracks.

    Returns None where there are none.
    """
    random = torch.Generator().manual_seed(SEED)
    kept, keys, tracks = None, torch.empty(0, dtype=torch.float64), 1
    for batch in batches:
        labelled = batch.labelled
        if isinstance(batch, SessionBatch):
            labelled = labelled.any(1)
            tracks = max(tracks, batch.label.shape[1])
        drawn = torch.rand(len(batch.label), generator=random, dtype=torch.float64)
        most = max(count // tracks, 1)
        least = keys.min() if len(keys) >= most else -1
        chosen = labelled & (drawn > least)
        if not chosen.any():
            continue
        part = take(batch, chosen)
        kept = part if kept is None else concatenate([kept, part])
        keys = torch.cat((keys, drawn[chosen]))
        if len(keys) > most:
            best = keys.topk(most).indices.sort().values
            kept, keys = take(kept, best), keys[best]
    return kept


@torch.no_grad()
def predict(model: ZooModule, batch: AnyBatch) -> tuple[Tensor, Tensor]:
    """[B] logits, and [B, H] attribution, H = 0 where the model is no mixture."""
    parts = [model.explain(part) for part in chunks(batch, ROWS_PER_CHUNK)]
    logits, attribution = (torch.cat(column) for column in zip(*parts, strict=True))
    return logits.float(), attribution
