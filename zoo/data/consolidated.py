"""A checkpoint whose tables lie in parts, as the one file that `torch.save` would make of it.

torch writes it without the numbers, which then are written into their places one after another, a
range of ids at a time: no more than a part has rows is held in memory.
"""

import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor
from torch.serialization import skip_data

from zoo.data.archive import LENGTHS, check_archive
from zoo.data.errors import ZooError
from zoo.data.files import atomic_file
from zoo.data.partition import ROWS_PER_BLOCK
from zoo.data.shard_content import opened, with_tensors
from zoo.data.shards import Shards

Source = tuple[str, Tensor]  # path of a tensor in a checkpoint, and the tensor
DESCRIPTOR = b"PK\x07\x08"  # which follows a member, with its checksum
CHECKSUM, NAMES, ENTRY = 16, 28, 46  # places in an entry of the directory, and its size


def write_consolidated(content: Mapping[str, Any], path: Path, target: Path) -> None:
    """Writes a checkpoint as one file, whole or not at all.

    Args:
        content: The checkpoint, as its small file has it.
        path: That file.
        target: The file to write.

    Raises:
        ZooError: where parts are missing or damaged.
    """
    from torch._subclasses.fake_tensor import FakeTensorMode  # which takes seconds to import

    shards = opened(content, path)
    with FakeTensorMode():
        fakes = {key: torch.empty_like(shards.empty(key), device="cpu") for key in shards.keys}
    whole = with_tensors(content, fakes)
    with atomic_file(target) as partial:
        with open(partial, "wb") as file, skip_data(materialize_fake_tensors=True):
            torch.save(whole, file)
        with FakeTensorMode():  # in which a storage says where it lies
            placed = torch.load(partial, weights_only=True)
        sources = zip(_tensors(whole), _tensors(placed), strict=True)
        places = {_place(there): source for source, (_, there) in sources}
        with open(partial, "r+b") as file:
            checksums = {
                place: _write(file, place, _bytes_of(*places[place], shards))
                for place in sorted(places)
            }
            _set_checksums(file, checksums)
        check_archive(partial)


def _tensors(node: Any, path: str = "") -> Iterator[Source]:
    """The tensors of nested mappings and lists, with their paths."""
    if isinstance(node, Tensor):
        yield path, node
    elif isinstance(node, Mapping):
        for key, child in node.items():
            yield from _tensors(child, f"{path}/{key}" if path else str(key))
    elif isinstance(node, list | tuple):
        for number, child in enumerate(node):
            yield from _tensors(child, f"{path}/{number}")


def _place(tensor: Tensor) -> int:
    """Where the storage of a tensor lies in the file that it was loaded from."""
    place = tensor.untyped_storage()._checkpoint_offset
    assert place is not None
    return place


def _bytes_of(key: str, tensor: Tensor, shards: Shards) -> Iterator[Any]:
    """The bytes of the storage of a tensor, in pieces."""
    if key not in shards.keys:
        storage = torch.empty(0, dtype=torch.uint8).set_(tensor.untyped_storage())
        yield storage.numpy().data
        return
    size = -(-shards.largest(key) // ROWS_PER_BLOCK) * ROWS_PER_BLOCK
    for start in range(0, len(tensor), size):
        stop = min(start + size, len(tensor))
        yield shards.of_ids(key, start, stop, check=start == 0).view(torch.uint8).numpy().data


def _write(file: BinaryIO, place: int, pieces: Iterator[Any]) -> int:
    """Writes bytes into a file; their checksum."""
    found = 0
    file.seek(place)
    for piece in pieces:
        found = zlib.crc32(piece, found)
        file.write(piece)
        del piece  # before the next one is made
    return found


def _set_checksums(file: BinaryIO, checksums: Mapping[int, int]) -> None:
    """Gives members of a zip, by the places of their data, the checksums of what they now hold."""
    with zipfile.ZipFile(file) as archive:
        members, entry = archive.infolist(), archive.start_dir
    for member in members:
        place = _number(file, member.header_offset + LENGTHS, "<HH")
        start = member.header_offset + LENGTHS + 4 + sum(place)
        if start in checksums:
            made = struct.pack("<I", checksums[start])
            end = start + member.file_size
            if _number(file, end, "<4s") != (DESCRIPTOR,):
                raise ZooError("this version of torch lays out its files in another way")
            for there in (end + len(DESCRIPTOR), entry + CHECKSUM):
                file.seek(there)
                file.write(made)
        entry += ENTRY + sum(_number(file, entry + NAMES, "<HHH"))


def _number(file: BinaryIO, place: int, layout: str) -> tuple[Any, ...]:
    file.seek(place)
    return struct.unpack(layout, file.read(struct.calcsize(layout)))
