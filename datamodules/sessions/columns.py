"""Text files with a header, cells between commas -> columns, block by block.

Shapes: R rows of a block.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa

from datamodules.prepared.arrow import compute as pc
from datamodules.prepared.form import first_line, require_form
from datamodules.prepared.rejected import Example, Rejected
from datamodules.prepared.text import TextFile
from zoo.data.errors import ZooError


def read_columns(
    path: Path, columns: Mapping[str, bool], rejected: Rejected, option: str
) -> Iterator[tuple[dict[str, pa.Array], np.ndarray]]:
    """Columns [R] of a file's rows, block by block, and the lines [R] of the rows, from 1.

    Args:
        path: The file.
        columns: Names of the columns to read, and whether each holds few distinct values: it is
            a dictionary then, and else binary.
        rejected: Counts the rows; those that cannot be read, and those of more or fewer cells than
            the header, are malformed.
        option: Option of the datamodule that names the file, for messages.

    Raises:
        ZooError: where the file cannot be read, is empty, or has no such columns.
    """
    header = _header(path, list(columns), option)
    text = TextFile(path, utf8=False)
    for block in text.blocks(skip=1):
        cells = pc.split_pattern(block.text, ",")
        good = np.diff(cells.offsets.to_numpy()) == len(header)
        problems = dict(block.unreadable)
        if not good.all():
            problems |= _of_wrong_width(cells, block.numbers, good, len(header))
            cells = cells.filter(pa.array(good))
        for number in sorted(problems):
            rejected.add(Example(path, number + 1, problems[number]))
        if good.any():
            yield _columns(cells.flatten(), header, columns), block.numbers[good] + 1
    rejected.total += text.total - 1
    if text.total == 1:
        raise ZooError(
            f"{path} is empty: it holds no rows; remove it, or name other files (data.{option})"
        )


def _header(path: Path, needed: list[str], option: str) -> list[str]:
    line = first_line(path)
    require_form(path, line, ",", lambda cells: set(needed) <= set(cells))
    header = line.split(",")
    missing = [column for column in needed if column not in header]
    if missing:
        raise ZooError(
            f"{path}: its header has no {', '.join(missing)}: name other files (data.{option})"
        )
    if twice := [column for column in needed if header.count(column) > 1]:
        raise ZooError(f"{path}: its header names {twice[0]} twice")
    return header


def _of_wrong_width(
    cells: pa.ListArray, numbers: np.ndarray, good: np.ndarray, width: int
) -> dict[int, str]:
    """What is wrong with rows that have another number of cells, by their number."""
    bad = np.flatnonzero(~good)
    problems = {}
    for number, row in zip(numbers[bad].tolist(), cells.take(pa.array(bad)), strict=True):
        found = 0 if row.as_py() == [b""] else len(row)  # a blank line has no cell
        problems[number] = f"it has {found} columns, not {width}"
    return problems


def _columns(
    cells: pa.Array, header: list[str], columns: Mapping[str, bool]
) -> dict[str, pa.Array]:
    """The columns of cells [R * width], row by row."""
    width = len(header)
    places = {column: header.index(column) for column in columns}
    found = {
        column: cells.take(pa.array(np.arange(place, len(cells), width, dtype=np.int32)))
        for column, place in places.items()
        if not columns[column]
    }
    if any(columns.values()):
        coded = cells.dictionary_encode()  # once, not column by column
        codes = coded.indices.to_numpy().reshape(-1, width)
        found |= {
            column: _narrowed(codes[:, place], coded.dictionary)
            for column, place in places.items()
            if columns[column]
        }
    return found


def _narrowed(codes: np.ndarray, texts: pa.Array) -> pa.DictionaryArray:
    """A dictionary of those texts alone that occur."""
    used = np.flatnonzero(np.bincount(codes, minlength=len(texts)))
    number = np.empty(len(texts), np.int32)
    number[used] = np.arange(len(used))
    return pa.DictionaryArray.from_arrays(number[codes], texts.take(pa.array(used)))
