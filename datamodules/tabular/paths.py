"""The files of a table, as a user names them, and how they are read."""

import glob
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

import duckdb

from datamodules.tabular.formats import Format, table_file
from datamodules.tabular.table_file import TableFile
from zoo.data.errors import ZooError

UNITS = {"s": 1_000_000, "ms": 1000, "us": 1}  # of numbers that are times, in microseconds
NO_VALUE = "__HIVE_DEFAULT_PARTITION__"


@dataclass(frozen=True)
class Reading:
    """How the files of a table are read.

    Attributes:
        format: Format of files whose names do not say it.
        delimiter: Character between the columns of text; None is a comma, or a tab of TSV.
        missing_values: Texts that mean that a value is missing.
        time_format: How a time is written; None is ISO 8601.
    """

    format: Format | None = None
    delimiter: str | None = None
    missing_values: tuple[str, ...] = ("",)
    time_format: str | None = None

    def __post_init__(self) -> None:
        if self.delimiter is not None and (len(self.delimiter) != 1 or self.delimiter in '"\n\r'):
            raise ZooError(
                f"data.delimiter must be one character, no quote and no line break, got "
                f"{self.delimiter!r}"
            )
        if self.time_format is not None and self.time_format not in UNITS:
            try:
                duckdb.execute("SELECT try_strptime('', ?)", [self.time_format])
            except duckdb.Error as error:
                raise ZooError(
                    f"data.time_format {self.time_format!r} is neither s, ms or us nor a format "
                    "such as '%d/%m/%Y %H:%M'"
                ) from error

    def file(self, path: Path) -> TableFile:
        """A file of any format."""
        return table_file(path, self.format, self.delimiter)


def files_of(path: str | Sequence[str], opened: Callable[[Path], TableFile]) -> list[TableFile]:
    """The files that a file, a folder, a pattern, or a list of these stands for, by `opened`."""
    return [opened(file) for file in paths_of(path)]


def paths_of(path: str | Sequence[str]) -> list[Path]:
    """The paths that a file, a folder, a pattern, or a list of these stands for.

    Those of a folder or of a pattern are sorted by name; in a folder, hidden ones, and those whose
    name begins with `_`, are left out.

    Raises:
        ZooError: where there are none, or one is named twice.
    """
    paths = [path] if isinstance(path, str) else [*path]
    found = [file for one in paths for file in _matching(one)]
    if not found:
        raise ZooError("data.path names no file: give a file, a folder, a pattern, or a list")
    for file in found:
        if found.count(file) > 1:
            raise ZooError(f"{file} is named twice (data.path): its rows would count twice")
    return found


def _matching(path: str) -> list[Path]:
    one = Path(path)
    if one.is_dir():
        files = [file for file in one.rglob("*") if file.is_file() and not _is_hidden(file, one)]
        return sorted(files) or _none(path, "the folder holds no files")
    if glob.has_magic(path) and not one.exists():
        files = [Path(name) for name in glob.glob(path, recursive=True)]
        return sorted(f for f in files if f.is_file()) or _none(path, "no file matches")
    return [one] if one.is_file() else _none(path, "no such file")


def _none(path: str, why: str) -> list[Path]:
    raise ZooError(f"{why}: {path} (data.path)")


def _is_hidden(file: Path, folder: Path) -> bool:
    return any(name[0] in "._" for name in file.relative_to(folder).parts)


def partition_of(path: Path) -> dict[str, str | None]:
    """The columns that folders such as `day=2024-01-05` add to a file."""
    found = {}
    for folder in path.parts[:-1]:
        name, sign, value = folder.partition("=")
        if name and sign:
            found[unquote(name)] = None if value == NO_VALUE else unquote(value)
    return found
