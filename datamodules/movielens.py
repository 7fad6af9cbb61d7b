"""MovieLens 1M and 100K (GroupLens): which movies users rate, ranked leave-one-out."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from pytorch_lightning import LightningDataModule

from datamodules.encoder import Encoder
from datamodules.leave_one_out import NegativeSampler
from datamodules.movielens_prepare import Protocol, prepare_movielens
from datamodules.movielens_raw import movielens_identity
from datamodules.pairs import FixedPairs, Tables, TrainingPairs, find, read_pairs
from datamodules.store import Manifest, build_once, key, locked, source_identity
from datamodules.synthetic_movielens import PlantedRatings
from zoo.schema import Schema, ZooError


class MovieLens(LightningDataModule):
    """GroupLens's ratings as implicit feedback: every rating is a positive, whatever its stars.

    Leave-one-out (He et al. 2017; Afchar and Hennequin 2020, section 4.2): each user's last
    interaction is the test item, another one drawn at random the validation item, the rest is
    for training; users with fewer than three interactions are left out. Each validation or
    test item is ranked among items that the user has never interacted with.

    Training negatives are new each epoch, drawn uniformly from all items that the user has not
    interacted with in training. That may be the user's validation or test item: a model must
    not be told that these are none.

    Args:
        path: GroupLens's `ml-1m.zip` or `ml-100k.zip`, or the unpacked folder.
        batch_size: rows of a batch on one process, positives and negatives.
        negatives: for each training positive.
        eval_negatives: for each validation or test item, sampled once by `split_seed`.
        test_list: published lists to test on instead: a file `user_id, movie_id, negatives` in
            original ids, plain or .gz; the held-out movie of a list is its user's test item.
        split_seed: of validation items and sampled lists.
        shuffle_seed: of the order and the negatives of training rows.
        max_bad_rows: share of malformed ratings that is tolerated.
        prepared: folder for prepared data, one folder in it for each file and set of options.
        verify: compare prepared data with their checksums before use.
        synthetic: write the file with this generator if it does not exist.
        encoder: the `encoder` folder of a run. `predict` scores with it and needs no `path`.
        predict_path: text file of pairs to score, `user,movie` or tab-separated, in original
            ids, with or without a header.
        predict_output: Parquet file that `predict` writes.
    """

    def __init__(
        self,
        path: str,
        batch_size: int = 1024,
        negatives: int = 4,
        eval_negatives: int = 99,
        test_list: str | None = None,
        split_seed: int = 0,
        shuffle_seed: int = 0,
        max_bad_rows: float = 0.001,
        prepared: str = "prepared",
        verify: bool = True,
        synthetic: PlantedRatings | None = None,
        encoder: str | None = None,
        predict_path: str | None = None,
        predict_output: str | None = None,
    ) -> None:
        super().__init__()
        counts = {"batch_size": batch_size, "negatives": negatives}
        for option, value in (counts | {"eval_negatives": eval_negatives}).items():
            if value < 1:
                raise ZooError(f"data.{option} must be at least 1, got {value}")
        for option, value in (("split_seed", split_seed), ("shuffle_seed", shuffle_seed)):
            if value < 0:
                raise ZooError(f"data.{option} must be at least 0, got {value}")
        if not 0 <= max_bad_rows <= 1:
            raise ZooError(f"data.max_bad_rows is a share between 0 and 1, got {max_bad_rows}")
        self.path = Path(path)
        self.batch_size = batch_size
        lists = Path(test_list) if test_list else None
        self.protocol = Protocol(negatives, eval_negatives, split_seed, max_bad_rows, lists)
        self.shuffle_seed = shuffle_seed
        self.prepared = Path(prepared)
        self.verify = verify
        self.synthetic = synthetic
        self.encoder = Path(encoder) if encoder else None
        self.predict_path = Path(predict_path) if predict_path else None
        self.predict_output = Path(predict_output) if predict_output else None
        self._loaders: dict[str, Callable[..., TrainingPairs | FixedPairs]] = {}

    # Preparation

    @property
    def folder(self) -> Path:
        """Where the prepared data of this source and these options lie."""
        return self.prepared / f"movielens-{key(self._source(), self._options())}"

    @property
    def manifest(self) -> Manifest:
        """Of the prepared data; they are prepared first if need be."""
        if self.encoder:
            raise ZooError("data.encoder serves predict alone: leave it out")
        self.prepare_data()
        return Manifest.load(self.folder)

    @property
    def schema(self) -> Schema:
        """Of the batches: that of the encoder where one is given, else of the prepared data."""
        if self.encoder:
            return Encoder.load(self.encoder).schema
        return Schema.from_dict(self.manifest.schema)

    def numerical_means(self) -> np.ndarray:
        """[N] float32 expected means of the numerical fields over the training rows."""
        fitted = Encoder.load(self.folder / "encoder")
        return np.array([fitted.means[f.name] for f in fitted.schema.numerical], np.float32)

    def ceiling(self) -> dict[str, float]:
        """Nothing: no best possible ranking is known."""
        return {}

    def save_encoder(self, folder: Path) -> None:
        """Writes a folder that `encoder` can name: all that turns pairs into these batches."""
        shutil.copytree(self.folder / "encoder", folder, dirs_exist_ok=True)

    def prepare_data(self) -> None:
        """Prepares what has not been prepared with these options before."""
        if self.encoder:
            return
        if self.synthetic:
            with locked(self.path):
                self.synthetic.ensure(self.path)
        build_once(self.folder, self._prepare)

    def _prepare(self, folder: Path) -> None:
        dataset = type(self).__name__
        prepare_movielens(
            folder, self.path, self.protocol, dataset, self._source(), self._options()
        )

    def _source(self) -> dict[str, Any]:
        return movielens_identity(self.path)

    def _options(self) -> dict[str, Any]:
        lists = self.protocol.test_list
        if lists and not lists.is_file():
            raise ZooError(f"no such file: {lists} (data.test_list)")
        return {
            "dataset": type(self).__name__,
            **vars(self.protocol),
            "test_list": source_identity(lists) if lists else None,
        }

    # Loading

    def setup(self, stage: str) -> None:
        """Opens the prepared data; `predict` reads its file instead."""
        if stage == "predict":
            self._read_pairs()
        elif not self._loaders:
            manifest, folder = self.manifest, self.folder
            if self.verify and (self.trainer is None or self.trainer.local_rank == 0):
                manifest.verify(folder)
            tables = Tables.open(folder / "encoder")
            train = _arrays(folder / "train", "user", "item")
            sizes = (manifest.splits["train"][of] for of in ("users", "items"))
            sampler = NegativeSampler(*train, *sizes)
            self._loaders["train"] = lambda **options: TrainingPairs(
                tables, *train, sampler, self.protocol.negatives, **options
            )
            for split in ("val", "test"):
                lists = _arrays(folder / split, "user", "item", "label")
                self._loaders[split] = lambda lists=lists, **options: FixedPairs(
                    tables, *lists, ranked=True, **options
                )

    def train_dataloader(self) -> TrainingPairs:
        """Shuffled positives and fresh negatives."""
        trainer = self.trainer
        epoch = (lambda: trainer.current_epoch) if trainer else (lambda: 0)
        return self._loader("train", seed=self.shuffle_seed, epoch=epoch)

    def val_dataloader(self) -> FixedPairs:
        """The validation lists."""
        return self._loader("val")

    def test_dataloader(self) -> FixedPairs:
        """The test lists."""
        return self._loader("test")

    def predict_dataloader(self) -> FixedPairs:
        """The pairs of `predict_path`, in file order, with row numbers."""
        return self._loader("predict")

    def _loader(self, split: str, **options: Any) -> Any:
        trainer = self.trainer
        if trainer:
            options |= {"rank": trainer.global_rank, "world_size": trainer.world_size}
        return self._loaders[split](batch_size=self.batch_size, **options)

    # Prediction

    def _read_pairs(self) -> None:
        if self.predict_path is None:
            raise ZooError("predict needs a file of pairs: give --data.predict_path FILE")
        folder = self.encoder or self.folder / "encoder"
        Encoder.load(folder).check(type(self).__name__, {}, folder)
        pairs, row, self.predict_rows = read_pairs(self.predict_path, self.protocol.max_bad_rows)
        tables = Tables.open(folder)
        user, item = find(tables.user_ids, pairs[:, 0]), find(tables.item_ids, pairs[:, 1])
        label = np.full(len(row), np.nan, np.float32)
        self._loaders["predict"] = lambda **options: FixedPairs(
            tables.with_unknown(), user, item, label, row=row, **options
        )


def _arrays(folder: Path, *names: str) -> list[np.ndarray]:
    try:
        return [np.load(folder / f"{name}.npy") for name in names]
    except (OSError, ValueError, EOFError) as error:
        raise ZooError(
            f"{folder} is damaged: {error}; delete {folder.parent} to prepare the data again"
        ) from error
