"""MovieLens ratings -> numbered interactions; profiles and movies -> ids and numbers.

Shapes: U users that are kept, I items that somebody has interacted with, R interactions, N
numerical fields.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from datamodules.implicit.grouplens import PROFILE, MovieLensFiles
from datamodules.implicit.pairs import Tables
from datamodules.prepared.vocabulary import Vocabulary, write_vocabularies
from zoo.data.errors import ZooError
from zoo.data.schema import Field, Schema

MIN_INTERACTIONS = 3  # of a user: one each for training, validation and test
TOO_FEW = f"its user has fewer than {MIN_INTERACTIONS} interactions"
REPEATED = "a later one is of the same user and movie"


@dataclass(frozen=True)
class ImplicitFeedback:
    """One row for each user and item that have interacted, sorted by user and time.

    Attributes:
        user: [R] numbers of users, 0 .. U - 1.
        item: [R] numbers of items, 0 .. I - 1.
        user_ids: Original ids by number; users that are left out follow those that are kept.
        item_ids: Original ids by number; movies without interaction follow the I others.
        users: U.
        items: I.
        rejected: Number of ratings left out, by reason.
    """

    user: np.ndarray
    item: np.ndarray
    user_ids: np.ndarray
    item_ids: np.ndarray
    users: int
    items: int
    rejected: dict[str, int]


def implicit_feedback(files: MovieLensFiles, path: Path) -> ImplicitFeedback:
    """The last rating of each user and movie; users with fewer than three are left out.

    Args:
        files: What the data set holds.
        path: The data set, for messages.

    Raises:
        ZooError: where no user is left.
    """
    ratings = files.ratings
    order = np.lexsort((ratings.time, ratings.user))  # stable: ties stay in file order
    user, item = ratings.user[order], ratings.item[order]
    last = np.ones(len(user), bool)
    by_pair = np.lexsort((item, user))
    same = (np.diff(user[by_pair]) == 0) & (np.diff(item[by_pair]) == 0)
    last[by_pair[:-1][same]] = False
    user, item = user[last], item[last]
    rated = np.unique(item)
    raters, number, count = np.unique(user, return_inverse=True, return_counts=True)
    kept = count[number] >= MIN_INTERACTIONS
    if not kept.any():
        raise ZooError(
            f"{path}: no user has the {MIN_INTERACTIONS} interactions that leave-one-out needs"
        )
    left_out = {REPEATED: int((~last).sum()), TOO_FEW: int((~kept).sum())}
    users = raters[count >= MIN_INTERACTIONS]
    return ImplicitFeedback(
        np.searchsorted(users, user[kept]),
        np.searchsorted(rated, item[kept]),
        _followed(users, (*files.users, *raters.tolist())),
        _followed(rated, files.movies),
        len(users),
        len(rated),
        ratings.rejected.reasons | {reason: n for reason, n in left_out.items() if n},
    )


def _followed(first: np.ndarray, others: Iterable[int]) -> np.ndarray:
    """`first` and, behind it, those of the others that are not in it."""
    rest = np.setdiff1d(np.fromiter(others, np.int64), first)
    return np.concatenate((first, rest))


def encode(
    folder: Path, rows: ImplicitFeedback, files: MovieLensFiles, user: np.ndarray, item: np.ndarray
) -> tuple[Schema, Tables]:
    """Fits the vocabularies on the training pairs, writes them, and encodes the tables.

    Args:
        folder: Folder of the encoder.
        rows: All interactions.
        files: What the data set holds.
        user: Numbers of the users of the training pairs.
        item: Numbers of their items.
    """
    profiles = [files.users.get(int(i), (None,) * len(PROFILE)) for i in rows.user_ids]
    movies = [files.movies.get(int(i), (None, frozenset())) for i in rows.item_ids]
    of_users = {"user": [str(i) for i in rows.user_ids]}
    of_users |= {name: [p[i] for p in profiles] for i, name in enumerate(PROFILE)}
    of_items = {"item": [str(i) for i in rows.item_ids], "year": [year for year, _ in movies]}
    counts = (
        np.bincount(user, minlength=len(rows.user_ids)),
        np.bincount(item, minlength=len(rows.item_ids)),
    )
    parts = list(zip((of_users, of_items), counts, strict=True))
    found = {n: Vocabulary(values, c) for part, c in parts for n, values in part.items()}
    write_vocabularies(folder, found)
    user_ids, item_ids = (
        np.stack([found[name].encode(values) for name, values in part.items()], 1)
        for part, _ in parts
    )
    genres = [[genre in named for genre in files.genres] for _, named in movies]
    numbers = np.array(genres, np.float32).reshape(len(movies), len(files.genres))
    tables = Tables(rows.user_ids, user_ids, rows.item_ids, item_ids, numbers)
    return _schema(found, files.genres), tables


def _schema(found: dict[str, Vocabulary], genres: tuple[str, ...]) -> Schema:
    groups = {"user": "user", "item": "item", "year": "item_profile"}
    fields = [
        Field(name, "categorical", vocabulary.cardinality, groups.get(name, "user_profile"))
        for name, vocabulary in found.items()
    ]
    fields += [Field(f"genre:{genre}", "numerical", group="item_profile") for genre in genres]
    return Schema(tuple(fields))


def expected_means(
    user: np.ndarray, item: np.ndarray, numbers: np.ndarray, negatives: int
) -> np.ndarray:
    """[N] expected means of the numerical fields over the rows of an epoch.

    Args:
        user: Numbers of the users of the training pairs.
        item: Numbers of their items.
        numbers: [I, N] numerical fields of the items that negatives are drawn from.
        negatives: Number of negatives of each pair.
    """
    count = np.bincount(user, minlength=int(user.max()) + 1)
    positive = numbers[item].sum(0, dtype=np.float64)
    # a user's negatives: all items but the training ones, each equally likely
    weight = count / (len(numbers) - count)
    of_all = numbers.sum(0, dtype=np.float64)
    # not a product of matrices, whose sums depend on the number of threads in their last bits
    of_training = np.bincount(item, weight[user], len(numbers))[:, None] * numbers
    negative = of_all * weight.sum() - of_training.sum(0)
    return (positive + negatives * negative) / (len(user) * (1 + negatives))
