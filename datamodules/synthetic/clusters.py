"""Toy task (b) of Afchar & Hennequin (RecSys 2020, section 3.3.1): clusters in the plane."""

from typing import Any

import numpy as np
import torch

from datamodules.prepared.module import LoadedData, at_least
from datamodules.prepared.store import SPLITS, Arrays, Manifest
from datamodules.tabular.loader import BatchLoader
from zoo.data.schema import Field, Schema

# Centre, label, and the smallest subset that tells the label: 0 {x1}, 1 {x2}, 2 {x1, x2}
CLUSTERS = (
    ((-1, 0), 0, 0),
    ((1, 0), 1, 0),
    ((0, 1), 1, 1),
    ((0, -1), 0, 1),
    ((2, 2), 0, 2),
    ((-2, -2), 0, 2),
    ((2, -2), 1, 2),
    ((-2, 2), 1, 2),
)
DEVIATION = 0.25


class GaussianClusters(LoadedData):
    """Eight Gaussian clusters, whose labels need x1, x2 or both.

    (+-1, 0) can be told by x1 alone and (0, +-1) by x2 alone; the four at (+-2, +-2), label 1
    where the signs differ, need both. The truth of the attribution is known for every row.

    Args:
        rows: of training, validation and test each.
        batch_size: rows of a batch on one process.
        seed: of the rows.
        shuffle_seed: seed of the order of the training rows.
    """

    def __init__(
        self, rows: int = 8000, batch_size: int = 256, seed: int = 0, shuffle_seed: int = 0
    ) -> None:
        super().__init__(batch_size, shuffle_seed)
        at_least(8, rows=rows)
        at_least(0, seed=seed)
        self.arrays: dict[str, Arrays] = {}
        self.truth: dict[str, np.ndarray] = {}
        for split, name in enumerate(SPLITS):
            random = np.random.default_rng((seed, split))
            cluster = random.integers(len(CLUSTERS), size=rows)
            centres, labels, subsets = (
                np.array(part)[cluster] for part in zip(*CLUSTERS, strict=True)
            )
            x = centres + DEVIATION * random.normal(size=(rows, 2))
            self.arrays[name] = Arrays(
                x.astype(np.float32),
                np.empty((rows, 0), np.int32),
                labels.astype(np.float32),
                np.arange(rows),
            )
            self.truth[name] = subsets

    folder = "generated rows"

    @property
    def schema(self) -> Schema:
        """x1 and x2."""
        return Schema((Field("x1", "numerical"), Field("x2", "numerical")))

    @property
    def manifest(self) -> Manifest:
        """Sizes of the splits."""
        splits = {
            name: {"rows": len(arrays), "positives": int(arrays.label.sum())}
            for name, arrays in self.arrays.items()
        }
        return Manifest({}, {}, self.schema.to_dict(), splits, {}, [], {})

    def numerical_means(self) -> np.ndarray:
        """[2] means of the training rows."""
        return self.arrays["train"].numerical.mean(0)

    def loader(self, split: str, **options: Any) -> BatchLoader:
        """Batches of a split, from memory."""
        device = self.trainer.strategy.root_device if self.trainer else torch.device("cpu")
        return BatchLoader(self.arrays[split], self.batch_size, device=device, **options)
