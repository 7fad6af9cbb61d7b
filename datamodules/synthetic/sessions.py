"""A generator of listening sessions in the format of the Music Streaming Sessions Dataset, whose
skips have known reasons.

`datamodules.synthetic.mechanisms` says what decides a skip.

    ROOT/session_logs/training_set/log_*.csv
         track_features/tf_0.csv
         user_features/uf_0.csv        where users are generated
         truth.npy       [sessions] of `mechanisms.TRUTH`, in the order of the files
         truth.json      the generator's options, mechanisms and their groups, skip rate

    python -m datamodules.synthetic.sessions --sessions 10000 write data/sessions

Shapes: S sessions, T = 10 positions of the second half.
"""

import json
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv

from datamodules.prepared.options import at_least
from datamodules.sessions.records import HALF, UNLABELLED
from datamodules.synthetic.catalogue import Catalogue
from datamodules.synthetic.generator import not_generated_so
from datamodules.synthetic.listeners import Listeners
from datamodules.synthetic.logs import log_columns
from datamodules.synthetic.mechanisms import GROUPS, MECHANISMS, DrawnSessions
from zoo.data.errors import ZooError
from zoo.data.files import atomic_folder

SESSIONS_PER_FILE = 20_000  # more sessions begin with the same ones
LOGS, TRACKS = Path("session_logs", "training_set"), Path("track_features")
USERS = Path("user_features")


@dataclass(frozen=True)
class PlantedSessions:
    """Listening sessions with planted reasons of skips.

    Args:
        sessions: Number of sessions.
        tracks: Number of tracks.
        seed: Seed of all that is drawn.
        users: Number of users, by whose habits and known tastes further skips are decided; 0 is
            none, as in the public data.
    """

    sessions: int = 100_000
    tracks: int = 5000
    seed: int = 0
    users: int = 0

    def __post_init__(self) -> None:
        for option, least in (("sessions", 1), ("tracks", 100), ("seed", 0), ("users", 0)):
            at_least(least, **{f"synthetic.{option}": getattr(self, option)})

    def root(self, path: Path, tracks: Path, users: Path | None = None) -> Path:
        """The folder to be written, of which the others are the folders of csv files."""
        root = path.parent.parent
        if users != (root / USERS if self.users else None):
            given = f"{root / USERS}" if self.users else "null"
            raise ZooError(
                f"data.synthetic generates {self.users} users: set data.users to {given}, not to "
                f"{users or 'null'}"
            )
        if path != root / LOGS or tracks != root / TRACKS:
            raise ZooError(
                f"data.synthetic writes ROOT/{LOGS} and ROOT/{TRACKS}: set data.path and "
                f"data.tracks to these, not to {path} and {tracks}"
            )
        return root

    @staticmethod
    def truth(path: Path) -> np.ndarray:
        """[sessions] of `datamodules.synthetic.mechanisms.TRUTH`, in the order of the files.

        Args:
            path: Folder of the logs.
        """
        return np.load(path.parent.parent / "truth.npy", mmap_mode="r")

    def write_once(self, root: Path) -> None:
        """Writes the folder unless this very configuration has written it before."""
        if not root.exists():
            self.write(root)
        elif _generator(root) != self._options:
            raise not_generated_so(root)

    @property
    def _options(self) -> dict[str, int]:
        """What `truth.json` says; the users only where there are some, as earlier versions."""
        return {k: v for k, v in asdict(self).items() if k != "users" or v}

    def write(self, root: Path) -> None:
        """Writes logs, tracks, users and truth; whole or not at all."""
        with atomic_folder(root) as folder:
            (folder / LOGS).mkdir(parents=True)
            (folder / TRACKS).mkdir()
            _write_csv(folder / TRACKS / "tf_0.csv", self._catalogue.columns)
            if self._listeners:
                (folder / USERS).mkdir()
                _write_csv(folder / USERS / "uf_0.csv", self._listeners.columns)
            truth, skipped, count = [], 0, 0
            for number, start in enumerate(range(0, self.sessions, SESSIONS_PER_FILE)):
                rng = np.random.default_rng((self.seed, 1, number))
                size = min(SESSIONS_PER_FILE, self.sessions - start)
                drawn = DrawnSessions(rng, self._catalogue, SESSIONS_PER_FILE, self._listeners)
                drawn = drawn.head(size)
                tracks = self._catalogue.ids.take(pa.array(drawn.tracks))
                users = self._listeners and self._listeners.ids.take(pa.array(drawn.user))
                columns = log_columns(rng, drawn.label, drawn.length, tracks, start, users)
                _write_csv(folder / LOGS / f"log_{number:05d}.csv", columns)
                truth.append(drawn.truth)
                skipped += int(drawn.skips.sum())
                count += len(drawn.skips)
            np.save(folder / "truth.npy", np.concatenate(truth))
            about = {"generator": self._options, "mechanisms": MECHANISMS, "groups": GROUPS}
            rate = {"skip_rate": skipped / count}
            (folder / "truth.json").write_text(json.dumps(about | rate, indent=1))

    @cached_property
    def _catalogue(self) -> Catalogue:
        return Catalogue(np.random.default_rng((self.seed, 0)), self.tracks)

    @cached_property
    def _listeners(self) -> Listeners | None:
        if not self.users:
            return None
        rng = np.random.default_rng((self.seed, 2))
        return Listeners(rng, self.users, self._catalogue.directions)


def ceiling(records: np.ndarray, probability: np.ndarray) -> dict[str, float]:
    """Accuracy, that of first tracks, mean average accuracy and logloss of true probabilities
    [S, T]: what no model can be expected to beat. Records [S] hold the labels."""
    real = np.arange(HALF) < records["future"][:, None]
    skipped = np.where(records["label"] == UNLABELLED, 0, records["label"]).astype(bool)
    right = ((probability > 0.5) == skipped) & real
    # A(i) L(i) of the challenge: the accuracy up to i, where i is right
    running = right.cumsum(1) / np.arange(1, HALF + 1)
    average = (running * right).sum(1) / records["future"]
    chance = np.where(skipped, probability, 1 - probability)[real].astype(np.float64)
    return {
        "acc": float(right.sum() / real.sum()),
        "acc@1": float(right[:, 0].mean()),
        "maa": float(average.mean()),
        "logloss": float(-np.log(chance).mean()),
    }


def _write_csv(path: Path, columns: dict[str, pa.Array]) -> None:
    table = pa.table(columns)
    options = pa_csv.WriteOptions(include_header=False, quoting_style="none")
    with open(path, "wb") as file:
        file.write((",".join(table.column_names) + "\n").encode())
        pa_csv.write_csv(table, file, options)


def _generator(root: Path) -> dict[str, Any] | None:
    """The options that wrote a folder; None where its truth cannot be read."""
    try:
        return json.loads((root / "truth.json").read_text())["generator"]
    except (OSError, ValueError, KeyError, TypeError):
        return None


if __name__ == "__main__":
    from jsonargparse import auto_cli

    auto_cli(PlantedSessions)
