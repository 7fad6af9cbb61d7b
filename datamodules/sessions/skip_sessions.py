"""Music Streaming Sessions Dataset (Spotify, WSDM Cup 2019): which tracks listeners skip."""

import os
import shutil
import tempfile
import weakref
from pathlib import Path
from typing import Any

import numpy as np

from datamodules.prepared.module import PreparedData, shares
from datamodules.prepared.store import SPLITS, locked, source_identity
from datamodules.sessions.loader import SessionLoader
from datamodules.sessions.logs import find_files
from datamodules.sessions.prepare import (
    Tolerance,
    encode_sessions,
    load_encoder,
    prepare_sessions,
)
from datamodules.sessions.records import Assembler
from datamodules.sessions.tracks import open_tracks
from datamodules.synthetic.sessions import PlantedSessions, ceiling
from zoo.data.errors import ZooError
from zoo.data.schema import Schema


class SkipSessions(PreparedData):
    """Sessions cut in half: of the first half all is known, of the second only the tracks.

    Sequential skip prediction as in Afchar and Hennequin (2020), section 4.3: the label is
    `skip_2` of each track of the second half, which gets the extra track of an odd session.
    Sessions are dealt 80-10-10 to training, validation and test by a hash of their id. Fields
    are numerical, in groups: position (scaled to at most 1), context and interaction (of the
    first half only), track_general and track_music. Track features, seek counts (as ln(1 + x))
    and the date gap (days from the mean date, 10 deviations at most) are scaled to mean 0 and
    deviation 1 over the rows of training sessions that models see; a track that the track table
    lacks has the mean features. Values of context_type, reason_start and reason_end that first
    halves of training sessions lack are all zeros.

    Args:
        path: session logs, .csv or .csv.gz: a folder of them, one file or a pattern.
        tracks: files of track features, the same way.
        batch_size: sessions of a batch on one process.
        max_bad_sessions: share of sessions that may be left out because rows are malformed,
            missing or out of order, or because session_length is wrong.
        synthetic: write `path` and `tracks` with this generator if they do not exist.
        shared: the options of `PreparedData`. `split_seed` is the hash's; `predict_path` is given
            as `path` is, and what was logged of its second halves may be empty.
    """

    def __init__(
        self,
        path: str,
        tracks: str,
        batch_size: int = 256,
        max_bad_sessions: float = 0.02,
        synthetic: PlantedSessions | None = None,
        **shared: Any,
    ) -> None:
        super().__init__(batch_size=batch_size, **shared)
        shares(max_bad_sessions=max_bad_sessions)
        self.path = path
        self.tracks = tracks
        self.tolerance = Tolerance(self.max_bad_rows, max_bad_sessions)
        self.synthetic = synthetic
        self._records: dict[str, np.ndarray] = {}

    # Preparation

    def encoded_schema(self, encoder: Path) -> Schema:
        """The fields of an encoder."""
        return load_encoder(encoder, type(self).__name__).schema

    def ceiling(self, split: str = "test") -> dict[str, float]:
        """`acc`, `acc@1`, `maa` and `logloss` of the true probabilities of a split, where the
        sessions are generated."""
        if not self.synthetic:
            return {}
        return ceiling(self.records(split), self.truth(split)["probability"])

    def truth(self, split: str) -> np.ndarray:
        """[S] of `synthetic_mechanisms.TRUTH`: mechanisms and true probabilities of a split's
        generated sessions, in the order of the unshuffled loader."""
        if not self.synthetic:
            raise ZooError("the truth is known of generated sessions alone (data.synthetic)")
        return self.synthetic.truth(Path(self.path))[self.records(split)["row"]]

    def records(self, split: str) -> np.ndarray:
        """[S] of `sessions_fields.SESSION`, the prepared sessions of a split, memory-mapped."""
        path = self.folder / split / "sessions.npy"
        try:
            return np.load(path, mmap_mode="r")
        except (OSError, ValueError, EOFError) as error:
            raise ZooError(
                f"{path} is damaged: {error}; delete {self.folder} to prepare the data again"
            ) from error

    def save_encoder(self, folder: Path) -> None:
        """Writes a folder that `encoder` can name: all that turns logs into these batches."""
        shutil.copytree(self.folder / "encoder", folder, dirs_exist_ok=True, copy_function=_link)

    def ensure_source(self) -> None:
        """Generates logs and tracks where `synthetic` is given."""
        if self.synthetic:
            root = self.synthetic.root(Path(self.path), Path(self.tracks))
            with locked(root):
                self.synthetic.ensure(root)

    def prepare_into(self, folder: Path) -> None:
        """Prepares sessions and tracks. The `rows` of a split are the tracks to be predicted, its
        `positives` those that were skipped."""
        prepare_sessions(
            folder,
            find_files(self.path, "path"),
            find_files(self.tracks, "tracks"),
            self.split_seed,
            self.tolerance,
            type(self).__name__,
            self.source(),
            self.options(),
        )

    def source(self) -> dict[str, Any]:
        """All files."""
        places = {"path": self.path, "tracks": self.tracks}
        return {
            option: [source_identity(file) for file in find_files(place, option)]
            for option, place in places.items()
        }

    def options(self) -> dict[str, Any]:
        """Seed and tolerances."""
        options = {"dataset": type(self).__name__, "split_seed": self.split_seed}
        return options | {
            "max_bad_rows": self.tolerance.rows,
            "max_bad_sessions": self.tolerance.sessions,
        }

    # Loading

    def open_splits(self) -> None:
        """Opens the sessions and the track table."""
        self._records = {split: self.records(split) for split in SPLITS}
        self._use_encoder(self.folder / "encoder")

    def _use_encoder(self, folder: Path) -> None:
        fitted = load_encoder(folder, type(self).__name__)
        self._assembler = Assembler(fitted, open_tracks(folder)[1])

    def loader(self, split: str, **options: Any) -> SessionLoader:
        """Batches of a split."""
        return SessionLoader(self._records[split], self._assembler, self.batch_size, **options)

    # Prediction

    def open_predictions(self) -> None:
        """Encodes the logs of `predict_path`."""
        if self.predict_path is None:
            raise ZooError("predict needs session logs to score: give --data.predict_path FILE")
        if self.encoder is None:
            self.prepare_data()
        encoder = self.encoder_folder
        folder = Path(tempfile.mkdtemp(prefix="interpretable-zoo-"))
        # when this object goes, or the process ends
        weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        self._records["predict"], self.predict_rows = encode_sessions(
            folder,
            find_files(self.predict_path, "predict_path"),
            encoder,
            type(self).__name__,
            self.tolerance,
        )
        self._use_encoder(encoder)


def _link(source: str, target: str) -> None:
    """A second name of a file, which is never written again; a copy on another file system."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
