"""Prepared data on disk: memory-mapped arrays per split, and the manifest that vouches for them.

    <name>-<key>/manifest.json     schema, split sizes, rejected rows, checksums
                 encoder/          what scores new raw rows
                 train/ val/ test/ numerical.npy categorical.npy label.npy row.npy
    <name>-<key>-cross-<key>/      a cross field of these rows (crosses.py): ids.npy per split

A folder is built under a lock in a temporary folder beside it and renamed when complete, so
that a folder of this name is whole, or was damaged later, which its checksums show.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from filelock import FileLock, Timeout
from rich.console import Console

from zoo.data.errors import ZooError
from zoo.data.schema import Schema

FORMAT = 1
SPLITS = ("train", "val", "test")
ARRAYS = ("numerical", "categorical", "label", "row")
IDS = "ids"  # the array of a cross field


@dataclass(frozen=True)
class Arrays:
    """The rows of one split, or of a file to predict; n rows, memory-mapped.

    numerical float32 [n, N], categorical int32 [n, C], label float32 [n], row int64 [n] (the
    row's number in the raw file); crosses, an [n] array of unsigned integers for each cross
    field, which batches hold beside the categorical ones.
    """

    numerical: np.ndarray
    categorical: np.ndarray
    label: np.ndarray
    row: np.ndarray
    crosses: tuple[np.ndarray, ...] = ()

    @classmethod
    def open(cls, folder: Path, crosses: Sequence[Path] = ()) -> "Arrays":
        """Maps the arrays of a folder, and the ids of folders of crosses, read-only."""
        arrays = (_mapped(folder, array) for array in ARRAYS)
        return cls(*arrays, tuple(_mapped(cross, IDS) for cross in crosses))

    def __len__(self) -> int:
        return len(self.label)

    @property
    def nbytes(self) -> int:
        """Bytes of all rows in batches, row numbers left out."""
        crosses = 4 * len(self) * len(self.crosses)
        return self.numerical.nbytes + self.categorical.nbytes + self.label.nbytes + crosses


def _mapped(folder: Path, array: str) -> np.ndarray:
    try:
        return np.load(folder / f"{array}.npy", mmap_mode="r")
    except (OSError, ValueError) as error:
        raise ZooError(f"{folder} is damaged: {error}; {_mend(folder.parent)}") from error


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
    """Writes `Arrays` of a known number of rows, piece by piece, as a `with` block."""

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


@dataclass(frozen=True)
class Manifest:
    """What a prepared folder holds.

    Args:
        source: path, size and modification time of the raw file.
        options: all that decides what the folder holds; with `source`, its key.
        schema: of the rows, as plain data.
        splits: for each split its `rows` and `positives`.
        rejected: malformed rows by reason.
        rejected_examples: [line, reason] of the first of them.
        checksums: SHA-256 of every other file of the folder, by relative path.
        notes: further counts that a user should know of, by what they count.
    """

    source: dict[str, Any]
    options: dict[str, Any]
    schema: dict[str, Any]
    splits: dict[str, dict[str, int]]
    rejected: dict[str, int]
    rejected_examples: list[tuple[int, str]]
    checksums: dict[str, str]
    notes: dict[str, int] = field(default_factory=dict)
    format: int = FORMAT

    def save(self, folder: Path) -> None:
        """Writes `manifest.json`."""
        (folder / "manifest.json").write_text(json.dumps(asdict(self), indent=1))

    @classmethod
    def load(cls, folder: Path) -> "Manifest":
        """Reads `manifest.json`."""
        try:
            return cls(**json.loads((folder / "manifest.json").read_text()))
        except (OSError, ValueError, TypeError) as error:
            raise ZooError(f"{folder}: manifest.json is damaged; {_mend(folder)}") from error

    def verify(self, folder: Path) -> None:
        """Compares every file with its checksum."""
        for path, expected in self.checksums.items():
            if not (folder / path).is_file():
                raise ZooError(f"{folder / path} is missing; {_mend(folder)}")
            if checksum(folder / path) != expected:
                raise ZooError(f"{folder / path} does not match its checksum; {_mend(folder)}")


def checksum(path: Path) -> str:
    """SHA-256 of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def checksums(folder: Path) -> dict[str, str]:
    """SHA-256 of all files below a folder, by relative path."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): checksum(path) for path in files}


def source_identity(path: Path) -> dict[str, Any]:
    """What tells one version of a raw file from another."""
    if not path.is_file():
        raise ZooError(f"no such file: {path} (data.path)")
    status = path.stat()
    return {
        "path": str(path.resolve()),
        "size": status.st_size,
        "modified_ns": status.st_mtime_ns,
    }


def key(source: dict[str, Any], options: dict[str, Any]) -> str:
    """Sixteen hexadecimal digits that differ for different source or options."""
    text = json.dumps([FORMAT, source, options], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@contextmanager
def locked(target: Path) -> Iterator[None]:
    """Holds the lock of a file or folder to be made, which other processes wait for."""
    lock = FileLock(target.with_name(f"{target.name}.lock"))
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0.5)
    except Timeout:
        Console(stderr=True).print(f"waiting for another process to make {target}")
        lock.acquire()
    except OSError as error:
        raise ZooError(f"cannot write to {target.parent}: {error.strerror or error}") from error
    try:
        yield
    finally:
        lock.release()


@contextmanager
def built(folder: Path) -> Iterator[Path]:
    """A temporary folder that becomes `folder` if the block ends well, and goes if not.

    Hold the lock: what an earlier process left behind when it was killed is removed.
    """
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        yield partial
        os.replace(partial, folder)
    except OSError as error:
        raise ZooError(f"cannot write {folder}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def build_once(folder: Path, fill: Callable[[Path], None]) -> None:
    """Makes a folder by `fill(temporary folder)` unless this or another process has made it."""
    with locked(folder):
        if not folder.exists():
            with built(folder) as partial:
                fill(partial)


def _mend(folder: Path) -> str:
    return f"delete {folder} to prepare the data again"
