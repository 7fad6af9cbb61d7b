"""Batches of sessions from prepared records."""

from collections.abc import Callable, Iterator

import numpy as np

from datamodules.prepared.share import Resumable, Share, shuffled_windows
from datamodules.sessions.records import Assembler
from zoo.data.batch import SessionBatch


class SessionLoader(Resumable):
    """An iterable of `SessionBatch`es over the share of this rank.

    Every session comes exactly once an epoch, on exactly one rank; all ranks make the same
    number of steps; the order depends on the seed and the epoch alone.

    Args:
        records: [S] of `datamodules.sessions.records.SESSION`, memory-mapped.
        assembler: Makes batches of them.
        batch_size: Largest number of sessions of a batch on one rank; see `Share`.
        shuffle: Whether each epoch has a new order: blocks of 256 sessions are permuted, and
            sessions within windows of 65,536.
        seed: Seed of the order.
        epoch: Returns the number of the epoch that is about to begin.
        trained: Returns how many batches of the epoch have been trained on.
        rank: Number of this process.
        world_size: Number of processes.
        accumulate: Number of batches whose gradients are accumulated; see `Share`.
        with_row: Whether batches carry the numbers of the sessions in the raw files.
    """

    def __init__(
        self,
        records: np.ndarray,
        assembler: Assembler,
        batch_size: int,
        *,
        shuffle: bool = False,
        seed: int = 0,
        epoch: Callable[[], int] = lambda: 0,
        trained: Callable[[], int] = lambda: 0,
        rank: int = 0,
        world_size: int = 1,
        accumulate: int = 1,
        with_row: bool = False,
    ) -> None:
        super().__init__(Share(len(records), batch_size, rank, world_size, accumulate), trained)
        self.records = records
        self.assembler = assembler
        self.shuffle = shuffle
        self.seed = seed
        self.epoch = epoch
        self.with_row = with_row

    def __iter__(self) -> Iterator[SessionBatch]:
        first = self.first_batch()
        for records in self._shuffled(first) if self.shuffle else self._in_order(first):
            yield self.assembler.batch(records, self.with_row)

    def _in_order(self, first: int) -> Iterator[np.ndarray]:
        for part in self.share.slices(first):
            yield self.records[part]

    def _shuffled(self, first: int) -> Iterator[np.ndarray]:
        random = np.random.default_rng((self.seed, self.epoch()))
        for pieces, batches in shuffled_windows(self.share, random, first):
            window = np.concatenate([self.records[piece] for piece in pieces])
            for index in batches:
                yield window[index]
