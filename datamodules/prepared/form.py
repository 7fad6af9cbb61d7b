"""What the beginning of a raw file shows: its first line, or that it is of another form."""

from collections.abc import Callable
from pathlib import Path

from datamodules.prepared.text import BOM, MAX_LINE_BYTES, TOO_LONG, opened
from zoo.data.errors import ZooError

PACKED = {b"PK\x03\x04": "zip", b"\xfd7zXZ\x00": "xz", b"\x28\xb5\x2f\xfd": "zstd"}
GZIP = b"\x1f\x8b"
TAR = (slice(257, 262), b"ustar")
DELIMITERS = {"\t": "tabs", ",": "commas", ";": "';'", "|": "'|'"}


def first_line(path: Path) -> str:
    """The first line of a text file, plain or .gz, without its end.

    Raises:
        ZooError: where there is no such file, it cannot be read, the line is blank, or the
            file is not UTF-8 text of lines; the message says what it looks like.
    """
    with opened(path) as (file, _):
        head = file.read(MAX_LINE_BYTES + 1)
    if found := other_than_text(path, head):
        raise ZooError(f"{path} {found}")
    line = head.removeprefix(BOM).partition(b"\n")[0]
    if not line.strip():
        raise ZooError(f"{path} is empty, or begins with an empty line")
    if len(line) > MAX_LINE_BYTES:
        raise ZooError(f"{path}: its first line cannot be read: {TOO_LONG}")
    return line.decode("utf-8", "replace").removesuffix("\r")


def require_form(path: Path, line: str, delimiter: str, fits: Callable[[list[str]], bool]) -> None:
    """Raises `ZooError` where a first line is of the expected form but for delimiter or quotes.

    Args:
        path: The file, for messages.
        line: Its first line.
        delimiter: Text that has to stand between its columns.
        fits: Whether the cells of a line are those of this format.
    """
    for other in (delimiter, *DELIMITERS):
        cells = line.split(other)
        plain = [cell.strip().strip("\"'") for cell in cells]
        quoted = 2 * sum(map(_is_quoted, cells)) > sum(map(bool, plain))
        if fits(plain if quoted else cells):
            break
    else:
        return
    seen = ["its values are quoted"] if quoted else []
    if other != delimiter:
        seen.append(f"its columns are separated by {DELIMITERS[other]}")
    if seen:
        raise ZooError(
            f"{path}: {' and '.join(seen)}: write it without quotes, with "
            f"{DELIMITERS.get(delimiter, repr(delimiter))} between the columns"
        )


def _is_quoted(cell: str) -> bool:
    cell = cell.strip()
    return len(cell) > 1 and cell[0] == cell[-1] and cell[0] in "\"'"


def other_than_text(path: Path, head: bytes) -> str | None:
    """What the beginning of a file shows that is no text of lines, as the end of a sentence."""
    place, magic = TAR
    packed = next((kind for start, kind in PACKED.items() if head.startswith(start)), None)
    if head[place] == magic or packed:
        return f"is a {packed or 'tar'} archive: unpack it"
    if head.startswith(GZIP):
        return f"is compressed by gzip: name it {path.name}.gz"
    if head.startswith((b"\xff\xfe", b"\xfe\xff")) or _is_wide(head[:64]):
        return "looks like UTF-16: convert it to UTF-8 (iconv -f UTF-16 -t UTF-8)"
    if b"\n" not in head and b"\r" in head.rstrip(b"\r"):
        return "has lines that end in CR alone: end them with LF (tr '\\r' '\\n')"
    return None


def _is_wide(head: bytes) -> bool:
    """Whether every other byte is a NUL, as of Latin letters in UTF-16."""
    zeros = sorted((head[::2].count(0), head[1::2].count(0)))
    return zeros[0] == 0 and zeros[1] * 2 > len(head) // 2 > 1
