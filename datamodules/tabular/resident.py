"""Rows that are kept in the memory of a device: what they take, how they come there, their order.

Shapes: n rows, N numerical fields, M fields of lists, V values of all lists.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import torch
from torch import Tensor

from datamodules.prepared.arrays import Arrays
from zoo.data.batch import Batch
from zoo.data.errors import ZooError
from zoo.data.lists import Lists

BYTES_AT_ONCE = 1 << 26  # of rows that are on their way to a device
NUMBERS = {"float32": torch.float32, "float16": torch.float16}
INT32_ROWS = 1 << 31  # fewer are numbered in int32


class TooLargeError(ValueError):
    """A number beyond those that the type to be kept has.

    Attributes:
        column: Which of the numerical fields.
        number: The number.
    """

    def __init__(self, column: int, number: float) -> None:
        super().__init__(column, number)
        self.column = column
        self.number = number


def number_type(name: str) -> torch.dtype:
    """The type that `data.resident_numbers` names.

    Raises:
        ZooError: where it names another one.
    """
    if name not in NUMBERS:
        raise ZooError(f"data.resident_numbers takes {' or '.join(NUMBERS)}, got {name}")
    return NUMBERS[name]


@contextmanager
def numbers_of(fields: Sequence[str]) -> Iterator[None]:
    """A block in which a number that is too large is reported as that of its field."""
    try:
        yield
    except TooLargeError as error:
        raise ZooError(
            f"data.resident_numbers: float16 holds numbers up to 65,504, and the field "
            f"{fields[error.column]} has {error.number:g}: give float32, or scale the field"
        ) from error


def order_type(rows: int, device: torch.device) -> torch.dtype:
    """The type of the row numbers in the order of an epoch."""
    return torch.int32 if device.type != "cpu" and rows < INT32_ROWS else torch.int64


def kept_bytes(
    arrays: Arrays,
    device: torch.device,
    numbers: torch.dtype = torch.float32,
    *,
    shuffle: bool = False,
    with_row: bool = False,
) -> int:
    """Bytes of the rows on a device, the order of an epoch included.

    Args:
        arrays: The rows.
        device: Where they are kept.
        numbers: Type in which numbers are kept.
        shuffle: Whether they have an order of their own.
        with_row: Whether their row numbers are kept too.
    """
    narrow = (4 - numbers.itemsize) * (arrays.numerical.nbytes // 4)
    order = order_type(len(arrays), device).itemsize * len(arrays) if shuffle else 0
    return arrays.nbytes - narrow + order + (arrays.row.nbytes if with_row else 0)


def fits(size: int, device: torch.device) -> bool:
    """Whether so many bytes fill at most a quarter of the device's free memory."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
    else:
        free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return size <= free // 4


def keep(
    read: Callable[[slice], Batch],
    rows: int,
    device: torch.device,
    numbers: torch.dtype = torch.float32,
    *,
    values: int = 0,
    at_once: int | None = None,
) -> Batch:
    """All rows on a device, read piece by piece, so that the memory of the host stays bounded.

    Args:
        read: Returns rows in the memory of the host.
        rows: Number of all rows, n.
        device: Where to keep them.
        numbers: Type in which the [n, N] numbers are kept.
        values: Number of values of their lists, V.
        at_once: Number of rows that are read together; None reads all.

    Raises:
        TooLargeError: where a number is beyond those of `numbers`.
    """
    kept: dict[str, Tensor] = {}

    def put(name: str, part: Tensor, start: int, length: int) -> None:
        if len(part) == length and part.device == device:  # no second copy
            kept[name] = part
            return
        if name not in kept:
            kept[name] = part.new_empty((length, *part.shape[1:]), device=device)
        kept[name][start : start + len(part)].copy_(part)

    ended = 0  # values so far
    for start in range(0, rows, at_once or rows):
        batch = read(slice(start, min(start + (at_once or rows), rows)))
        batch = batch._replace(numerical=_narrowed(batch.numerical, numbers))
        for name, part in batch._asdict().items():
            if isinstance(part, Tensor):
                put(name, part, start, rows)
        if batch.lists:
            put("values", batch.lists.values, ended, values)
            put("offsets", batch.lists.offsets + ended, start, rows)
            put("lengths", batch.lists.lengths, start, rows)
            ended += len(batch.lists.values)
    lists = Lists(*(kept.pop(name) for name in Lists._fields)) if "lengths" in kept else None
    return Batch(**kept, lists=lists)


def _narrowed(numbers: Tensor, kind: torch.dtype) -> Tensor:
    """The numbers [B, N] in a type, which must have them all."""
    found = numbers.to(kind)
    if kind != numbers.dtype:
        lost = found.isinf() & numbers.isfinite()
        if lost.any():
            row, column = lost.nonzero()[0].tolist()
            raise TooLargeError(column, float(numbers[row, column]))
    return found


def permutation(rows: int, seed: int, kind: torch.dtype = torch.int64) -> Tensor:
    """[n] a random order of n rows, by the generator of the CPU, whatever the type."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randperm(rows, generator=generator, dtype=kind)


class DrawnAhead:
    """The orders of successive epochs, each drawn in a thread while the epoch before it lasts.

    A device would draw another order than a CPU, and a CPU takes a second for 36.7 million rows.

    Args:
        draw: Draws the order of an epoch, by its number.
        epoch: The epoch that comes first.
    """

    def __init__(self, draw: Callable[[int], Tensor], epoch: int) -> None:
        self._draw = draw
        self._thread = ThreadPoolExecutor(1, "order")
        self._begin(epoch)

    def of(self, epoch: int) -> Tensor:
        """The order of an epoch; begins to draw that of the next."""
        found = self._ahead if self._epoch == epoch else self._thread.submit(self._draw, epoch)
        self._begin(epoch + 1)
        return found.result()

    def _begin(self, epoch: int) -> None:
        self._epoch, self._ahead = epoch, self._thread.submit(self._draw, epoch)
