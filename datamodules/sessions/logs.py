"""Session logs as text -> typed rows, block by block, in the order of the files.

All columns of a log but its two ids hold few distinct texts: Arrow encodes them as dictionaries,
and each distinct text is read once.
"""

import glob
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
from rich.console import Console
from rich.progress import Progress

from datamodules.prepared.arrow import compute as pc
from datamodules.prepared.form import first_line
from datamodules.prepared.rejected import Example, Rejected
from datamodules.sessions.records import CODES, COUNTS, FLAGS, VALUES
from zoo.data.errors import ZooError

BYTES_PER_BLOCK = 1 << 26  # of text read at once
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


def read_blocks(
    path: Path, columns: dict[str, pa.DataType], rejected: Rejected, option: str
) -> Iterator[tuple[pa.RecordBatch, np.ndarray]]:
    """Blocks of a file's columns, and the lines [R] of their rows, from 1.

    Args:
        path: The file.
        columns: Names and types of the columns to read.
        rejected: Counts the rows; those of more or fewer cells than the header are malformed.
        option: Option of the datamodule that names the file, for messages.

    Raises:
        ZooError: where the file cannot be read, is empty, or has no such columns.
    """
    header = first_line(path).split(",")
    missing = [column for column in columns if column not in header]
    if missing:
        raise ZooError(
            f"{path}: its header has no {', '.join(missing)}: name other files (data.{option})"
        )
    passed: list[int] = []

    def pass_over(row: pa_csv.InvalidRow) -> str:
        passed.append(row.number)
        reason = f"it has {row.actual_columns} columns, not {len(header)}"
        rejected.add(Example(path, row.number, reason))
        return "skip"

    rows = 0
    try:
        for block in _open(path, header, columns, pass_over):
            yield block, _lines(rows, len(block), passed)
            rows += len(block)
    except (OSError, EOFError, pa.ArrowInvalid) as error:
        raise ZooError(f"cannot read {path}: {error}") from error
    rejected.total += rows + len(passed)
    if rows + len(passed) == 0:
        raise ZooError(
            f"{path} is empty: it holds no rows; remove it, or name other files (data.{option})"
        )


def _open(
    path: Path,
    header: list[str],
    columns: dict[str, pa.DataType],
    pass_over: Callable[[pa_csv.InvalidRow], str],
) -> pa_csv.CSVStreamingReader:
    compression = "gzip" if path.suffix == ".gz" else None
    return pa_csv.open_csv(
        pa.input_stream(path, compression=compression),
        # only a single thread numbers its rows
        pa_csv.ReadOptions(
            use_threads=False, block_size=BYTES_PER_BLOCK, column_names=header, skip_rows=1
        ),
        pa_csv.ParseOptions(
            quote_char=False, invalid_row_handler=pass_over, ignore_empty_lines=False
        ),
        pa_csv.ConvertOptions(include_columns=list(columns), column_types=columns),
    )


def _lines(rows: int, count: int, passed: list[int]) -> np.ndarray:
    """Lines of `count` rows behind the first `rows`, where these lines are passed over."""
    before = np.array(passed, np.int64) - 2 - np.arange(len(passed))
    row = np.arange(rows, rows + count)
    return row + 2 + np.searchsorted(before, row, side="right")


class LogReader:
    """Reads session logs.

    Args:
        tracks: Ids of the track table; the number of a track is its place in it, from 1.
        vocabulary: Values of the columns of `VALUES` in the order of their codes; without it
            values get codes in the order in which they occur, and those beyond the last code
            none.
        option: Option of the datamodule that names the logs, for messages.

    Attributes:
        rejected: The malformed rows, and the number of all rows.
        codes: For each column of `VALUES` the code of each value.
    """

    def __init__(
        self, tracks: pa.Array, vocabulary: dict[str, list[str]] | None, option: str
    ) -> None:
        self.tracks = tracks
        self.option = option
        self.rejected = Rejected()
        self.growing = vocabulary is None
        values = vocabulary or {column: [] for column in VALUES}
        self.codes = {c: {value: i for i, value in enumerate(values[c], 1)} for c in VALUES}
        few = pa.dictionary(pa.int32(), pa.binary())
        self.columns = {SESSION_ID: pa.binary(), TRACK_ID: pa.binary()} | dict.fromkeys(CELLS, few)

    def blocks(self, files: list[Path]) -> Iterator[tuple[pa.Array, np.ndarray]]:
        """Session ids [R] and rows [R] of `ROW`, file by file."""
        with Progress(console=Console(stderr=True), transient=True) as progress:
            for number, file in enumerate(progress.track(files, description="read sessions")):
                for block, lines in self._read_blocks(file):
                    rows = np.empty(len(block), ROW)
                    rows["file"], rows["line"] = number, lines
                    found = pc.index_in(block.column(TRACK_ID), value_set=self.tracks)
                    rows["track"] = pc.add(pc.fill_null(found, -1), 1).to_numpy()
                    for i, column in enumerate(CELLS):
                        rows["cells"][:, i] = self._read(column, block.column(column))
                    yield block.column(SESSION_ID), rows

    def _read_blocks(self, file: Path) -> Iterator[tuple[pa.RecordBatch, np.ndarray]]:
        return read_blocks(file, self.columns, self.rejected, self.option)

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


def _flag(column: str, text: str) -> int:
    return {"True": 1, "true": 1, "1": 1, "False": 0, "false": 0, "0": 0}.get(text, BAD)


def _number(column: str, text: str) -> int:
    if not (text.isascii() and text.isdecimal()):
        return BAD
    number = int(text[:10])
    if column in COUNTS:
        return min(number, MAX_CODE)
    least, most = LIMITS[column]
    return number if least <= number <= most else BAD


def _date(column: str, text: str) -> int:
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
