"""Which tensors of a checkpoint lie in parts beside it, and the folders of these parts.

See `zoo.data.shards`. A path leads through nested mappings and lists, such as
`optimizer_states/0/state/0/sum`.
"""

import copy
import os
import secrets
import shutil
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from zoo.data.archive import START
from zoo.data.errors import ZooError
from zoo.data.files import atomic_folder
from zoo.data.partition import ROWS_PER_BLOCK
from zoo.data.shards import FOLDER, Shards, folder_of

NAMED = "named"  # a file in each folder that a checkpoint has named
SLOWEST = 3600  # seconds that no save takes without a new file


def new_folder(checkpoint: Path, step: int) -> Path:
    """A folder for the parts of a checkpoint that no other save has; it is not made.

    Args:
        checkpoint: Path of the checkpoint.
        step: Step at which it is saved.
    """
    return checkpoint.with_name(f"{checkpoint.stem}-{step}-{secrets.token_hex(4)}.shards")


def split_off(
    content: Mapping[str, Any], rows: Mapping[str, int], folder: Path
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """A checkpoint without its large tensors, and these.

    Args:
        content: The checkpoint, which stays as it is; in place of each large tensor it holds the
            rows of this process.
        rows: Number of rows of each whole tensor, by its path.
        folder: Folder of the parts; see `new_folder`.
    """
    found = {key: _at(content, key.split("/")) for key in rows}
    shards = {"folder": folder.name, "rows_per_block": ROWS_PER_BLOCK, "tensors": dict(rows)}
    made = {**content, "shards": shards}
    for key, part in found.items():
        empty = part.new_empty(rows[key], *part.shape[1:], device="meta")
        made = _with(made, key.split("/"), empty)
    return made, found


def of_weights(key: str) -> bool:
    """Whether a tensor is one of the model, by its path."""
    return key.startswith("state_dict/")


def restored(
    content: Mapping[str, Any], path: Path, wanted: Callable[[str], bool] = lambda key: True
) -> dict[str, Any]:
    """A checkpoint with its large tensors, whole and in the order of ids.

    Args:
        content: The checkpoint, which stays as it is.
        path: Its file.
        wanted: Which tensors are needed, by their paths; others stay on the device `meta`.

    Raises:
        ZooError: where they are missing, damaged or of another checkpoint.
    """
    if "shards" not in content:
        return dict(content)
    shards = opened(content, path)
    return with_tensors(content, {key: shards.whole(key) for key in shards.keys if wanted(key)})


def with_tensors(content: Mapping[str, Any], tensors: Mapping[str, Any]) -> dict[str, Any]:
    """A checkpoint with these tensors at their paths, which names no parts.

    Args:
        content: The checkpoint, which stays as it is.
        tensors: Tensors by their paths.
    """
    made = {name: value for name, value in content.items() if name != "shards"}
    for key, tensor in tensors.items():
        made = _with(made, key.split("/"), tensor)
    return made


def opened(content: Mapping[str, Any], path: Path) -> Shards:
    """The large tensors of a checkpoint, which have the shapes that it says.

    Args:
        content: The checkpoint.
        path: Its file.

    Raises:
        ZooError: where they have not; and as `Shards.open`.
    """
    shards = Shards.open(path, content["shards"])
    for key in shards.keys:
        try:
            empty = _at(content, key.split("/"))
        except (LookupError, TypeError, ValueError) as error:
            raise ZooError(f"{path} is damaged: there is no place for its {key}") from error
        if not isinstance(empty, Tensor) or not empty.is_meta:
            raise ZooError(f"{path} is damaged: there is no place for its {key}")
        said, held = ((tuple(x.shape), x.dtype) for x in (empty, shards.empty(key)))
        if said != held:
            raise ZooError(f"{path} does not fit {shards.folder}: its {key} is of another kind")
    return shards


def bytes_of_parts(content: Mapping[str, Any], path: Path) -> int:
    """The size of what lies beside a checkpoint; 0 where nothing does."""
    if "shards" not in content:
        return 0
    return sum(file.stat().st_size for file in folder_of(path, content["shards"]).iterdir())


def _at(node: Any, path: list[str]) -> Any:
    for name in path:
        node = node[_key(node, name)]
    return node


def replaced(content: Mapping[str, Any], key: str, value: Any) -> dict[str, Any]:
    """A checkpoint with another value at a path; the rest is shared."""
    return _with(content, key.split("/"), value)


def _with(node: Any, path: list[str], value: Any) -> Any:
    """A copy of nested mappings and lists with another value at a path; the rest is shared."""
    if not path:
        return value
    made, key = copy.copy(node), _key(node, path[0])
    made[key] = _with(node[key], path[1:], value)
    return made


def _key(node: Any, name: str) -> Any:
    return name if isinstance(node, Mapping) and name in node else int(name)


# Folders


def copy_parts(content: Mapping[str, Any], source: Path, target: Path) -> None:
    """Gives a copy of a checkpoint its parts, which become hard links where these are possible.

    To be called before the copy has its name.

    Args:
        content: The checkpoint.
        source: Its file.
        target: The file of the copy.
    """
    if "shards" not in content:
        return
    folder = folder_of(source, content["shards"])
    copied = target.parent / folder.name
    if not copied.exists():
        with atomic_folder(copied) as partial:
            shutil.copytree(folder, partial, copy_function=_link)


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # on another file system, or one without links
        shutil.copyfile(source, target)


def remove_unnamed(folder: Path) -> None:
    """Removes the parts of checkpoints that are no more; by one process, after a checkpoint.

    Those of a save that is not complete stay, unless it was killed: nothing has come for an hour.

    Args:
        folder: Folder of checkpoints.
    """
    with suppress(OSError):
        entries = [*os.scandir(folder)]
        mine = [Path(e.path) for e in entries if FOLDER.fullmatch(e.name) and e.is_dir()]
        files = [Path(e.path) for e in entries if e.is_file() and not e.name.startswith(".")]
        named = _named(files) if mine else None
        if named is None:
            return
        for parts in mine:
            if parts.name in named:
                (parts / NAMED).touch()
            elif (parts / NAMED).exists() or _is_left(parts):
                shutil.rmtree(parts, ignore_errors=True)


def _named(files: list[Path]) -> set[str] | None:
    """The folders that checkpoints name; None where one of these cannot be read."""
    found = set[str]()
    for file in files:
        with open(file, "rb") as opened_file:
            if opened_file.read(len(START)) != START:
                continue  # no checkpoint, or one of long ago
        try:
            content = torch.load(file, map_location="cpu", weights_only=True, mmap=True)
            found.add(content.get("shards", {}).get("folder", ""))
        except Exception:  # damaged, in too many ways to name
            return None
    return found


def _is_left(parts: Path) -> bool:
    newest = max(entry.stat().st_mtime for entry in (parts, *parts.iterdir()))
    return time.time() - newest > SLOWEST
