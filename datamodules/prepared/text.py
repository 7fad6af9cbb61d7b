"""Raw text files, plain or .gz."""

import gzip
import zlib
from pathlib import Path

from zoo.data.errors import ZooError

MAX_LINE_BYTES = 1 << 20


def first_line(path: Path) -> str:
    """The first line of a text file, plain or .gz.

    Raises:
        ZooError: where there is no such file, it cannot be read, or the line is blank.
    """
    if not path.is_file():
        raise ZooError(f"no such file: {path}")
    opener = gzip.open if path.suffix == ".gz" else open
    try:
        with opener(path, "rb") as file:
            line = file.readline(MAX_LINE_BYTES)
    except (OSError, EOFError, zlib.error) as error:
        raise ZooError(f"cannot read {path}: {error}") from error
    if not line.strip():
        raise ZooError(f"{path} is empty, or begins with an empty line")
    return line.decode("utf-8", "replace").rstrip("\r\n")
