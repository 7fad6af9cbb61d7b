"""What models and commands ask of data: one class, with a default for all that may be missing.

A datamodule of one's own needs `schema` and the dataloaders of the splits that it has:

    class Mine(ZooDataModule):
        @property
        def schema(self) -> Schema: ...
        def train_dataloader(self) -> Iterable[Batch]: ...
        def val_dataloader(self) -> Iterable[Batch]: ...

A dataloader is any iterable but a list, which Lightning takes for several dataloaders. The rest
makes it better: `predict` scores what `predict_dataloader` gives, a run directory scores new raw
files where `save_encoder` has kept what that takes, and so on.

Shapes: N numerical fields.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pytorch_lightning import LightningDataModule, Trainer

from zoo.data.batch import Batch
from zoo.data.batch_checks import check_labels
from zoo.data.crossing import CrossRows
from zoo.data.errors import ZooError, missing
from zoo.data.recommended import Recommended
from zoo.data.schema import Schema
from zoo.data.serving import Serving

if TYPE_CHECKING:
    import pyarrow as pa

# The splits, and the stage of Lightning's `setup` that each is part of
STAGES = {"train": "fit", "val": "validate", "test": "test", "predict": "predict"}
QUANTILE_ROWS = 500_000  # that quantiles are taken of


@dataclass(frozen=True)
class SplitSize:
    """How large a split is.

    Attributes:
        rows: Number of rows with a label; of sessions, of the tracks to predict with one.
        positives: Number of rows whose label is 1.
    """

    rows: int
    positives: int


@dataclass(frozen=True)
class DataSummary:
    """What the command `prepare` prints.

    Attributes:
        place: Where the prepared data lie, or what they are made of.
        splits: Size of each split, by name.
        rejected: Number of malformed rows, by reason.
        rejected_examples: (line, reason) of the first malformed rows.
        notes: Further counts that a user should know of, by what they count.
    """

    place: str
    splits: dict[str, SplitSize]
    rejected: dict[str, int] = field(default_factory=dict)
    rejected_examples: list[tuple[int, str]] = field(default_factory=list)
    notes: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class EncodedTable:
    """Rows in memory, as a model takes them.

    Attributes:
        batches: The usable rows, in their order; `row` is the number of each in the table.
        rejected: Number of the other rows, by reason.
        rejected_examples: (number from 1, reason) of the first of these.
    """

    batches: Iterable[Any]
    rejected: dict[str, int] = field(default_factory=dict)
    rejected_examples: list[tuple[int, str]] = field(default_factory=list)


class ZooDataModule(LightningDataModule):
    """Splits of rows or sessions, in batches: the base class of all datamodules.

    Its batches are `zoo.Batch` or `zoo.SessionBatch`, in the order of `schema`. `prepare_data` may
    be called more than once, and by several processes at the same time; `schema` is read after it.
    A constructor that takes an option `encoder` is given the `encoder` folder of the run whose
    checkpoint is scored or trained further; `predict_path` and `predict_output` say which file to
    score and where the predictions go.

    Attributes:
        predict_path: Raw file to score.
        predict_output: File that the command `predict` writes, .parquet or .csv; None lets the
            command choose a place in the run directory.
        predict_rows: Number of rows of the raw file, malformed ones included, once set up for
            prediction; None where each row gives a prediction.
        carried: Parquet file of `row` (int64, rising) and of those columns of the raw file that
            the predictions carry along, once set up for prediction; None carries none.
        recommend: Number of items that `predict` recommends to each user; None scores rows.
        recommended: The users and items of these, once set up for prediction: the batches to
            predict are then all their pairs.
    """

    predict_path: str | None = None
    predict_output: Path | None = None
    predict_rows: int | None = None
    carried: Path | None = None
    recommend: int | None = None
    recommended: Recommended | None = None

    def __init_subclass__(cls, **options: Any) -> None:
        """Lets each of its dataloaders be looked at before Lightning takes it apart."""
        super().__init_subclass__(**options)
        for split in STAGES:
            name = f"{split}_dataloader"
            if name in vars(cls):
                setattr(cls, name, _one_dataloader(name, vars(cls)[name]))

    # What every datamodule offers

    @property
    def schema(self) -> Schema:
        """The fields of the batches, once `prepare_data` has been called; prepares nothing."""
        missing(self, "schema", "fields (schema)")

    def train_dataloader(self) -> Iterable[Any]:
        """Batches to train on, in a new order each epoch."""
        missing(self, "train_dataloader", "rows to train on")

    def val_dataloader(self) -> Iterable[Any]:
        """Batches of the validation split, in the same order each time."""
        missing(self, "val_dataloader", "validation rows")

    # What it may offer

    def test_dataloader(self) -> Iterable[Any]:
        """Batches of the test split, in the same order each time."""
        missing(self, "test_dataloader", "test rows")

    def predict_dataloader(self) -> Iterable[Any]:
        """Batches to score, whose `row` says which row of the file each is."""
        missing(self, "predict_dataloader", "rows to predict")

    @property
    def positive_rate(self) -> float | None:
        """Share of positives among the training rows; None where it is not known."""
        return None

    @property
    def negative_sampling_rate(self) -> float:
        """Share of the negatives that are among the training rows; other splits hold all rows.

        Models take it into account: their probabilities are those of all rows.
        """
        return 1.0

    def numerical_means(self) -> np.ndarray:
        """[N] float32 means of the numerical fields over the training rows, once set up."""
        total, rows = np.zeros(len(self.schema.numerical)), 0
        for batch in self.train_dataloader():
            total += batch.numerical.double().sum(0).cpu().numpy()
            rows += len(batch.label)
        return (total / max(rows, 1)).astype(np.float32)

    def numerical_quantiles(self, parts: int) -> np.ndarray:
        """[parts + 1, N] float32 the k / parts quantiles of each number, once set up.

        They are those of the training rows, or, where these are many, of some of them.

        Args:
            parts: Number of parts.
        """
        found, rows = [], 0
        for batch in self.train_dataloader():
            found.append(batch.numerical.cpu().numpy())
            rows += len(found[-1])
            if rows >= QUANTILE_ROWS:
                break
        return quantiles(np.concatenate(found), parts)

    def ceiling(self) -> dict[str, float]:
        """Metrics of the true probabilities of the test rows, where the data are generated."""
        return {}

    def size(self, split: str) -> SplitSize:
        """The size of `train`, `val` or `test`, once set up; counted where it is not known."""
        rows = positives = 0
        for batch in self.batches(split):
            labels = batch.label[batch.labelled]
            rows += len(labels)
            positives += int(labels.sum())
        return SplitSize(rows, positives)

    def summary(self) -> DataSummary:
        """What the command `prepare` prints, once prepared."""
        splits = {}
        for split in ("train", "val", "test"):
            if self.offers(split):
                self.setup(STAGES[split])
                splits[split] = self.size(split)
        return DataSummary(type(self).__name__, splits)

    @property
    def encoder_folder(self) -> Path | None:
        """The encoder that names the values of ids (see `zoo.data.encoder`); None without one."""
        return None

    def table_columns(self) -> Sequence[str]:
        """The columns that `encode_table` reads."""
        raise ZooError(
            f"{type(self).__name__} reads no DataFrame: write the rows to a file such as it reads, "
            "and use the command predict with --data.predict_path"
        )

    def encode_table(self, table: "pa.Table") -> EncodedTable:
        """The rows of a table in memory, by the encoder; no file is written.

        Args:
            table: The rows; of its columns, those of `table_columns` are read.
        """
        missing(self, "encode_table", "ids of rows in memory")

    def serving(self) -> Serving:
        """How raw rows become inputs of a model, by the encoder, where this project is not there.

        It is what the command `export` writes beside a model.
        """
        raise ZooError(
            f"{type(self).__name__} cannot say without this project how raw rows are encoded, so "
            "that its models are not exported: it has no method `serving`"
        )

    def cross_rows(self, rows: int) -> CrossRows:
        """Rows on which the command `gains` tries out cross fields, once set up.

        Args:
            rows: Largest number of rows of a split; of more, some are taken.
        """
        raise ZooError(
            f"{type(self).__name__} makes no cross fields, whose gains could be measured: "
            "datamodules.Table does"
        )

    def save_encoder(self, folder: Path) -> None:
        """Writes a new folder, kept in the run directory, that scores new raw files."""

    def checksums(self) -> dict[str, str]:
        """What the batches are made of, once set up: checksums of `encoder`, `train` and `val`.

        A part of the encoder that has a checksum of its own, such as a cross field, is
        `encoder/NAME`.

        A checkpoint keeps them. It is not scored with ids of another encoder, and a fit that goes
        on with other validation rows forgets the best score of the earlier ones.
        """
        return {}

    # What the commands use

    def offers(self, split: str) -> bool:
        """Whether this datamodule has a split `train`, `val`, `test` or `predict`."""
        name = f"{split}_dataloader"
        return getattr(type(self), name) is not getattr(ZooDataModule, name)

    def batches(self, split: str) -> Iterable[Any]:
        """The batches of a split that is set up."""
        return getattr(self, f"{split}_dataloader")()

    def on_before_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Refuses rows without a label while they are on the CPU, where looking is cheap."""
        stage = self.trainer.state.stage if self.trainer else None
        split = stage.dataloader_prefix if stage else None
        if split and isinstance(batch, Batch) and batch.label.is_cpu:
            check_labels(batch, split)
        return batch


def _one_dataloader(name: str, method: Callable[..., Any]) -> Callable[..., Any]:
    """The method, which refuses to give what Lightning takes for several dataloaders, or none."""

    @wraps(method)
    def checked(self: ZooDataModule) -> Any:
        found = method(self)
        # without a trainer, a list is as good as any
        if self.trainer and (found is None or isinstance(found, list | tuple | dict)):
            raise ZooError(
                f"{type(self).__name__}.{name} gives a {type(found).__name__}: give an "
                "iterable of batches that is no list, tuple or dict, which Lightning takes for "
                "several dataloaders, such as DataLoader(batches, batch_size=None)"
            )
        return found

    return checked


def quantiles(rows: np.ndarray, parts: int) -> np.ndarray:
    """[parts + 1, N] float32 the k / parts quantiles of the columns of rows [n, N].

    Each is the smallest value that at least k / parts of the rows do not exceed.
    """
    shares = np.arange(parts + 1) / parts
    return np.quantile(rows, shares, axis=0, method="inverted_cdf").astype(np.float32)


def datamodule_of(trainer: Trainer) -> ZooDataModule | None:
    """The datamodule that a trainer runs with; None where it runs with bare dataloaders."""
    data = getattr(trainer, "datamodule", None)
    return data if isinstance(data, ZooDataModule) else None
