"""Batches from prepared arrays: whole slices, no per-row Python.

Every row comes exactly once an epoch, on exactly one rank; all ranks make the same number of
steps; the order depends on the seed and the epoch alone, so a resumed run sees the rows that
the unbroken run would have seen.
"""

import os
from collections.abc import Callable, Iterator

import numpy as np
import torch

from datamodules.store import Arrays
from zoo.schema import Batch, ZooError

BLOCK = 256  # consecutive rows read together when shuffling from disk
WINDOW = 65_536  # rows shuffled among each other, from randomly chosen blocks


class BatchLoader:
    """An iterable of `Batch`es over the share of this rank.

    Args:
        arrays: the rows.
        batch_size: rows of a batch on one rank; only the last batch of an epoch differs.
        shuffle: a new order each epoch. From memory it is a full permutation. From disk,
            blocks of 256 rows are permuted, and rows within windows of 65,536.
        seed: of the order.
        epoch: gives the epoch that is about to begin.
        rank: of this process.
        world_size: number of processes.
        device: keep all rows there; None slices the memory-mapped arrays.
        with_row: batches carry the row numbers of the raw file.
    """

    def __init__(
        self,
        arrays: Arrays,
        batch_size: int,
        *,
        shuffle: bool = False,
        seed: int = 0,
        epoch: Callable[[], int] = lambda: 0,
        rank: int = 0,
        world_size: int = 1,
        device: torch.device | None = None,
        with_row: bool = False,
    ) -> None:
        if len(arrays) < world_size:
            raise ZooError(f"{len(arrays)} rows cannot be dealt to {world_size} processes")
        self.arrays = arrays
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.seed = seed
        self.epoch = epoch
        self.start, self.stop = (len(arrays) * r // world_size for r in (rank, rank + 1))
        self.steps = -(-(len(arrays) // world_size) // batch_size)
        self.with_row = with_row
        self.device = device
        self.resident = None if device is None else self._columns(slice(None), device)

    def __len__(self) -> int:
        return self.steps

    def __iter__(self) -> Iterator[Batch]:
        if not self.shuffle:
            yield from self._in_order()
        elif self.resident is None:
            yield from self._by_blocks()
        else:
            yield from self._permuted()

    def _bounds(self) -> Iterator[tuple[int, int]]:
        """First and last position of each batch in this rank's share of the order."""
        for step in range(self.steps):
            first = self.start + step * self.batch_size
            # shares differ by one row at most, which the last batch takes
            last = self.stop if step == self.steps - 1 else first + self.batch_size
            yield first, last

    def _in_order(self) -> Iterator[Batch]:
        for first, last in self._bounds():
            if self.resident is None:
                yield Batch(*self._columns(slice(first, last)))
            else:
                yield Batch(*(column[first:last] for column in self.resident))

    def _permuted(self) -> Iterator[Batch]:
        generator = torch.Generator(self.device).manual_seed(self._epoch_seed())
        order = torch.randperm(len(self.arrays), generator=generator, device=self.device)
        for first, last in self._bounds():
            index = order[first:last]
            yield Batch(*(column.index_select(0, index) for column in self.resident))

    def _by_blocks(self) -> Iterator[Batch]:
        random = np.random.default_rng(self._epoch_seed())
        n = len(self.arrays)
        blocks = random.permutation(-(-n // BLOCK))
        sizes = np.minimum((blocks + 1) * BLOCK, n) - blocks * BLOCK
        ends = np.cumsum(sizes)
        bounds = list(self._bounds())
        # windows of equal size: a short last one would not mix
        windows = -(-self.steps * self.batch_size // WINDOW)
        for batches in np.array_split(bounds, min(windows, self.steps)):
            low, high = batches[0][0], batches[-1][1]
            window = self._columns(_positions(blocks, sizes, ends, low, high))
            order = torch.from_numpy(random.permutation(high - low))
            for first, last in batches:
                index = order[first - low : last - low]
                yield Batch(*(column.index_select(0, index) for column in window))

    def _columns(
        self, rows: slice | list[slice], device: torch.device | None = None
    ) -> list[torch.Tensor]:
        pieces = [rows] if isinstance(rows, slice) else rows
        columns = [_copied(self.arrays.numerical, pieces), self._categorical(pieces)]
        columns.append(_copied(self.arrays.label, pieces))
        if self.with_row:
            columns.append(_copied(self.arrays.row, pieces))
        return [torch.from_numpy(column).to(device) for column in columns]

    def _categorical(self, pieces: list[slice]) -> np.ndarray:
        """int32 [R, C + K] ids of the C categorical and the K cross fields."""
        ids, crosses = self.arrays.categorical, self.arrays.crosses
        if not crosses:
            return _copied(ids, pieces)
        rows = sum(len(range(*piece.indices(len(self.arrays)))) for piece in pieces)
        fields = ids.shape[1]
        matrix = np.empty((rows, fields + len(crosses)), np.int32)
        _copied(ids, pieces, out=matrix[:, :fields])
        for column, cross in enumerate(crosses, fields):
            _copied(cross, pieces, out=matrix[:, column])
        return matrix

    def _epoch_seed(self) -> int:
        return int(np.random.SeedSequence((self.seed, self.epoch())).generate_state(1)[0])


def _copied(array: np.ndarray, pieces: list[slice], out: np.ndarray | None = None) -> np.ndarray:
    """The rows of all pieces, copied: batches must not alias a read-only file."""
    return np.concatenate([array[piece] for piece in pieces], out=out)


def fits(arrays: Arrays, device: torch.device) -> bool:
    """Whether all rows fill at most a quarter of the device's free memory."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
    else:
        free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return arrays.nbytes <= free // 4


def _positions(
    blocks: np.ndarray, sizes: np.ndarray, ends: np.ndarray, low: int, high: int
) -> list[slice]:
    """Slices of the arrays that hold positions low .. high of the blocks laid end to end."""
    pieces = []
    for i in range(np.searchsorted(ends, low, side="right"), len(blocks)):
        begin = ends[i] - sizes[i]
        if begin >= high:
            break
        offset = blocks[i] * BLOCK - begin
        pieces.append(slice(max(low, begin) + offset, min(high, ends[i]) + offset))
    return pieces
