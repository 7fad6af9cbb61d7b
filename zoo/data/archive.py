"""The zip archive that a checkpoint is: whole, and as `torch.save` writes it.

`torch.load` compares no checksum of a zip, and, where it maps the file into memory, takes the bytes
of a member as they stand, compressed or not. So both are looked at before.
"""

import os
import struct
import zipfile
from pathlib import Path
from typing import IO

from zoo.data.errors import ZooError

START = b"PK\x03\x04"  # by which `torch.load` too tells a zip from its older format
END, END_SIZE = b"PK\x05\x06", 22  # of the record that ends a zip without a comment
LENGTHS = 26  # where the header of a member says how long its name and its extra field are
ALIGNMENT = 64  # bytes, of the members that `torch.save` writes
LARGEST_RATIO = 100  # of the bytes that an archive says it holds to its own


def check_archive(path: Path) -> bool | None:
    """Compares all members of a checkpoint with their checksums, reading the file once.

    Args:
        path: The file.

    Returns True where `torch.load` may map the file into memory, as all members lie in it as
    `torch.save` writes them; False where a zip program has packed them again; None where it is no
    zip but of the format of before torch 1.6, which has no checksums.

    Raises:
        ZooError: where it is damaged, or where two readers could find different members in it.
    """
    with open(path, "rb") as file:
        if file.read(len(START)) != START:
            return None
        try:
            with zipfile.ZipFile(file) as archive:
                members = archive.infolist()
                whole = _is_one_archive(archive, file) and archive.testzip() is None
                plain = whole and all(_is_plain(member, file) for member in members)
        except Exception as error:  # a damaged zip fails in too many ways to name
            raise ZooError(f"{path} is not a checkpoint, or is damaged") from error
    if not whole:
        raise ZooError(f"{path} is damaged: its checksums or its members do not fit")
    size = sum(member.file_size for member in members)
    if size > LARGEST_RATIO * path.stat().st_size:
        raise ZooError(
            f"{path} is not read: its {path.stat().st_size:,} bytes would unpack to {size:,}"
        )
    return plain


def _is_one_archive(archive: zipfile.ZipFile, file: IO[bytes]) -> bool:
    """Whether all readers of zips find the same members: each once, nothing around them."""
    names = archive.namelist()
    roots = {name.partition("/")[0] for name in names}
    first = min((member.header_offset for member in archive.infolist()), default=None)
    file.seek(-END_SIZE, os.SEEK_END)
    ends = file.read(len(END)) == END and not archive.comment
    return len(names) == len(set(names)) and len(roots) == 1 and first == 0 and ends


def _is_plain(member: zipfile.ZipInfo, file: IO[bytes]) -> bool:
    """Whether a member lies in the file as it is, aligned as tensors are in memory."""
    file.seek(member.header_offset + LENGTHS)
    name, extra = struct.unpack("<HH", file.read(4))
    start = member.header_offset + LENGTHS + 4 + name + extra
    return member.compress_type == zipfile.ZIP_STORED and start % ALIGNMENT == 0
