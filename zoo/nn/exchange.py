"""What processes send each other of the gradient of a table: the rows of their batches alone.

Shapes: R rows of a batch, U distinct ones, D columns.
"""

import torch
from torch import Tensor, distributed

from zoo.nn.row_sums import sum_by_row


def gathered(gradient: Tensor) -> Tensor:
    """The mean over all processes of a table's sparse gradient, as DDP makes it of dense ones.

    Equal rows are summed before they are sent. A process receives U (D + 1) numbers of each other
    one (4 bytes each in single precision), whatever the size of the table; a dense gradient is
    sent whole.

    Args:
        gradient: Sparse gradient of this process, of the rows of its batch.
    """
    processes = distributed.get_world_size()
    ids, rows = sum_by_row(gradient._indices()[0], gradient._values(), len(gradient))
    if len(gradient) < 2**31:
        ids = ids.int()  # half the bytes
    sizes = ids.new_empty(processes)
    all_gather(sizes, ids.new_tensor([len(ids)]))
    ids, rows = (_of_all(part, sizes) for part in (ids, rows))
    with torch.sparse.check_sparse_tensor_invariants(False):
        return torch.sparse_coo_tensor(
            ids.long().unsqueeze(0), rows.div_(processes), gradient.shape, check_invariants=False
        )


def _of_all(part: Tensor, sizes: Tensor) -> Tensor:
    """The parts of all processes behind each other, of these sizes each."""
    longest = int(sizes.max())
    filled = part.new_zeros(longest, *part.shape[1:])
    filled[: len(part)] = part
    found = part.new_empty(len(sizes) * longest, *part.shape[1:])
    all_gather(found, filled)
    places = torch.arange(longest, device=part.device)
    return found[(places < sizes.unsqueeze(1)).flatten()]


def all_gather(found: Tensor, part: Tensor) -> None:
    """Fills a tensor with the parts of all processes, by the name that torch has for it."""
    # since 2.13; the one of before warns there
    gather = getattr(distributed, "all_gather_single", None) or distributed.all_gather_into_tensor
    gather(found, part)
