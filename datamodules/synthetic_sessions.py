"""A generator of listening sessions in the format of the Music Streaming Sessions Dataset, whose
skips have known reasons.

A session is born with one liked pole of the acoustic vectors, +v or -v for one of `TASTES`
orthogonal directions v. Its first half A is a Markov chain of skips (a state is kept with
probability 0.8), and its tracks agree with them: a kept track with a taste is of the liked pole,
a skipped one of the opposite; a kept track with a popularity is mostly a hit (popular, recent),
a skipped one mostly obscure (unpopular, old); the others are neutral. Of each track j = 1, 2, ...
of the second half B one mechanism decides the label, and the track is chosen such that the
mechanism can be told from what a model sees:

    persistence  where j < r, for the last r tracks of A that share one skip_2: neutral track;
                 repeats that state with probability 0.97 - 0.02 (j - 1)
    popularity   a hit (skipped with probability 0.05) or an obscure track (0.95)
    taste        a track of the liked pole, near the mean of A's kept tracks with a taste (0.05),
                 or of the opposite one, far from it (0.95); where A has no such kept track,
                 popularity rules instead
    noise        neutral track; skipped with probability 0.517 whatever is known

So persistence, which rules four tracks of five at j = 1 and fades along B, is decided by
position and interaction alone, popularity by the track's general features alone, and taste by
the acoustic vectors together with what was kept: `GROUPS` names the smallest sets of field
groups. As the mechanism follows from the fields, the probabilities are those given all fields.

    ROOT/session_logs/training_set/log_*.csv
         track_features/tf_0.csv
         truth.npy       [sessions] of `TRUTH`, in the order of the files
         truth.json      the generator's options, mechanisms and their groups, skip rate

    python -m datamodules.synthetic_sessions --sessions 10000 write data/sessions

Shapes: S sessions, P = 20 positions, T = 10 positions of the second half.
"""

import json
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv

from datamodules.sessions_fields import HALF, MOST, UNLABELLED
from datamodules.store import built
from datamodules.synthetic_catalogue import (
    FAR,
    HIT,
    NEAR,
    NEUTRAL,
    OBSCURE,
    TASTES,
    Catalogue,
)
from datamodules.synthetic_logs import log_columns
from zoo.schema import ZooError

CHUNK = 20_000  # sessions of a file; more sessions begin with the same ones
SKIP_RATE = 0.517  # of the mini version's rows
STAY = 0.6  # correlation of a skip with the next; the state is kept with probability 0.8
SURE = 0.95  # reliability of popularity and taste
REPEAT, FADE = 0.97, 0.02  # reliability of persistence at B's first track; its loss at each next
MECHANISMS = ("noise", "persistence", "taste", "popularity")
NOISE, PERSISTENCE, TASTE, POPULARITY = range(4)
GROUPS = {
    "noise": [],
    "persistence": ["position", "interaction"],
    "taste": ["position", "interaction", "track_music"],
    "popularity": ["position", "track_general"],
}
PAST_SHARES = {NOISE: 0.25, TASTE: 0.45, POPULARITY: 0.3}  # of the tracks of A
FUTURE_SHARES = {NOISE: 0.15, TASTE: 0.45, POPULARITY: 0.4}  # of B where persistence has ended
NO_MECHANISM = 255
TRUTH = np.dtype(
    [
        ("mechanism", "u1", HALF),  # index of MECHANISMS; 255 where padded
        ("probability", "<f4", HALF),  # of a skip given all fields; NaN where padded
    ]
)
LOGS, TRACKS = Path("session_logs", "training_set"), Path("track_features")


@dataclass(frozen=True)
class PlantedSessions:
    """Listening sessions with planted reasons of skips.

    Args:
        sessions: number of sessions.
        tracks: number of tracks.
        seed: of all that is drawn.
    """

    sessions: int = 100_000
    tracks: int = 5000
    seed: int = 0

    def __post_init__(self) -> None:
        for option, least in (("sessions", 1), ("tracks", 100), ("seed", 0)):
            if getattr(self, option) < least:
                raise ZooError(
                    f"synthetic.{option} must be at least {least}, got {getattr(self, option)}"
                )

    @staticmethod
    def root(path: Path, tracks: Path) -> Path:
        """The folder to be written, of which `path` and `tracks` are the folders of csv files."""
        root = path.parent.parent
        if path != root / LOGS or tracks != root / TRACKS:
            raise ZooError(
                f"data.synthetic writes ROOT/{LOGS} and ROOT/{TRACKS}: set data.path and "
                f"data.tracks to these, not to {path} and {tracks}"
            )
        return root

    @staticmethod
    def truth(path: Path) -> np.ndarray:
        """[sessions] of `TRUTH`, in the order of the files; `path` is the folder of the logs."""
        return np.load(path.parent.parent / "truth.npy", mmap_mode="r")

    def ensure(self, root: Path) -> None:
        """Writes the folder unless this very configuration has written it before."""
        if not root.exists():
            self.write(root)
        elif _generator(root) != asdict(self):
            raise ZooError(
                f"{root} exists and was not generated with these data.synthetic options: "
                "delete it, or choose another data.path"
            )

    def write(self, root: Path) -> None:
        """Writes logs, tracks and truth; whole or not at all."""
        with built(root) as folder:
            (folder / LOGS).mkdir(parents=True)
            (folder / TRACKS).mkdir()
            _write_csv(folder / TRACKS / "tf_0.csv", self._catalogue.columns)
            truth, skipped, count = [], 0, 0
            for number, start in enumerate(range(0, self.sessions, CHUNK)):
                rng = np.random.default_rng((self.seed, 1, number))
                drawn = _Sessions(rng, self._catalogue).head(self.sessions - start)
                tracks = self._catalogue.ids.take(pa.array(drawn.tracks))
                columns = log_columns(rng, drawn.label, drawn.length, tracks, start)
                _write_csv(folder / LOGS / f"log_{number:05d}.csv", columns)
                truth.append(drawn.truth)
                skipped += int(drawn.skips.sum())
                count += len(drawn.skips)
            np.save(folder / "truth.npy", np.concatenate(truth))
            about = {"generator": asdict(self), "mechanisms": MECHANISMS, "groups": GROUPS}
            rate = {"skip_rate": skipped / count}
            (folder / "truth.json").write_text(json.dumps(about | rate, indent=1))

    @cached_property
    def _catalogue(self) -> Catalogue:
        return Catalogue(np.random.default_rng((self.seed, 0)), self.tracks)


class _Sessions:
    """Sessions drawn at once: length [S], label bool [S, P] and track [S, P], of which the first
    `length` positions count, and truth [S]."""

    def __init__(self, rng: np.random.Generator, catalogue: Catalogue) -> None:
        self.length = rng.integers(HALF, MOST + 1, CHUNK)
        self.past = self.length // 2
        self.pole = rng.integers(2 * TASTES, size=CHUNK)
        self.label = np.zeros((CHUNK, MOST), bool)
        self.kind = np.zeros((CHUNK, MOST), np.int64)
        self._draw_past(rng)
        self._draw_future(rng)
        self.track = catalogue.draw(rng, self.kind, self.pole)

    def _draw_past(self, rng: np.random.Generator) -> None:
        """Skips as a Markov chain, and tracks that agree with them; all positions, as if A were
        longer than it is."""
        uniform = rng.random(self.label.shape)
        self.label[:, 0] = uniform[:, 0] < SKIP_RATE
        for i in range(1, MOST):
            chance = SKIP_RATE + STAY * (self.label[:, i - 1] - SKIP_RATE)
            self.label[:, i] = uniform[:, i] < chance
        mechanism = _choose(rng, PAST_SHARES, self.label.shape)
        obscure = self.label == (rng.random(self.label.shape) < SURE)
        self.kind[:] = np.select(
            [mechanism == TASTE, mechanism == POPULARITY],
            [np.where(self.label, FAR, NEAR), np.where(obscure, OBSCURE, HIT)],
            NEUTRAL,
        )

    def _draw_future(self, rng: np.random.Generator) -> None:
        position = np.arange(MOST)
        in_past = position < self.past[:, None]
        j = position - self.past[:, None] + 1  # position in B, from 1
        state = np.take_along_axis(self.label, self.past[:, None] - 1, 1)
        run = _final_run(self.label, self.past)
        told = (in_past & (self.kind == NEAR)).any(1)  # whether A tells the taste
        mechanism = _choose(rng, FUTURE_SHARES, self.label.shape)
        mechanism[(mechanism == TASTE) & ~told[:, None]] = POPULARITY
        mechanism[j < run[:, None]] = PERSISTENCE
        # so many disliked tracks that the skip rate is the same
        bad = rng.random(self.label.shape) < (SKIP_RATE - 1 + SURE) / (2 * SURE - 1)
        kind = np.select(
            [mechanism == TASTE, mechanism == POPULARITY],
            [np.where(bad, FAR, NEAR), np.where(bad, OBSCURE, HIT)],
            NEUTRAL,
        )
        repeat = REPEAT - FADE * (j - 1)
        probability = np.select(
            [mechanism == PERSISTENCE, mechanism == NOISE],
            [np.where(state, repeat, 1 - repeat), SKIP_RATE],
            np.where(bad, SURE, 1 - SURE),
        )
        drawn = rng.random(self.label.shape) < probability
        self.label = np.where(in_past, self.label, drawn)
        self.kind = np.where(in_past, self.kind, kind)
        self.truth = self._truth(mechanism, probability)

    def _truth(self, mechanism: np.ndarray, probability: np.ndarray) -> np.ndarray:
        index = np.minimum(self.past[:, None] + np.arange(HALF), MOST - 1)
        real = np.arange(HALF) < (self.length - self.past)[:, None]
        truth = np.empty(CHUNK, TRUTH)
        rules = np.take_along_axis(mechanism, index, 1)
        truth["mechanism"] = np.where(real, rules, NO_MECHANISM)
        truth["probability"] = np.where(real, np.take_along_axis(probability, index, 1), np.nan)
        return truth

    def head(self, sessions: int) -> "_Sessions":
        """The first sessions."""
        for name in ("length", "label", "track", "truth"):
            setattr(self, name, getattr(self, name)[:sessions])
        return self

    @property
    def tracks(self) -> np.ndarray:
        """[R] numbers of the tracks of all rows."""
        return self.track[np.arange(MOST) < self.length[:, None]]

    @property
    def skips(self) -> np.ndarray:
        """[R] `skip_2` of all rows."""
        return self.label[np.arange(MOST) < self.length[:, None]]


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


def _final_run(label: np.ndarray, past: np.ndarray) -> np.ndarray:
    """[S] how many of the last of the first `past` labels [S, P] are equal."""
    run = np.ones(len(label), np.int64)
    for i in range(1, HALF):
        here = np.arange(len(label)), np.maximum(past - 1 - i, 0)
        same = label[here] == label[np.arange(len(label)), past - 1]
        run += (run == i) & same & (i < past)
    return run


def _choose(
    rng: np.random.Generator, shares: dict[int, float], shape: tuple[int, ...]
) -> np.ndarray:
    codes = np.array(list(shares))
    return codes[np.searchsorted(np.cumsum(list(shares.values()))[:-1], rng.random(shape))]


def _write_csv(path: Path, columns: dict[str, pa.Array]) -> None:
    table = pa.table(columns)
    options = pa.csv.WriteOptions(include_header=False, quoting_style="none")
    with open(path, "wb") as file:
        file.write((",".join(table.column_names) + "\n").encode())
        pa.csv.write_csv(table, file, options)


def _generator(root: Path) -> dict | None:
    """The options that wrote a folder; None where no readable truth says so."""
    try:
        return json.loads((root / "truth.json").read_text())["generator"]
    except (OSError, ValueError, KeyError, TypeError):
        return None


if __name__ == "__main__":
    from jsonargparse import auto_cli

    auto_cli(PlantedSessions)
