"""Generated users: those of a habit, those whose taste is known, and newcomers.

    mean_skip_rate                .9 or .1 of a user of a habit, else near one half
    liked_vector_0 .. 7           the liked pole of the acoustic vectors; zeros of a newcomer
    age, days_since_registration  decide nothing

Shapes: U users.
"""

import numpy as np
import pyarrow as pa

from datamodules.synthetic.catalogue import DIMENSIONS, LENGTH, TASTES, random_ids

HABIT_SHARE = 0.2  # of the users
KNOWN_SHARE = 0.5  # of the others: those whose taste the table knows
HABIT_RATE, HABIT_SPREAD = (
    0.9,
    0.03,
)  # of skips, of those who skip; 1 - HABIT_RATE of those who keep
USUAL_RATE, USUAL_SPREAD = 0.517, 0.06
SPREAD = 0.05  # of each coordinate of a liked vector


class Listeners:
    """The users, and their table.

    Args:
        rng: Generator of all that is drawn.
        users: Number of users.
        directions: [8, 4] the directions of taste; see `Catalogue`.

    Attributes:
        habit: [U] whether a user always skips (1), always keeps (0), or neither (-1).
        known: bool [U], whether the table holds the liked pole.
        pole: [U] the liked pole.
        columns: The user table.
        ids: [U] ids of the users.
    """

    def __init__(self, rng: np.random.Generator, users: int, directions: np.ndarray) -> None:
        kind = rng.random(users)
        skips = rng.random(users) < 0.5
        self.habit = np.where(kind < HABIT_SHARE, skips.astype(np.int64), -1)
        self.known = (self.habit < 0) & (rng.random(users) < KNOWN_SHARE)
        self.pole = rng.integers(2 * TASTES, size=users)
        self.ids = pa.array([f"u_{i}" for i in random_ids(rng, users)])
        usual = rng.normal(USUAL_RATE, USUAL_SPREAD, users)
        ruled = np.where(self.habit == 1, HABIT_RATE, 1 - HABIT_RATE)
        ruled = ruled + HABIT_SPREAD * rng.normal(size=users)
        rate = np.where(self.habit < 0, usual, ruled).clip(0, 1)
        poles = LENGTH * np.concatenate((directions.T, -directions.T))
        liked = poles[self.pole] + SPREAD * rng.normal(size=(users, DIMENSIONS))
        liked = np.where(self.known[:, None], liked, 0)
        numbers = {
            "mean_skip_rate": rate,
            **{f"liked_vector_{i}": column for i, column in enumerate(liked.T)},
            "age": rng.integers(16, 70, users),
            "days_since_registration": rng.integers(1, 3000, users),
        }
        narrow = {
            name: v.astype(np.float32) if v.dtype.kind == "f" else v for name, v in numbers.items()
        }
        self.columns = {"user_id": self.ids} | {n: pa.array(v) for n, v in narrow.items()}
