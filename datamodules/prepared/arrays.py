"""Arrays of prepared data: memory-mapped when read, appended to when written.

    <name>-<key>/train/ val/ test/         numerical.npy categorical.npy label.npy row.npy,
                                           of lists: values.npy offsets.npy lengths.npy,
                                           where rows have them: weight.npy group.npy;
                                           or parts (see `datamodules.prepared.parts`)
    <name>-<key>-cross-<key>/train/ ..     ids.npy, of a cross field of these rows, or, of lists,
                                           values.npy offsets.npy lengths.npy

Shapes: n rows, N numerical fields, C categorical fields, M fields of lists, V values of lists.
"""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from datamodules.prepared.folder import to_prepare_split_again
from datamodules.prepared.lists import ListArrays, ListColumn, ListsWriter, PartedLists
from datamodules.prepared.npy import array_file, check_array, load_array
from datamodules.prepared.parts import PARTS, Column, PartedArray, Parts, part_folder
from zoo.data.errors import ZooError
from zoo.data.lists import Lists
from zoo.data.schema import Schema

# the type of each, and its number of axes, of which the first is that of the rows
KINDS = {"numerical": ("<f4", 2), "categorical": ("<i4", 2), "label": ("<f4", 1), "row": ("<i8", 1)}
ARRAYS = tuple(KINDS)
OPTIONAL = {"weight": ("<f4", 1), "group": ("<i8", 1)}  # only where rows have them
IDS = "ids"  # the array of a cross field
ROWS_PER_SUM = 500_000  # read at once


@dataclass(frozen=True)
class Arrays:
    """The rows of one split, or of a file to predict, memory-mapped.

    Attributes:
        numerical: float32 [n, N].
        categorical: int32 [n, C].
        label: float32 [n].
        row: int64 [n], number of the row in the raw file.
        crosses: Of each cross field an [n] array of unsigned integers, which batches hold behind
            the categorical ones, or its lists, which they hold behind the other lists.
        lists: The fields of lists; None without any.
        weight: float32 [n]; None where rows have none.
        group: int64 [n]; None where rows have none.
    """

    numerical: Column
    categorical: Column
    label: Column
    row: Column
    crosses: tuple[np.ndarray | ListArrays, ...] = ()
    lists: ListColumn | None = None
    weight: Column | None = None
    group: Column | None = None

    @classmethod
    def open(cls, folder: Path, crosses: Sequence[Path] = ()) -> "Arrays":
        """Maps the arrays of a folder, and the ids of folders of crosses, read-only."""
        if (folder / PARTS).exists():
            found = cls._in_parts(folder, Parts.load(folder))
        else:
            found = cls._in_one(folder)
        return replace(found, crosses=tuple(_open_cross(cross, len(found)) for cross in crosses))

    @classmethod
    def _in_one(cls, folder: Path) -> "Arrays":
        kinds = KINDS | {k: v for k, v in OPTIONAL.items() if (folder / f"{k}.npy").exists()}
        arrays: dict[str, Any] = {array: load_array(folder, array, "r") for array in kinds}
        rows = len(arrays["label"]) if arrays["label"].ndim else -1
        for array, kind in kinds.items():
            check_array(folder, array, arrays[array], kind, rows)
        lists = ListArrays.open(folder, rows) if (folder / "values.npy").exists() else None
        return cls(**arrays, lists=lists)

    @classmethod
    def _in_parts(cls, folder: Path, parts: Parts) -> "Arrays":
        """The arrays of all parts; of each the files are mapped when a row is first read."""

        def column(array: str, kind: tuple[str, int]) -> PartedArray:
            width = (parts.widths[array],) if array in parts.widths else ()

            def read(number: int) -> np.ndarray:
                part = part_folder(folder, number)
                found = load_array(part, array, "r")
                check_array(part, array, found, kind, parts.rows[number], width)
                return found

            return PartedArray(parts.rows, read, width, np.dtype(kind[0]))

        def read_lists(number: int) -> ListArrays:
            return ListArrays.open(part_folder(folder, number), parts.rows[number])

        kinds = KINDS | {name: OPTIONAL[name] for name in parts.optional}
        fields = parts.widths["lists"]
        lists = PartedLists(parts.rows, parts.values, fields, read_lists) if fields else None
        arrays: dict[str, Any] = {array: column(array, kind) for array, kind in kinds.items()}
        return cls(**arrays, lists=lists)

    def __len__(self) -> int:
        return len(self.label)

    @property
    def nbytes(self) -> int:
        """Bytes of all rows in batches, row numbers left out."""
        crosses = sum(
            cross.nbytes if isinstance(cross, ListArrays) else 4 * len(self)
            for cross in self.crosses
        )
        parts = (self.numerical, self.categorical, self.label, self.weight, self.group, self.lists)
        return crosses + sum(part.nbytes for part in parts if part is not None)


def _open_cross(folder: Path, rows: int) -> np.ndarray | ListArrays:
    if not (folder / f"{IDS}.npy").exists() and (folder / "values.npy").exists():
        return ListArrays.open(folder, rows)
    found = load_array(folder, IDS, "r")
    if found.shape != (rows,) or found.dtype.kind != "u":
        raise ZooError(f"{folder} is damaged; {to_prepare_split_again(folder)}")
    return found


def column_means(rows: Column) -> np.ndarray:
    """float64 [N] means of the columns of rows [n, N], the same to the last bit every time.

    Rows are added in their order: a sum whose order depends on threads differs in its last bits.
    """
    total = np.zeros(rows.shape[1])
    for start in range(0, len(rows), ROWS_PER_SUM):
        total += rows[start : start + ROWS_PER_SUM].sum(0, dtype=np.float64)
    return total / len(rows)


def weighted_mean(values: Column, weight: Column) -> float:
    """sum w v / sum w over rows [n], the same to the last bit every time."""
    total = np.zeros(2)
    for start in range(0, len(values), ROWS_PER_SUM):
        rows = slice(start, start + ROWS_PER_SUM)
        w = weight[rows].astype(np.float64)
        total += (w * values[rows]).sum(), w.sum()
    return float(total[0] / total[1])


class ArraysWriter:
    """Writes `Arrays` of a known number of rows, piece by piece, as a `with` block.

    Args:
        folder: New folder for the arrays; of a part (`datamodules.prepared.parts.part_folder`)
            that of its split may be new too.
        rows: Number of rows that will be written.
        schema: Fields of the rows, without crosses.
        values: Number of values of all lists that will be written.
        optional: Names of those of `OPTIONAL` that will be written.
    """

    def __init__(
        self,
        folder: Path,
        rows: int,
        schema: Schema,
        values: int = 0,
        optional: Sequence[str] = (),
    ) -> None:
        folder.parent.mkdir(exist_ok=True)
        folder.mkdir()
        self.folder = folder
        self.kinds = KINDS | {name: OPTIONAL[name] for name in optional}
        widths = {"numerical": (len(schema.numerical),), "categorical": (len(schema.categorical),)}
        self.shapes = {name: (rows, *widths.get(name, ())) for name in self.kinds}
        self.files: dict[str, BinaryIO] = {}
        fields = len(schema.lists)
        self.lists = ListsWriter(folder, rows, fields, values) if fields else None
        self.stack = ExitStack()

    def __enter__(self) -> "ArraysWriter":
        for name, (dtype, _) in self.kinds.items():
            file = array_file(self.folder / f"{name}.npy", self.shapes[name], np.dtype(dtype))
            self.files[name] = self.stack.enter_context(file)
        if self.lists:
            self.stack.enter_context(self.lists)
        return self

    def write(self, lists: Lists | None = None, **arrays: np.ndarray) -> None:
        """Appends rows.

        Args:
            lists: Their lists, where there are such fields.
            arrays: The other arrays, by name.
        """
        for name, (dtype, _) in self.kinds.items():
            self.files[name].write(np.ascontiguousarray(arrays[name], dtype).data)
        if self.lists:
            assert lists is not None
            self.lists.write(lists)

    def __exit__(self, *exception: object) -> None:
        self.stack.close()
