"""What fields and interactions add to the logits of rows, as lines of a table."""

import math
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from lightning_fabric.utilities import move_data_to_device
from torch import Tensor

from zoo.data.batch import Batch, take
from zoo.data.batch_checks import row_numbers
from zoo.data.schema import JOINER
from zoo.glider.perturb import OnOff, features_of
from zoo.glider.walsh import Coefficient, SharedMasks, WalshExplanation
from zoo.glider.walsh_search import WalshConfig

INTERCEPT, REST = "(intercept)", "(rest)"
Line = tuple[int, str, float, float, float]  # row, fields, contribution, error, share


@torch.inference_mode()
def contributions(
    model: Any, batches: Iterable[Batch], means: Tensor, max_order: int, seed: int
) -> Iterator[Line]:
    """The lines of each row; see `LoadedRun.explain`.

    Args:
        model: A model of rows, in evaluation.
        batches: The rows, with their numbers.
        means: [number of numerical fields] means over the training rows.
        max_order: Largest number of fields in an interaction.
        seed: Seed of the masks.
    """
    names, neighbours = features_of(model.schema), OnOff.of(model.schema, means)
    masks = SharedMasks(len(names), WalshConfig(max_order=max_order), seed)
    for batch in batches:
        for i, row in enumerate(row_numbers(batch).tolist()):
            instance = move_data_to_device(take(batch, slice(i, i + 1)), model.device)
            found = masks.explain(masks.scores(model, instance, neighbours))
            yield from ((row, *line) for line in _lines(found, names))


def _lines(found: WalshExplanation, names: list[str]) -> Iterator[tuple[str, float, float, float]]:
    every = sorted((*found.mains, *found.interactions), key=lambda c: -abs(c.value))
    yield _line(INTERCEPT, found.intercept)
    for coefficient in every:
        yield _line(JOINER.join(names[i] for i in coefficient.features), coefficient)
    yield REST, found.rest, math.nan, math.nan


def _line(name: str, found: Coefficient) -> tuple[str, float, float, float]:
    return name, found.value, found.error, found.share if found.features else math.nan
