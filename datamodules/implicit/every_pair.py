"""Every user with every item: what recommendations are chosen from.

Shapes: B pairs, U users, I items.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from datamodules.implicit.pair_file import read_ids
from datamodules.implicit.pairs import Tables, find
from datamodules.prepared.npy import load_array
from datamodules.prepared.share import Share
from zoo.data.batch import Batch
from zoo.data.errors import ZooError

PAIRS_AT_ONCE = 8192  # as fast as more, on a processor


class EveryPair:
    """All pairs of users and items, user by user; `row` is the number of a pair, see `Recommended`.

    A batch holds some users with all items, or, where these are many, one user with some of them.

    Args:
        tables: The fields of users and items.
        user: [U] numbers of users.
        item: [I] numbers of items.
        batch_size: Number of pairs of a batch, about.
        rank: Number of this process.
        world_size: Number of processes.
    """

    def __init__(
        self,
        tables: Tables,
        user: np.ndarray,
        item: np.ndarray,
        batch_size: int,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        self.tables = tables
        self.user = user
        self.item = item
        parts = -(-len(item) // batch_size)
        self.parts = np.array_split(np.arange(len(item)), parts)
        users = max(1, batch_size // len(item))
        self.share = Share(len(user), users, rank, world_size)

    def __len__(self) -> int:
        return len(self.share) * len(self.parts)

    def __iter__(self) -> Iterator[Batch]:
        for users in self.share.slices():
            number = np.arange(users.start, users.stop, dtype=np.int64)
            for items in self.parts:
                user, item = np.repeat(number, len(items)), np.tile(items, len(number))
                label = np.full(len(user), np.nan)
                batch = self.tables.batch(self.user[user], self.item[item], label)
                yield batch._replace(row=torch.from_numpy(user * len(self.item) + item))


def pairs_left_out(
    user: np.ndarray, item: np.ndarray, met_user: np.ndarray, met_item: np.ndarray
) -> np.ndarray:
    """The numbers of the pairs of users [U] and items [I] that have met, rising.

    Args:
        user: [U] numbers of users, who may come twice.
        item: [I] numbers of items.
        met_user: [n] numbers of the users of what is left out.
        met_item: [n] numbers of its items.
    """
    place = np.full(max(int(item.max()), int(met_item.max(initial=-1))) + 1, -1, np.int64)
    place[item] = np.arange(len(item))
    column = np.where(met_item >= 0, place[met_item], -1)
    met_user, column = met_user[column >= 0], column[column >= 0]
    order = np.argsort(met_user, kind="stable")
    met_user, column = met_user[order], column[order]
    start, stop = (np.searchsorted(met_user, user, side) for side in ("left", "right"))
    count = np.where(user >= 0, stop - start, 0)  # of users whom nobody knows, nothing
    number = np.repeat(np.arange(len(user), dtype=np.int64), count)
    within = np.arange(len(number)) - np.repeat(np.cumsum(count) - count, count)
    found = number * len(item) + column[np.repeat(start, count) + within]
    return np.unique(found)


def chosen_items(
    tables: Tables, known: np.ndarray, path: Path | None, tolerated: float
) -> np.ndarray:
    """[I] numbers of the items to choose from: those of a file, or all that a model knows.

    Args:
        tables: The fields of users and items.
        known: [n] numbers of the items that a model has learned something of.
        path: Text file of original ids; None takes all.
        tolerated: Share of unusable lines that is tolerated.
    """
    if path is None:
        return known
    ids, _, _ = read_ids(path, tolerated, "data.recommend_items")
    found = find(tables.item_ids, ids)
    if len(unknown := ids[found < 0]) > tolerated * len(ids):
        raise ZooError(
            f"{path}: {len(unknown)} of its {len(ids)} movies are not among those of the data, "
            f"such as {unknown[0]}, more than data.max_bad_rows allows (data.recommend_items)"
        )
    found = found[found >= 0]
    _, first = np.unique(found, return_index=True)
    return found[np.sort(first)]


def interactions(folder: Path, exclude: str) -> tuple[np.ndarray, np.ndarray]:
    """The users and items of prepared interactions.

    Args:
        folder: Folder of prepared data.
        exclude: `train`, or `all` of training, validation and test.
    """
    parts = [[load_array(folder / "train", name) for name in ("user", "item")]]
    for split in ("val", "test") if exclude == "all" else ():
        label = np.asarray(load_array(folder / split, "label"))
        parts.append([load_array(folder / split, name)[label] for name in ("user", "item")])
    user, item = (np.concatenate(column).astype(np.int64) for column in zip(*parts, strict=True))
    return user, item
