"""What decides the skips of generated sessions.

A session is born with one liked pole of the acoustic vectors, +v or -v for one of `TASTES`
orthogonal directions v. Its first half A is a Markov chain of skips (a state is kept with
probability 0.8), and its tracks agree with them: a kept track with a taste is of the liked pole,
a skipped one of the opposite; the others are neutral, hits (popular, recent) or obscure
(unpopular, old), whether skipped or not, so that A's skips do not follow from its tracks alone.
Of each track j = 1, 2, ... of the second half B one mechanism decides the label, and the track is
chosen such that the mechanism follows from what a model sees:

    persistence  where j < r, for the last r tracks of A that share one skip_2: neutral track;
                 repeats that state with probability 0.97 - 0.02 (j - 1)
    popularity   a hit (skipped with probability 0.05) or an obscure track (0.95)
    taste        a track of the liked pole, near the mean of A's kept tracks with a taste (0.05),
                 or of the opposite one, far from it (0.95); only where A has kept and skipped
                 tracks with a taste (popularity rules instead), so that which pole is liked
                 does not follow from the acoustic vectors alone
    noise        neutral track; skipped with probability 0.517, whatever the fields

Where users are generated too (see `listeners`), a session's liked pole is its user's, and

    habit        all of B, where the user has one: neutral tracks; skipped with probability 0.95 by
                 those who skip, 0.05 by those who keep; the last two skips of A differ, so that it
                 is seen that nothing persists
    favourites   taste, where the table of users knows it: a track of the liked pole, near the
                 user's liked vector (0.05), or of the opposite one (0.95), whatever was kept in A

So persistence, which rules four tracks of five at j = 1 and fades along B, is decided by
position and interaction alone, popularity by the track's general features alone, and taste by
the acoustic vectors together with what was kept, a habit by the user alone, and favourites by user
and acoustic vectors: `GROUPS` names the smallest sets of field
groups. As the mechanism follows from the fields, the probabilities are those given all fields.

Shapes: S sessions, P = 20 positions, T = 10 positions of the second half.
"""

import numpy as np

from datamodules.sessions.records import HALF, MAX_LENGTH
from datamodules.synthetic.catalogue import (
    FAR,
    HIT,
    NEAR,
    NEUTRAL,
    OBSCURE,
    TASTES,
    Catalogue,
)
from datamodules.synthetic.listeners import Listeners

SKIP_RATE = 0.517  # of the mini version's rows
STAY = 0.6  # correlation of a skip with the next; the state is kept with probability 0.8
SURE = 0.95  # reliability of popularity and taste
REPEAT, FADE = 0.97, 0.02  # reliability of persistence at B's first track; its loss at each next
MECHANISMS = ("noise", "persistence", "taste", "popularity", "habit", "favourites")
NOISE, PERSISTENCE, TASTE, POPULARITY, HABIT, FAVOURITES = range(6)
GROUPS = {
    "noise": [],
    "persistence": ["position", "interaction"],
    "taste": ["position", "interaction", "track_music"],
    "popularity": ["position", "track_general"],
    "habit": ["position", "user"],
    "favourites": ["position", "user", "track_music"],
}
PAST_SHARES = {NOISE: 0.2, TASTE: 0.6, POPULARITY: 0.2}  # of the tracks of A
FUTURE_SHARES = {NOISE: 0.15, TASTE: 0.65, POPULARITY: 0.2}  # of B where persistence has ended
NO_MECHANISM = 255
TRUTH = np.dtype(
    [
        ("mechanism", "u1", HALF),  # index of MECHANISMS; 255 where padded
        ("probability", "<f4", HALF),  # of a skip given all fields; NaN where padded
    ]
)


class DrawnSessions:
    """Sessions drawn at once: length [S], label bool [S, P] and track [S, P], of which the first
    `length` positions count, and truth [S]; with listeners also their numbers, user [S]."""

    def __init__(
        self,
        rng: np.random.Generator,
        catalogue: Catalogue,
        sessions: int,
        listeners: Listeners | None = None,
    ) -> None:
        self.length = rng.integers(HALF, MAX_LENGTH + 1, sessions)
        self.past = self.length // 2
        self.pole = rng.integers(2 * TASTES, size=sessions)
        self.user = np.zeros(sessions, np.int64)
        self.habit, self.known = np.full(sessions, -1), np.zeros(sessions, bool)
        if listeners:
            self.user = rng.integers(len(listeners.ids), size=sessions)
            parts = (listeners.pole, listeners.habit, listeners.known)
            self.pole, self.habit, self.known = (part[self.user] for part in parts)
        self.label = np.zeros((sessions, MAX_LENGTH), bool)
        self.kind = np.zeros((sessions, MAX_LENGTH), np.int64)
        self._draw_past(rng)
        self._draw_future(rng)
        self.track = catalogue.draw(rng, self.kind, self.pole)

    def _draw_past(self, rng: np.random.Generator) -> None:
        """Skips as a Markov chain, and tracks that agree with them; all positions, as if A were
        longer than it is."""
        uniform = rng.random(self.label.shape)
        self.label[:, 0] = uniform[:, 0] < SKIP_RATE
        for i in range(1, MAX_LENGTH):
            chance = SKIP_RATE + STAY * (self.label[:, i - 1] - SKIP_RATE)
            self.label[:, i] = uniform[:, i] < chance
        ruled = np.flatnonzero(self.habit >= 0)
        self.label[ruled, self.past[ruled] - 2] = ~self.label[ruled, self.past[ruled] - 1]
        mechanism = _choose(rng, PAST_SHARES, self.label.shape)
        # not by the label: the state that persists would follow from general features
        obscure = rng.random(self.label.shape) < 0.5
        self.kind[:] = np.select(
            [mechanism == TASTE, mechanism == POPULARITY],
            [np.where(self.label, FAR, NEAR), np.where(obscure, OBSCURE, HIT)],
            NEUTRAL,
        )

    def _draw_future(self, rng: np.random.Generator) -> None:
        position = np.arange(MAX_LENGTH)
        in_past = position < self.past[:, None]
        j = position - self.past[:, None] + 1  # position in B, from 1
        state = np.take_along_axis(self.label, self.past[:, None] - 1, 1)
        run = _final_run(self.label, self.past)
        both = np.logical_and(*((in_past & (self.kind == k)).any(1) for k in (NEAR, FAR)))
        mechanism = _choose(rng, FUTURE_SHARES, self.label.shape)
        of_taste = mechanism == TASTE
        mechanism[of_taste & ~both[:, None]] = POPULARITY
        mechanism[of_taste & self.known[:, None]] = FAVOURITES
        mechanism[j < run[:, None]] = PERSISTENCE
        mechanism[self.habit >= 0] = HABIT
        # so many disliked tracks that the skip rate is the same
        bad = rng.random(self.label.shape) < (SKIP_RATE - 1 + SURE) / (2 * SURE - 1)
        kind = np.select(
            [(mechanism == TASTE) | (mechanism == FAVOURITES), mechanism == POPULARITY],
            [np.where(bad, FAR, NEAR), np.where(bad, OBSCURE, HIT)],
            NEUTRAL,
        )
        repeat = REPEAT - FADE * (j - 1)
        probability = np.select(
            [mechanism == PERSISTENCE, mechanism == NOISE, mechanism == HABIT],
            [
                np.where(state, repeat, 1 - repeat),
                SKIP_RATE,
                np.where(self.habit == 1, SURE, 1 - SURE)[:, None],
            ],
            np.where(bad, SURE, 1 - SURE),
        )
        drawn = rng.random(self.label.shape) < probability
        self.label = np.where(in_past, self.label, drawn)
        self.kind = np.where(in_past, self.kind, kind)
        self.truth = self._truth(mechanism, probability)

    def _truth(self, mechanism: np.ndarray, probability: np.ndarray) -> np.ndarray:
        index = np.minimum(self.past[:, None] + np.arange(HALF), MAX_LENGTH - 1)
        real = np.arange(HALF) < (self.length - self.past)[:, None]
        truth = np.empty(len(real), TRUTH)
        rules = np.take_along_axis(mechanism, index, 1)
        truth["mechanism"] = np.where(real, rules, NO_MECHANISM)
        truth["probability"] = np.where(real, np.take_along_axis(probability, index, 1), np.nan)
        return truth

    def head(self, sessions: int) -> "DrawnSessions":
        """The first sessions."""
        for name in ("length", "label", "track", "truth", "user"):
            setattr(self, name, getattr(self, name)[:sessions])
        return self

    @property
    def tracks(self) -> np.ndarray:
        """[R] numbers of the tracks of all rows."""
        return self.track[np.arange(MAX_LENGTH) < self.length[:, None]]

    @property
    def skips(self) -> np.ndarray:
        """[R] `skip_2` of all rows."""
        return self.label[np.arange(MAX_LENGTH) < self.length[:, None]]


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
