"""MovieLens files -> encoded tables, training pairs and ranked lists on disk.

    <name>-<key>/manifest.json     schema, split sizes, rejected rows, checksums
                 encoder/          encoder.json, vocabulary.parquet and the tables: scores new pairs
                 train/            user.npy item.npy of the positives
                 val/ test/        user.npy item.npy label.npy of the ranked lists

Shapes: U users that are kept.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from datamodules.implicit.fields import (
    ImplicitFeedback,
    encode,
    expected_means,
    implicit_feedback,
)
from datamodules.implicit.grouplens import MovieLensFiles, read_movielens
from datamodules.implicit.leave_one_out import (
    PublishedList,
    RankedLists,
    hold_out,
    read_lists,
    sample_lists,
)
from datamodules.prepared.encoder import Encoder
from datamodules.prepared.folder import Manifest
from zoo.data.checksums import checksums
from zoo.data.errors import ZooError


@dataclass(frozen=True)
class Protocol:
    """How data are split and sampled.

    Attributes:
        negatives: Number of negatives of each training positive.
        eval_negatives: Number of negatives of each validation or test item.
        split_seed: Seed of the validation items and the lists.
        max_bad_rows: Share of malformed ratings that is tolerated.
        test_list: File of published lists; None samples the test lists.
    """

    negatives: int
    eval_negatives: int
    split_seed: int
    max_bad_rows: float
    test_list: Path | None


def prepare_movielens(
    folder: Path, path: Path, protocol: Protocol, dataset: str, source: dict, options: dict
) -> None:
    """Fills an empty folder with prepared data: encoder, pairs and lists, manifest."""
    files = read_movielens(path)
    rejected = files.ratings.rejected
    rejected.check(protocol.max_bad_rows)
    rows = implicit_feedback(files, path)
    lists = read_lists(protocol.test_list) if protocol.test_list else {}
    notes = _missing(rows, files)
    splits = _write_splits(folder, rows, protocol, lists, notes)
    user, item = (np.load(folder / "train" / f"{name}.npy") for name in ("user", "item"))
    encoder = folder / "encoder"
    encoder.mkdir()
    schema, tables = encode(encoder, rows, files, user, item)
    tables.save(encoder)
    means = expected_means(user, item, tables.item_numbers[: rows.items], protocol.negatives)
    names = [field.name for field in schema.numerical]
    Encoder(dataset, {}, schema, dict(zip(names, means.tolist(), strict=True))).save(encoder)
    Manifest(
        source,
        options,
        schema.to_dict(),
        splits,
        rows.rejected,
        [(example.line, example.reason) for example in rejected.examples],
        checksums(folder),
        notes,
    ).save(folder)


def _missing(rows: ImplicitFeedback, files: MovieLensFiles) -> dict[str, int]:
    users = sum(int(user) not in files.users for user in rows.user_ids[: rows.users])
    movies = sum(int(item) not in files.movies for item in rows.item_ids[: rows.items])
    notes = {
        "users of the ratings are missing from the table of users": users,
        "movies of the ratings are missing from the table of movies": movies,
    }
    return {note: count for note, count in notes.items() if count}


def _write_splits(
    folder: Path,
    rows: ImplicitFeedback,
    protocol: Protocol,
    lists: dict[int, PublishedList],
    notes: dict[str, int],
) -> dict[str, dict[str, int]]:
    published, tests = _published(rows, lists, protocol.test_list)
    training, validation, held = hold_out(rows.user, rows.item, protocol.split_seed, tests)
    if published:
        notes |= _differences(rows, published, tests, lists)
    user, item = _with_tests(rows, held)
    sizes = (rows.items, protocol.eval_negatives)
    val = sample_lists(user, item, validation, *sizes, (protocol.split_seed, 1))
    test = published or sample_lists(user, item, held, *sizes, (protocol.split_seed, 2))
    train = {"user": rows.user[training], "item": rows.item[training]}
    for split, arrays in (("train", train), ("val", vars(val)), ("test", vars(test))):
        (folder / split).mkdir()
        for name, array in arrays.items():
            small = array if array.dtype == bool else array.astype(np.int32)
            np.save(folder / split / f"{name}.npy", small)
    positives = int(training.sum())
    return {
        # `items`, those that negatives are drawn from, are the first in the tables
        "train": {
            "rows": positives * (1 + protocol.negatives),
            "positives": positives,
            "users": rows.users,
            "items": rows.items,
        },
        "val": {"rows": len(val.label), "positives": int(val.label.sum())},
        "test": {"rows": len(test.label), "positives": int(test.label.sum())},
    }


def _with_tests(rows: ImplicitFeedback, held: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """All interactions, and the published test items that are none."""
    interacted = np.unique(rows.user[rows.item == held[rows.user]])
    new = np.setdiff1d(np.arange(rows.users), interacted)
    new = new[held[new] < rows.items]
    return np.append(rows.user, new), np.append(rows.item, held[new])


def _published(
    rows: ImplicitFeedback, lists: dict[int, PublishedList], path: Path | None
) -> tuple[RankedLists | None, np.ndarray]:
    """The lists in numbers, and [U] their held-out items (-1 for a user without a list)."""
    tests = np.full(rows.users, -1, np.int64)
    if not lists:
        return None, tests
    users = {int(user): number for number, user in enumerate(rows.user_ids)}
    items = {int(item): number for number, item in enumerate(rows.item_ids)}
    parts: list[tuple[int, list[int]]] = []
    for user, entry in lists.items():
        movies = (entry.movie, *entry.negatives)
        unknown = [f"movie {movie}" for movie in movies if movie not in items]
        unknown = [f"user {user}"] if user not in users else unknown
        if unknown:
            raise ZooError(
                f"{path}, line {entry.line}: the ratings hold no {unknown[0]}: give the list of "
                "this data set (data.test_list)"
            )
        if users[user] < rows.users:
            tests[users[user]] = items[entry.movie]
            parts.append((users[user], [items[movie] for movie in movies]))
    if not parts:
        raise ZooError(f"{path}: no user of these lists has enough interactions (data.test_list)")
    sizes = [len(movies) for _, movies in parts]
    label = np.zeros(sum(sizes), bool)
    label[np.cumsum([0, *sizes[:-1]])] = True
    user = np.repeat([user for user, _ in parts], sizes)
    return RankedLists(user, np.concatenate([movies for _, movies in parts]), label), tests


def _differences(
    rows: ImplicitFeedback,
    published: RankedLists,
    tests: np.ndarray,
    lists: dict[int, PublishedList],
) -> dict[str, int]:
    """How the published lists differ from the rule; a count of 0 is reported too."""
    last = rows.item[np.cumsum(np.bincount(rows.user)) - 1]
    keys = rows.user * len(rows.item_ids) + rows.item
    rival = published.user * len(rows.item_ids) + published.item
    interacted = np.isin(rival[~published.label], keys)
    return {
        "held-out movies of data.test_list are not their user's last": int(
            ((tests >= 0) & (tests != last)).sum()
        ),
        "negatives of data.test_list are movies that their user has interacted with": int(
            interacted.sum()
        ),
        "negatives of data.test_list are left out, as their list holds the movie already": sum(
            entry.repeated for entry in lists.values()
        ),
        "users have no list in data.test_list": int((tests < 0).sum()),
        "users of data.test_list have too few interactions and are left out": len(lists)
        - int((tests >= 0).sum()),
    }
