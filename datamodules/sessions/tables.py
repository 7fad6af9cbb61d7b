"""A table of tracks or users: read once, looked up by every session, normalised by training ones.

Shapes: K rows of the table, N features.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from datamodules.prepared.arrow import compute as pc
from datamodules.prepared.npy import array_file
from datamodules.prepared.rejected import Rejected
from datamodules.sessions.columns import read_columns
from zoo.data.errors import ZooError

NUMBER = r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$"
ROWS_PER_CHUNK = 200_000  # normalised at once


@dataclass(frozen=True)
class Form:
    """What a table holds, and where an encoder keeps it.

    Attributes:
        what: What a row describes, in the singular.
        option: Option of the datamodule that names the files.
        key: Column of the ids.
        features: Columns of the features.
        texts: Of features that are texts, the values that stand for 0, 1, ...
    """

    what: str
    option: str
    key: str
    features: tuple[str, ...]
    texts: Mapping[str, Sequence[bytes]]

    @property
    def ids(self) -> str:
        """Name of the file of the ids."""
        return f"{self.key}s.parquet"

    @property
    def table(self) -> str:
        """Name of the file of the features."""
        return f"{self.option}.npy"


@dataclass(frozen=True)
class RawTable:
    """The table as the files have it.

    Attributes:
        form: What it holds.
        ids: [K] ids of its rows.
        features: float32 [K, N], memory-mapped; NaN where a cell is no number.
        bad_cells: Number of cells that are no numbers.
    """

    form: Form
    ids: pa.Array
    features: np.ndarray
    bad_cells: int

    def save(self, folder: Path, uses: np.ndarray) -> dict[str, tuple[float, float]]:
        """Writes ids and normalised features; returns mean and deviation of each feature.

        Args:
            folder: Folder of the encoder.
            uses: [K] how often training sessions name each row: its weight.
        """
        names = self.form.features
        pq.write_table(pa.table({self.form.key: self.ids}), folder / self.form.ids)
        mean, deviation = self._moments(uses)
        shape = (len(self.ids) + 1, len(names))
        with array_file(folder / self.form.table, shape, np.dtype("<f4")) as file:
            file.write(np.zeros(len(names), "<f4").data)
            for chunk, _ in self._chunks(uses):
                normal = np.nan_to_num((chunk - mean) / deviation, nan=0)
                file.write(normal.astype("<f4").data)
        moments = zip(mean.tolist(), deviation.tolist(), strict=True)
        return dict(zip(names, moments, strict=True))

    def _moments(self, uses: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Weighted mean and standard deviation [N]; (0, 1) and (mean, 1) where there is none."""
        names = len(self.form.features)

        def average(centre: np.ndarray, power: int) -> np.ndarray:
            total, weights = np.zeros(names), np.zeros(names)
            for chunk, weight in self._chunks(uses):
                given = ~np.isnan(chunk)
                # not products of matrices, whose last bits depend on the number of threads
                total += (weight * np.where(given, chunk - centre, 0) ** power).sum(0)
                weights += (weight * given).sum(0)
            return total / np.maximum(weights, 1)

        mean = average(np.zeros(names), 1)
        deviation = np.sqrt(average(mean, 2))
        # rounding leaves a constant feature a little deviation
        return mean, np.where(deviation > 1e-6 * np.maximum(np.abs(mean), 1e-6), deviation, 1)

    def _chunks(self, uses: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for first in range(0, len(self.ids), ROWS_PER_CHUNK):
            part = slice(first, first + ROWS_PER_CHUNK)
            yield self.features[part].astype(np.float64), uses[part, None]


def read_table(form: Form, files: list[Path], work: Path, rejected: Rejected) -> RawTable:
    """Reads the files of a table; the features go to a file in `work`.

    Of rows with one id the first is looked up.

    Args:
        form: What the table holds.
        files: Its files.
        work: A folder to write into.
        rejected: Counts the rows.

    Raises:
        ZooError: where a file cannot be used, or none has a usable row.
    """
    columns = dict.fromkeys((form.key, *form.features), False)
    ids, bad_cells, place = [], 0, work / f"features_of_{form.option}"
    with open(place, "wb") as raw:
        for file in files:
            for block, lines in read_columns(file, columns, rejected, form.option):
                features = np.empty((len(lines), len(form.features)), "<f4")
                for i, name in enumerate(form.features):
                    features[:, i] = _numbers(block[name], form.texts.get(name))
                features[~np.isfinite(features)] = np.nan
                bad_cells += int(np.isnan(features).sum())
                raw.write(features.data)
                ids.append(block[form.key])
    if not sum(map(len, ids)):
        raise ZooError(f"{files[0]}: no usable row of the {form.what} table (data.{form.option})")
    features = np.memmap(place, "<f4", "r").reshape(-1, len(form.features))
    return RawTable(form, pa.concat_arrays(ids), features, bad_cells)


def open_table(form: Form, folder: Path) -> tuple[pa.Array, np.ndarray]:
    """Ids [K] and normalised features float32 [K + 1, N] of an encoder.

    Raises:
        ZooError: where a file of it is missing or damaged.
    """
    try:
        ids = pq.read_table(folder / form.ids)[form.key].combine_chunks()
        return ids, np.load(folder / form.table, mmap_mode="r")
    except (OSError, ValueError, EOFError, KeyError) as error:
        raise ZooError(f"{folder} is damaged: {error}") from error


def _numbers(column: pa.Array, texts: Sequence[bytes] | None) -> np.ndarray:
    """float32 [R]; NaN where a cell is no number, or none of the texts that stand for numbers."""
    if texts is not None:
        found = pc.index_in(column, value_set=pa.array(texts, pa.binary()))
        return pc.cast(found, pa.float32()).to_numpy(zero_copy_only=False)
    text = pc.cast(column, pa.string(), safe=False)
    try:
        return pc.cast(text, pa.float32()).to_numpy()
    except pa.ArrowInvalid:
        is_number = pc.match_substring_regex(column, NUMBER)
        text = pc.if_else(is_number, text, None)
        return pc.cast(text, pa.float32()).to_numpy(zero_copy_only=False)
