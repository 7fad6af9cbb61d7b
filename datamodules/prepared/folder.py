"""Folders of prepared data, and the manifest that vouches for each.

    <name>-<key>/manifest.json     schema, split sizes, rejected rows, checksums
                 encoder/          what scores new raw rows
                 train/ val/ test/ arrays (see `datamodules.prepared.arrays`)

A folder is built under a lock in a temporary folder beside it and renamed when complete, so
that a folder of this name is whole, or was damaged later, which its checksums show.
"""

import hashlib
import json
import re
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, get_type_hints

from filelock import FileLock, Timeout
from rich.console import Console

from datamodules.prepared.work import remove_work
from zoo.data.checksums import checksum
from zoo.data.errors import ZooError, require_file
from zoo.data.files import atomic_folder
from zoo.data.plain import check_kinds, read_json
from zoo.data.schema import Schema

MANIFEST_FORMAT = 1  # part of the key: another format is another folder
SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class Manifest:
    """What a prepared folder holds.

    Attributes:
        source: Path, size and modification time of the raw files.
        options: All that decides what the folder holds; with `source`, its key.
        schema: Schema of the rows, as plain data.
        splits: For each split its `rows` and `positives`.
        rejected: Number of malformed rows, by reason.
        rejected_examples: [line, reason] of the first malformed rows.
        checksums: SHA-256 of every other file of the folder, by relative path.
        notes: Further counts that a user should know of, by what they count.
        format: Format of the manifest.
    """

    source: dict[str, Any]
    options: dict[str, Any]
    schema: dict[str, Any]
    splits: dict[str, dict[str, int]]
    rejected: dict[str, int]
    rejected_examples: list[tuple[int, str]]
    checksums: dict[str, str]
    notes: dict[str, int] = field(default_factory=dict)
    format: int = MANIFEST_FORMAT

    def save(self, folder: Path) -> None:
        """Writes `manifest.json`."""
        content = asdict(self)
        whole = {**content, "checksum": _digest(content)}
        (folder / "manifest.json").write_text(json.dumps(whole, indent=1))

    @classmethod
    def load(cls, folder: Path) -> "Manifest":
        """Reads `manifest.json`.

        Raises:
            ZooError: where it is missing or damaged.
        """
        try:
            content = check_kinds(read_json(folder / "manifest.json"), {"options": dict})
            saved = content.pop("checksum", None)  # earlier versions wrote none
            if saved is not None and saved != _digest(content):
                raise ValueError("it does not match its checksum")
            content = {"notes": {}, "format": MANIFEST_FORMAT, **content}
            check_kinds(content, get_type_hints(cls))
            for counts in content["splits"].values():
                check_kinds(counts, {"rows": int, "positives": int})
            Schema.from_dict(content["schema"])
            return cls(**content)
        except (ZooError, ValueError, TypeError) as error:
            message = f"{folder}: manifest.json is damaged: {error}; {to_prepare_again(folder)}"
            raise ZooError(message) from error

    def below(self, part: str) -> dict[str, str]:
        """The checksums of the files below a folder of it, such as `encoder`, relative to that."""
        prefix = f"{part}/"
        return {
            path.removeprefix(prefix): value
            for path, value in self.checksums.items()
            if path.startswith(prefix)
        }

    def verify(self, folder: Path, paths: Collection[str] | None = None) -> None:
        """Compares every file with its checksum, or some of them.

        Raises:
            ZooError: where a file is missing or differs.
        """
        for path in self.checksums if paths is None else paths:
            expected = self.checksums[path]
            try:
                found = checksum(folder / path)
            except (OSError, ValueError) as error:
                place = f"{folder / path} is missing, or cannot be read"
                raise ZooError(f"{place}; {to_prepare_again(folder)}") from error
            if found != expected:
                raise ZooError(
                    f"{folder / path} does not match its checksum; {to_prepare_again(folder)}"
                )


def _digest(content: dict[str, Any]) -> str:
    """SHA-256 of what a manifest says."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def to_prepare_again(folder: Path) -> str:
    """What a user does about a damaged folder, as the end of a message."""
    return f"delete {folder} to prepare the data again"


def to_prepare_split_again(folder: Path) -> str:
    """As `to_prepare_again`, of the folder of a split, or of a part of one."""
    is_part = re.fullmatch(r"part-\d+", folder.name)
    return to_prepare_again(folder.parents[1] if is_part else folder.parent)


def source_identity(path: Path) -> dict[str, Any]:
    """What distinguishes one version of a raw file from another."""
    require_file(path, "data.path")
    status = path.stat()
    return {
        "path": str(path.resolve()),
        "size": status.st_size,
        "modified_ns": status.st_mtime_ns,
    }


def key(source: dict[str, Any], options: dict[str, Any]) -> str:
    """Sixteen hexadecimal digits that differ for different source or options."""
    text = json.dumps([MANIFEST_FORMAT, source, options], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@contextmanager
def locked(target: Path, task: str = "make") -> Iterator[None]:
    """Holds the lock of a file or folder to be made, which other processes wait for.

    Where no lock can be made, as on a read-only disk, what is there already is used as it is.

    Args:
        target: The file or folder.
        task: What is done with it, as a verb.
    """
    lock = FileLock(target.with_name(f"{target.name}.lock"))
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0.5)
    except Timeout:
        Console(stderr=True).print(f"waiting for another process to {task} {target}")
        lock.acquire()
    except OSError as error:
        if not target.exists():
            reason = error.strerror or error
            raise ZooError(f"cannot write to {target.parent}: {reason}") from error
    try:
        yield
    finally:
        lock.release()


def build_once(folder: Path, fill: Callable[[Path], None]) -> bool:
    """Makes a folder by `fill(temporary folder)` unless this or another process has made it.

    Returns whether it has made it here.
    """
    with locked(folder):
        is_new = not folder.exists()
        if is_new:
            with atomic_folder(folder) as partial:
                partial.mkdir()
                fill(partial)
        remove_work(folder)
        return is_new


def report(folder: Path) -> None:
    """Says, where data have just been prepared, what a user should know of them."""
    manifest, console = Manifest.load(folder), Console(stderr=True, highlight=False)
    if manifest.rejected:
        reasons = ", ".join(f"{count:,}: {reason}" for reason, count in manifest.rejected.items())
        total = sum(manifest.rejected.values())
        console.print(
            f"{total:,} malformed rows left out ({reasons})", soft_wrap=True, markup=False
        )
    for note, count in manifest.notes.items():
        console.print(f"{count:,} {note}", soft_wrap=True, markup=False)
