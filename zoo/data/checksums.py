"""SHA-256 of files and folders."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from zoo.data.errors import ZooError
from zoo.data.plain import fits, read_json

CHECKSUMS = "checksums.json"  # beside the files of an encoder


def checksum(path: Path) -> str:
    """SHA-256 of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def checksums(folder: Path) -> dict[str, str]:
    """SHA-256 of all files below a folder, by relative path."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): checksum(path) for path in files}


def combined(files: Mapping[str, str]) -> str:
    """One checksum of many files, from theirs by relative path."""
    return hashlib.sha256(json.dumps(dict(sorted(files.items()))).encode()).hexdigest()


def verified_checksums(folder: Path) -> dict[str, str]:
    """The checksums of an encoder's files, compared with its own list of them, if it has one.

    Raises:
        ZooError: where a file is not what the list says.
    """
    try:
        found = checksums(folder)
    except OSError as error:
        raise ZooError(f"{folder} cannot be read: {error.strerror}") from error
    if found.pop(CHECKSUMS, None):
        saved = _saved(folder / CHECKSUMS)
        for path in sorted(saved.keys() | found.keys()):
            if saved.get(path) != found.get(path):
                raise ZooError(f"{folder / path} is damaged: its checksum is not that of the run")
    return found


def save_checksums(folder: Path) -> None:
    """Writes the list of checksums of an encoder that is complete."""
    found = checksums(folder)
    found.pop(CHECKSUMS, None)
    (folder / CHECKSUMS).write_text(json.dumps(found, indent=1))


def _saved(path: Path) -> dict[str, str]:
    saved = read_json(path, "is damaged")
    if not fits(saved, dict[str, str]):
        raise ZooError(f"{path} is damaged: it is no list of checksums")
    return saved
