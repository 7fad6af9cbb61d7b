"""Music Streaming Sessions Dataset (Spotify, WSDM Cup 2019): which tracks listeners skip."""

import os
import shutil
import tempfile
import weakref
from pathlib import Path
from typing import Any

import numpy as np
from pytorch_lightning import LightningDataModule

from datamodules.sessions_fields import Assembler
from datamodules.sessions_loader import SessionLoader
from datamodules.sessions_prepare import (
    Tolerance,
    encode_sessions,
    load_encoder,
    prepare_sessions,
)
from datamodules.sessions_raw import find_files
from datamodules.sessions_tracks import open_tracks
from datamodules.store import SPLITS, Manifest, build_once, key, locked, source_identity
from datamodules.synthetic_sessions import PlantedSessions, ceiling
from zoo.schema import Schema, ZooError


class SkipSessions(LightningDataModule):
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
        split_seed: seed of the hash.
        shuffle_seed: seed of the order of the training sessions.
        max_bad_rows: share of malformed rows that is tolerated.
        max_bad_sessions: share of sessions that may be left out because rows are malformed,
            missing or out of order, or because session_length is wrong.
        prepared: folder for prepared data, one folder in it for each set of files and options.
        verify: compare prepared data with their checksums before use.
        synthetic: write `path` and `tracks` with this generator if they do not exist.
        encoder: the `encoder` folder of a run. `predict` scores with it, and needs neither
            `path` nor `tracks`.
        predict_path: session logs to score, given as `path` is; what was logged of the second
            halves may be empty.
        predict_output: Parquet file that `predict` writes.
    """

    def __init__(
        self,
        path: str,
        tracks: str,
        batch_size: int = 256,
        split_seed: int = 0,
        shuffle_seed: int = 0,
        max_bad_rows: float = 0.001,
        max_bad_sessions: float = 0.02,
        prepared: str = "prepared",
        verify: bool = True,
        synthetic: PlantedSessions | None = None,
        encoder: str | None = None,
        predict_path: str | None = None,
        predict_output: str | None = None,
    ) -> None:
        super().__init__()
        least = {"batch_size": (batch_size, 1), "split_seed": (split_seed, 0)}
        for option, (value, limit) in {**least, "shuffle_seed": (shuffle_seed, 0)}.items():
            if value < limit:
                raise ZooError(f"data.{option} must be at least {limit}, got {value}")
        shares = {"max_bad_rows": max_bad_rows, "max_bad_sessions": max_bad_sessions}
        for option, value in shares.items():
            if not 0 <= value <= 1:
                raise ZooError(f"data.{option} is a share between 0 and 1, got {value}")
        self.path = path
        self.tracks = tracks
        self.batch_size = batch_size
        self.split_seed = split_seed
        self.shuffle_seed = shuffle_seed
        self.tolerance = Tolerance(max_bad_rows, max_bad_sessions)
        self.prepared = Path(prepared)
        self.verify = verify
        self.synthetic = synthetic
        self.encoder = Path(encoder) if encoder else None
        self.predict_path = predict_path
        self.predict_output = Path(predict_output) if predict_output else None
        self._records: dict[str, np.ndarray] = {}

    # Preparation

    @property
    def folder(self) -> Path:
        """Where the prepared data of these files and options lie."""
        return self.prepared / f"skipsessions-{key(self._source(), self._options())}"

    @property
    def manifest(self) -> Manifest:
        """Of the prepared data, which are prepared first if need be. The `rows` of a split are
        the tracks to be predicted, its `positives` those that were skipped."""
        if self.encoder:
            raise ZooError("data.encoder serves predict alone: leave it out")
        self.prepare_data()
        return Manifest.load(self.folder)

    @property
    def schema(self) -> Schema:
        """Of the batches: that of the encoder where one is given, else of the prepared data."""
        if self.encoder:
            return load_encoder(self.encoder, type(self).__name__).schema
        return Schema.from_dict(self.manifest.schema)

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

    def prepare_data(self) -> None:
        """Prepares what has not been prepared with these options before."""
        if self.encoder:
            return
        if self.synthetic:
            self._generate()
        build_once(self.folder, self._prepare)

    def _generate(self) -> None:
        root = self.synthetic.root(Path(self.path), Path(self.tracks))
        with locked(root):
            self.synthetic.ensure(root)

    def _prepare(self, folder: Path) -> None:
        prepare_sessions(
            folder,
            find_files(self.path, "path"),
            find_files(self.tracks, "tracks"),
            self.split_seed,
            self.tolerance,
            type(self).__name__,
            self._source(),
            self._options(),
        )

    def _source(self) -> dict[str, Any]:
        places = {"path": self.path, "tracks": self.tracks}
        return {
            option: [source_identity(file) for file in find_files(place, option)]
            for option, place in places.items()
        }

    def _options(self) -> dict[str, Any]:
        options = {"dataset": type(self).__name__, "split_seed": self.split_seed}
        return options | {
            "max_bad_rows": self.tolerance.rows,
            "max_bad_sessions": self.tolerance.sessions,
        }

    # Loading

    def setup(self, stage: str) -> None:
        """Opens the prepared data; `predict` encodes its files instead."""
        if stage == "predict":
            self._encode_predictions()
        elif not self._records:
            manifest, folder = self.manifest, self.folder
            if self.verify and (self.trainer is None or self.trainer.local_rank == 0):
                manifest.verify(folder)
            self._records = {split: self.records(split) for split in SPLITS}
            self._use_encoder(folder / "encoder")

    def _use_encoder(self, folder: Path) -> None:
        fitted = load_encoder(folder, type(self).__name__)
        self._assembler = Assembler(fitted, open_tracks(folder)[1])

    def train_dataloader(self) -> SessionLoader:
        """Shuffled batches of the training sessions."""
        trainer = self.trainer
        epoch = (lambda: trainer.current_epoch) if trainer else (lambda: 0)
        return self._loader("train", shuffle=True, seed=self.shuffle_seed, epoch=epoch)

    def val_dataloader(self) -> SessionLoader:
        """Batches of the validation sessions, in the order of the files."""
        return self._loader("val")

    def test_dataloader(self) -> SessionLoader:
        """Batches of the test sessions, in the order of the files."""
        return self._loader("test")

    def predict_dataloader(self) -> SessionLoader:
        """Batches of the sessions of `predict_path`, in their order, with their numbers."""
        return self._loader("predict", with_row=True)

    def _loader(self, split: str, **options: Any) -> SessionLoader:
        trainer = self.trainer
        if trainer:
            options |= {"rank": trainer.global_rank, "world_size": trainer.world_size}
        return SessionLoader(self._records[split], self._assembler, self.batch_size, **options)

    # Prediction

    def _encode_predictions(self) -> None:
        if self.predict_path is None:
            raise ZooError("predict needs session logs to score: give --data.predict_path FILE")
        if self.encoder is None:
            self.prepare_data()
        encoder = self.encoder or self.folder / "encoder"
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
