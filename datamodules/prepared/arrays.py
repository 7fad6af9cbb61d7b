"""Arrays of prepared data: memory-mapped when read, appended to when written.

    <name>-<key>/train/ val/ test/         numerical.npy categorical.npy label.npy row.npy
    <name>-<key>-cross-<key>/train/ ..     ids.npy, of a cross field of these rows

Shapes: n rows, N numerical fields, C categorical fields.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal

import numpy as np

from datamodules.prepared.folder import to_prepare_again
from zoo.data.errors import ZooError
from zoo.data.schema import Schema

ARRAYS = ("numerical", "categorical", "label", "row")
# the type of each, and its number of axes, of which the first is that of the rows
KINDS = {"numerical": ("<f4", 2), "categorical": ("<i4", 2), "label": ("<f4", 1), "row": ("<i8", 1)}
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
        crosses: An [n] array of unsigned integers for each cross field, which batches hold
            behind the categorical ones.
    """

    numerical: np.ndarray
    categorical: np.ndarray
    label: np.ndarray
    row: np.ndarray
    crosses: tuple[np.ndarray, ...] = ()

    @classmethod
    def open(cls, folder: Path, crosses: Sequence[Path] = ()) -> "Arrays":
        """Maps the arrays of a folder, and the ids of folders of crosses, read-only."""
        arrays = {array: load_array(folder, array, "r") for array in ARRAYS}
        rows = len(arrays["label"]) if arrays["label"].ndim else -1
        for array, (dtype, axes) in KINDS.items():
            found = arrays[array]
            fits = found.dtype == dtype and found.ndim == axes and len(found) == rows
            if not (fits and found.flags.c_contiguous):
                raise ZooError(
                    f"{folder / array}.npy is damaged: it holds {found.dtype} of shape "
                    f"{found.shape}; {to_prepare_again(folder.parent)}"
                )
        ids = tuple(load_array(cross, IDS, "r") for cross in crosses)
        for cross, found in zip(crosses, ids, strict=True):
            if found.shape != (rows,) or found.dtype.kind != "u":
                raise ZooError(f"{cross} is damaged; {to_prepare_again(cross.parent)}")
        return cls(**arrays, crosses=ids)

    def __len__(self) -> int:
        return len(self.label)

    @property
    def nbytes(self) -> int:
        """Bytes of all rows in batches, row numbers left out."""
        crosses = 4 * len(self) * len(self.crosses)
        return self.numerical.nbytes + self.categorical.nbytes + self.label.nbytes + crosses


def load_array(folder: Path, array: str, mmap_mode: Literal["r"] | None = None) -> np.ndarray:
    """An array of a split, which lies in a folder of prepared data.

    Args:
        folder: Folder of the split.
        array: Name of the array, without `.npy`.
        mmap_mode: `r` maps the file read-only; None reads it into memory.

    Raises:
        ZooError: where the file is missing or damaged.
    """
    path = folder / f"{array}.npy"
    try:
        found = np.load(path, mmap_mode=mmap_mode)
        if isinstance(found, np.memmap) and found.offset + found.nbytes != path.stat().st_size:
            raise ValueError("its header does not fit its size")
        return found
    except Exception as error:  # a damaged header fails in too many ways to name
        reason = " ".join(str(error).split())
        raise ZooError(f"{path} is damaged: {reason}; {to_prepare_again(folder.parent)}") from error


def column_means(rows: np.ndarray) -> np.ndarray:
    """float64 [N] means of the columns of rows [n, N], the same to the last bit every time.

    Rows are added in their order: a sum whose order depends on threads differs in its last bits.
    """
    total = np.zeros(rows.shape[1])
    for start in range(0, len(rows), ROWS_PER_SUM):
        total += rows[start : start + ROWS_PER_SUM].sum(0, dtype=np.float64)
    return total / len(rows)


@contextmanager
def array_file(path: Path, shape: tuple[int, ...], dtype: np.dtype) -> Iterator[BinaryIO]:
    """A .npy file whose values are yet to be written, in order.

    Not a memory map, for which a full disk is a crash of the process.
    """
    with open(path, "wb") as file:
        header = {
            "descr": np.lib.format.dtype_to_descr(dtype),
            "fortran_order": False,
            "shape": shape,
        }
        np.lib.format.write_array_header_1_0(file, header)
        yield file


class ArraysWriter:
    """Writes `Arrays` of a known number of rows, piece by piece, as a `with` block.

    Args:
        folder: New folder for the arrays.
        rows: Number of rows that will be written.
        schema: Fields of the rows, without crosses.
    """

    def __init__(self, folder: Path, rows: int, schema: Schema) -> None:
        folder.mkdir()
        shapes = ((rows, len(schema.numerical)), (rows, len(schema.categorical)), (rows,), (rows,))
        self.folder = folder
        self.dtypes = (np.dtype("<f4"), np.dtype("<i4"), np.dtype("<f4"), np.dtype("<i8"))
        self.shapes = shapes
        self.files: list[BinaryIO] = []
        self.stack = ExitStack()

    def __enter__(self) -> "ArraysWriter":
        for array, shape, dtype in zip(ARRAYS, self.shapes, self.dtypes, strict=True):
            file = array_file(self.folder / f"{array}.npy", shape, dtype)
            self.files.append(self.stack.enter_context(file))
        return self

    def write(self, *arrays: np.ndarray) -> None:
        """Appends rows, in the order of the fields of `Arrays`."""
        for file, array, dtype in zip(self.files, arrays, self.dtypes, strict=True):
            file.write(np.ascontiguousarray(array, dtype).data)

    def __exit__(self, *exception: object) -> None:
        self.stack.close()
