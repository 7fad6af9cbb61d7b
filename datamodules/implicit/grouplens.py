"""MovieLens as GroupLens packs it -> users, movies and ratings.

Two formats, distinguished by the name of the file of ratings: ml-1m (`ratings.dat`, `users.dat`,
`movies.dat`, cells separated by `::`) and ml-100k (`u.data`, `u.user`, `u.item`, `u.genre`).
All of it fits in memory.
"""

import re
import struct
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pyarrow as pa

from datamodules.prepared.arrow import compute as pc
from datamodules.prepared.folder import source_identity
from datamodules.prepared.form import other_than_text, require_form
from datamodules.prepared.rejected import MAX_EXAMPLES, Example, Rejected
from datamodules.prepared.text import BOM, NUL
from zoo.data.errors import ZooError

ML_1M = ("ratings.dat", "users.dat", "movies.dat")
ML_100K = ("u.data", "u.user", "u.item", "u.genre")
AGES = (1, 18, 25, 35, 45, 50, 56)  # first years of ml-1m's age brackets
PROFILE = ("gender", "age", "occupation")
# at most as many digits as an int64 holds for certain
RATING = r"^(?P<user>\d{{1,18}}){0}(?P<item>\d{{1,18}}){0}\d+\.?\d*{0}(?P<time>\d{{1,18}})\r?$"
# raised of damaged archives, and of encrypted ones
DAMAGED = (
    zipfile.BadZipFile,
    zlib.error,
    OSError,
    EOFError,
    RuntimeError,
    ValueError,
    struct.error,
)
MALFORMED = "it is not user, movie, rating and time"


@dataclass(frozen=True)
class Ratings:
    """The well-formed lines of the file of ratings, in its order.

    Attributes:
        user: int64 [R], original ids.
        item: int64 [R], original ids.
        time: int64 [R], seconds since 1970-01-01.
        rejected: The malformed lines, and the number of all lines.
    """

    user: np.ndarray
    item: np.ndarray
    time: np.ndarray
    rejected: Rejected


@dataclass(frozen=True)
class MovieLensFiles:
    """What a data set holds; None where a value is missing.

    Attributes:
        ratings: The ratings.
        users: Gender, first year of the age bracket and occupation of each user.
        movies: Year and genres of each movie.
        genres: Names of all genres.
    """

    ratings: Ratings
    users: dict[int, tuple[str | None, ...]]
    movies: dict[int, tuple[str | None, frozenset[str]]]
    genres: tuple[str, ...]


class _Archive:
    """The members of a zip file or of a folder; they may lie in a subfolder."""

    def __init__(self, path: Path) -> None:
        self.path = path
        if path.is_dir():
            self.names = sorted(p.relative_to(path).as_posix() for p in _files(path))
        elif path.is_file():
            with self._zip() as archive:
                self.names = archive.namelist()
        else:
            raise ZooError(f"no such file or folder: {path} (data.path)")

    def _zip(self) -> zipfile.ZipFile:
        try:
            return zipfile.ZipFile(self.path)
        except DAMAGED as error:
            raise ZooError(
                f"{self.path} is not a zip file, or is damaged: give GroupLens's ml-1m.zip or "
                "ml-100k.zip, or the unpacked folder (data.path)"
            ) from error

    def find(self, member: str) -> str | None:
        """Where a member lies; the outermost of that name."""
        found = [name for name in self.names if PurePosixPath(name).name == member]
        return min(found, key=lambda name: name.count("/"), default=None)

    def read(self, member: str) -> list[str]:
        """The lines of a Latin-1 member, without the end of the last one."""
        name = self.find(member)
        if name is None:
            raise ZooError(f"{self.path} holds no {member}: download it again")
        try:
            if self.path.is_dir():
                data = (self.path / name).read_bytes()
            else:
                with self._zip() as archive:
                    data = archive.read(name)
        except DAMAGED as error:
            raise ZooError(f"{member} of {self.path} is damaged: {error}") from error
        if found := other_than_text(Path(member), data):
            raise ZooError(f"{member} of {self.path} {found}")
        # not splitlines, which would also split at Latin-1's 0x85
        lines = data.removeprefix(BOM).decode("latin-1").split("\n")
        return lines[:-1] if lines[-1] == "" else lines


def _files(folder: Path) -> Iterator[Path]:
    """The files of a folder and of its folders."""
    for path in (*folder.glob("*"), *folder.glob("*/*")):
        if path.is_file():
            yield path


def movielens_identity(path: Path) -> dict[str, Any]:
    """What distinguishes one version of the files from another."""
    if not path.is_dir():
        return source_identity(path)
    archive = _Archive(path)
    members = [name for name in map(archive.find, (*ML_1M, *ML_100K)) if name]
    return {"folder": [source_identity(path / name) for name in members]}


def read_movielens(path: Path) -> MovieLensFiles:
    """Reads GroupLens's zip or the unpacked folder.

    Raises:
        ZooError: where it is not MovieLens, or a file of it is missing or cannot be read.
    """
    archive = _Archive(path)
    if archive.find(ML_1M[0]):
        return _read_1m(archive)
    if archive.find(ML_100K[0]):
        return _read_100k(archive)
    raise ZooError(
        f"{path} is not MovieLens 1M or 100K: it holds neither {ML_1M[0]} nor {ML_100K[0]} "
        "(data.path)"
    )


def read_titles(path: Path) -> dict[int, str]:
    """The titles of the movies, by their ids; of GroupLens's zip or the unpacked folder."""
    archive = _Archive(path)
    if archive.find(ML_1M[0]):
        cells = _cells(archive, ML_1M[2], "::", 3)
        return {_number(movie, where): "::".join(t) for (movie, *t, _), where in cells}
    cells = _cells(archive, ML_100K[2], "|", 3)
    return {_number(movie, where): title for (movie, title, *_), where in cells}


def _read_1m(archive: _Archive) -> MovieLensFiles:
    users = {
        _number(user, where): _profile(gender, age, occupation)
        for (user, gender, age, occupation, *_), where in _cells(archive, ML_1M[1], "::", 5)
    }
    movies = {}
    for (movie, *title, genres), where in _cells(archive, ML_1M[2], "::", 3):
        named = frozenset(filter(None, genres.strip().split("|")))
        movies[_number(movie, where)] = (_year("::".join(title)), named)
    genres = tuple(sorted(frozenset().union(*(named for _, named in movies.values()))))
    return MovieLensFiles(_read_ratings(archive, ML_1M[0], "::"), users, movies, genres)


def _read_100k(archive: _Archive) -> MovieLensFiles:
    users = {
        _number(user, where): _profile(gender, _bracket(age), occupation)
        for (user, age, gender, occupation, *_), where in _cells(archive, ML_100K[1], "|", 5)
    }
    lines = [line.strip() for line in archive.read(ML_100K[3])]
    genres = tuple(line.rpartition("|")[0] for line in lines if line)
    movies = {}
    for cells, where in _cells(archive, ML_100K[2], "|", 5 + len(genres)):
        flags = zip(genres, cells[-len(genres) :], strict=True)
        named = frozenset(genre for genre, flag in flags if flag.strip() == "1")
        movies[_number(cells[0], where)] = (_year(cells[2]) or _year(cells[1]), named)
    return MovieLensFiles(_read_ratings(archive, ML_100K[0], "\t"), users, movies, genres)


def _cells(
    archive: _Archive, member: str, separator: str, least: int
) -> Iterator[tuple[list[str], str]]:
    """The cells of each line of a small table, and where the line is."""
    for number, line in enumerate(archive.read(member), 1):
        cells = line.removesuffix("\r").split(separator)
        where = f"line {number} of {member} in {archive.path}"
        if "\0" in line:
            raise ZooError(f"{where} cannot be used: {NUL}: download it again")
        if len(cells) < least:
            raise ZooError(f"{where} has {len(cells)} cells, not {least}: download it again")
        yield cells, where


def _number(text: str, where: str) -> int:
    if not re.fullmatch(r"\d{1,18}", text, re.ASCII):
        raise ZooError(
            f"{where} begins with {text[:40]!r}, which is not a number: download it again"
        )
    return int(text)


def _profile(*values: str | None) -> tuple[str | None, ...]:
    return tuple((value or "").strip() or None for value in values)


def _bracket(age: str) -> str | None:
    """The bracket of ml-1m that an age lies in, by its first year."""
    if not re.fullmatch(r"\s*\d{1,4}\s*", age, re.ASCII):
        return None
    return str(max((first for first in AGES if first <= int(age)), default=AGES[0]))


def _year(text: str) -> str | None:
    """The year at the end of `Toy Story (1995)` or `01-Jan-1995`."""
    found = re.search(r"(?:\(|-)(\d{4})\)?\s*$", text, re.ASCII)
    return found[1] if found else None


def _read_ratings(archive: _Archive, member: str, separator: str) -> Ratings:
    lines = archive.read(member)
    found = pc.extract_regex(pa.array(lines, pa.string()), RATING.format(separator))
    user, item, time = (
        pc.struct_field(found, name).drop_null().cast(pa.int64()).to_numpy(zero_copy_only=False)
        for name in ("user", "item", "time")
    )
    bad = np.flatnonzero(found.is_null().to_numpy(zero_copy_only=False))
    rejected = Rejected("ratings", total=len(lines))
    if len(bad):
        rejected.reasons[MALFORMED] = len(bad)
        rejected.examples += [
            Example(archive.path / member, int(row) + 1, MALFORMED) for row in bad[:MAX_EXAMPLES]
        ]
    ratings = Ratings(user, item, time, rejected)
    if not len(ratings.user):
        require_form(archive.path / member, (lines or [""])[0], separator, _are_numbers)
        raise ZooError(f"{member} of {archive.path} holds no rating that can be read")
    return ratings


def _are_numbers(cells: list[str]) -> bool:
    return len(cells) == 4 and all(re.fullmatch(r"\d+\.?\d*", cell, re.ASCII) for cell in cells)
