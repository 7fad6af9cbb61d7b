"""Single arrays on disk, as NumPy's .npy files: read whole or mapped, written in order."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Literal

import numpy as np

from datamodules.prepared.folder import to_prepare_again
from zoo.data.errors import ZooError


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


def check_array(
    folder: Path, array: str, found: np.ndarray, kind: tuple[str, int], rows: int | None = None
) -> None:
    """Raises `ZooError` where an array is not of its type, number of axes or number of rows."""
    fits = (found.dtype, found.ndim) == kind and found.flags.c_contiguous
    if not fits or (rows is not None and len(found) != rows):
        raise ZooError(
            f"{folder / array}.npy is damaged: it holds {found.dtype} of shape {found.shape}; "
            f"{to_prepare_again(folder.parent)}"
        )


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
