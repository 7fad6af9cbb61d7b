"""Batches from prepared arrays: whole slices, no per-row Python.

Shapes: R rows that are read together, C categorical fields, K cross fields.
"""

import os
from collections.abc import Callable, Iterator

import numpy as np
import torch

from datamodules.prepared.arrays import Arrays
from datamodules.prepared.lists import ListArrays, PartedLists
from datamodules.prepared.parts import Column, copied
from datamodules.prepared.share import Resumable, Share, shuffled_windows
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
        with_row: Whether batches carry the row numbers of the raw file.
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
        with_row: bool = False,
    ) -> None:
        super().__init__(Share(len(arrays), batch_size, rank, world_size, accumulate), trained)
        self.arrays = arrays
        self.shuffle = shuffle
        self.seed = seed
        self.epoch = epoch
        self.with_row = with_row
        self.device = device
        self.resident = None if device is None else self._batch(slice(None), device)

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
            yield self._batch(rows) if self.resident is None else take(self.resident, rows)

    def _permuted(self, resident: Batch, first: int) -> Iterator[Batch]:
        generator = torch.Generator(self.device).manual_seed(self._epoch_seed())
        order = torch.randperm(len(self.arrays), generator=generator, device=self.device)
        for rows in self.share.shares(first):
            yield take(resident, order[rows])

    def _by_blocks(self, first: int) -> Iterator[Batch]:
        random = np.random.default_rng(self._epoch_seed())
        for pieces, batches in shuffled_windows(self.share, random, first):
            window = self._batch(pieces)
            for rows in batches:
                batch = take(window, torch.from_numpy(rows))
                # without the values of the whole window
                yield batch._replace(lists=batch.lists and batch.lists.compact())

    def _batch(self, rows: slice | list[slice], device: torch.device | None = None) -> Batch:
        """The rows, copied to a device."""
        pieces = [rows] if isinstance(rows, slice) else rows
        arrays = self.arrays

        def further(array: Column | None) -> torch.Tensor | None:
            return None if array is None else torch.from_numpy(copied(array, pieces)).to(device)

        return Batch(
            numerical=torch.from_numpy(copied(arrays.numerical, pieces)).to(device),
            categorical=torch.from_numpy(self._categorical(pieces)).to(device),
            label=torch.from_numpy(copied(arrays.label, pieces)).to(device),
            row=further(arrays.row if self.with_row else None),
            lists=self._lists(pieces, device),
            weight=further(arrays.weight),
            group=further(arrays.group),
        )

    def _lists(self, pieces: list[slice], device: torch.device | None) -> Lists | None:
        """The lists of the M fields, then those of crosses."""
        arrays = self.arrays.lists, *self.arrays.crosses
        found = [a for a in arrays if isinstance(a, (ListArrays, PartedLists))]
        return beside([lists.rows(pieces) for lists in found]).to(device) if found else None

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

    def _epoch_seed(self) -> int:
        return int(np.random.SeedSequence((self.seed, self.epoch())).generate_state(1)[0])


def fits(arrays: Arrays, device: torch.device) -> bool:
    """Whether all rows fill at most a quarter of the device's free memory."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
    else:
        free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return arrays.nbytes <= free // 4
