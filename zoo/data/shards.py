"""Tables of a checkpoint in parts, for tables that no process should hold whole.

The checkpoint stays one small file of torch. In place of each large tensor it holds one on the
device `meta`, which has its shape and type alone, and under the key `shards`

    {"folder": "best-1000-4fb18a02.shards", "rows_per_block": 64, "tensors": {key: rows}}

with the name of a folder beside the file, and of each tensor its number of rows R, by its path in
the checkpoint, such as `state_dict/embedding.table` or `optimizer_states/0/state/0/sum`. The folder
holds `part-00000-of-00004.safetensors` and so on: each the rows that a process owned, in the order
of their positions (see `zoo.data.partition`), those without an id included.

Shapes: R rows.
"""

import re
from collections.abc import Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from zoo.data.errors import ZooError
from zoo.data.partition import ROWS_PER_BLOCK, Partition
from zoo.data.plain import check_kinds
from zoo.data.shard_part import HeldRows, part_name, read_part

NAME = re.compile(r"part-(\d{5})-of-(\d{5})\.safetensors")
FOLDER = re.compile(r"[^./\\\0][^/\\\0]*\.shards")
KINDS = {"folder": str, "rows_per_block": int, "tensors": dict[str, int]}


class Shards:
    """The tables of a checkpoint that lie in parts beside it.

    Args:
        folder: Folder of the parts.
        rows: Number of rows R of each tensor, by its path in the checkpoint.

    Raises:
        ZooError: where a part is missing, damaged, cut short or of another checkpoint.
    """

    def __init__(self, folder: Path, rows: Mapping[str, int]) -> None:
        self.folder = folder
        self.partitions = {key: Partition(count) for key, count in rows.items()}
        parts = [(file, read_part(file, *number)) for file, number in _files(folder)]
        for file, held in parts:
            if different := sorted(held.keys() ^ rows.keys()):
                raise ZooError(f"{file} does not fit: {different[0]} is in it or its checkpoint")
        self._held = {key: [held[key] for _, held in parts] for key in rows}
        for key, held in self._held.items():
            _check_ranges(held, self.partitions[key].size)

    @classmethod
    def open(cls, checkpoint: Path, shards: Any) -> "Shards":
        """Opens what a checkpoint names.

        Args:
            checkpoint: Path of the checkpoint.
            shards: What it holds under the key `shards`.

        Raises:
            ZooError: as above, and as `folder_of`.
        """
        return cls(folder_of(checkpoint, shards), shards["tensors"])

    @property
    def keys(self) -> tuple[str, ...]:
        """The paths of the tensors in the checkpoint."""
        return tuple(self._held)

    def empty(self, key: str) -> Tensor:
        """A tensor [R, ..] on the device `meta`, of the shape and type of a whole one."""
        shape = self.partitions[key].rows, *self._held[key][0].shape[1:]
        return torch.empty(shape, dtype=self._held[key][0].dtype, device="meta")

    def largest(self, key: str) -> int:
        """The number of rows of the largest part of a tensor."""
        return max(held.shape[0] for held in self._held[key])

    def rows(self, key: str, start: int, stop: int, out: Tensor | None = None) -> Tensor:
        """[stop - start, ..] the rows at successive positions, of the parts that hold them alone.

        Args:
            key: Path of the tensor.
            start: First position.
            stop: Position behind the last.
            out: Where to put them; a tensor of another shape is left alone.
        """
        whole = self.empty(key)
        shape = stop - start, *whole.shape[1:]
        found = out
        if found is None or found.shape != shape or found.dtype != whole.dtype:
            found = torch.empty(shape, dtype=whole.dtype)
        for held in self._held[key]:
            for position, piece in held.pieces(start, stop):
                first, last = max(position, start), min(position + len(piece), stop)
                found[first - start : last - start] = piece[first - position : last - position]
        return found

    def pieces(self, key: str, check: bool = True) -> Iterator[tuple[int, Tensor]]:
        """All rows in the order of their positions, each with that of its first row."""
        size = self.partitions[key].size
        return chain.from_iterable(held.pieces(0, size, check) for held in self._held[key])

    def whole(self, key: str) -> Tensor:
        """[R, ..] a tensor in the order of ids."""
        return self.of_ids(key, 0, self.partitions[key].rows)

    def of_ids(self, key: str, start: int, stop: int, check: bool = True) -> Tensor:
        """[stop - start, ..] the rows of successive ids, for which all parts are gone through.

        Args:
            key: Path of the tensor.
            start: First id, a multiple of 64.
            stop: Id behind the last: a multiple of 64, or R.
            check: Whether to compare with checksums, for which all rows are read.
        """
        partition, width = self.partitions[key], self.empty(key).shape[1:]
        found = torch.empty(stop - start, *width, dtype=self.empty(key).dtype)
        count, rest = divmod(stop - start, ROWS_PER_BLOCK)
        blocks = found[: len(found) - rest].view(count, ROWS_PER_BLOCK, *width)
        for position, piece in self.pieces(key, check):
            firsts = torch.arange(position, position + len(piece), ROWS_PER_BLOCK)
            number = (partition.ids(firsts) - start) // ROWS_PER_BLOCK
            rows = piece.view(-1, ROWS_PER_BLOCK, *width)
            mine = (number >= 0) & (number < count)
            blocks[number[mine]] = rows[mine]
            if rest and (number == count).any():  # the last block of all, of fewer ids
                found[len(found) - rest :] = rows[number == count][0, :rest]
        return found


class TableBeside:
    """A tensor [R, ..] in parts, of which rows are read where they are asked for.

    Args:
        shards: The parts.
        key: Path of the tensor in the checkpoint.

    Attributes:
        shape: Its shape.
        ndim: Number of its dimensions.
        dtype: Its type.
    """

    def __init__(self, shards: Shards, key: str) -> None:
        self.shards, self.key = shards, key
        empty = shards.empty(key)
        self.shape, self.ndim, self.dtype = empty.shape, empty.ndim, empty.dtype

    def __getitem__(self, ids: Tensor) -> Tensor:
        """The rows of ids, on the CPU."""
        positions, order = self.shards.partitions[self.key].positions(ids.cpu()).sort()
        found = torch.empty(len(ids), *self.shape[1:], dtype=self.dtype)
        for position, piece in self.shards.pieces(self.key):
            bounds = positions.new_tensor([position, position + len(piece)])
            first, last = torch.searchsorted(positions, bounds).tolist()
            found[order[first:last]] = piece[positions[first:last] - position]
        return found


def folder_of(checkpoint: Path, shards: Any) -> Path:
    """The folder that a checkpoint names under the key `shards`.

    Raises:
        ZooError: where it is missing, or named as another place than one beside it.
    """
    try:
        check_kinds(shards, KINDS)
        if not FOLDER.fullmatch(shards["folder"]):
            raise TypeError(f"{shards['folder']!r} is no name of a folder of shards beside it")
        if shards["rows_per_block"] != ROWS_PER_BLOCK:
            raise TypeError(f"its rows do not lie in blocks of {ROWS_PER_BLOCK}")
        if not all(0 < rows < 2**60 for rows in shards["tensors"].values()):
            raise TypeError("one of its tables has no possible number of rows")
    except TypeError as error:
        raise ZooError(f"{checkpoint} is damaged: {error}") from error
    folder = checkpoint.parent / shards["folder"]
    if not folder.is_dir():
        raise ZooError(
            f"{checkpoint} is not whole: its tables lie in {folder}, which is missing; a copy of a "
            "checkpoint needs a copy of its folder beside it"
        )
    return folder


def _files(folder: Path) -> list[tuple[Path, tuple[int, int]]]:
    """The parts in a folder, each with its number and that of all."""
    try:
        names = sorted(entry.name for entry in folder.iterdir())
    except OSError as error:
        raise ZooError(f"{folder} cannot be read: {error.strerror}") from error
    named = [(name, match) for name in names if (match := NAME.fullmatch(name))]
    found = [(folder / name, (int(match[1]), int(match[2]))) for name, match in named]
    if not found:
        raise ZooError(f"{folder} is not whole: it holds no parts of tables")
    (first, (_, count)), (last, (_, another)) = found[0], found[-1]
    for file, (_, another) in found:
        if not file.is_file():  # such as a pipe, which nobody would ever write into
            raise ZooError(f"{file} is no file")
        if another != count:
            raise ZooError(f"{folder} holds parts of two checkpoints: {first.name} and {file.name}")
    numbers = {number for _, (number, _) in found}
    if missing := sorted({*range(count)} - numbers):
        raise ZooError(f"{folder} is not whole: {part_name(missing[0], count)} is missing")
    if len(found) != count:
        raise ZooError(f"{folder} is damaged: there is no part such as {last.name}")
    return found


def _check_ranges(held: list[HeldRows], size: int) -> None:
    """Refuses parts that do not hold all positions of a tensor, each once."""
    position = 0
    for part in held:
        if part.start != position or part.shape[0] % ROWS_PER_BLOCK:
            raise ZooError(
                f"{part.file} does not fit the others: its rows of {part.key} are those from "
                f"position {part.start:,} to {part.stop:,}"
            )
        if (part.shape[1:], part.dtype) != (held[0].shape[1:], held[0].dtype):
            raise ZooError(f"{part.file} does not fit the others: {part.key} is of another kind")
        position = part.stop
    if position != size:
        raise ZooError(
            f"{held[0].file.parent} does not fit its checkpoint: it holds {position:,} rows of "
            f"{held[0].key} instead of {size:,}"
        )
