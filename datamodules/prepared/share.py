"""Which rows an epoch brings to a process, and in which order.

Every row comes exactly once an epoch, on exactly one rank; all ranks make the same number of
steps; the order depends on the seed and the epoch alone, so a resumed run sees the rows that
the unbroken run would have seen.

Shapes: B rows of a batch.
"""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from zoo.data.errors import ZooError

ROWS_PER_BLOCK = 256  # consecutive rows read together when shuffling from disk
ROWS_PER_WINDOW = 65_536  # rows shuffled among each other, from randomly chosen blocks


class Share:
    """The batches of one process: equally many on all, every row once.

    There are as many as one process would make of batches as large as those of all processes
    together. Batches of an epoch differ by a row at most: a last one of few rows would move the
    weights as far as the others, and the wrong way.

    Args:
        rows: Number of rows of all processes.
        batch_size: Largest number of rows of a batch on one process.
        rank: Number of this process.
        world_size: Number of processes.
        accumulate: Number of batches whose gradients are accumulated, of which the number of
            batches is a multiple: such steps are those of batches that much larger.
    """

    def __init__(
        self, rows: int, batch_size: int, rank: int, world_size: int, accumulate: int = 1
    ) -> None:
        if rows < world_size:
            raise ZooError(f"{rows} rows cannot be dealt to {world_size} processes")
        self.rows = rows
        self.rank = rank
        self.world_size = world_size
        wanted = -(-rows // (batch_size * world_size * accumulate)) * accumulate
        self.steps = min(wanted, rows // world_size)  # no batch without a row
        self.batch_size = batch_size

    def __len__(self) -> int:
        return self.steps

    def slices(self, first: int = 0) -> Iterator[slice]:
        """The positions of each batch, from a batch on, where a process has successive rows."""
        start, stop = (self.rows * r // self.world_size for r in (self.rank, self.rank + 1))
        for step in range(first, self.steps):
            yield _part(start, stop, step, self.steps)

    def shares(self, first: int = 0) -> Iterator[slice]:
        """The positions of each batch, from a batch on, as shares of the batches of one process.

        All processes together make the steps that one process makes with larger batches.
        """
        for step in range(first, self.steps):
            batch = _part(0, self.rows, step, self.steps)
            yield _part(batch.start, batch.stop, self.rank, self.world_size)


def _part(start: int, stop: int, number: int, parts: int) -> slice:
    """One of the equal parts of start .. stop."""
    low, high = (start + (stop - start) * i // parts for i in (number, number + 1))
    return slice(low, high)


class Resumable:
    """Batches of training whose epoch can go on where a checkpoint was saved.

    Lightning saves the state of a dataloader with each checkpoint, and restores it where that lies
    within an epoch.

    Args:
        share: The batches of this process.
        trained: Returns how many batches of the epoch have been trained on.
    """

    def __init__(self, share: Share, trained: Callable[[], int]) -> None:
        self.share = share
        self._trained = trained
        self._resumed = False

    def __len__(self) -> int:
        return len(self.share)

    def state_dict(self) -> dict[str, Any]:
        """How many batches of how many have been trained on; equal on all processes."""
        return {"trained": min(self._trained(), len(self)), "batches": len(self)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Lets the next epoch begin with the first batch that has not been trained on.

        Raises:
            ZooError: where its epochs have another number of batches.
        """
        if state_dict["batches"] != len(self):
            raise ZooError(
                f"the checkpoint was saved after {state_dict['trained']} of the "
                f"{state_dict['batches']} batches of an epoch, which has {len(self)} here: go on "
                "with the same rows, data.batch_size and number of processes, or from a "
                "checkpoint of the end of an epoch"
            )
        self._resumed = True

    def first_batch(self) -> int:
        """The number of the batch that an epoch begins with."""
        first = self._trained() if self._resumed else 0
        self._resumed = False
        return first


def shuffled_windows(
    share: Share, random: np.random.Generator, first: int = 0
) -> Iterator[tuple[list[slice], list[np.ndarray]]]:
    """A new order of rows on disk: blocks are permuted, and rows within windows of blocks.

    Args:
        share: The batches of this process.
        random: Draws the order.
        first: The batch to begin with; the windows before it are not yielded.

    Yields:
        Of each window the slices to be read together, and for each of its batches the positions
        [B] of its rows among those read.
    """
    n = share.rows
    blocks = random.permutation(-(-n // ROWS_PER_BLOCK))
    sizes = np.minimum((blocks + 1) * ROWS_PER_BLOCK, n) - blocks * ROWS_PER_BLOCK
    ends = np.cumsum(sizes)
    bounds = [(part.start, part.stop) for part in share.slices()]
    # windows of equal size: a short last one would not mix
    windows = -(-share.steps * share.batch_size // ROWS_PER_WINDOW)
    for batches in np.array_split(bounds, min(windows, share.steps)):
        low, high = batches[0][0], batches[-1][1]
        order = random.permutation(high - low)
        wanted, first = batches[first:], max(first - len(batches), 0)
        if len(wanted):
            pieces = _positions(blocks, sizes, ends, low, high)
            yield pieces, [order[start - low : stop - low] for start, stop in wanted]


def _positions(
    blocks: np.ndarray, sizes: np.ndarray, ends: np.ndarray, low: int, high: int
) -> list[slice]:
    """Slices of the arrays that hold positions low .. high of the blocks laid end to end."""
    pieces = []
    for i in range(int(np.searchsorted(ends, low, side="right")), len(blocks)):
        begin = ends[i] - sizes[i]
        if begin >= high:
            break
        offset = blocks[i] * ROWS_PER_BLOCK - begin
        pieces.append(slice(max(low, begin) + offset, min(high, ends[i]) + offset))
    return pieces
