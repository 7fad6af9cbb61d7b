"""MovieLens ratings -> numbered interactions; profiles and movies -> ids and numbers.

Shapes: U users that are kept, I items that somebody has interacted with, R interactions, N
numerical fields.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from datamodules.implicit.grouplens import MALFORMED, PROFILE, MovieLensFiles
from datamodules.implicit.pairs import Tables
from zoo.data.encoder import VOCABULARY
from zoo.data.errors import ZooError
from zoo.data.schema import MISSING, UNKNOWN, Field, Schema

LEAST = 3  # interactions of a user: one each for training, validation and test
SHORT = f"its user has fewer than {LEAST} interactions"
REPEATED = "a later one is of the same user and movie"


@dataclass(frozen=True)
class Interactions:
    """One row for each user and item that have met, sorted by user and time.

    Args:
        user: [R] numbers, 0 .. U - 1.
        item: [R] numbers.
        user_ids: original ids by number; users that are left out follow those that are kept.
        item_ids: original ids by number; movies without interaction follow the I others.
        users: U.
        items: I.
        rejected: ratings left out, by reason.
    """

    user: np.ndarray
    item: np.ndarray
    user_ids: np.ndarray
    item_ids: np.ndarray
    users: int
    items: int
    rejected: dict[str, int]


def interactions(files: MovieLensFiles, path: Path) -> Interactions:
    """The last rating of each user and movie; users with fewer than three are left out."""
    ratings = files.ratings
    order = np.lexsort((ratings.time, ratings.user))  # stable: ties stay in file order
    user, item = ratings.user[order], ratings.item[order]
    last = np.ones(len(user), bool)
    by_pair = np.lexsort((item, user))
    same = (np.diff(user[by_pair]) == 0) & (np.diff(item[by_pair]) == 0)
    last[by_pair[:-1][same]] = False
    user, item = user[last], item[last]
    rated = np.unique(item)
    met, number, count = np.unique(user, return_inverse=True, return_counts=True)
    kept = count[number] >= LEAST
    if not kept.any():
        raise ZooError(f"{path}: no user has the {LEAST} interactions that leave-one-out needs")
    rejected = {MALFORMED: ratings.malformed, REPEATED: int((~last).sum())}
    rejected[SHORT] = int((~kept).sum())
    users = met[count >= LEAST]
    return Interactions(
        np.searchsorted(users, user[kept]),
        np.searchsorted(rated, item[kept]),
        _followed(users, (*files.users, *met.tolist())),
        _followed(rated, files.movies),
        len(users),
        len(rated),
        {reason: count for reason, count in rejected.items() if count},
    )


def _followed(first: np.ndarray, others: Iterable[int]) -> np.ndarray:
    """`first` and, behind it, those of the others that it lacks."""
    rest = np.setdiff1d(np.fromiter(others, np.int64), first)
    return np.concatenate((first, rest))


def encode(
    folder: Path, rows: Interactions, files: MovieLensFiles, user: np.ndarray, item: np.ndarray
) -> tuple[Schema, Tables]:
    """Fits the vocabularies on the training pairs, writes them, and encodes the tables."""
    of_users = np.bincount(user, minlength=len(rows.user_ids))
    of_items = np.bincount(item, minlength=len(rows.item_ids))
    profiles = [files.users.get(int(i), (None,) * len(PROFILE)) for i in rows.user_ids]
    movies = [files.movies.get(int(i), (None, frozenset())) for i in rows.item_ids]
    values = {"user": [str(i) for i in rows.user_ids]}
    values |= {name: [p[i] for p in profiles] for i, name in enumerate(PROFILE)}
    values |= {"item": [str(i) for i in rows.item_ids], "year": [year for year, _ in movies]}
    found = {
        name: _vocabulary(column, of_items if name in ("item", "year") else of_users)
        for name, column in values.items()
    }
    _save_vocabulary(folder, found)
    ids = {name: _ids(values[name], found[name]) for name in values}
    groups = {"user": "user", "item": "item", "year": "item_profile"}
    fields = [
        Field(name, "categorical", MISSING + 1 + len(found[name]), groups.get(name, "user_profile"))
        for name in values
    ]
    fields += [Field(f"genre:{g}", "numerical", group="item_profile") for g in files.genres]
    genres = [[genre in named for genre in files.genres] for _, named in movies]
    user_ids = np.stack([ids[name] for name in ("user", *PROFILE)], 1)
    item_ids = np.stack([ids["item"], ids["year"]], 1)
    numbers = np.array(genres, np.float32).reshape(len(movies), len(files.genres))
    return Schema(tuple(fields)), Tables(rows.user_ids, user_ids, rows.item_ids, item_ids, numbers)


def _vocabulary(values: Sequence[str | None], counts: np.ndarray) -> list[tuple[str, int]]:
    """(value, count) of the values in training, most frequent first, ties in order of text."""
    total: Counter[str] = Counter()
    for value, count in zip(values, counts.tolist(), strict=True):
        if value is not None and count:
            total[value] += count
    return sorted(total.items(), key=lambda entry: (-entry[1], entry[0]))


def _ids(values: Sequence[str | None], vocabulary: list[tuple[str, int]]) -> np.ndarray:
    number = {value: MISSING + 1 + i for i, (value, _) in enumerate(vocabulary)}
    ids = [MISSING if value is None else number.get(value, UNKNOWN) for value in values]
    return np.array(ids, np.int32)


def _save_vocabulary(folder: Path, found: dict[str, list[tuple[str, int]]]) -> None:
    lines = [
        {"field": name, "value": value, "id": MISSING + 1 + i, "count": count}
        for name, vocabulary in found.items()
        for i, (value, count) in enumerate(vocabulary)
    ]
    pq.write_table(pa.Table.from_pylist(lines), folder / VOCABULARY)


def expected_means(
    user: np.ndarray, item: np.ndarray, numbers: np.ndarray, negatives: int
) -> np.ndarray:
    """[N] expected means of the numerical fields over the rows of an epoch.

    `numbers` [I, N] are those of the items that negatives are drawn from.
    """
    count = np.bincount(user, minlength=int(user.max()) + 1)
    positive = numbers[item].sum(0, dtype=np.float64)
    # a user's negatives: all items but the training ones, each equally likely
    weight = count / (len(numbers) - count)
    of_all = numbers.sum(0, dtype=np.float64)
    negative = of_all * weight.sum() - weight[user] @ numbers[item].astype(np.float64)
    return (positive + negatives * negative) / (len(user) * (1 + negatives))
