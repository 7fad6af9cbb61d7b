"""Listening sessions whose skips have known reasons."""

from pathlib import Path
from typing import Any

import numpy as np

from datamodules.prepared.folder import locked
from datamodules.sessions.skip_sessions import SkipSessions
from datamodules.synthetic.sessions import PlantedSessions, ceiling


class SyntheticSkipSessions(SkipSessions):
    """Generated sessions, read as `SkipSessions` reads the real ones; it shares its prepared
    folders.

    Args:
        path: Folder ROOT/session_logs/training_set of the logs to write where ROOT does not exist.
        tracks: Folder ROOT/track_features of the track features to write.
        synthetic: Options of the generator; null takes its defaults.
        users: Folder ROOT/user_features of the users to write, where `synthetic` has users.
        shared: Options of `SkipSessions`.
    """

    def __init__(
        self,
        path: str,
        tracks: str,
        synthetic: PlantedSessions | None = None,
        users: str | None = None,
        **shared: Any,
    ) -> None:
        super().__init__(path, tracks, users=users, **shared)
        self.synthetic = synthetic or PlantedSessions()

    @property
    def dataset(self) -> str:
        """The raw files are those of `SkipSessions`."""
        return SkipSessions.__name__

    def make_source(self) -> None:
        """Generates logs, tracks and users unless this very generator has written them before."""
        users = Path(self.users) if self.users else None
        root = self.synthetic.root(Path(self.path), Path(self.tracks), users)
        with locked(root):
            self.synthetic.write_once(root)

    def truth(self, split: str) -> np.ndarray:
        """[S] of `datamodules.synthetic.mechanisms.TRUTH`: mechanisms and true probabilities of a
        split's sessions, in the order of the unshuffled loader."""
        return self.synthetic.truth(Path(self.path))[self.records(split)["row"]]

    def ceiling(self, split: str = "test") -> dict[str, float]:
        """`acc`, `acc@1`, `maa` and `logloss` of the true probabilities of a split."""
        return ceiling(self.records(split), self.truth(split)["probability"])
