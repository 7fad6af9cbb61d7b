"""Files and folders that appear whole or not at all, whatever ends their writing.

They are written beside their target, flushed, and moved into its place by `os.replace`: a full
disk, a kill or a `TMPDIR` on another file system leave what was there before. What a killed process
leaves (`.<name>.<process>.partial`) is removed when the same target is written again; it is told
apart from what another process is writing by a lock, which ends with its process.
"""

import os
import re
import shutil
import tempfile
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from zoo.data.errors import ZooError

try:
    import fcntl
except ImportError:  # Windows, where nobody can tell, and what was left stays
    fcntl = None

TEMPORARY = "interpretable-zoo-"  # what the names of temporary folders begin with


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """A file to write, which becomes `path` if the block ends well, and is removed if not."""
    with partial_file(path) as partial:
        yield partial
        with open(partial, "r+b") as file:
            os.fsync(file.fileno())
        os.replace(partial, path)


@contextmanager
def partial_file(path: Path, part: int | None = None) -> Iterator[Path]:
    """An empty file beside `path`, this process's own, that is removed when the block ends.

    Args:
        path: The file that something is to be made of.
        part: Number of the part, where several processes write one each.
    """
    remove_leftovers(path.parent, path.name)
    partial = partial_path(path, os.getpid(), part)
    try:
        with open(partial, "wb") as file:
            _lock(file)
            yield partial
    except OSError as error:
        if error.filename in (None, str(partial), partial):
            error.filename = str(path)  # which a user knows
        raise
    finally:
        with suppress(FileNotFoundError, NotADirectoryError):
            partial.unlink()


def partial_path(path: Path, process: int, part: int | None = None) -> Path:
    """What `partial_file` names the file of a process."""
    name = path.name if part is None else f"{path.name}.{part}"
    return path.with_name(f".{name}.{process}.partial")


def write_text(path: Path, text: str) -> None:
    """Writes a text file, in UTF-8; see `atomic_file`."""
    with atomic_file(path) as partial:
        partial.write_text(text, encoding="utf-8")


def remove_leftovers(folder: Path, name: str | None = None) -> None:
    """Removes from a folder what killed processes left of a file, or of any.

    Args:
        folder: Folder of the files.
        name: Name of the file, or of its numbered parts; None for all.
    """
    named = ".+" if name is None else rf"{re.escape(name)}(\.\d+)?"
    leftover = re.compile(rf"\.{named}\.\d+\.partial")
    with suppress(OSError):  # a folder that cannot be listed is for what follows to report
        for entry in os.scandir(folder):
            if leftover.fullmatch(entry.name):
                _remove_if_left(Path(entry.path))


def _remove_if_left(partial: Path) -> None:
    with suppress(OSError), open(partial, "r+b") as file:
        # one that is new may be another process's, which has yet to lock it
        if time.time() - os.fstat(file.fileno()).st_mtime > 1 and _lock(file):
            partial.unlink()


def remove_old_folders(folder: Path) -> None:
    """Removes from a folder what processes left of folders that they were killed while making.

    Which of them are still being made no lock says: none takes an hour without a new file.
    """
    with suppress(OSError):
        for entry in os.scandir(folder):
            is_partial = re.fullmatch(r"\..+\.partial", entry.name) and entry.is_dir()
            if is_partial and time.time() - entry.stat().st_mtime > 3600:
                shutil.rmtree(entry.path, ignore_errors=True)


def temporary_folder(owner: object) -> Path:
    """A folder below `TMPDIR` that is removed with its owner, or when the process ends.

    Those of killed processes are removed too.
    """
    for lock in Path(tempfile.gettempdir()).glob(f"{TEMPORARY}*/lock"):
        with suppress(OSError), open(lock, "r+b") as file:
            if time.time() - os.fstat(file.fileno()).st_mtime > 1 and _lock(file):
                shutil.rmtree(lock.parent)
    folder = Path(tempfile.mkdtemp(prefix=TEMPORARY))
    held = open(folder / "lock", "wb")  # noqa: SIM115  (until the folder is removed)
    _lock(held)

    def remove() -> None:
        held.close()
        shutil.rmtree(folder, ignore_errors=True)

    weakref.finalize(owner, remove)
    return folder


def copy_by_links(source: Path, target: Path) -> None:
    """Makes a new folder of the same files: of links to them, where the file system has these."""

    def link(path: str, to: str) -> None:
        try:
            os.link(path, to)
        except OSError:  # the file system has no links
            shutil.copyfile(path, to)

    shutil.copytree(source, target, copy_function=link)


def _lock(file: BinaryIO) -> bool:
    """Whether this process could lock the file, which it holds until the file is closed."""
    if fcntl is None:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:  # another process holds it, or the file system has no locks
        return False
    return True


@contextmanager
def atomic_folder(folder: Path) -> Iterator[Path]:
    """A folder to make, which becomes `folder` if the block ends well, and is removed if not.

    A block that makes none leaves none. For one process at a time: what an earlier one left behind
    when it was killed is removed.
    """
    partial = folder.with_name(f".{folder.name}.partial")
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.parent.mkdir(parents=True, exist_ok=True)
        yield partial
        if partial.is_dir():
            os.replace(partial, folder)
    except OSError as error:
        raise ZooError(f"cannot write {folder}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
