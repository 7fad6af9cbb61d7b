"""Random rows of Criteo's shape, made on the device that keeps them."""

import torch
from common import CLICK_RATE, PIECE

from datamodules.tabular.loader import BatchLoader
from zoo.data.batch import Batch
from zoo.data.schema import Schema


def draw_rows(schema: Schema, rows: int, device: torch.device) -> Batch:
    """Rows whose ids are log-uniform, as those that `common.write_rows` writes."""
    sizes = torch.tensor([float(field.cardinality) for field in schema.categorical], device=device)
    shapes = {"numerical": len(schema.numerical), "categorical": len(sizes)}
    types = {"numerical": torch.float32, "categorical": torch.int32}
    kept = {k: torch.empty(rows, n, dtype=types[k], device=device) for k, n in shapes.items()}
    for start in range(0, rows, PIECE):
        piece = slice(start, min(start + PIECE, rows))
        count = piece.stop - start
        kept["numerical"][piece].normal_()
        # P(k) ~ log((k + 2) / (k + 1))
        ids = (sizes + 1) ** torch.rand(count, len(sizes), device=device) - 1
        kept["categorical"][piece] = ids.int().minimum(sizes.int() - 1)
    label = (torch.rand(rows, device=device) < CLICK_RATE).float()
    return Batch(label=label, **kept)


def first_rows(rows: Batch, count: int) -> Batch:
    """The first of them, as views."""
    return Batch(rows.numerical[:count], rows.categorical[:count], rows.label[:count])


def bytes_of(rows: Batch) -> int:
    """Bytes of rows, and of the order of an epoch."""
    return sum(part.nbytes for part in rows if part is not None) + 4 * len(rows.label)


class ResidentRows(BatchLoader):
    """The project's loader, over rows that are on the device already.

    Args:
        rows: The rows.
        batch_size: Number of rows of a batch.
    """

    def __init__(self, rows: Batch, batch_size: int) -> None:
        self._given = rows
        length = range(len(rows.label))  # all that is asked of arrays whose rows are kept
        super().__init__(length, batch_size, shuffle=True, device=rows.label.device)

    def _kept(self, device: torch.device, numbers: torch.dtype) -> Batch:
        return self._given
