"""Batches from prepared arrays: whole slices, no per-row Python.

Shapes: R rows that are read together, C categorical fields, K cross fields.
"""

from collections.abc import Callable, Iterator

import numpy as np
import torch

from datamodules.prepared.arrays import Arrays
from datamodules.prepared.lists import ListArrays, ListColumn, PartedLists
from datamodules.prepared.parts import Column, copied
from datamodules.prepared.share import Resumable, Share, shuffled_windows
from datamodules.tabular.resident import (
    BYTES_AT_ONCE,
    DrawnAhead,
    keep,
    order_type,
    permutation,
)
from zoo.data.batch import Batch, take
from zoo.data.lists import Lists, beside


class BatchLoader(Resumable):
    """An iterable of `Batch`es over the share of this rank.

    Args:
        arrays: The rows.
        batch_size: Largest number of rows of a batch on one rank; see `Share`.
        shuffle: Whether each epoch has a new order. From memory it is a full permutation. From
            disk, blocks of 256 rows are permuted, and rows within windows of 65,536.
        seed: Seed of the order.
        epoch: Returns the number of the epoch that is about to begin.
        trained: Returns how many batches of the epoch have been trained on.
        rank: Number of this process.
        world_size: Number of processes.
        accumulate: Number of batches whose gradients are accumulated; see `Share`.
        device: Device that keeps all rows; None slices the memory-mapped arrays.
        numbers: Type in which the device keeps numbers; those of batches are float32.
        with_row: Whether batches carry the row numbers of the raw file.

    Raises:
        TooLargeError: where a number is beyond those of `numbers`.
    """

    def __init__(
        self,
        arrays: Arrays,
        batch_size: int,
        *,
        shuffle: bool = False,
        seed: int = 0,
        epoch: Callable[[], int] = lambda: 0,
        trained: Callable[[], int] = lambda: 0,
        rank: int = 0,
        world_size: int = 1,
        accumulate: int = 1,
        device: torch.device | None = None,
        numbers: torch.dtype = torch.float32,
        with_row: bool = False,
    ) -> None:
        super().__init__(Share(len(arrays), batch_size, rank, world_size, accumulate), trained)
        self.arrays = arrays
        self.shuffle = shuffle
        self.seed = seed
        self.epoch = epoch
        self.with_row = with_row
        self.device = device
        self.ahead: DrawnAhead | None = None
        if shuffle and device is not None and device.type != "cpu":
            self.ahead = DrawnAhead(self._order, epoch())  # while the rows are copied
        self.resident = None if device is None else self._kept(device, numbers)

    def __iter__(self) -> Iterator[Batch]:
        first = self.first_batch()
        if not self.shuffle:
            yield from self._in_order(first)
        elif self.resident is None:
            yield from self._by_blocks(first)
        else:
            yield from self._permuted(self.resident, first)

    def _in_order(self, first: int) -> Iterator[Batch]:
        for rows in self.share.slices(first):
            yield self._batch(rows) if self.resident is None else _taken(self.resident, rows)

    def _permuted(self, resident: Batch, first: int) -> Iterator[Batch]:
        epoch = self.epoch()
        order = self.ahead.of(epoch) if self.ahead else self._order(epoch)
        order = order.to(self.device)
        for rows in self.share.shares(first):
            yield _taken(resident, order[rows])

    def _order(self, epoch: int) -> torch.Tensor:
        """[n] that of an epoch in memory, equal on all devices."""
        assert self.device is not None
        rows = len(self.arrays)
        return permutation(rows, self._epoch_seed(epoch), order_type(rows, self.device))

    def _by_blocks(self, first: int) -> Iterator[Batch]:
        random = np.random.default_rng(self._epoch_seed(self.epoch()))
        for pieces, batches in shuffled_windows(self.share, random, first):
            window = self._batch(pieces)
            for rows in batches:
                batch = take(window, torch.from_numpy(rows))
                # without the values of the whole window
                yield batch._replace(lists=batch.lists and batch.lists.compact())

    def _kept(self, device: torch.device, numbers: torch.dtype) -> Batch:
        """All rows, on a device."""
        rows, at_once = len(self.arrays), None
        if device.type != "cpu" or numbers != torch.float32:  # else there would be a copy more
            at_once = BYTES_AT_ONCE // (self.arrays.nbytes // rows + 1) + 1
        values = sum(lists.values_count for lists in self._list_columns)
        return keep(self._batch, rows, device, numbers, values=values, at_once=at_once)

    def _batch(self, rows: slice | list[slice]) -> Batch:
        """The rows, copied."""
        pieces = [rows] if isinstance(rows, slice) else rows
        arrays = self.arrays

        def further(array: Column | None) -> torch.Tensor | None:
            return None if array is None else torch.from_numpy(copied(array, pieces))

        return Batch(
            numerical=torch.from_numpy(copied(arrays.numerical, pieces)),
            categorical=torch.from_numpy(self._categorical(pieces)),
            label=torch.from_numpy(copied(arrays.label, pieces)),
            row=further(arrays.row if self.with_row else None),
            lists=self._lists(pieces),
            weight=further(arrays.weight),
            group=further(arrays.group),
        )

    @property
    def _list_columns(self) -> list[ListColumn]:
        """The lists of the M fields, then those of crosses."""
        found = self.arrays.lists, *self.arrays.crosses
        return [lists for lists in found if isinstance(lists, (ListArrays, PartedLists))]

    def _lists(self, pieces: list[slice]) -> Lists | None:
        """The lists of the rows."""
        found = [lists.rows(pieces) for lists in self._list_columns]
        return beside(found) if found else None

    def _categorical(self, pieces: list[slice]) -> np.ndarray:
        """int32 [R, C + K] ids of the C categorical and the K cross fields."""
        ids = self.arrays.categorical
        crosses = [cross for cross in self.arrays.crosses if isinstance(cross, np.ndarray)]
        if not crosses:
            return copied(ids, pieces)
        rows = sum(len(range(*piece.indices(len(self.arrays)))) for piece in pieces)
        fields = ids.shape[1]
        matrix = np.empty((rows, fields + len(crosses)), np.int32)
        copied(ids, pieces, out=matrix[:, :fields])
        for column, cross in enumerate(crosses, fields):
            copied(cross, pieces, out=matrix[:, column])
        return matrix

    def _epoch_seed(self, epoch: int) -> int:
        return int(np.random.SeedSequence((self.seed, epoch)).generate_state(1)[0])


def _taken(resident: Batch, rows: slice | torch.Tensor) -> Batch:
    """Some of the rows that are kept, with numbers in float32."""
    batch = take(resident, rows)
    return batch._replace(numerical=batch.numerical.float())
