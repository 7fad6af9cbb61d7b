"""MovieLens 1M and 100K (GroupLens): which movies users rate, ranked leave-one-out."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from datamodules.implicit.every_pair import (
    PAIRS_AT_ONCE,
    EveryPair,
    chosen_items,
    interactions,
    pairs_left_out,
)
from datamodules.implicit.grouplens import movielens_identity, read_titles
from datamodules.implicit.leave_one_out import NegativeSampler
from datamodules.implicit.pair_file import read_ids, read_pairs
from datamodules.implicit.pairs import FixedPairs, Tables, TrainingPairs, find
from datamodules.implicit.prepare import Protocol, prepare_movielens
from datamodules.implicit.serving import COLUMNS, arrays_of, examples_of, plan_of
from datamodules.prepared.carried import CARRIED, carried_file, check_columns
from datamodules.prepared.encoder import Encoder
from datamodules.prepared.folder import source_identity
from datamodules.prepared.module import PreparedDataModule
from datamodules.prepared.npy import load_array
from datamodules.prepared.options import at_least
from zoo.data.errors import require_file
from zoo.data.files import temporary_folder
from zoo.data.recommended import Recommended
from zoo.data.schema import UNKNOWN, Schema
from zoo.data.serving import Serving

PAIR_COLUMNS = tuple(column.name for column in COLUMNS)  # of a file to score
TITLE = "title"  # of a movie, which recommendations may carry along


class MovieLens(PreparedDataModule):
    """GroupLens's ratings as implicit feedback: every rating is a positive, whatever its stars.

    Leave-one-out (He et al. 2017; Afchar and Hennequin 2020, section 4.2): each user's last
    interaction is the test item, another one drawn at random the validation item, the rest is
    for training; users with fewer than three interactions are left out. Each validation or
    test item is ranked among items that the user has never interacted with.

    Training negatives are new each epoch, drawn uniformly from all items that the user has not
    interacted with in training. That may be the user's validation or test item: leaving these
    out would show a model which they are.

    Args:
        path: GroupLens's `ml-1m.zip` or `ml-100k.zip`, or the unpacked folder.
        negatives: Number of negatives for each training positive.
        eval_negatives: Number of negatives for each validation or test item, sampled once by
            `split_seed`.
        balance_users: Whether to draw each epoch's positives so that all users are as likely, as
            each counts the same in HR@K and NDCG@K; else every positive is taken once, and users
            weigh by their number of ratings.
        test_list: Published lists to test on instead: a file `user_id, movie_id, negatives` in
            original ids, plain or .gz; the held-out movie of a list is its user's test item.
        recommend: Number of movies that `predict` recommends to each user, in place of scoring
            pairs: `predict_path` is then a text file of users, an id a line, and null is all users
            with a rating to learn from.
        recommend_exclude: Movies that are not recommended to a user: `all` that the user has rated;
            `train`, those of training alone, so that held-out ones can be found; `none`; or a
            text file of pairs `user,movie`. By the first two the ratings of `path` are needed.
        recommend_items: Text file of the movies to choose from, an id a line; null is all with a
            rating to learn from.
        shared: Options of `PreparedDataModule`. `split_seed` draws the validation items and the
            lists; `predict_path` is a text file of pairs, plain or .gz, `user,movie` or
            tab-separated, in original ids, with or without a header. Of recommendations,
            `predict_columns` may be `title`, that of each movie.
    """

    def __init__(
        self,
        path: str,
        negatives: int = 4,
        eval_negatives: int = 99,
        balance_users: bool = False,
        test_list: str | None = None,
        recommend: int | None = None,
        recommend_exclude: str = "all",
        recommend_items: str | None = None,
        **shared: Any,
    ) -> None:
        super().__init__(**shared)
        at_least(1, negatives=negatives, eval_negatives=eval_negatives)
        if recommend is not None:
            at_least(1, recommend=recommend)
        self.recommend = recommend
        self.recommend_exclude = recommend_exclude
        self.recommend_items = Path(recommend_items) if recommend_items else None
        self.path = Path(path)
        lists = Path(test_list) if test_list else None
        self.protocol = Protocol(
            negatives, eval_negatives, self.split_seed, self.max_bad_rows, lists
        )
        self.balance_users = balance_users
        self._loaders: dict[str, Callable[..., TrainingPairs | FixedPairs | EveryPair]] = {}

    # Preparation

    def encoded_schema(self, encoder: Path) -> Schema:
        """The fields of an encoder."""
        return Encoder.load(encoder).schema

    def numerical_means(self) -> np.ndarray:
        """[N] float32 expected means of the numerical fields over the training rows, unbalanced."""
        fitted = Encoder.load(self.folder / "encoder")
        return np.array([fitted.means[f.name] for f in fitted.schema.numerical], np.float32)

    def prepare_into(self, folder: Path) -> None:
        """Prepares interactions, lists and tables."""
        prepare_movielens(
            folder, self.path, self.protocol, self.dataset, self.source(), self.options()
        )

    def source(self) -> dict[str, Any]:
        """The zip or folder."""
        return movielens_identity(self.path)

    def options(self) -> dict[str, Any]:
        """The protocol, and what distinguishes its lists from others."""
        lists = self.protocol.test_list
        if lists:
            require_file(lists, "data.test_list")
        return {
            "dataset": self.dataset,
            **vars(self.protocol),
            "test_list": source_identity(lists) if lists else None,
        }

    # Loading

    def open_splits(self) -> None:
        """Opens tables, positives and lists."""
        manifest, folder = self.manifest, self.folder
        tables = Tables.open(folder / "encoder")
        user, item = _arrays(folder / "train", "user", "item")
        sizes = manifest.splits["train"]
        sampler = NegativeSampler(user, item, sizes["users"], sizes["items"])
        self._loaders["train"] = lambda shuffle=True, with_row=False, **options: TrainingPairs(
            tables,
            user,
            item,
            sampler,
            self.protocol.negatives,
            balanced=self.balance_users,
            **options,
        )
        for split in ("val", "test"):
            lists = _arrays(folder / split, "user", "item", "label")
            self._loaders[split] = lambda lists=lists, **options: FixedPairs(
                tables, *lists, ranked=True, **options
            )

    def loader(self, split: str, **options: Any) -> TrainingPairs | FixedPairs | EveryPair:
        """Positives with fresh negatives for training, whole lists for the others."""
        return self._loaders[split](batch_size=self.batch_size, **options)

    # Prediction

    def open_predictions(self, path: str) -> None:
        """Reads the pairs to score."""
        folder = self.encoder_folder
        Encoder.load(folder).check(self.dataset, {}, folder)
        pairs, row, self.predict_rows = read_pairs(Path(path), self.max_bad_rows)
        check_columns(self.predict_columns, PAIR_COLUMNS, "a pair")
        if self.predict_columns:
            place = temporary_folder(self)
            with carried_file(place, self.predict_columns) as carry:
                named: dict[str, list[str]] = dict(
                    zip(PAIR_COLUMNS, pairs.T.astype(str).tolist(), strict=True)
                )
                carry(row, *(named[column] for column in self.predict_columns))
            self.carried = place / CARRIED
        tables = Tables.open(folder)
        self._loaders["predict"] = lambda with_row=True, **options: _pairs_to_score(
            tables, pairs, row, **options
        )

    def open_recommendations(self) -> None:
        """Opens all pairs of the users and movies; notes which have met."""
        folder, tolerated = self.encoder_folder, self.max_bad_rows
        Encoder.load(folder).check(self.dataset, {}, folder)
        tables = Tables.open(folder)
        check_columns(self.predict_columns, [TITLE], "a recommendation")
        known = [np.flatnonzero(of[:, 0] != UNKNOWN) for of in (tables.user, tables.item)]
        item = chosen_items(tables, known[1], self.recommend_items, tolerated)
        if self.predict_path:
            path = Path(self.predict_path)
            ids, row, self.predict_rows = read_ids(path, tolerated, "data.predict_path")
            user = find(tables.user_ids, ids)
        else:
            user = known[0]
            ids, row = tables.user_ids[user], np.arange(len(user))
        names: dict[str, Any] = {"movie": tables.item_ids[item]}
        if self.predict_columns:
            titles = read_titles(self.path)
            names[TITLE] = [titles.get(int(movie)) for movie in names["movie"]]
        self.recommended = Recommended(
            pa.table({"user": ids}),
            pa.table(names),
            row,
            pairs_left_out(user, item, *self._met(tables)),
        )
        batch_size = max(self.batch_size, PAIRS_AT_ONCE)
        self._loaders["predict"] = lambda with_row=True, **options: EveryPair(
            tables.with_unknown(), user, item, **{**options, "batch_size": batch_size}
        )

    def _met(self, tables: Tables) -> tuple[np.ndarray, np.ndarray]:
        """Numbers of the users and movies of the pairs that are not recommended."""
        if self.recommend_exclude == "none":
            return np.zeros(0, np.int64), np.zeros(0, np.int64)
        if self.recommend_exclude in ("all", "train"):
            self.prepare()
            return interactions(self.folder, self.recommend_exclude)
        path = Path(self.recommend_exclude)
        pairs, _, _ = read_pairs(path, self.max_bad_rows, "data.recommend_exclude")
        return find(tables.user_ids, pairs[:, 0]), find(tables.item_ids, pairs[:, 1])

    # Serving

    def serving(self) -> Serving:
        """How pairs are encoded without this project; all users and items go along."""
        folder = self.encoder_folder
        Encoder.load(folder).check(self.dataset, {}, folder)
        tables = Tables.open(folder)
        examples = examples_of(tables)
        file = temporary_folder(self) / "examples.csv"
        cells = ([row[column] for column in PAIR_COLUMNS] for row in examples)
        file.write_text("".join(f"{user},{item}\n" for user, item in cells))
        pairs, row, _ = read_pairs(file, 1)
        batches = _pairs_to_score(tables, pairs, row, batch_size=len(row))
        return Serving("pairs", plan_of(), arrays_of(tables), COLUMNS, examples, batches)


def _pairs_to_score(
    tables: Tables, pairs: np.ndarray, row: np.ndarray, **options: Any
) -> FixedPairs:
    """Batches of pairs [n, 2] of original ids, which are the rows [n] of a file."""
    user, item = find(tables.user_ids, pairs[:, 0]), find(tables.item_ids, pairs[:, 1])
    label = np.full(len(row), np.nan, np.float32)
    return FixedPairs(tables.with_unknown(), user, item, label, row=row, **options)


def _arrays(folder: Path, *names: str) -> list[np.ndarray]:
    return [load_array(folder, name) for name in names]
