"""Arrays of lists of ids: memory-mapped when read, appended to when written.

    values.npy offsets.npy lengths.npy     lists in the order of the rows, and of the fields in each

Shapes: n rows, M fields of lists, V values.
"""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch

from datamodules.prepared.folder import to_prepare_again
from datamodules.prepared.npy import array_file, check_array, load_array
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
            raise ZooError(f"{folder} is damaged; {to_prepare_again(folder.parent)}")
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

    def rows(self, pieces: Sequence[slice]) -> Lists:
        """The lists of the rows of all pieces, copied."""
        values, offsets, total = [], [], 0
        for piece in pieces:
            first, last, _ = piece.indices(len(self.offsets))
            start, stop = self._end(first), self._end(last)
            values.append(self.values[start:stop])
            offsets.append(self.offsets[piece] + (total - start))
            total += stop - start
        lengths = np.concatenate([self.lengths[piece] for piece in pieces]).astype(np.int64)
        joined = np.concatenate(values), np.concatenate(offsets), lengths
        return Lists(*map(torch.from_numpy, joined))

    def _end(self, row: int) -> int:
        """Where the values of the rows before a row end."""
        return int(self.offsets[row - 1, -1]) + int(self.lengths[row - 1, -1]) if row else 0


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
