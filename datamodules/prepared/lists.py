"""Arrays of lists of ids: memory-mapped when read, appended to when written.

    values.npy offsets.npy lengths.npy     lists in the order of the rows, and of the fields in each

Shapes: n rows, M fields of lists, V values.
"""

from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch

from datamodules.prepared.folder import to_prepare_split_again
from datamodules.prepared.npy import array_file, check_array, load_array
from datamodules.prepared.parts import MOST_OPEN, PartedArray, cut
from zoo.data.errors import ZooError
from zoo.data.lists import Lists, concatenate_lists

# the type of each, and its number of axes
KINDS = {"values": ("<i4", 1), "offsets": ("<i8", 2), "lengths": ("<i4", 2)}


@dataclass(frozen=True)
class ListArrays:
    """The lists of one split; see `zoo.data.lists.Lists`.

    Attributes:
        values: int32 [V], those of each row beside each other, in the order of the rows.
        offsets: int64 [n, M].
        lengths: int32 [n, M].
    """

    values: np.ndarray
    offsets: np.ndarray
    lengths: np.ndarray

    @classmethod
    def open(cls, folder: Path, rows: int) -> "ListArrays":
        """Maps the arrays of a folder, read-only.

        Raises:
            ZooError: where they are missing or damaged.
        """
        found = cls(**{name: load_array(folder, name, "r") for name in KINDS})
        for name, kind in KINDS.items():
            check_array(
                folder, name, getattr(found, name), kind, None if name == "values" else rows
            )
        if found.offsets.shape != found.lengths.shape or found._end(rows) != len(found.values):
            raise ZooError(f"{folder} is damaged; {to_prepare_split_again(folder)}")
        return found

    @classmethod
    def of(cls, parts: Sequence[Lists]) -> "ListArrays":
        """The lists of all parts, in memory; of none, those of one field without rows."""
        if not parts:
            return cls(np.empty(0, np.int32), *np.empty((2, 0, 1), np.int64))
        return cls(*(part.numpy() for part in concatenate_lists(parts)))

    @property
    def nbytes(self) -> int:
        """Bytes of all rows in batches."""
        return self.values.nbytes + 2 * self.offsets.nbytes

    @property
    def values_count(self) -> int:
        """Number of values of all rows."""
        return len(self.values)

    def rows(self, pieces: Sequence[slice]) -> Lists:
        """The lists of the rows of all pieces, copied."""
        return _copied((self, piece) for piece in pieces)

    def _end(self, row: int) -> int:
        """Where the values of the rows before a row end."""
        return int(self.offsets[row - 1, -1]) + int(self.lengths[row - 1, -1]) if row else 0


class PartedLists:
    """The lists of a split in parts, read as one; see `datamodules.prepared.parts`.

    Args:
        rows: Number of rows of each part.
        values: Number of values of each part.
        fields: Number of fields of lists.
        read: Returns the lists of a part, by its number.

    Attributes:
        lengths: int32 [n, M].
        nbytes: Bytes of all rows in batches.
        values_count: Number of values of all rows.
    """

    def __init__(
        self,
        rows: Sequence[int],
        values: Sequence[int],
        fields: int,
        read: Callable[[int], ListArrays],
    ) -> None:
        self.read = lru_cache(MOST_OPEN)(read)
        dtype = np.dtype(KINDS["lengths"][0])
        self.lengths = PartedArray(rows, lambda n: self.read(n).lengths, (fields,), dtype)
        self.values_count = sum(values)
        self.nbytes = 4 * self.values_count + 16 * sum(rows) * fields

    def rows(self, pieces: Sequence[slice]) -> Lists:
        """The lists of the rows of all pieces, copied."""
        found = (part for piece in pieces for part in cut(self.lengths.starts, piece))
        return _copied((self.read(number), part) for number, part in found)


ListColumn = ListArrays | PartedLists


def _copied(pieces: Iterable[tuple[ListArrays, slice]]) -> Lists:
    values, offsets, lengths, total = [], [], [], 0
    for lists, piece in pieces:
        first, last, _ = piece.indices(len(lists.offsets))
        start, stop = lists._end(first), lists._end(last)
        values.append(lists.values[start:stop])
        offsets.append(lists.offsets[piece] + (total - start))
        lengths.append(lists.lengths[piece])
        total += stop - start
    joined = *map(np.concatenate, (values, offsets)), np.concatenate(lengths).astype(np.int64)
    return Lists(*map(torch.from_numpy, joined))


class ListsWriter:
    """Writes `ListArrays` of a known number of rows and values, piece by piece, in a `with` block.

    Args:
        folder: Folder for the arrays.
        rows: Number of rows that will be written.
        fields: Number of fields of lists.
        values: Number of values that will be written.
    """

    def __init__(self, folder: Path, rows: int, fields: int, values: int) -> None:
        self.folder = folder
        self.shapes = {"values": (values,), "offsets": (rows, fields), "lengths": (rows, fields)}
        self.files: dict[str, BinaryIO] = {}
        self.written = 0
        self.stack = ExitStack()

    def __enter__(self) -> "ListsWriter":
        for name, (dtype, _) in KINDS.items():
            file = array_file(self.folder / f"{name}.npy", self.shapes[name], np.dtype(dtype))
            self.files[name] = self.stack.enter_context(file)
        return self

    def write(self, lists: Lists) -> None:
        """Appends rows."""
        compact = lists.compact()
        compact = compact._replace(offsets=compact.offsets + self.written)
        self.written += len(compact.values)
        for name, (dtype, _) in KINDS.items():
            array = getattr(compact, name).numpy()
            self.files[name].write(np.ascontiguousarray(array, dtype).data)

    def __exit__(self, *exception: object) -> None:
        self.stack.close()
