"""A table whose rows are dealt to processes, and the rows that these send each other.

Shapes: R ids of a batch, U distinct ones, A rows that others ask of this process, C columns.
"""

from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.autograd.function import once_differentiable

from zoo.data.partition import Partition
from zoo.nn.row_sums import distinct, sum_by_row

ROWS_PER_SEED = 1 << 18  # rows whose first values are drawn together, a multiple of a block


class Shard:
    """The rows of a table that this process owns; see `Partition`.

    Args:
        partition: Which process owns which row.
        part: Number of this process.
    """

    def __init__(self, partition: Partition, part: int) -> None:
        self.partition = partition
        self.part = part
        self.start, self.stop = partition.bounds(part)

    def __len__(self) -> int:
        return self.stop - self.start

    def allocated(self, columns: int, dtype: torch.dtype, device: torch.device) -> Tensor:
        """[rows of this process, C] memory for the rows, whose values are yet to come."""
        return torch.empty(len(self), columns, dtype=dtype, device=device)

    def look_up(self, table: Tensor, ids: Tensor, sparse: bool) -> tuple[Tensor, Tensor, Tensor]:
        """[U, C] the rows of distinct ids, wherever they are, [U] these ids, and [R] the place of
        each id among them.

        All processes have to look up at the same time. The gradient of this process's rows is the
        mean over the processes, as DDP makes it of other parameters.

        Args:
            table: [rows of this process, C] the rows that this process owns.
            ids: int64 [R] ids that this process needs.
            sparse: Whether the gradient of the table is sparse.
        """
        positions, place = distinct(self.partition.positions(ids), self.partition.size)
        rows = self._rows_at(table, positions, sparse)
        return rows, self.partition.ids(positions), place

    def _rows_at(self, table: Tensor, positions: Tensor, sparse: bool) -> Tensor:
        """[U, C] the rows at ascending positions."""
        return _Exchanged.apply(table, positions, self.partition, sparse)

    def owned(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """bool [R] which ids this process owns, and the rows of its table at which these lie."""
        rows = self.partition.positions(ids) - self.start
        mine = (rows >= 0) & (rows < len(self))
        return mine, rows[mine]

    def of(self, table: Tensor) -> Tensor:
        """The rows of a whole table [rows, C], in the order of ids, that this process owns."""
        ids = self.partition.ids(torch.arange(self.start, self.stop))
        found = table.new_zeros(len(self), *table.shape[1:])
        exist = ids < self.partition.rows
        found[exist] = table[ids[exist]]
        return found

    def drawn(self, table: Tensor, std: float, seed: int) -> Tensor:
        """Fills the rows of this process from N(0, std^2), the same whatever the number of
        processes."""
        for first in range(self.start // ROWS_PER_SEED * ROWS_PER_SEED, self.stop, ROWS_PER_SEED):
            generator = torch.Generator().manual_seed(seed + first)
            values = torch.empty(ROWS_PER_SEED, *table.shape[1:], dtype=table.dtype)
            nn.init.normal_(values, std=std, generator=generator)
            low, high = max(first, self.start), min(first + ROWS_PER_SEED, self.stop)
            table[low - self.start : high - self.start] = values[low - first : high - first]
        return table


class _Exchanged(torch.autograd.Function):
    """[U, C] the rows at ascending positions of a table whose rows are dealt to processes."""

    @staticmethod
    def forward(
        ctx: Any, table: Tensor, positions: Tensor, partition: Partition, sparse: bool
    ) -> Tensor:
        ends = [partition.bounds(part)[1] for part in range(partition.parts)]
        behind = torch.searchsorted(positions, torch.tensor(ends, device=positions.device))
        counts = behind.diff(prepend=behind.new_zeros(1))
        ctx.send, ctx.receive = _counts(counts)
        own = (positions % partition.rows_per_part).int()
        asked = own.new_empty(sum(ctx.receive))
        distributed.all_to_all_single(asked, own, ctx.receive, ctx.send)
        ctx.save_for_backward(asked)
        ctx.shape, ctx.sparse = table.shape, sparse
        rows = table.new_empty(len(positions), table.shape[1])
        given = nn.functional.embedding(asked, table)
        distributed.all_to_all_single(rows, given, ctx.send, ctx.receive)
        return rows

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, rows: Tensor
    ) -> tuple[Tensor | None, ...]:
        (asked,) = ctx.saved_tensors
        rows = of_each_row(rows)
        gradient = rows.new_empty(len(asked), rows.shape[1])
        distributed.all_to_all_single(gradient, rows.contiguous(), ctx.receive, ctx.send)
        gradient.div_(len(ctx.send))
        asked = asked.long()
        if not ctx.sparse:
            return rows.new_zeros(ctx.shape).index_add_(0, asked, gradient), None, None, None
        with torch.sparse.check_sparse_tensor_invariants(False):
            found = torch.sparse_coo_tensor(
                asked.unsqueeze(0), gradient, ctx.shape, check_invariants=False
            )
        return found, None, None, None


def of_each_row(gradient: Tensor) -> Tensor:
    """[U, C] a gradient of rows all of which are looked up, most of them more than once."""
    if not gradient.is_sparse:
        return gradient
    return sum_by_row(gradient._indices()[0], gradient._values(), len(gradient))[1]


def _counts(send: Tensor) -> tuple[list[int], list[int]]:
    """How many rows this process sends to each other one, and receives of it."""
    receive = torch.empty_like(send)
    distributed.all_to_all_single(receive, send)
    both = torch.stack((send, receive)).tolist()  # one wait for a GPU
    return both[0], both[1]
