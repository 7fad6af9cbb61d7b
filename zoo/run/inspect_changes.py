"""How the interactions of two checkpoints differ, for `inspect --explain`.

Shapes: R rows, N masks, M held-out masks.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from zoo.data.batch import Batch, take
from zoo.data.errors import ZooError
from zoo.data.module import ZooDataModule
from zoo.data.schema import Schema
from zoo.glider.changes import changes
from zoo.glider.perturb import OnOff, features_of
from zoo.glider.scoring import NotFinite
from zoo.glider.walsh import SharedMasks
from zoo.glider.walsh.search import WalshConfig
from zoo.inspect.changes import InteractionChanges
from zoo.inspect.inspection import Inspection
from zoo.inspect.scores import model_of
from zoo.inspect.with_data.sample import SEED, sample
from zoo.inspect.with_data.source import batches_of, encoder_of
from zoo.inspect.with_data.values import values_of
from zoo.models.base import ZooModule
from zoo.run.explaining.python import training_means


def compare(
    first: Inspection, second: Inspection, data: ZooDataModule, split: str, count: int
) -> InteractionChanges:
    """Explains two checkpoints around the same rows, on the same masks.

    Args:
        first: Inspection of the one, A.
        second: Inspection of the other, B.
        data: Data of the schema of one of them; the other may lack its crosses.
        split: `val`, `test` or `predict`.
        count: Number of rows at most, drawn at random, always the same ones.

    Raises:
        ZooError: where they do not take the same fields, are models of sessions, there are no
            rows, or the scores around all of them are NaN or infinite.
    """
    models = [model_of(found) for found in (first, second)]
    rows = sample(batches_of(data, split), count)
    if rows is None:
        raise ZooError(f"--explain: there are no labelled rows in the split {split}")
    if not isinstance(rows, Batch):
        raise ZooError("--explain compares models of rows, not of sessions")
    names = _features(first, second, models)
    means = _means(data)
    config = WalshConfig()
    masks = SharedMasks(len(names), config, SEED)
    scores = [_scores(masks, model, rows, data.schema, means) for model in models]
    kept = np.isfinite(scores[0]).all(1) & np.isfinite(scores[1]).all(1)
    if not kept.any():
        raise ZooError(
            f"--explain: the scores around each of {rows.rows:,} rows are NaN or infinite"
        )
    one, two = (of[kept] for of in scores)
    found = tuple(changes(masks, one, two, names))
    rows = take(rows, torch.from_numpy(kept))
    named = sorted({row.row for change in found for row in change.rows})
    richest = max((first, second), key=lambda side: len(side.fields))
    inputs = take(rows, torch.tensor(named, dtype=torch.int64)).inputs(data.schema)
    values = values_of(inputs, encoder_of(richest.run, data))
    return InteractionChanges(
        split,
        int(kept.sum()),
        int((~kept).sum()),
        config.min_gain,
        found,
        dict(zip(named, values, strict=True)),
    )


def _features(first: Inspection, second: Inspection, models: Sequence[ZooModule]) -> list[str]:
    """The fields of both models, which must be the same; crosses are none."""
    one, two = (features_of(model.schema) for model in models)
    if one == two:
        return one
    apart = sorted({*one} ^ {*two})
    which = f"only one of them has {', '.join(apart)}" if apart else "their order differs"
    raise ZooError(
        f"--explain compares models of the same fields, and {second.file} has others than "
        f"{first.file}: {which}"
    )


def _means(data: ZooDataModule) -> dict[str, float]:
    """The means of the numerical fields over the training rows, by name."""
    numbers = [field.name for field in data.schema.numerical]
    if not numbers:
        return {}
    means = training_means(data, data.schema)
    assert isinstance(means, Tensor)  # as these are no sessions
    return dict(zip(numbers, means.tolist(), strict=True))


@torch.inference_mode()
def _scores(
    masks: SharedMasks, model: ZooModule, rows: Batch, schema: Schema, means: dict[str, float]
) -> np.ndarray:
    """[R, 1 + N + M] scores of the masks around each row; NaN where one is not finite."""
    mine = torch.tensor([means[field.name] for field in model.schema.numerical])
    switches, seen = OnOff.of(model.schema, mine), rows.view(schema, model.schema)
    found = np.full((rows.rows, len(masks.masks)), np.nan)
    each = (take(seen, slice(i, i + 1)) for i in range(rows.rows))
    for i, y in enumerate(masks.scores_each(model, each, switches)):
        if not isinstance(y, NotFinite):
            found[i] = y
    return found
