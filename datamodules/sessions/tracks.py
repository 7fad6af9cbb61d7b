"""The table of tracks."""

from pathlib import Path

import numpy as np
import pyarrow as pa

from datamodules.prepared.rejected import Rejected
from datamodules.sessions.records import TRACK
from datamodules.sessions.tables import Form, RawTable, open_table, read_table

TRACK_ID = "track_id"
TRACKS = Form("track", "tracks", TRACK_ID, TRACK, {"mode": (b"minor", b"major")})


def read_tracks(files: list[Path], work: Path, rejected: Rejected) -> RawTable:
    """Reads the files of the track table; see `read_table`."""
    return read_table(TRACKS, files, work, rejected)


def open_tracks(folder: Path) -> tuple[pa.Array, np.ndarray]:
    """Ids [tracks] and normalised features float32 [tracks + 1, 29] of an encoder."""
    return open_table(TRACKS, folder)
