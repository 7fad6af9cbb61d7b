"""One part of the tables of a checkpoint; see `zoo.data.shards`.

Its header says what it holds, with a checksum of each 65,536 rows: whoever reads rows checks those
that it reads, so that no file is read twice, nor by all processes.

Shapes: P positions.
"""

import json
import math
import re
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from zoo.data.errors import ZooError
from zoo.data.files import atomic_file
from zoo.data.plain import check_kinds

ROWS_PER_PIECE = 2**16  # that have a checksum, and are read together
KINDS = {"save": str, "part": int, "parts": int, "tensors": dict[str, Any]}
KINDS_OF_TENSOR = {"start": int, "shape": list[int], "dtype": str, "checksums": list[int]}
DTYPES = {
    **{"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16},
    **{"I64": torch.int64, "I32": torch.int32, "I16": torch.int16, "I8": torch.int8},
    **{"U8": torch.uint8, "BOOL": torch.bool},
}  # as the format calls them


def part_name(part: int, parts: int) -> str:
    """The name of the file of a process."""
    return f"part-{part:05}-of-{parts:05}.safetensors"


def write_part(
    folder: Path,
    part: int,
    parts: int,
    start: int | Mapping[str, int],
    tensors: Mapping[str, Tensor],
) -> None:
    """Writes the rows of one process, whole or not at all, and flushes them.

    Args:
        folder: Folder of the parts, which is made.
        part: Number of the process, from 0.
        parts: Number of processes.
        start: Position of the first row; of each tensor, where these differ.
        tensors: The rows [P, ..] of each tensor, by its path in the checkpoint.

    Raises:
        OSError: where they cannot be written.
    """
    whole = {key: tensor.detach().cpu().contiguous() for key, tensor in tensors.items()}
    names = {dtype: name for name, dtype in DTYPES.items()}
    held = {
        key: {
            "start": start if isinstance(start, int) else start[key],
            "shape": [*tensor.shape],
            "dtype": names[tensor.dtype],
            "checksums": [checksum(rows) for rows in tensor.split(ROWS_PER_PIECE) if len(rows)],
        }
        for key, tensor in whole.items()
    }
    content = json.dumps({"save": folder.name, "part": part, "parts": parts, "tensors": held})
    metadata = {"content": content, "checksum": str(zlib.crc32(content.encode()))}
    folder.mkdir(parents=True, exist_ok=True)
    with atomic_file(folder / part_name(part, parts)) as partial:
        mode = partial.stat().st_mode
        try:
            save_file(whole, partial, metadata)
            partial.chmod(mode)  # else nobody else could read what it writes
        except SafetensorError as error:
            found = re.search(r"\(os error (\d+)\)", str(error))
            raise OSError(int(found[1]) if found else None, str(error)) from error


def checksum(rows: Tensor) -> int:
    """The CRC-32 of rows, as zip files have it."""
    return zlib.crc32(rows.contiguous().view(torch.uint8).numpy().data)


@dataclass(frozen=True)
class HeldRows:
    """The rows of a tensor in a part.

    Attributes:
        file: The part.
        key: Path of the tensor in the checkpoint.
        start: Position of the first row.
        shape: Their number P, and their shape.
        dtype: Their type.
        checksums: The checksum of each piece.
    """

    file: Path
    key: str
    start: int
    shape: tuple[int, ...]
    dtype: torch.dtype
    checksums: tuple[int, ...]

    def __post_init__(self) -> None:
        counted = self.shape and math.prod(self.shape[1:])
        if not counted or len(self.checksums) != -(-self.shape[0] // ROWS_PER_PIECE):
            raise ValueError(f"{self.key} has no rows, or not their checksums")

    @property
    def stop(self) -> int:
        """The position behind the last row."""
        return self.start + self.shape[0]

    def pieces(self, start: int, stop: int, check: bool = True) -> Iterator[tuple[int, Tensor]]:
        """The pieces with rows of these positions: the position of its first row, and its rows.

        Rows lie in the file until they are looked at. It is opened anew for each piece: what has
        been looked at counts as memory of the process until it is closed.

        Args:
            start: First position.
            stop: Position behind the last.
            check: Whether to compare with the checksums, for which all of their rows are read.

        Raises:
            ZooError: where the file is damaged.
        """
        if start >= self.stop:
            return
        first = max(start - self.start, 0)
        for number in range(first // ROWS_PER_PIECE, len(self.checksums)):
            begin = number * ROWS_PER_PIECE
            if self.start + begin >= stop:
                return
            try:
                with safe_open(self.file, "pt") as file:
                    end = min(begin + ROWS_PER_PIECE, self.shape[0])
                    rows = file.get_slice(self.key)[begin:end]
            except (SafetensorError, OSError) as error:
                raise _refusal(self.file, error) from error
            if check and checksum(rows) != self.checksums[number]:
                raise ZooError(f"{self.file} is damaged: the checksums of its rows do not fit")
            yield self.start + begin, rows


def read_part(file: Path, part: int, parts: int) -> dict[str, HeldRows]:
    """What a part holds, as its header says.

    Args:
        file: The part.
        part: Its number, as its name says.
        parts: Number of parts.

    Raises:
        ZooError: where it is damaged, cut short, or of another checkpoint.
    """
    try:
        with safe_open(file, "pt") as opened:
            metadata = opened.metadata() or {}
            content = metadata["content"]
            if int(metadata["checksum"]) != zlib.crc32(content.encode()):
                raise ValueError("the checksum of its header does not fit")
            said = check_kinds(json.loads(content), KINDS)
            slices = {key: opened.get_slice(key) for key in opened.keys()}  # noqa: SIM118
            found = {key: (x.get_shape(), x.get_dtype()) for key, x in slices.items()}
        tensors = {key: check_kinds(x, KINDS_OF_TENSOR) for key, x in said["tensors"].items()}
        if found != {key: (x["shape"], x["dtype"]) for key, x in tensors.items()}:
            raise ValueError("its tensors are not those of its header")
        held = {
            key: HeldRows(
                *(file, key, x["start"], tuple(x["shape"])),
                *(DTYPES[x["dtype"]], tuple(x["checksums"])),
            )
            for key, x in tensors.items()
        }
    except (SafetensorError, OSError, LookupError, TypeError, ValueError, RecursionError) as error:
        raise _refusal(file, error) from error
    if said["save"] != file.parent.name:
        raise ZooError(f"{file} is of another checkpoint: it was saved into {said['save']}")
    if (said["part"], said["parts"]) != (part, parts):
        name = part_name(said["part"], said["parts"])
        raise ZooError(f"{file} is another part than its name says: it was saved as {name}")
    return held


def _refusal(file: Path, error: Exception) -> ZooError:
    if isinstance(error, PermissionError):
        return ZooError(f"{file} cannot be read: {error.strerror}")
    return ZooError(f"{file} is damaged or was cut short: {' '.join(str(error).split())}")
