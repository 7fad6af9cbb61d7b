"""Datamodules as somebody else may write them, right and wrong; none takes arguments."""

import torch
from torch.utils.data import DataLoader

from zoo import Batch, Field, Schema, ZooDataModule


class RowsInMemory(ZooDataModule):
    """The least that fits, is measured and predicted."""

    schema = Schema((Field("n", "numerical"), Field("c", "categorical", 4)))

    def rows(self):
        """Numbers, ids and row numbers."""
        return torch.randn(40, 1), torch.arange(40).remainder(2)[:, None] + 2, torch.arange(40)

    def _loader(self):
        numbers, ids, row = self.rows()
        label = (torch.arange(40) % 2).float()
        parts = torch.arange(40).split(20)
        batches = [Batch(numbers[i], ids[i], label[i], row=row[i]) for i in parts]
        return DataLoader(batches, batch_size=None)

    train_dataloader = val_dataloader = predict_dataloader = lambda self: self._loader()


class RowsBackwards(RowsInMemory):
    """Scored from the end."""

    def rows(self):
        """The last row first."""
        numbers, ids, row = super().rows()
        return numbers, ids, row.flip(0)


class RowsTooWide(RowsInMemory):
    """With a number too many."""

    def rows(self):
        """Two numbers."""
        numbers, ids, row = super().rows()
        return numbers.expand(-1, 2), ids, row


class RowsOfLargeIds(RowsInMemory):
    """With an id beyond the cardinality."""

    def rows(self):
        """Ids up to 4."""
        numbers, ids, row = super().rows()
        return numbers, ids + 1, row


class RowsAsPairs(RowsInMemory):
    """Whose batches are none."""

    def _loader(self):
        return DataLoader([(torch.zeros(2, 1), torch.zeros(2))], batch_size=None)


class RowsWithoutLabels(RowsInMemory):
    """Of which the last batch to train on has two without a label."""

    def train_dataloader(self):
        """The second batch is that of before but for two labels."""
        first, second = super()._loader()
        label = second.label.clone()
        label[-2:] = torch.nan
        return DataLoader([first, second._replace(label=label)], batch_size=None)


class RowsToMeasureWithoutLabels(RowsWithoutLabels):
    """Whose validation rows are those."""

    def val_dataloader(self):
        """Those with two labels too few."""
        return super().train_dataloader()

    def train_dataloader(self):
        """All with a label."""
        return self._loader()


class RowsInAList(RowsInMemory):
    """Whose training batches are a list."""

    def train_dataloader(self):
        """As a list."""
        return list(self._loader())


class RowsToMeasureInAList(RowsInMemory):
    """Whose validation batches are a list."""

    def val_dataloader(self):
        """As a list."""
        return list(self._loader())
