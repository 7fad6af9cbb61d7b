"""Session logs as text -> typed rows, block by block, in the order of the files.

All columns of a log but its two ids hold few distinct texts: Arrow encodes them as dictionaries,
and each distinct text is read once.
"""

import glob
import re
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path

import numpy as np
import pyarrow as pa
from rich.console import Console
from rich.progress import Progress

from datamodules.prepared.arrow import compute as pc
from datamodules.prepared.rejected import Rejected
from datamodules.sessions.columns import read_columns
from datamodules.sessions.records import CODES, COUNTS, FLAGS, VALUES
from datamodules.sessions.users import USER_ID
from zoo.data.errors import ZooError

MAX_CODE = 255
BAD = -1  # of a cell that cannot be read

SESSION_ID, TRACK_ID = "session_id", "track_id_clean"
POSITION, LENGTH = "session_position", "session_length"
CELLS = (POSITION, LENGTH, "date", *FLAGS, *CODES)
LIMITS = {POSITION: (1, MAX_CODE), LENGTH: (0, MAX_CODE), "hour_of_day": (0, 23)}
PROBLEMS = {
    POSITION: "is not a whole number from 1",
    LENGTH: "is not a whole number from 0",
    "date": "is not a date YYYY-MM-DD",
    "hour_of_day": "is not a whole number from 0 to 23",
    **dict.fromkeys(FLAGS, "is not True or False"),
    **dict.fromkeys(COUNTS, "is not a whole number from 0"),
}
ROW = np.dtype(
    [
        ("file", "<i4"),
        ("line", "<i8"),
        ("track", "<i4"),
        ("user", "<i4"),  # 0 where there are none
        ("cells", "<i4", len(CELLS)),  # in the order of CELLS; BAD where unreadable
    ]
)


def find_files(path: str, option: str) -> list[Path]:
    """The files that a path names: a file, those a pattern matches, or a folder's .csv and .csv.gz.

    Raises:
        ZooError: where there are none.
    """
    place = Path(path)
    if place.is_dir():
        files = sorted(f for f in place.iterdir() if f.name.endswith((".csv", ".csv.gz")))
        if not files:
            raise ZooError(
                f"{path} holds no .csv or .csv.gz file: name the folder that does (data.{option})"
            )
        return files
    files = [place] if place.is_file() else sorted(map(Path, glob.glob(path)))
    if not files:
        raise ZooError(f"no such file or folder: {path} (data.{option})")
    return files


class LogReader:
    """Reads session logs.

    Args:
        tracks: Ids of the track table; the number of a track is its place in it, from 1.
        vocabulary: Values of the columns of `VALUES` in the order of their codes; without it
            values get codes in the order in which they occur, and those beyond the last code
            none.
        users: Ids of the user table, whose numbers are their places in it, from 1; None where there
            is no such table.
        option: Option of the datamodule that names the logs, for messages.

    Attributes:
        rejected: The malformed rows, and the number of all rows.
        codes: For each column of `VALUES` the code of each value.
    """

    def __init__(
        self,
        tracks: pa.Array,
        vocabulary: dict[str, list[str]] | None,
        users: pa.Array | None,
        option: str,
    ) -> None:
        self.tracks = tracks
        self.users = users
        self.option = option
        self.rejected = Rejected()
        self.growing = vocabulary is None
        values = vocabulary or {column: [] for column in VALUES}
        self.codes = {c: {value: i for i, value in enumerate(values[c], 1)} for c in VALUES}
        ids = (SESSION_ID, TRACK_ID, *([] if users is None else [USER_ID]))
        self.columns = dict.fromkeys(ids, False) | dict.fromkeys(CELLS, True)

    def blocks(self, files: list[Path]) -> Iterator[tuple[pa.Array, np.ndarray]]:
        """Session ids [R] and rows [R] of `ROW`, file by file."""
        with Progress(console=Console(stderr=True), transient=True) as progress:
            for number, file in enumerate(progress.track(files, description="read sessions")):
                for block, lines in self._read_columns(file):
                    rows = np.empty(len(lines), ROW)
                    rows["file"], rows["line"] = number, lines
                    rows["track"] = _places(block[TRACK_ID], self.tracks)
                    rows["user"] = 0
                    if self.users is not None:
                        rows["user"] = _places(block[USER_ID], self.users)
                    for i, column in enumerate(CELLS):
                        rows["cells"][:, i] = self._read(column, block[column])
                    yield block[SESSION_ID], rows

    def _read_columns(self, file: Path) -> Iterator[tuple[dict[str, pa.Array], np.ndarray]]:
        return read_columns(file, self.columns, self.rejected, self.option)

    def _read(self, column: str, cells: pa.DictionaryArray) -> np.ndarray:
        read = self._code if column in VALUES else READERS[column]
        texts = [text.decode("utf-8", "backslashreplace") for text in cells.dictionary.to_pylist()]
        values = np.array([read(column, text) for text in texts], np.int32)
        return values[cells.indices.to_numpy()]

    def _code(self, column: str, text: str) -> int:
        codes = self.codes[column]
        if self.growing and text and text not in codes and len(codes) < MAX_CODE:
            codes[text] = len(codes) + 1
        return codes.get(text, 0)


def _places(ids: pa.Array, table: pa.Array) -> np.ndarray:
    """[R] the places of ids in a table, from 1; 0 where it does not hold them."""
    return pc.add(pc.fill_null(pc.index_in(ids, value_set=table), -1), 1).to_numpy()


def _flag(column: str, text: str) -> int:
    return {"True": 1, "true": 1, "1": 1, "False": 0, "false": 0, "0": 0}.get(text, BAD)


def _number(column: str, text: str) -> int:
    if not (text.isascii() and text.isdecimal()):
        return BAD
    number = int(text.lstrip("0")[:10] or "0")  # beyond ten digits it is large enough
    if column in COUNTS:
        return min(number, MAX_CODE)
    least, most = LIMITS[column]
    return number if least <= number <= most else BAD


def _date(column: str, text: str) -> int:
    if not re.fullmatch(r"\d{4}-\d\d-\d\d", text, re.ASCII):  # others are ISO's too
        return BAD
    try:
        days = (date.fromisoformat(text) - date(1970, 1, 1)).days
    except ValueError:
        return BAD
    return days if 0 <= days < 1 << 15 else BAD


READERS: dict[str, Callable[[str, str], int]] = {
    **dict.fromkeys((POSITION, LENGTH, "hour_of_day", *COUNTS), _number),
    **dict.fromkeys(FLAGS, _flag),
    "date": _date,
}
