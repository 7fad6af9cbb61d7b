"""What the splits of a table must hold, so that a model can be trained on them."""

from collections.abc import Mapping

import numpy as np

from datamodules.prepared.folder import SPLITS
from datamodules.tabular.files import TableFiles
from datamodules.tabular.splitting import LEFT_OUT
from zoo.data.errors import ZooError

Counts = Mapping[str, np.ndarray]  # int64 [4] each; see `datamodules.tabular.tasks.count`


def count_splits(counts: Counts, file: TableFiles) -> dict[str, dict[str, int]]:
    """The `rows` and `positives` of each split.

    Raises:
        ZooError: where one is empty, or the training rows are of one class.
    """
    found = {
        s: {"rows": int(n), "positives": int(positives)}
        for s, n, positives in zip(SPLITS, counts["rows"], counts["positives"], strict=False)
        if n
    }
    total = sum(s["rows"] for s in found.values())
    positives = sum(s["positives"] for s in found.values())
    if positives in (0, total):
        raise ZooError(
            f"{file.path}: every usable label is {int(positives > 0)}; a classifier needs rows "
            "of both classes"
        )
    for s in SPLITS:
        if s not in found:
            raise ZooError(
                f"{file.path}: its {total} usable rows leave the {s} split empty: use a larger "
                "file, or another data.split_ratio or data.split_seed"
            )
    if found["train"]["positives"] in (0, found["train"]["rows"]):
        raise ZooError(
            f"{file.path}: its training rows are all of one class: use a larger file, or another "
            "data.split_seed"
        )
    return {s: found[s] for s in SPLITS}


def check_weights(counts: Counts, file: TableFiles) -> None:
    """Raises `ZooError` where too few rows have a weight."""
    if "weighted" not in counts:
        return
    weighted, positives = counts["weighted"], counts["weighted_positives"]
    for s, count in zip(SPLITS, weighted, strict=False):
        if not count:
            raise ZooError(
                f"{file.path}: the weights (data.weight) of all rows of the {s} split are 0, so "
                "that none counts: give some of them a weight, or another data.split"
            )
    if positives[0] in (0, weighted[0]):
        raise ZooError(
            f"{file.path}: the training rows whose weight (data.weight) is more than 0 are all of "
            "one class: give some of the other class a weight"
        )


def left_out(counts: Counts) -> dict[str, int]:
    """How many training rows are left out, as a note."""
    count = int(counts["rows"][LEFT_OUT])
    note = "negatives were left out of the training rows (data.negative_sampling_rate)"
    return {note: count} if count else {}
