"""A generator of ratings in ml-1m's format, with planted tastes.

A user meets the n items of the highest

    popularity_i + content * (taste(profile_u) . genres_i) + latent * (p_u . q_i) + Gumbel noise

which is to draw n items one after the other, each with a probability proportional to the exp of
its score without the noise. The content part can be learned from profiles and genres, the
latent part from the interactions of user and item alone.

    python -m datamodules.synthetic.ratings --users 1000 write ml.zip
"""

import json
import zipfile
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from datamodules.implicit.grouplens import AGES
from datamodules.prepared.options import at_least
from datamodules.synthetic.generator import not_generated_so
from zoo.data.files import atomic_file

GENRES = ("Action", "Children's", "Comedy", "Drama", "Film-Noir", "Romance", "Sci-Fi", "War")
OCCUPATIONS = 21
LATENT = 8  # dimensions of the users' and items' vectors
WORDS = ("Café", "Señor", "Night", "River", "Straße", "Empire", "Été", "Garden")
START = 956_703_932  # seconds, the time of the first rating
USERS_AT_ONCE = 256  # drawn


@dataclass(frozen=True)
class PlantedRatings:
    """A zip file as GroupLens's ml-1m.zip, with planted structure.

    Args:
        users: Number of users.
        items: Number of movies.
        mean_interactions: Mean number of interactions of a user, about; none has fewer than 5.
        seed: Seed of all that is drawn.
        popularity: Exponent of the movies' skew, as of Zipf's law.
        content: Weight of the users' taste in genres, which follows from their profile.
        latent: Weight of the vectors of users and movies, which do not follow from any content.
    """

    users: int = 1000
    items: int = 500
    mean_interactions: int = 40
    seed: int = 0
    popularity: float = 0.7
    content: float = 1.0
    latent: float = 2.0

    def __post_init__(self) -> None:
        for option, least in (("users", 1), ("items", 10), ("mean_interactions", 5), ("seed", 0)):
            at_least(least, **{f"synthetic.{option}": getattr(self, option)})

    def write_once(self, path: Path) -> None:
        """Writes the file unless this very configuration has written it before."""
        if not path.exists():
            self.write(path)
        elif _comment(path) != self._options():
            raise not_generated_so(path)

    def write(self, path: Path) -> None:
        """Writes the zip file; whole or not at all."""
        path.parent.mkdir(parents=True, exist_ok=True)
        with (
            atomic_file(path) as partial,
            zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED) as archive,
        ):
            # what made the file travels in it
            archive.comment = self._options()
            for name, text in self._members().items():
                # ZipInfo's fixed date: the same options give the same bytes
                member = zipfile.ZipInfo(f"ml-1m/{name}")
                member.compress_type = zipfile.ZIP_DEFLATED
                archive.writestr(member, text.encode("latin-1"))

    def _options(self) -> bytes:
        return json.dumps(asdict(self), sort_keys=True).encode()

    def _members(self) -> dict[str, str]:
        rng = np.random.default_rng(self.seed)
        profile = np.stack(
            [rng.integers(n, size=self.users) for n in (2, len(AGES), OCCUPATIONS)], 1
        )
        genres = rng.random((self.items, len(GENRES))) < 0.2
        genres[np.arange(self.items), rng.integers(len(GENRES), size=self.items)] = True
        years = rng.integers(1930, 2001, self.items)
        scores = self._scores(rng, profile, genres)
        users = [
            f"{u + 1}::{'FM'[g]}::{AGES[a]}::{o}::{10_000 + u}\n"
            for u, (g, a, o) in enumerate(profile.tolist())
        ]
        movies = [
            f"{i + 1}::{WORDS[i % len(WORDS)]} {i + 1} ({year})::"
            f"{'|'.join(g for g, has in zip(GENRES, genres[i], strict=True) if has)}\n"
            for i, year in enumerate(years.tolist())
        ]
        ratings = self._ratings(rng, *scores)
        texts = (users, movies, ratings)
        names = ("users.dat", "movies.dat", "ratings.dat")
        return {name: "".join(lines) for name, lines in zip(names, texts, strict=True)}

    def _scores(
        self, rng: np.random.Generator, profile: np.ndarray, genres: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """[U, K] and [I, K], whose product are the scores without noise."""
        effects = [rng.normal(size=(n, len(GENRES))) for n in (2, len(AGES), OCCUPATIONS)]
        taste = sum(effect[profile[:, i]] for i, effect in enumerate(effects)) / np.sqrt(3)
        rank = rng.permutation(self.items) + 1
        user = rng.normal(size=(self.users, LATENT)) * self.latent / np.sqrt(LATENT)
        item = rng.normal(size=(self.items, LATENT))
        popularity = -self.popularity * np.log(rank)[:, None]
        centred = genres - genres.mean(0)
        one = np.ones((self.users, 1))
        return np.hstack((one, self.content * taste, user)), np.hstack((popularity, centred, item))

    def _ratings(self, rng: np.random.Generator, user: np.ndarray, item: np.ndarray) -> list[str]:
        most = max(5, self.items // 2)
        spread = rng.lognormal(-0.18, 0.6, self.users) * self.mean_interactions
        sizes = np.clip(spread.astype(np.int64), 5, most)
        lines = []
        for first in range(0, self.users, USERS_AT_ONCE):
            scores = user[first : first + USERS_AT_ONCE] @ item.T
            scores += rng.gumbel(size=scores.shape)
            ranked = np.argsort(-scores, axis=1)
            for u, (order, size) in enumerate(
                zip(ranked, sizes[first : first + USERS_AT_ONCE], strict=True), first
            ):
                met = rng.permutation(order[:size])
                times = START + u * 1000 + np.sort(rng.integers(0, 10**7, size))
                stars = rng.integers(1, 6, size)
                lines += [
                    f"{u + 1}::{i + 1}::{s}::{t}\n"
                    for i, s, t in zip(met.tolist(), stars.tolist(), times.tolist(), strict=True)
                ]
        return lines


def _comment(path: Path) -> bytes | None:
    """The options that wrote a zip file; None where it is not a zip file."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.comment
    except (zipfile.BadZipFile, OSError):
        return None


if __name__ == "__main__":
    from jsonargparse import auto_cli

    auto_cli(PlantedRatings)
