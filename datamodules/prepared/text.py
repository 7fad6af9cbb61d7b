"""Raw text files, plain or .gz: what a line is, and which lines cannot be read.

LF or CRLF ends a line. Every other character is part of a value, also a carriage return that no
LF follows: line n of a file is `data.split(b"\\n")[n]`, whatever it holds. Lines that hold a NUL,
are longer than 2 MB, or are not UTF-8 where they have to be, cannot be read; the others keep their
numbers.

Shapes: R lines of a block.
"""

import gzip
import io
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, TypeVar, cast

import numpy as np
import pyarrow as pa

from datamodules.prepared.arrow import compute as pc
from zoo.data.errors import ZooError, require_file

BYTES_PER_BLOCK = 1 << 23
MAX_LINE_BYTES = 1 << 21
WORKERS = 2  # threads that split blocks
BOM = b"\xef\xbb\xbf"
UNDECODABLE = "it is not UTF-8 text"
NUL = "it holds a NUL byte"
TOO_LONG = "it is longer than 2 MB"

Item = TypeVar("Item")
Result = TypeVar("Result")


class Block(NamedTuple):
    """Consecutive lines of a file.

    Attributes:
        text: String or binary [R] the readable lines, without their ends.
        numbers: int64 [R] their numbers in the file, from 0.
        unreadable: What is wrong with each line that cannot be read, by its number.
        data: Bytes of all these lines.
        is_whole: Whether these are the readable lines alone.
    """

    text: pa.Array
    numbers: np.ndarray
    unreadable: dict[int, str]
    data: bytes
    is_whole: bool


class TextFile:
    """The lines of a text file, read block by block; a .gz is checked while it is read.

    Args:
        path: The file; where its name ends in `.gz` it is compressed.
        utf8: Whether its lines have to be UTF-8; they are strings then, and else binary.

    Attributes:
        total: Number of lines that were read.
        share: Share of the file's bytes that were read.
    """

    def __init__(self, path: Path, utf8: bool = True) -> None:
        self.path = path
        self.utf8 = utf8
        self.total = 0
        self.share = 0.0

    def blocks(self, skip: int = 0) -> Iterator[Block]:
        """All lines, in order.

        Args:
            skip: Number of lines to leave out at the beginning.

        Raises:
            ZooError: where the file cannot be read, or a .gz is damaged.
        """
        for data, lines in ahead(_split, self._blocks_of_bytes()):
            numbers = np.arange(self.total, self.total + len(lines))
            left_out = max(skip - self.total, 0)
            self.total += len(lines)
            lines, numbers = lines[left_out:], numbers[left_out:]
            unreadable: dict[int, str] = {}
            if len(lines) and not self._are_readable(data, lines):
                lines, numbers = self._left(lines, numbers, unreadable)
            is_whole = not left_out and not unreadable
            text = lines.view(pa.string()) if self.utf8 else lines
            yield Block(text, numbers, unreadable, data, is_whole)

    def read(self, skip: int = 0) -> tuple[dict[int, str], dict[int, str]]:
        """The lines of a file of moderate size, and what is wrong with others, by number."""
        readable: dict[int, str] = {}
        unreadable: dict[int, str] = {}
        for block in self.blocks(skip):
            readable.update(zip(block.numbers.tolist(), block.text.to_pylist(), strict=True))
            unreadable |= block.unreadable
        return readable, unreadable

    def _left(
        self, lines: pa.Array, numbers: np.ndarray, unreadable: dict[int, str]
    ) -> tuple[pa.Array, np.ndarray]:
        """The lines that can be read, and their numbers; adds what is wrong with the others."""
        problems = [self._problem(line) for line in lines.to_pylist()]
        for number, problem in zip(numbers.tolist(), problems, strict=True):
            if problem:
                unreadable[number] = problem
        good = np.array([problem is None for problem in problems])
        return lines.filter(pa.array(good)), numbers[good]

    def _are_readable(self, data: bytes, lines: pa.Array) -> bool:
        """Whether all lines are, which is cheap to see where they are ASCII."""
        if b"\0" in data or pc.max(pc.binary_length(lines)).as_py() > MAX_LINE_BYTES:
            return False
        return not self.utf8 or data.isascii() or _decodes(data)

    def _problem(self, line: bytes) -> str | None:
        if len(line) > MAX_LINE_BYTES:
            return TOO_LONG
        if b"\0" in line:
            return NUL
        return UNDECODABLE if self.utf8 and not _decodes(line) else None

    def _blocks_of_bytes(self) -> Iterator[bytes]:
        """Blocks of whole lines, each ended by LF alone."""
        rest = b""
        with opened(self.path) as (file, position):
            size = max(self.path.stat().st_size, 1)
            block = file.read(BYTES_PER_BLOCK).removeprefix(BOM)
            while block:
                self.share = position() / size
                end = block.rfind(b"\n") + 1
                if end:
                    yield (rest + block[:end]).replace(b"\r\n", b"\n")
                    rest = b""
                # of an endless line, no more than shows that it is too long
                rest = (rest + block[end:])[: MAX_LINE_BYTES + 2]
                block = file.read(BYTES_PER_BLOCK)
        if rest:
            yield (rest + b"\n").replace(b"\r\n", b"\n")


@contextmanager
def opened(path: Path) -> Iterator[tuple[io.BufferedIOBase, Callable[[], int]]]:
    """A plain, .gz or .zst file, and a function that says how many of its own bytes were read.

    Raises:
        ZooError: where there is no such file, or it cannot be read.
    """
    require_file(path)
    try:
        with open(path, "rb") as raw:
            if path.suffix == ".gz":
                with gzip.open(raw) as unpacked:
                    yield unpacked, raw.tell
            elif path.suffix == ".zst":
                with pa.CompressedInputStream(raw, "zstd") as unpacked:
                    yield cast(io.BufferedIOBase, unpacked), lambda: 0 if raw.closed else raw.tell()
            else:
                yield raw, raw.tell
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ZooError(f"cannot read {path}: {error}; it is a damaged .gz, or none") from error
    except OSError as error:
        raise ZooError(f"cannot read {path}: {error.strerror or error}") from error


def ahead(work: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[tuple[Item, Result]]:
    """Items and what work makes of them, in order; the next ones are worked on meanwhile."""
    with ThreadPoolExecutor(WORKERS) as pool:
        pending: deque[tuple[Item, Future[Result]]] = deque()
        for item in items:
            pending.append((item, pool.submit(work, item)))
            if len(pending) > WORKERS:
                done, result = pending.popleft()
                yield done, result.result()
        for done, result in pending:
            yield done, result.result()


def _split(data: bytes) -> pa.Array:
    """Binary [R] the lines of a block, without the LF that ends each."""
    size = len(data) - 1
    offsets = np.array([0, size], np.int32)
    whole = pa.Array.from_buffers(pa.binary(), 1, [None, pa.py_buffer(offsets), pa.py_buffer(data)])
    return pc.split_pattern(whole, "\n").values


def _decodes(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True
