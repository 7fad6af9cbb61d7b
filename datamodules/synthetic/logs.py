"""What is logged of generated sessions beside their tracks, in the values of the real data.

Shapes: S sessions, P = 20 positions, R rows.
"""

import numpy as np
import pyarrow as pa

from datamodules.sessions.records import MAX_LENGTH
from datamodules.synthetic.catalogue import random_ids

CONTEXTS = {
    "user_collection": 0.42, "catalog": 0.22, "editorial_playlist": 0.18, "radio": 0.1,
    "personalized_playlist": 0.05, "charts": 0.03,
}  # fmt: skip
STARTS = (
    "trackdone", "fwdbtn", "clickrow", "backbtn", "playbtn", "appload", "remote", "trackerror",
    "uriopen", "popup",
)  # fmt: skip
ENDS = (
    "trackdone", "fwdbtn", "endplay", "backbtn", "clickrow", "remote", "appload", "uriopen",
    "trackerror",
)  # fmt: skip
ODDS = 0.08  # of a rare reason
DATES = {"2018-07-15": 0.95, "2018-07-14": 0.04, "2018-07-16": 0.01}
PREMIUM = 0.8
PREFIX = "hist_user_behavior_"
COLUMNS = (
    "session_id", "session_position", "session_length", "track_id_clean",
    "skip_1", "skip_2", "skip_3", "not_skipped", "context_switch",
    "no_pause_before_play", "short_pause_before_play", "long_pause_before_play",
    f"{PREFIX}n_seekfwd", f"{PREFIX}n_seekback", f"{PREFIX}is_shuffle",
    "hour_of_day", "date", "premium", "context_type",
    f"{PREFIX}reason_start", f"{PREFIX}reason_end",
)  # fmt: skip


def log_columns(
    rng: np.random.Generator,
    label: np.ndarray,
    length: np.ndarray,
    tracks: pa.Array,
    first: int,
    users: pa.Array | None = None,
) -> dict[str, pa.Array]:
    """The columns of the rows [R].

    Args:
        rng: Generator of all that is drawn.
        label: bool [S, P], `skip_2`.
        length: [S] lengths of the sessions.
        tracks: [R] ids of the tracks.
        first: Number of the first session.
        users: [S] ids of the users; None where they are not known.
    """
    real = np.arange(MAX_LENGTH) < length[:, None]
    flags = _skips(rng, label) | _pauses(rng, label.shape)
    flags[f"{PREFIX}is_shuffle"] = rng.random((len(label), 1)) < 0.3
    flags["premium"] = rng.random((len(label), 1)) < PREMIUM
    start, end = _reasons(rng, flags["skip_3"])
    seeks = (rng.geometric(0.6, label.shape) * (rng.random(label.shape) < 0.04) for _ in range(2))
    hour = np.minimum(rng.integers(24, size=(len(label), 1)) + np.arange(MAX_LENGTH) // 15, 23)
    numbers = {
        "session_position": np.arange(MAX_LENGTH) + 1,
        "session_length": length[:, None],
        "hour_of_day": hour,
        **dict(zip((f"{PREFIX}n_seekfwd", f"{PREFIX}n_seekback"), seeks, strict=True)),
    }
    booleans = pa.array(["False", "True"])
    digits = pa.array([0, 1])
    columns = {n: pa.array(np.broadcast_to(v, real.shape)[real]) for n, v in numbers.items()}
    for name, flag in flags.items():
        texts = digits if "pause" in name or name == "context_switch" else booleans
        columns[name] = _take(texts, flag.astype(np.int64), real)
    ids = [f"{first + i}_{text}" for i, text in enumerate(random_ids(rng, len(label)))]
    columns["session_id"] = _take(pa.array(ids), np.arange(len(ids))[:, None], real)
    for name, shares in (("context_type", CONTEXTS), ("date", DATES)):
        code = rng.choice(len(shares), (len(label), 1), p=list(shares.values()))
        columns[name] = _take(pa.array(list(shares)), code, real)
    columns[f"{PREFIX}reason_start"] = _take(pa.array(STARTS), start, real)
    columns[f"{PREFIX}reason_end"] = _take(pa.array(ENDS), end, real)
    columns["track_id_clean"] = tracks
    found = {name: columns[name] for name in COLUMNS}
    if users is not None:
        found["user_id"] = _take(users, np.arange(len(users))[:, None], real)
    return found


def _skips(rng: np.random.Generator, label: np.ndarray) -> dict[str, np.ndarray]:
    """skip_1 implies skip_2 implies skip_3; some tracks are neither skipped nor played out."""
    skip_3 = label | (rng.random(label.shape) < 0.2)
    return {
        "skip_1": label & (rng.random(label.shape) < 0.8),
        "skip_2": label,
        "skip_3": skip_3,
        "not_skipped": ~skip_3 & (rng.random(label.shape) < 0.97),
        "context_switch": rng.random(label.shape) < 0.04,
    }


def _pauses(rng: np.random.Generator, shape: tuple[int, ...]) -> dict[str, np.ndarray]:
    """A pause of 3 to 60 seconds is both short and long in the real data; so it is here."""
    kind = rng.choice(4, shape, p=[0.77, 0.05, 0.08, 0.1])
    return {
        "no_pause_before_play": kind == 0,
        "short_pause_before_play": (kind == 1) | (kind == 3),
        "long_pause_before_play": kind >= 2,
    }


def _reasons(rng: np.random.Generator, skip_3: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """[S, P] codes of `STARTS` and `ENDS`: a skipped track ends with the forward button, and the
    next begins with it."""
    end = skip_3.astype(np.int64)
    other = rng.random(end.shape) < ODDS
    end[other] = rng.integers(2, len(ENDS), other.sum())
    start = np.empty_like(end)
    start[:, 1:] = np.minimum(end[:, :-1], 2)
    start[:, 0] = 2
    other = start == 2
    start[other] = rng.integers(2, len(STARTS), other.sum())
    return start, end


def _take(texts: pa.Array, code: np.ndarray, real: np.ndarray) -> pa.Array:
    return texts.take(pa.array(np.broadcast_to(code, real.shape)[real]))
