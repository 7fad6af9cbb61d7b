"""The table of tracks: read once, looked up by every session, normalised by the training ones."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from datamodules.prepared.arrow import compute as pc
from datamodules.prepared.npy import array_file
from datamodules.prepared.rejected import Rejected
from datamodules.sessions.columns import read_columns
from datamodules.sessions.records import TRACK
from zoo.data.errors import ZooError

TRACK_ID = "track_id"
NUMBER = r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$"
MODES = pa.array([b"minor", b"major"])  # 0 and 1
TRACKS_PER_CHUNK = 200_000  # normalised at once
IDS, TABLE = "track_ids.parquet", "tracks.npy"


@dataclass(frozen=True)
class RawTracks:
    """The table as the files have it.

    Attributes:
        ids: Ids of the tracks.
        features: float32 [tracks, 29], memory-mapped; NaN where a cell is no number.
        bad_cells: Number of cells that are no numbers.
    """

    ids: pa.Array
    features: np.ndarray
    bad_cells: int

    def save(self, folder: Path, plays: np.ndarray) -> dict[str, tuple[float, float]]:
        """Writes ids and normalised features; returns mean and deviation of each feature.

        Args:
            folder: Folder of the encoder.
            plays: [tracks] number of rows of training sessions of each track: its weight.
        """
        pq.write_table(pa.table({TRACK_ID: self.ids}), folder / IDS)
        mean, deviation = self._moments(plays)
        shape = (len(self.ids) + 1, len(TRACK))
        with array_file(folder / TABLE, shape, np.dtype("<f4")) as file:
            file.write(np.zeros(len(TRACK), "<f4").data)
            for chunk, _ in self._chunks(plays):
                normal = np.nan_to_num((chunk - mean) / deviation, nan=0)
                file.write(normal.astype("<f4").data)
        moments = zip(mean.tolist(), deviation.tolist(), strict=True)
        return dict(zip(TRACK, moments, strict=True))

    def _moments(self, plays: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Weighted mean and standard deviation [29]; (0, 1) and (mean, 1) where there is none."""

        def average(centre: np.ndarray, power: int) -> np.ndarray:
            total, weights = np.zeros(len(TRACK)), np.zeros(len(TRACK))
            for chunk, weight in self._chunks(plays):
                given = ~np.isnan(chunk)
                # not products of matrices, whose last bits depend on the number of threads
                total += (weight * np.where(given, chunk - centre, 0) ** power).sum(0)
                weights += (weight * given).sum(0)
            return total / np.maximum(weights, 1)

        mean = average(np.zeros(len(TRACK)), 1)
        deviation = np.sqrt(average(mean, 2))
        # rounding leaves a constant feature a little deviation
        return mean, np.where(deviation > 1e-6 * np.maximum(np.abs(mean), 1e-6), deviation, 1)

    def _chunks(self, plays: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for first in range(0, len(self.ids), TRACKS_PER_CHUNK):
            part = slice(first, first + TRACKS_PER_CHUNK)
            yield self.features[part].astype(np.float64), plays[part, None]


def read_tracks(files: list[Path], work: Path, rejected: Rejected) -> RawTracks:
    """Reads the files of the track table; the features go to a file in `work`.

    Of tracks with one id the first is looked up.
    """
    columns = dict.fromkeys((TRACK_ID, *TRACK), False)
    ids, bad_cells = [], 0
    with open(work / "features", "wb") as raw:
        for file in files:
            for block, lines in read_columns(file, columns, rejected, "tracks"):
                features = np.empty((len(lines), len(TRACK)), "<f4")
                for i, name in enumerate(TRACK):
                    column = block[name]
                    features[:, i] = _modes(column) if name == "mode" else _numbers(column)
                features[~np.isfinite(features)] = np.nan
                bad_cells += int(np.isnan(features).sum())
                raw.write(features.data)
                ids.append(block[TRACK_ID])
    if not sum(map(len, ids)):
        raise ZooError(f"{files[0]}: no usable row of the track table (data.tracks)")
    features = np.memmap(work / "features", "<f4", "r").reshape(-1, len(TRACK))
    return RawTracks(pa.concat_arrays(ids), features, bad_cells)


def open_tracks(folder: Path) -> tuple[pa.Array, np.ndarray]:
    """Ids [tracks] and normalised features float32 [tracks + 1, 29] of an encoder."""
    try:
        ids = pq.read_table(folder / IDS)[TRACK_ID].combine_chunks()
        return ids, np.load(folder / TABLE, mmap_mode="r")
    except (OSError, ValueError, EOFError, KeyError) as error:
        raise ZooError(f"{folder} is damaged: {error}") from error


def _modes(column: pa.Array) -> np.ndarray:
    found = pc.index_in(column, value_set=MODES)
    return pc.cast(found, pa.float32()).to_numpy(zero_copy_only=False)


def _numbers(column: pa.Array) -> np.ndarray:
    """float32 [R]; NaN where a cell is no number."""
    text = pc.cast(column, pa.string(), safe=False)
    try:
        return pc.cast(text, pa.float32()).to_numpy()
    except pa.ArrowInvalid:
        is_number = pc.match_substring_regex(column, NUMBER)
        text = pc.if_else(is_number, text, None)
        return pc.cast(text, pa.float32()).to_numpy(zero_copy_only=False)
