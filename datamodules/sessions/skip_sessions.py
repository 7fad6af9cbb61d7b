"""Music Streaming Sessions Dataset (Spotify, WSDM Cup 2019): which tracks listeners skip."""

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np

from datamodules.prepared.carried import CARRIED
from datamodules.prepared.folder import SPLITS, source_identity
from datamodules.prepared.module import PreparedDataModule
from datamodules.prepared.npy import load_array
from datamodules.prepared.options import shares
from datamodules.sessions.loader import SessionLoader
from datamodules.sessions.logs import find_files
from datamodules.sessions.prepare import (
    Files,
    Tolerance,
    assembler_of,
    encode_sessions,
    encode_splits,
    load_encoder,
    prepare_sessions,
)
from datamodules.sessions.serving import (
    KEYS,
    arrays_of,
    columns_of,
    examples_of,
    plan_of,
    write_examples,
)
from datamodules.sessions.tracks import open_tracks
from datamodules.sessions.users import open_users
from zoo.data.errors import require
from zoo.data.files import temporary_folder
from zoo.data.schema import Schema
from zoo.data.serving import Serving

ANY = Tolerance(1, 1)  # of examples, some of which are malformed


class SkipSessions(PreparedDataModule):
    """Sessions cut in half: of the first half all is known, of the second only the tracks.

    Sequential skip prediction as in Afchar and Hennequin (2020), section 4.3: the label is
    `skip_2` of each track of the second half, which gets the extra track of an odd session.
    Sessions are dealt 80-10-10 to training, validation and test by a hash of their id. Fields
    are numerical, in groups: position (scaled to at most 1), context and interaction (of the
    first half only), track_general, track_music, and user where there is a table of users, the same
    for all tracks of a session. Features of tracks and users, seek counts (as ln(1 + x))
    and the date gap (days from the mean date, 10 deviations at most) are scaled to mean 0 and
    deviation 1 over the rows of training sessions that models see (those of users over training
    sessions); a track or a user that is not in its table has the mean features. Values of
    context_type, reason_start and reason_end that do not occur in first halves of training sessions
    are all zeros.

    Args:
        path: Session logs, .csv or .csv.gz: a folder of them, one file or a pattern.
        tracks: Files of track features, given in the same way.
        users: Files of user features, given in the same way; each row of the logs then has the
            user_id of its session. Null where users are not known.
        user_features: Columns of the user files that are features, all numbers; null takes every
            column but user_id.
        batch_size: Number of sessions of a batch on one process.
        max_bad_sessions: Share of sessions, from 0 to 1, that may be left out because rows are
            malformed, missing or out of order, or because session_length is wrong.
        shared: Options of `PreparedDataModule`. `split_seed` is the hash's; `predict_path` is
            given as `path` is, and what was logged of its second halves may be empty.
    """

    def __init__(
        self,
        path: str,
        tracks: str,
        batch_size: int = 256,
        max_bad_sessions: float = 0.02,
        users: str | None = None,
        user_features: list[str] | None = None,
        **shared: Any,
    ) -> None:
        super().__init__(batch_size=batch_size, **shared)
        shares(max_bad_sessions=max_bad_sessions)
        self.path = path
        self.tracks = tracks
        self.users = users
        self.user_features = user_features
        rule = "user_features are columns of the files of users (data.users), at least one"
        require(user_features is None or bool(users and user_features), rule, user_features)
        self.tolerance = Tolerance(self.max_bad_rows, max_bad_sessions)
        self._records: dict[str, np.ndarray] = {}

    # Preparation

    def encoded_schema(self, encoder: Path) -> Schema:
        """The fields of an encoder."""
        return load_encoder(encoder, self.dataset).schema

    def records(self, split: str) -> np.ndarray:
        """[S] of `datamodules.sessions.records.SESSION`, the prepared sessions of a split,
        memory-mapped."""
        return load_array(self.folder / split, "sessions", "r")

    def save_encoder(self, folder: Path) -> None:
        """Writes a new folder that `encoder` can name, of links where the file system has them."""
        shutil.copytree(self.encoder_folder, folder, dirs_exist_ok=True, copy_function=_link)

    def prepare_into(self, folder: Path) -> None:
        """Prepares sessions, tracks and users. The `rows` of a split are the tracks to be
        predicted, its `positives` those that were skipped."""
        found = {option: find_files(place, option) for option, place in self._places().items()}
        logs, tracks, users = found["path"], found["tracks"], found.get("users", [])
        prepare_sessions(
            folder,
            Files(logs, tracks, users, self.user_features),
            self.split_seed,
            self.tolerance,
            self.dataset,
            self.source(),
            self.options(),
        )

    def encode_into(self, folder: Path, encoder: Path) -> None:
        """Prepares sessions by the vocabulary, the scales, the tracks and the users of a run."""
        encode_splits(
            folder,
            find_files(self.path, "path"),
            encoder,
            self.split_seed,
            self.tolerance,
            self.dataset,
            self.source(),
            {**self.options(), "encoder": self.given["encoder"]},
        )

    def source(self) -> dict[str, Any]:
        """All files."""
        return {
            option: [source_identity(file) for file in find_files(place, option)]
            for option, place in self._places().items()
        }

    def _places(self) -> dict[str, str]:
        """What each option names; users only where they are known."""
        users = {"users": self.users} if self.users else {}
        return {"path": self.path, "tracks": self.tracks, **users}

    def options(self) -> dict[str, Any]:
        """Seed, tolerances, and the features of users where they are named."""
        options: dict[str, Any] = {"dataset": self.dataset, "split_seed": self.split_seed}
        if self.user_features:
            options["user_features"] = self.user_features
        return options | {
            "max_bad_rows": self.tolerance.rows,
            "max_bad_sessions": self.tolerance.sessions,
        }

    # Loading

    def open_splits(self) -> None:
        """Opens the sessions and the tables."""
        self._records = {split: self.records(split) for split in SPLITS}
        self._use_encoder(self.folder / "encoder")

    def _use_encoder(self, folder: Path) -> None:
        fitted = load_encoder(folder, self.dataset)
        self._assembler = assembler_of(folder, fitted)

    def loader(self, split: str, **options: Any) -> SessionLoader:
        """Batches of a split."""
        return SessionLoader(self._records[split], self._assembler, self.batch_size, **options)

    # Prediction

    def open_predictions(self, path: str) -> None:
        """Encodes the logs to score."""
        encoder = self.encoder_folder
        folder = temporary_folder(self)
        self._records["predict"], self.predict_rows = encode_sessions(
            folder,
            find_files(path, "predict_path"),
            encoder,
            self.dataset,
            self.tolerance,
            self.predict_columns,
        )
        self.carried = folder / CARRIED if self.predict_columns else None
        self._use_encoder(encoder)

    # Serving

    def serving(self) -> Serving:
        """How raw rows become sessions without this project; tracks and users go along."""
        fitted = load_encoder(self.encoder_folder, self.dataset)
        assembler = assembler_of(self.encoder_folder, fitted)
        ids = {"track": open_tracks(self.encoder_folder)[0].to_pylist()}
        if fitted.user_features:
            ids["user"] = open_users(fitted.user_features, self.encoder_folder)[0].to_pylist()
        examples = examples_of(fitted, ids)
        folder = temporary_folder(self)
        write_examples(folder / "examples.csv", fitted, examples)
        records, _ = encode_sessions(
            folder, [folder / "examples.csv"], self.encoder_folder, self.dataset, ANY, ()
        )
        return Serving(
            "sessions",
            plan_of(fitted),
            arrays_of(assembler, ids),
            columns_of(fitted),
            examples,
            SessionLoader(records, assembler, len(records), with_row=True),
            KEYS,
        )


def _link(source: str, target: str) -> None:
    """A second name of a file, which is never written again; a copy on another file system."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
