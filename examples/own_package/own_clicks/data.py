"""A dataset whose rows lie in memory."""

from collections.abc import Iterator

import torch
from torch.utils.data import DataLoader

from zoo import Batch, Field, Schema, ZooDataModule


class AgreeingRows(ZooDataModule):
    """Rows with one number and two categories; the label says whether the categories agree.

    Args:
        rows: Number of rows of each split.
        batch_size: Number of rows of a batch.
    """

    def __init__(self, rows: int = 300, batch_size: int = 50) -> None:
        super().__init__()
        self.rows = rows
        self.batch_size = batch_size

    @property
    def schema(self) -> Schema:
        """A number and two categories of three values each."""
        user, item = Field("user", "categorical", 5), Field("item", "categorical", 5)
        return Schema((Field("hour", "numerical"), user, item))

    def train_dataloader(self) -> DataLoader:
        """Batches to train on."""
        return self._loader(0)

    def val_dataloader(self) -> DataLoader:
        """Batches of the validation split."""
        return self._loader(1)

    def test_dataloader(self) -> DataLoader:
        """Batches of the test split."""
        return self._loader(2)

    def predict_dataloader(self) -> DataLoader:
        """Batches to score."""
        return self._loader(3)

    def _loader(self, seed: int) -> DataLoader:
        # not the list itself, which Lightning takes for several dataloaders
        return DataLoader(list(self._batches(seed)), batch_size=None)

    def _batches(self, seed: int) -> Iterator[Batch]:
        random = torch.Generator().manual_seed(seed)
        ids = torch.randint(2, 5, (self.rows, 2), generator=random)
        numbers = torch.randn(self.rows, 1, generator=random)
        label = (ids[:, 0] == ids[:, 1]).float()
        for row in torch.arange(self.rows).split(self.batch_size):
            yield Batch(numerical=numbers[row], categorical=ids[row], label=label[row], row=row)
