"""Single arrays on disk, as NumPy's .npy files: read whole or mapped, written in order."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Literal

import numpy as np
import torch

from datamodules.prepared.folder import to_prepare_split_again
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
        return np.load(path) if mmap_mode is None else _mapped(path)
    except Exception as error:  # a damaged header fails in too many ways to name
        reason = " ".join(str(error).split())
        raise ZooError(f"{path} is damaged: {reason}; {to_prepare_split_again(folder)}") from error


def _mapped(path: Path) -> np.ndarray:
    """A file mapped read-only; unlike `numpy.memmap` it keeps none open, of which a process may
    have few."""
    with open(path, "rb") as file:
        version = np.lib.format.read_magic(file)
        if version != (1, 0):
            raise ValueError(f"it is of version {version}")
        shape, in_columns, dtype = np.lib.format.read_array_header_1_0(file)
        offset = file.tell()
    size = path.stat().st_size
    if dtype.hasobject or offset + math.prod(shape) * dtype.itemsize != size:
        raise ValueError("its header does not fit its size")
    content = torch.from_file(str(path), shared=False, size=size, dtype=torch.uint8).numpy()
    found = content[offset:].view(dtype).reshape(shape, order="F" if in_columns else "C")
    found.flags.writeable = False
    return found


def check_array(
    folder: Path,
    array: str,
    found: np.ndarray,
    kind: tuple[str, int],
    rows: int | None = None,
    width: tuple[int, ...] | None = None,
) -> None:
    """Raises `ZooError` where an array is not of its type, number of axes, rows or columns."""
    fits = (found.dtype, found.ndim) == kind and found.flags.c_contiguous
    fits = fits and (rows is None or len(found) == rows)
    if not fits or (width is not None and found.shape[1:] != width):
        raise ZooError(
            f"{folder / array}.npy is damaged: it holds {found.dtype} of shape {found.shape}; "
            f"{to_prepare_split_again(folder)}"
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
