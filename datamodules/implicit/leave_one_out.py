"""Leave-one-out evaluation of implicit feedback: held-out items, negatives, ranked lists.

Shapes: U users, I items, R interactions sorted by user and then time, n rows, k negatives.
"""

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from datamodules.prepared.form import first_line
from datamodules.prepared.text import TextFile
from zoo.data.errors import ZooError, require_file

RANDOM_NUMBERS_AT_ONCE = 1 << 22
LIST_LINE = re.compile(r"(\d{1,18})\t(\d{1,18})\t(\d{1,18}(?:,\d{1,18})*)", re.ASCII)


@dataclass(frozen=True)
class RankedLists:
    """Rows to rank, list by list, the positive of a list first.

    Attributes:
        user: int64 [n] numbers of users.
        item: int64 [n] numbers of items.
        label: bool [n], true for positives.
    """

    user: np.ndarray
    item: np.ndarray
    label: np.ndarray


@dataclass(frozen=True)
class PublishedList:
    """A user's held-out movie and the negatives it is ranked against, in original ids.

    Attributes:
        movie: The held-out movie.
        negatives: The distinct negatives.
        repeated: Number of negatives that are left out, as they are in the list twice or are the
            held-out movie itself.
        line: Line of the file, counted from 1.
    """

    movie: int
    negatives: tuple[int, ...]
    repeated: int
    line: int


def hold_out(
    user: np.ndarray, item: np.ndarray, seed: int, tests: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Deals each user's interactions to training, validation and test.

    The last interaction is the test item; of the others, one drawn at random is the validation
    item (Afchar and Hennequin 2020, section 4.2); the rest is for training.

    Args:
        user: [R] numbers of users 0 .. U - 1, sorted, each at least three times.
        item: [R] numbers of items, in order of time within a user, none twice.
        seed: Seed of the random items.
        tests: [U] test items that take the place of the last ones; -1 keeps the last one.

    Returns:
        [R] bool mask of the training rows, [U] validation items, [U] test items.
    """
    stop = np.cumsum(np.bincount(user))
    start = np.append(0, stop[:-1])
    tests = np.where(tests < 0, item[stop - 1], tests)
    held = item == tests[user]
    rest = np.flatnonzero(~held)
    size = np.bincount(user[rest], minlength=len(stop))
    first = start - np.append(0, np.cumsum(stop - start - size)[:-1])
    random = np.random.default_rng((seed, 0)).random(len(stop))
    validation = rest[first + (random * size).astype(np.int64)]
    training = ~held
    training[validation] = False
    return training, item[validation], tests


class NegativeSampler:
    """Draws items that a user has not interacted with, uniformly, without trial and error.

    With a user's items s_0 < s_1 < ..., the r-th item (from 0) that is none of them is
    r + #{j: s_j - j <= r}: one search in a sorted array.

    Args:
        user: [R] numbers of users, 0 .. users - 1.
        item: [R] numbers of items, 0 .. items - 1.
        users: Number of users.
        items: Number of items.

    Raises:
        ZooError: where a user has interacted with all items.
    """

    def __init__(self, user: np.ndarray, item: np.ndarray, users: int, items: int) -> None:
        self.items = items
        key = np.unique(user.astype(np.int64) * items + item)
        owner = key // items
        count = np.bincount(owner, minlength=users)
        self.start = np.cumsum(count) - count
        self.free = items - count
        if (full := np.flatnonzero(self.free < 1)).size:
            raise ZooError(
                f"{len(full)} users have interacted with all {items} movies in training: no "
                "negative can be drawn for them, leave them out of the ratings"
            )
        rank = np.arange(len(key)) - self.start[owner]
        self.key = owner * (items + 1) + key % items - rank

    def draw(self, user: np.ndarray, random: np.ndarray) -> np.ndarray:
        """[n] items for users [n] and random numbers [n] in [0, 1)."""
        nth = (random * self.free[user]).astype(np.int64)
        below = np.searchsorted(self.key, user * np.int64(self.items + 1) + nth, side="right")
        return nth + below - self.start[user]


def sample_lists(
    user: np.ndarray,
    item: np.ndarray,
    positives: np.ndarray,
    items: int,
    negatives: int,
    seed: tuple[int, ...],
) -> RankedLists:
    """Each user's positive and distinct negatives, none of which the user has interacted with.

    Args:
        user: [R] users of all interactions, training, validation and test alike.
        item: [R] their items.
        positives: [U] held-out items.
        items: Number of items; negatives are drawn from all of them.
        negatives: Number of negatives of a list.
        seed: Seed of the negatives.
    """
    users = len(positives)
    most = int(np.bincount(user, minlength=users).max())
    if items - most < negatives:
        raise ZooError(
            f"data.eval_negatives is {negatives}, but a user has interacted with {most} of {items} "
            f"movies: choose at most {items - most}"
        )
    random = np.random.default_rng(seed)
    lists = np.empty((users, 1 + negatives), np.int64)
    lists[:, 0] = positives
    step = max(1, RANDOM_NUMBERS_AT_ONCE // items)
    for first in range(0, users, step):
        last = min(first + step, users)
        # the smallest of random keys: a random subset of the items
        keys = random.random((last - first, items))
        mine = (user >= first) & (user < last)
        keys[user[mine] - first, item[mine]] = np.inf
        lists[first:last, 1:] = np.argpartition(keys, negatives - 1, axis=1)[:, :negatives]
    label = np.zeros(lists.shape, bool)
    label[:, 0] = True
    return RankedLists(np.repeat(np.arange(users), 1 + negatives), lists.ravel(), label.ravel())


def read_lists(path: Path) -> dict[int, PublishedList]:
    """The lists of a file `user_id, movie_id, negatives` (tab-separated, a comma between
    negatives, header), plain or .gz, by user."""
    require_file(path, "data.test_list")
    first_line(path)  # says what it is where it is no text
    lines, problems = TextFile(path).read(skip=1)
    if problems:
        number, problem = min(problems.items())
        raise ZooError(f"{path}, line {number + 1}: {problem} (data.test_list)")
    lists: dict[int, PublishedList] = {}
    for number, line in enumerate(lines.values(), 2):
        found = LIST_LINE.fullmatch(line)
        if not found:
            raise ZooError(f"{path}, line {number}: it is not user, movie and negatives")
        user, movie = int(found[1]), int(found[2])
        rivals = tuple(map(int, found[3].split(",")))
        if user in lists:
            raise ZooError(f"{path}, line {number}: user {user} has a list already")
        distinct = tuple(dict.fromkeys(rival for rival in rivals if rival != movie))
        lists[user] = PublishedList(movie, distinct, len(rivals) - len(distinct), number)
    if not lists:
        raise ZooError(f"{path} holds no lists (data.test_list)")
    return lists
