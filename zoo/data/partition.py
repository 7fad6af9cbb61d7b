"""Which process owns which row of a table that processes share.

Shapes: R ids.
"""

import math
from dataclasses import dataclass
from functools import cached_property

from torch import Tensor

ROWS_PER_BLOCK = 64  # successive ids that stay together, a few kilobytes of a table
GOLDEN = 0.6180339887  # by which successive blocks lie as far apart as can be


@dataclass(frozen=True)
class Partition:
    """The rows of a table, dealt to processes in blocks of successive ids.

        position = 64 ((i // 64) a mod blocks) + i mod 64,   a coprime to the number of blocks

    Each process owns one range of successive positions, of equal size but for the last. The
    positions do not depend on the number of processes, so that rows which some have written are
    ranges for any other number. The frequent ids of a field, which are its first ones, belong to
    different processes.

    Attributes:
        rows: Number of rows of the table.
        parts: Number of processes.
    """

    rows: int
    parts: int = 1

    def __post_init__(self) -> None:
        if self.rows < 1 or self.parts < 1:
            raise ValueError(f"{self.rows} rows cannot be dealt to {self.parts} processes")

    @property
    def blocks(self) -> int:
        """Number of blocks; the last one may be of fewer ids, and the others' positions whole."""
        return -(-self.rows // ROWS_PER_BLOCK)

    @property
    def size(self) -> int:
        """Number of positions: those of whole blocks, of which up to 63 hold no row."""
        return self.blocks * ROWS_PER_BLOCK

    @property
    def rows_per_part(self) -> int:
        """Number of positions of each process but the last one that has any."""
        return -(-self.blocks // self.parts) * ROWS_PER_BLOCK

    def bounds(self, part: int) -> tuple[int, int]:
        """The first position of a process, and the one behind its last; both equal: it has none."""
        start, stop = (min(n * self.rows_per_part, self.size) for n in (part, part + 1))
        return start, stop

    def positions(self, ids: Tensor) -> Tensor:
        """int64 [R] the positions of ids."""
        ids = ids.long()
        return self._dealt(ids // ROWS_PER_BLOCK, self._factor) + ids % ROWS_PER_BLOCK

    def ids(self, positions: Tensor) -> Tensor:
        """int64 [R] the ids at positions; those that hold no row get `rows` or more."""
        positions = positions.long()
        return self._dealt(positions // ROWS_PER_BLOCK, self._inverse) + positions % ROWS_PER_BLOCK

    def _dealt(self, block: Tensor, factor: int) -> Tensor:
        return block * factor % self.blocks * ROWS_PER_BLOCK

    @cached_property
    def _factor(self) -> int:
        factor = int(self.blocks * GOLDEN) | 1
        while math.gcd(factor, self.blocks) > 1:
            factor += 2
        return factor

    @cached_property
    def _inverse(self) -> int:
        return pow(self._factor, -1, self.blocks)
