"""Batches from prepared arrays: whole slices, no per-row Python.

Every row comes exactly once an epoch, on exactly one rank; all ranks make the same number of
steps; the order depends on the seed and the epoch alone, so a resumed run sees the rows that
the unbroken run would have seen.
"""

import os
from collections.abc import Callable, Iterator
from itertools import pairwise

import numpy as np
import torch

from datamodules.prepared.store import Arrays
from zoo.data.batch import Batch
from zoo.data.errors import ZooError

BLOCK = 256  # consecutive rows read together when shuffling from disk
WINDOW = 65_536  # rows shuffled among each other, from randomly chosen blocks


class Share:
    """The batches of one process: equally many on all, every row once.

    Batches of an epoch differ by a row at most: a last one of few rows would move the weights as
    far as the others, and the wrong way.

    Args:
        rows: of all processes.
        batch_size: rows of a batch on one process, at most (one more where the rows of the
            processes differ).
        rank: of this process.
        world_size: number of processes.
    """

    def __init__(self, rows: int, batch_size: int, rank: int, world_size: int) -> None:
        if rows < world_size:
            raise ZooError(f"{rows} rows cannot be dealt to {world_size} processes")
        self.rows = rows
        self.start, self.stop = (rows * r // world_size for r in (rank, rank + 1))
        self.steps = -(-(rows // world_size) // batch_size)
        self.batch_size = batch_size

    def __len__(self) -> int:
        return self.steps

    def slices(self) -> Iterator[slice]:
        """The positions of each batch in the order of all rows."""
        rows = self.stop - self.start
        bounds = [self.start + rows * step // self.steps for step in range(self.steps + 1)]
        for first, stop in pairwise(bounds):
            yield slice(first, stop)


class BatchLoader:
    """An iterable of `Batch`es over the share of this rank.

    Args:
        arrays: the rows.
        batch_size: rows of a batch on one rank, at most; see `Share`.
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
        self.arrays = arrays
        self.shuffle = shuffle
        self.seed = seed
        self.epoch = epoch
        self.share = Share(len(arrays), batch_size, rank, world_size)
        self.with_row = with_row
        self.device = device
        self.resident = None if device is None else self._columns(slice(None), device)

    def __len__(self) -> int:
        return len(self.share)

    def __iter__(self) -> Iterator[Batch]:
        if not self.shuffle:
            yield from self._in_order()
        elif self.resident is None:
            yield from self._by_blocks()
        else:
            yield from self._permuted()

    def _in_order(self) -> Iterator[Batch]:
        for rows in self.share.slices():
            if self.resident is None:
                yield Batch(*self._columns(rows))
            else:
                yield Batch(*(column[rows] for column in self.resident))

    def _permuted(self) -> Iterator[Batch]:
        generator = torch.Generator(self.device).manual_seed(self._epoch_seed())
        order = torch.randperm(len(self.arrays), generator=generator, device=self.device)
        for rows in self.share.slices():
            index = order[rows]
            yield Batch(*(column.index_select(0, index) for column in self.resident))

    def _by_blocks(self) -> Iterator[Batch]:
        random = np.random.default_rng(self._epoch_seed())
        for pieces, batches in shuffled_windows(self.share, random):
            window = self._columns(pieces)
            for batch in batches:
                index = torch.from_numpy(batch)
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


def shuffled_windows(
    share: Share, random: np.random.Generator
) -> Iterator[tuple[list[slice], list[np.ndarray]]]:
    """A new order of rows on disk: pieces to be read together, and [B] positions among the rows
    read of each batch. Blocks are permuted, and rows within windows of blocks."""
    n = share.rows
    blocks = random.permutation(-(-n // BLOCK))
    sizes = np.minimum((blocks + 1) * BLOCK, n) - blocks * BLOCK
    ends = np.cumsum(sizes)
    bounds = [(part.start, part.stop) for part in share.slices()]
    # windows of equal size: a short last one would not mix
    windows = -(-share.steps * share.batch_size // WINDOW)
    for batches in np.array_split(bounds, min(windows, share.steps)):
        low, high = batches[0][0], batches[-1][1]
        order = random.permutation(high - low)
        pieces = _positions(blocks, sizes, ends, low, high)
        yield pieces, [order[first - low : last - low] for first, last in batches]


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
