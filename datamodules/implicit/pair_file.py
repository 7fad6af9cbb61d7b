"""Text files of pairs of user and item to score.

Shapes: n pairs.
"""

import re
from pathlib import Path

import numpy as np

from datamodules.prepared.form import first_line, require_form
from datamodules.prepared.rejected import Example, Rejected
from datamodules.prepared.text import TextFile
from zoo.data.errors import ZooError, require_file

PAIR = re.compile(r" *(\d{1,18}) *[,\t] *(\d{1,18}) *", re.ASCII)
MALFORMED = "it is not user,movie"
HEADER = re.compile(r"\W*[A-Za-z]\w*\W+[A-Za-z]\w*\W*")


def read_pairs(path: Path, tolerated: float) -> tuple[np.ndarray, np.ndarray, int]:
    """Original ids [n, 2] and row numbers [n] of the well-formed lines, and all lines' number.

    Args:
        path: Text file of pairs, plain or .gz, with or without a header.
        tolerated: Share of malformed lines that is tolerated.

    Raises:
        ZooError: where the file is missing or empty, or more lines are malformed.
    """
    require_file(path, "data.predict_path")
    header = HEADER.fullmatch(first_line(path)) is not None
    text = TextFile(path)
    lines, problems = text.read(skip=int(header))
    found = {number: PAIR.fullmatch(line) for number, line in lines.items()}
    if not found and not problems:
        raise ZooError(f"{path} is empty: it holds no rows")
    if found.get(int(header), True) is None:
        require_form(path, lines[int(header)], ",", _are_two_numbers)
    problems |= {number: MALFORMED for number, pair in found.items() if pair is None}
    rejected = Rejected(total=text.total - header)
    for number in sorted(problems):
        rejected.add(Example(path, number + 1, problems[number]))
    rejected.check(tolerated)
    usable = [(number, *pair.groups()) for number, pair in found.items() if pair is not None]
    numbers = np.array(usable).astype(np.int64)
    return numbers[:, 1:], numbers[:, 0] - header, rejected.total


def _are_two_numbers(cells: list[str]) -> bool:
    return len(cells) == 2 and all(re.fullmatch(r"\d{1,18}", cell, re.ASCII) for cell in cells)
