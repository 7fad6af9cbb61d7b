"""Splits that lie in parts, in the order of their rows, and are read as one.

    train/parts.json              how many rows each part has, and which arrays
          part-00000/             the arrays of a split in one part
          part-00001/ ..

A part is mapped when one of its rows is first read, so that a process opens what it needs.

Shapes: n rows of all parts, P parts.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import get_type_hints

import numpy as np

from datamodules.prepared.folder import to_prepare_again
from zoo.data.errors import ZooError
from zoo.data.plain import check_kinds, read_json
from zoo.data.schema import Schema

PARTS = "parts.json"
MOST_OPEN = 1000  # parts of an array that are mapped at once: a process may have 65,530 maps


def part_folder(split: Path, number: int) -> Path:
    """Where the arrays of a part of a split lie."""
    return split / f"part-{number:05}"


@dataclass(frozen=True)
class Parts:
    """What `parts.json` says of a split.

    Attributes:
        rows: Number of rows of each part; some may have none.
        values: Number of values that the lists of each part hold.
        widths: Number of `numerical` and `categorical` fields, and of those of `lists`.
        optional: Names of the arrays that only some data have, such as `weight`.
    """

    rows: list[int]
    values: list[int]
    widths: dict[str, int]
    optional: list[str]

    @classmethod
    def of(
        cls,
        rows: Sequence[int],
        schema: Schema,
        values: Sequence[int] | None = None,
        optional: Sequence[str] = (),
    ) -> "Parts":
        """Parts of rows of a schema, without crosses; without `values` their lists are empty."""
        kinds = "numerical", "categorical", "lists"
        widths = {kind: len(getattr(schema, kind)) for kind in kinds}
        return cls([*rows], [*(values or [0] * len(rows))], widths, [*optional])

    def save(self, split: Path) -> None:
        """Writes `parts.json` into the folder of the split, whose parts may be written by others
        (see `part_folder`)."""
        (split / PARTS).write_text(json.dumps(asdict(self)))

    @classmethod
    def load(cls, split: Path) -> "Parts":
        """Reads what `save` wrote.

        Raises:
            ZooError: where it is damaged.
        """
        try:
            content = check_kinds(read_json(split / PARTS), get_type_hints(cls))
            found = cls(**content)
            least = min(*found.rows, *found.values, 0)
            if len(found.rows) != len(found.values) or not found.rows or least < 0:
                raise ValueError("its parts have no sizes")
            return found
        except (ZooError, TypeError, ValueError) as error:
            again = to_prepare_again(split.parent)
            raise ZooError(f"{split / PARTS} is damaged: {error}; {again}") from error


class PartedArray:
    """An array [n, ..] whose rows lie in parts; slices of it are arrays.

    Args:
        rows: Number of rows of each part.
        read: Returns the array of a part, by its number.
        width: Sizes of the further axes.
        dtype: Type of its values.
    """

    def __init__(
        self,
        rows: Sequence[int],
        read: Callable[[int], np.ndarray],
        width: tuple[int, ...],
        dtype: np.dtype,
    ) -> None:
        self.starts = np.cumsum([0, *rows])
        self.read = lru_cache(MOST_OPEN)(read)
        self.shape = (int(self.starts[-1]), *width)
        self.dtype = dtype
        self.ndim = len(self.shape)
        self.nbytes = int(np.prod(self.shape)) * dtype.itemsize

    def __len__(self) -> int:
        return self.shape[0]

    def pieces(self, rows: slice) -> list[np.ndarray]:
        """The rows, part by part, without a copy."""
        found = [self.read(number)[part] for number, part in cut(self.starts, rows)]
        return found or [np.empty((0, *self.shape[1:]), self.dtype)]

    def __getitem__(self, key: slice | tuple[slice, int | slice]) -> np.ndarray:
        rows, *columns = key if isinstance(key, tuple) else (key,)
        found = [piece[:, columns[0]] if columns else piece for piece in self.pieces(rows)]
        return found[0] if len(found) == 1 else np.concatenate(found)

    def __array__(self, dtype: np.dtype | None = None, copy: bool | None = None) -> np.ndarray:
        return np.array(self[:], dtype, copy=copy)


Column = np.ndarray | PartedArray  # of rows on disk or in memory


def cut(starts: np.ndarray, rows: slice) -> Iterator[tuple[int, slice]]:
    """The numbers of the parts that hold rows, and which of its rows each contributes.

    Args:
        starts: int64 [P + 1], where each part begins, and where the last one ends.
        rows: The rows, in ascending order.
    """
    first, stop, step = rows.indices(int(starts[-1]))
    while first < stop:
        # the last one that begins there: those before it have no rows
        number = int(np.searchsorted(starts, first, side="right")) - 1
        start, end = int(starts[number]), min(int(starts[number + 1]), stop)
        yield number, slice(first - start, end - start, step)
        first += -(-(end - first) // step) * step


def copied(array: Column, pieces: Sequence[slice], out: np.ndarray | None = None) -> np.ndarray:
    """The rows of all pieces, copied: batches must not alias a read-only file.

    Args:
        array: The array.
        pieces: Which rows.
        out: Array for the copy; None makes one.
    """
    found: list[np.ndarray] = []
    for rows in pieces:
        found += array.pieces(rows) if isinstance(array, PartedArray) else [array[rows]]
    return np.concatenate(found, out=out)
