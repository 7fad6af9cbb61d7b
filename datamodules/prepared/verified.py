"""Which files of prepared data have been compared with their checksums, so that it is done once.

    <name>-<key>.verified     beside the folder: what each file was when it was compared

A file is compared again where anything of it differs from then: its size, the times of its content
and of its entry, its inode, or what the manifest says of it. So one that was written to, touched or
copied, to this machine or another, is compared; one whose bits flip on the disk, with no write, is
not: for these there is `always`.
"""

import hashlib
import json
import time
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path
from typing import Literal

from datamodules.prepared.folder import Manifest, locked
from zoo.data.errors import ZooError
from zoo.data.files import write_text
from zoo.data.plain import fits, read_json

Verify = Literal["once", "always"] | bool  # True is once, False never
RECENT = 2e9  # nanoseconds in which two writes may leave the same times
State = list[str | int]


def verify(folder: Path, manifest: Manifest, how: Verify) -> None:
    """Compares the files of a folder with their checksums.

    Args:
        folder: Folder of prepared data.
        manifest: Its manifest.
        how: Which files: `once` (or True) those that have not been compared since they changed,
            `always` all, False none.

    Raises:
        ZooError: where a file is missing or differs.
    """
    if how == "always":
        manifest.verify(folder)
    elif how and _unknown(folder, manifest):
        # those who come while another process compares wait, and find it done
        with locked(folder, "verify"):
            if unknown := _unknown(folder, manifest):
                _compare(folder, manifest, unknown)


def _compare(folder: Path, manifest: Manifest, unknown: Collection[str]) -> None:
    before = {path: _state(folder, manifest, path) for path in manifest.checksums}
    start = time.time_ns()
    manifest.verify(folder, unknown)
    known = {
        path: state
        for path, state in before.items()
        if state == _state(folder, manifest, path)
        and (path not in unknown or max(map(int, state[2:4])) < start - RECENT)
    }
    content = {"files": known, "checksum": _digest(known)}
    with suppress(OSError):  # of a folder that cannot be written to, all is compared each time
        write_text(_record(folder), json.dumps(content))


def _unknown(folder: Path, manifest: Manifest) -> list[str]:
    """The files that have not been compared since they changed."""
    known = _known(folder)
    return [p for p in manifest.checksums if known.get(p) != _state(folder, manifest, p)]


def _known(folder: Path) -> dict[str, State]:
    """What `_compare` wrote; nothing where that is damaged or missing."""
    try:
        content = read_json(_record(folder))
    except ZooError:
        return {}
    good = fits(content, dict) and fits(content.get("files"), dict[str, list])
    return content["files"] if good and content.get("checksum") == _digest(content["files"]) else {}


def _record(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.verified")


def _state(folder: Path, manifest: Manifest, path: str) -> State:
    """What a file is now; a missing one is what no file is."""
    expected = manifest.checksums[path]
    try:
        s = (folder / path).stat()
    except OSError:
        return [expected]
    # no number of the device, which each machine gives a shared file system
    return [expected, s.st_size, s.st_mtime_ns, s.st_ctime_ns, s.st_ino]


def _digest(known: dict[str, State]) -> str:
    return hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()
