"""Batches of pairs of user and item, whose fields are looked up when a batch is made.

Shapes: B batch, U users, I items, C_u, C_i categorical fields of a user and an item, N
numerical fields of an item.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import torch

from datamodules.implicit.leave_one_out import NegativeSampler
from datamodules.prepared.share import Resumable, Share
from zoo.data.batch import Batch
from zoo.data.errors import ZooError
from zoo.data.schema import MISSING, UNKNOWN


@dataclass(frozen=True)
class Tables:
    """The encoded fields of all users and items, by their numbers.

    Attributes:
        user_ids: int64 [U] original ids of the users.
        user: int32 [U, C_u] categorical fields of the users.
        item_ids: int64 [I] original ids of the items.
        item: int32 [I, C_i] categorical fields of the items.
        item_numbers: float32 [I, N] numerical fields of the items.
    """

    user_ids: np.ndarray
    user: np.ndarray
    item_ids: np.ndarray
    item: np.ndarray
    item_numbers: np.ndarray

    def save(self, folder: Path) -> None:
        """Writes a file for each table."""
        for field in fields(self):
            np.save(folder / f"{field.name}.npy", getattr(self, field.name))

    @classmethod
    def open(cls, folder: Path) -> "Tables":
        """Reads what `save` wrote."""
        try:
            return cls(*(np.load(folder / f"{field.name}.npy") for field in fields(cls)))
        except (OSError, ValueError, EOFError) as error:
            raise ZooError(f"{folder} is damaged: {error}") from error

    def with_unknown(self) -> "Tables":
        """The tables with one more user and item, number -1: unknown, its content missing."""

        def more(ids: np.ndarray) -> np.ndarray:
            row = np.full((1, ids.shape[1]), MISSING, ids.dtype)
            row[0, 0] = UNKNOWN
            return np.concatenate((ids, row))

        zeros = np.zeros((1, self.item_numbers.shape[1]), np.float32)
        numbers = np.concatenate((self.item_numbers, zeros))
        return Tables(self.user_ids, more(self.user), self.item_ids, more(self.item), numbers)

    def batch(self, user: np.ndarray, item: np.ndarray, label: np.ndarray) -> Batch:
        """A batch of pairs [B] with labels [B]."""
        ids = np.concatenate((self.user.take(user, 0), self.item.take(item, 0)), axis=1)
        numbers = self.item_numbers.take(item, 0)
        return Batch(
            numerical=torch.from_numpy(numbers),
            categorical=torch.from_numpy(ids),
            label=torch.from_numpy(label.astype(np.float32)),
        )


def find(ids: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Where each wanted value stands in `ids`; -1 where it does not."""
    order = np.argsort(ids, kind="stable")
    place = np.searchsorted(ids, wanted, sorter=order).clip(max=len(ids) - 1)
    found = order[place]
    return np.where(ids[found] == wanted, found, -1)


class TrainingPairs(Resumable):
    """Each epoch every positive once, each with fresh negatives, all rows shuffled.

    Balanced, as many positives are drawn with replacement: any user, then any of that user's.

    An epoch is drawn whole from the seed and its number, whatever the number of processes, and
    each process takes its share of it.

    Args:
        tables: The fields of users and items.
        user: [n] numbers of the positives' users.
        item: [n] numbers of the positives' items.
        sampler: Draws the negatives.
        negatives: Number of negatives for each positive.
        batch_size: Number of rows of a batch on one process.
        balanced: Whether all users are as likely, whatever the number of their positives.
        seed: Seed of the order, the negatives and the positives that are drawn.
        epoch: Returns the number of the epoch that is about to begin.
        trained: Returns how many batches of the epoch have been trained on.
        rank: Number of this process.
        world_size: Number of processes.
        accumulate: Number of batches whose gradients are accumulated; see `Share`.
    """

    def __init__(
        self,
        tables: Tables,
        user: np.ndarray,
        item: np.ndarray,
        sampler: NegativeSampler,
        negatives: int,
        batch_size: int,
        balanced: bool = False,
        seed: int = 0,
        epoch: Callable[[], int] = lambda: 0,
        trained: Callable[[], int] = lambda: 0,
        rank: int = 0,
        world_size: int = 1,
        accumulate: int = 1,
    ) -> None:
        rows = len(user) * (1 + negatives)
        super().__init__(Share(rows, batch_size, rank, world_size, accumulate), trained)
        self.tables = tables
        self.user = user
        self.item = item
        self.sampler = sampler
        self.group = 1 + negatives
        self.balanced = balanced
        self.seed = seed
        self.epoch = epoch

    def __iter__(self) -> Iterator[Batch]:
        for user, item, label in self.pairs():
            yield self.tables.batch(user, item, label)

    def pairs(self) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """user [B], item [B] and whether it is a positive [B], of each batch."""
        rng = np.random.default_rng((self.seed, self.epoch()))
        rows = len(self.user) * self.group
        order = rng.permutation(rows)
        random = rng.random(rows)
        users, items = self.user, self.item
        if self.balanced:
            chosen = self._draw(rng)
            users, items = users[chosen], items[chosen]
        for part in self.share.shares(self.first_batch()):
            positive, place = np.divmod(order[part], self.group)
            user = users[positive]
            label = place == 0
            drawn = self.sampler.draw(user, random[part])
            yield user, np.where(label, items[positive], drawn), label

    def _draw(self, rng: np.random.Generator) -> np.ndarray:
        """[n] numbers of positives, all users as likely."""
        likely = 1 / np.bincount(self.user)[self.user]
        return rng.choice(len(likely), len(likely), p=likely / likely.sum())


class FixedPairs:
    """Pairs in order: ranked lists, or pairs to predict.

    Args:
        tables: The fields of users and items.
        user: [n] numbers of users.
        item: [n] numbers of items.
        label: [n] labels.
        batch_size: Number of rows of a batch on one process.
        row: [n] row numbers of the file, where predictions are made.
        ranked: Whether batches name the list of a row, which is its user's number.
        rank: Number of this process.
        world_size: Number of processes.
    """

    def __init__(
        self,
        tables: Tables,
        user: np.ndarray,
        item: np.ndarray,
        label: np.ndarray,
        batch_size: int,
        row: np.ndarray | None = None,
        ranked: bool = False,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        self.tables = tables
        self.user = user
        self.item = item
        self.label = label
        self.row = row
        self.ranked = ranked
        self.share = Share(len(user), batch_size, rank, world_size)

    def __len__(self) -> int:
        return len(self.share)

    def __iter__(self) -> Iterator[Batch]:
        for part in self.share.slices():
            user = np.asarray(self.user[part], np.int64)
            batch = self.tables.batch(user, self.item[part], np.asarray(self.label[part]))
            row = None if self.row is None else torch.from_numpy(self.row[part].copy())
            query = torch.from_numpy(user) if self.ranked else None
            yield batch._replace(row=row, query=query)
