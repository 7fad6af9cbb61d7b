"""The toy tasks of Afchar & Hennequin (RecSys 2020, section 3.3.1): clusters in the plane."""

from typing import Any, Literal

import numpy as np
import torch

from datamodules.prepared.arrays import Arrays
from datamodules.prepared.batched import BatchedDataModule
from datamodules.prepared.folder import SPLITS
from datamodules.prepared.options import at_least
from datamodules.tabular.loader import BatchLoader
from zoo.data.errors import require
from zoo.data.module import SplitSize
from zoo.data.schema import Field, Schema

# Centre, label, and the smallest subset that decides the label: 0 {x1}, 1 {x2}, 2 {x1, x2}
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
TASKS = {"a": 4, "b": 8}  # of these clusters, the first so many
DEVIATION = 0.25


class GaussianClusters(BatchedDataModule):
    """Four or eight Gaussian clusters, whose labels need x1, x2 or both.

    That of (+-1, 0) follows from x1 alone, that of (0, +-1) from x2 alone: task (a). The four at
    (+-2, +-2), label 1 where the signs differ, need both, and are added in task (b). The truth of
    the attribution is known for every row.

    Args:
        rows: Number of rows of each split: training, validation and test.
        batch_size: Number of rows of a batch on one process.
        seed: Seed of the rows.
        shuffle_seed: Seed of the order of the training rows.
        task: Task of the paper: `a`, the four inner clusters, or `b`, all eight.

    Attributes:
        arrays: The rows of each split.
        truth: The smallest subset that decides the label of each row, by split: 0 {x1}, 1 {x2},
            2 {x1, x2}.
    """

    def __init__(
        self,
        rows: int = 8000,
        batch_size: int = 256,
        seed: int = 0,
        shuffle_seed: int = 0,
        task: Literal["a", "b"] = "b",
    ) -> None:
        super().__init__(batch_size, shuffle_seed)
        require(task in TASKS, f"task must be one of {tuple(TASKS)}", task)
        at_least(8, rows=rows)
        at_least(0, seed=seed)
        self.arrays: dict[str, Arrays] = {}
        self.truth: dict[str, np.ndarray] = {}
        for split, name in enumerate(SPLITS):
            random = np.random.default_rng((seed, split))
            cluster = random.integers(TASKS[task], size=rows)
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

    @property
    def schema(self) -> Schema:
        """x1 and x2."""
        return Schema((Field("x1", "numerical"), Field("x2", "numerical")))

    def size(self, split: str) -> SplitSize:
        """The size of `train`, `val` or `test`."""
        label = np.asarray(self.arrays[split].label)
        return SplitSize(len(label), int(label.sum()))

    def numerical_means(self) -> np.ndarray:
        """[2] means of the training rows."""
        return np.asarray(self.arrays["train"].numerical).mean(0)

    def loader(self, split: str, **options: Any) -> BatchLoader:
        """Batches of a split, from memory."""
        device = self.trainer.strategy.root_device if self.trainer else torch.device("cpu")
        return BatchLoader(self.arrays[split], self.batch_size, device=device, **options)
