"""Toy task (b) of Afchar & Hennequin (RecSys 2020, section 3.3.1): clusters in the plane."""

from typing import Any

import numpy as np
import torch
from pytorch_lightning import LightningDataModule

from datamodules.loader import BatchLoader
from datamodules.store import SPLITS, Arrays, Manifest
from zoo.schema import Field, Schema, ZooError

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


class GaussianClusters(LightningDataModule):
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
        super().__init__()
        for option, value, least in (("rows", rows, 8), ("batch_size", batch_size, 1)):
            if value < least:
                raise ZooError(f"data.{option} must be at least {least}, got {value}")
        for option, value in (("seed", seed), ("shuffle_seed", shuffle_seed)):
            if value < 0:
                raise ZooError(f"data.{option} must be at least 0, got {value}")
        self.batch_size = batch_size
        self.shuffle_seed = shuffle_seed
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

    def ceiling(self) -> dict[str, float]:
        """Not known."""
        return {}

    def numerical_means(self) -> np.ndarray:
        """[2] means of the training rows."""
        return self.arrays["train"].numerical.mean(0)

    def train_dataloader(self) -> BatchLoader:
        """Shuffled training rows."""
        trainer = self.trainer
        epoch = (lambda: trainer.current_epoch) if trainer else (lambda: 0)
        return self._loader("train", shuffle=True, seed=self.shuffle_seed, epoch=epoch)

    def val_dataloader(self) -> BatchLoader:
        """Validation rows."""
        return self._loader("val")

    def test_dataloader(self) -> BatchLoader:
        """Test rows."""
        return self._loader("test")

    def _loader(self, split: str, **options: Any) -> BatchLoader:
        trainer = self.trainer
        if trainer:
            options |= {"rank": trainer.global_rank, "world_size": trainer.world_size}
        device = trainer.strategy.root_device if trainer else torch.device("cpu")
        return BatchLoader(self.arrays[split], self.batch_size, device=device, **options)
