"""Text files of pairs of user and item to score, and of users or items.

Shapes: n lines.
"""

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from datamodules.prepared.form import first_line, require_form
from datamodules.prepared.rejected import Example, Rejected
from datamodules.prepared.text import TextFile
from zoo.data.errors import ZooError, require_file


def read_pairs(
    path: Path, tolerated: float, option: str = "data.predict_path"
) -> tuple[np.ndarray, np.ndarray, int]:
    """Original ids [n, 2] and row numbers [n] of the well-formed lines, and all lines' number.

    Args:
        path: Text file of pairs, plain or .gz, with or without a header.
        tolerated: Share of malformed lines that is tolerated.
        option: Option that names the file, for messages.

    Raises:
        ZooError: where the file is missing or empty, or more lines are malformed.
    """
    return _read(path, tolerated, option, _PAIRS)


def read_ids(path: Path, tolerated: float, option: str) -> tuple[np.ndarray, np.ndarray, int]:
    """Original ids [n] and row numbers [n] of a file of one id a line; see `read_pairs`."""
    ids, row, total = _read(path, tolerated, option, _IDS)
    return ids[:, 0], row, total


@dataclass(frozen=True)
class _Form:
    """What the lines of a file are.

    Attributes:
        line: A well-formed line.
        header: A line of names.
        malformed: What is said of other lines.
        ids: Number of ids of a line.
    """

    line: re.Pattern[str]
    header: re.Pattern[str]
    malformed: str
    ids: int

    def fits(self, cells: list[str]) -> bool:
        """Whether cells are those of a line."""
        numbers = (re.fullmatch(r"\d{1,18}", cell, re.ASCII) for cell in cells)
        return len(cells) == self.ids and all(numbers)


_PAIRS = _Form(
    re.compile(r" *(\d{1,18}) *[,\t] *(\d{1,18}) *", re.ASCII),
    re.compile(r"\W*[A-Za-z]\w*\W+[A-Za-z]\w*\W*"),
    "it is not user,movie",
    2,
)
_IDS = _Form(
    re.compile(r" *(\d{1,18}) *", re.ASCII),
    re.compile(r"\W*[A-Za-z]\w*\W*"),
    "it is not one id",
    1,
)


def _read(
    path: Path, tolerated: float, option: str, form: _Form
) -> tuple[np.ndarray, np.ndarray, int]:
    require_file(path, option)
    header = form.header.fullmatch(first_line(path)) is not None
    text = TextFile(path)
    lines, problems = text.read(skip=int(header))
    found = {number: form.line.fullmatch(line) for number, line in lines.items()}
    if not found and not problems:
        raise ZooError(f"{path} is empty: it holds no rows")
    if found.get(int(header), True) is None:
        require_form(path, lines[int(header)], ",", form.fits)
    problems |= {number: form.malformed for number, pair in found.items() if pair is None}
    rejected = Rejected(total=text.total - header)
    for number in sorted(problems):
        rejected.add(Example(path, number + 1, problems[number]))
    rejected.check(tolerated)
    usable = [(number, *line.groups()) for number, line in found.items() if line is not None]
    numbers = np.array(usable).astype(np.int64)
    return numbers[:, 1:], numbers[:, 0] - header, rejected.total
