"""Generated tracks: neutral ones, hits, obscure ones, and those of the poles of taste."""

import numpy as np
import pyarrow as pa

from datamodules.sessions.records import TRACK

TASTES = 4  # orthogonal directions of the acoustic vectors; each has two poles
DIMENSIONS = 8  # of the acoustic vectors
LENGTH, SPREAD = 0.8, 0.1  # of a pole, and deviation of each acoustic coordinate
NEUTRAL, HIT, OBSCURE, NEAR, FAR = range(5)  # kinds of tracks, seen from a session's liked pole
SHARES = (0.3, 0.15, 0.15) + 2 * TASTES * (0.05,)  # of neutral tracks, hits, obscure, poles
POPULARITY = ((97, 98.5), (99.5, 100), (90, 95))  # from, to: of neutral, hits, obscure
YEAR = ((1996, 2010), (2015, 2019), (1955, 1990))
UNIT = (
    "acousticness", "beat_strength", "bounciness", "danceability", "energy", "flatness",
    "instrumentalness", "liveness", "mechanism", "organism", "speechiness", "valence",
)  # fmt: skip


class Catalogue:
    """The tracks, each of one kind.

    Attributes:
        ids: Ids of the tracks, such as t_0479f24c-27d2-46d6-a00c-7ec928f2b539.
        columns: The track table, in the format's columns.
        directions: [8, 4] orthogonal directions of taste.
    """

    def __init__(self, rng: np.random.Generator, tracks: int) -> None:
        ends = np.round(np.cumsum(SHARES) * tracks).astype(np.int64)
        self.start = np.append(0, ends[:-1])
        self.size = ends - self.start
        self.kind = np.repeat(np.arange(len(SHARES)), self.size)
        self.ids = pa.array([f"t_{i}" for i in random_ids(rng, tracks)])
        self.columns = self._columns(rng)

    def draw(self, rng: np.random.Generator, kind: np.ndarray, pole: np.ndarray) -> np.ndarray:
        """[S, P] tracks of kinds [S, P], for sessions with liked poles [S]."""
        opposite = (pole + TASTES) % (2 * TASTES)
        pool = np.where(kind == NEAR, NEAR + pole[:, None], kind)
        pool = np.where(kind == FAR, NEAR + opposite[:, None], pool)
        return self.start[pool] + (rng.random(kind.shape) * self.size[pool]).astype(np.int64)

    def _columns(self, rng: np.random.Generator) -> dict[str, pa.Array]:
        n = len(self.kind)
        general = np.minimum(self.kind, NEAR) % NEAR  # tracks with a taste are neutral in this
        floats = {
            "duration": rng.lognormal(5.35, 0.25, n).clip(30, 1800),
            "us_popularity_estimate": rng.uniform(*np.array(POPULARITY)[general].T),
            "dyn_range_mean": rng.gamma(9, 1, n),
            "loudness": -rng.gamma(4, 2, n),
            "tempo": rng.normal(120, 28, n).clip(40, 220),
            **{name: rng.beta(2, 2, n) for name in UNIT},
            **{f"acoustic_vector_{i}": v for i, v in enumerate(self._acoustic(rng).T)},
        }
        columns = {name: pa.array(values.astype(np.float32)) for name, values in floats.items()}
        columns["release_year"] = pa.array(rng.integers(*np.array(YEAR)[general].T))
        columns["key"] = pa.array(rng.integers(12, size=n))
        columns["time_signature"] = pa.array(rng.choice([3, 4, 4, 4, 4, 5], n))
        columns["mode"] = pa.array(rng.choice(["major", "major", "minor"], n))
        columns["track_id"] = self.ids
        # those of a kind lie together, which the file must not show
        order = pa.array(rng.permutation(n))
        return {name: columns[name].take(order) for name in ("track_id", *TRACK)}

    def _acoustic(self, rng: np.random.Generator) -> np.ndarray:
        """[tracks, 8]: around zero, or around a pole."""
        self.directions, _ = np.linalg.qr(rng.normal(size=(DIMENSIONS, TASTES)))
        poles = LENGTH * np.concatenate((self.directions.T, -self.directions.T))
        centres = np.concatenate((np.zeros((NEAR, DIMENSIONS)), poles))
        return centres[self.kind] + SPREAD * rng.normal(size=(len(self.kind), DIMENSIONS))


def random_ids(rng: np.random.Generator, count: int) -> list[str]:
    """Texts in the form of UUIDs."""
    text = rng.bytes(16 * count).hex()
    ids = (text[i : i + 32] for i in range(0, len(text), 32))
    return [f"{i[:8]}-{i[8:12]}-{i[12:16]}-{i[16:20]}-{i[20:]}" for i in ids]
