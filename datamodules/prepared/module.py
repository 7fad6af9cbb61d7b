"""What all datamodules share: their common options, when data are prepared, which loaders."""

import shutil
import tempfile
import weakref
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from datamodules.prepared.folder import Manifest, build_once, key
from datamodules.prepared.options import at_least, shares
from zoo.data.errors import ZooError, missing
from zoo.data.module import DataSummary, SplitSize, ZooDataModule
from zoo.data.schema import Schema


class BatchedDataModule(ZooDataModule):
    """Splits of rows, in batches.

    Args:
        batch_size: Number of rows (or sessions) of a batch on one process.
        shuffle_seed: Seed of the order of the training rows.
    """

    def __init__(self, batch_size: int = 1024, shuffle_seed: int = 0) -> None:
        super().__init__()
        at_least(1, batch_size=batch_size)
        at_least(0, shuffle_seed=shuffle_seed)
        self.batch_size = batch_size
        self.shuffle_seed = shuffle_seed

    def loader(self, split: str, **options: Any) -> Iterable[Any]:
        """Batches of `train`, `val`, `test` or `predict`, once set up.

        Args:
            split: Which rows.
            options: `rank` and `world_size`; of training `shuffle`, `seed` and `epoch`; of
                prediction `with_row`.
        """
        missing(self, "loader", "batches")

    def train_dataloader(self) -> Iterable[Any]:
        """Shuffled batches of the training split."""
        trainer = self.trainer
        epoch = (lambda: trainer.current_epoch) if trainer else (lambda: 0)
        return self._of_this_process("train", shuffle=True, seed=self.shuffle_seed, epoch=epoch)

    def val_dataloader(self) -> Iterable[Any]:
        """Batches of the validation split, in the order of the file."""
        return self._of_this_process("val")

    def test_dataloader(self) -> Iterable[Any]:
        """Batches of the test split, in the order of the file."""
        return self._of_this_process("test")

    def _of_this_process(self, split: str, **options: Any) -> Iterable[Any]:
        trainer = self.trainer
        if trainer:
            options |= {"rank": trainer.global_rank, "world_size": trainer.world_size}
        return self.loader(split, **options)


class PreparedDataModule(BatchedDataModule):
    """Raw files, prepared once, in batches.

    Args:
        split_seed: Seed of what is dealt or drawn at random once.
        max_bad_rows: Share of malformed rows that is tolerated, from 0 to 1.
        prepared: Folder for prepared data; each source and set of options gets a folder in it.
        verify: Whether to compare prepared data with their checksums before use.
        encoder: The folder `encoder` of a run; `predict` scores with it, and needs no source.
        predict_path: Raw file to score, labelled or not.
        predict_output: Parquet file that `predict` writes.
        synthetic: Retired: generated data have classes of their own, such as
            `datamodules.SyntheticCriteo`; only null is accepted.
        shared: Options of `BatchedDataModule`.
    """

    def __init__(
        self,
        split_seed: int = 0,
        max_bad_rows: float = 0.001,
        prepared: str = "prepared",
        verify: bool = True,
        encoder: str | None = None,
        predict_path: str | None = None,
        predict_output: str | None = None,
        synthetic: dict[str, Any] | None = None,
        **shared: Any,
    ) -> None:
        super().__init__(**shared)
        at_least(0, split_seed=split_seed)
        shares(max_bad_rows=max_bad_rows)
        if synthetic is not None and not encoder:  # where nothing is generated, it did nothing
            name = type(self).__name__
            raise ZooError(
                f"data.synthetic is no option of {name} any more: write "
                f"class_path: datamodules.Synthetic{name}, which takes it"
            )
        self.split_seed = split_seed
        self.max_bad_rows = max_bad_rows
        self.prepared = Path(prepared)
        self.verify = verify
        self.encoder = Path(encoder) if encoder else None
        self.predict_path = predict_path
        self.predict_output = Path(predict_output) if predict_output else None
        self._is_open = False

    # What a dataset defines

    @property
    def dataset(self) -> str:
        """Name of the dataset: its prepared folders and encoders serve only data of this name."""
        return type(self).__name__

    def source(self) -> dict[str, Any]:
        """What distinguishes these raw files from others; plain data."""
        missing(self, "source", "raw files")

    def options(self) -> dict[str, Any]:
        """The name of the dataset, and the options that decide what is prepared; plain data."""
        missing(self, "options", "options of preparation")

    def prepare_into(self, folder: Path) -> None:
        """Prepares everything into an empty folder, its manifest included."""
        missing(self, "prepare_into", "preparation")

    def open_splits(self) -> None:
        """Opens the prepared data."""
        missing(self, "open_splits", "prepared splits")

    def open_predictions(self, path: str) -> None:
        """Reads the raw file to score; sets `predict_rows`, the number of its rows."""
        missing(self, "open_predictions", "rows to predict")

    def encoded_schema(self, encoder: Path) -> Schema:
        """The schema of the batches that an encoder makes."""
        missing(self, "encoded_schema", "schema of an encoder")

    def make_source(self) -> None:
        """Makes the raw files where they can be made."""

    # Preparation

    @property
    def folder(self) -> Path:
        """Where the prepared data of this source and these options lie."""
        return self.prepared / f"{self.dataset.lower()}-{key(self.source(), self.options())}"

    @property
    def folders(self) -> list[Path]:
        """All folders of prepared data that the batches are made of."""
        return [self.folder]

    @property
    def manifest(self) -> Manifest:
        """The manifest of the rows, once prepared."""
        return self.manifests[self.folder]

    @property
    def manifests(self) -> dict[Path, Manifest]:
        """The manifests of all `folders`, once prepared."""
        if self.encoder:
            raise ZooError("data.encoder serves predict alone: leave it out")
        self._require_prepared()
        return {folder: Manifest.load(folder) for folder in self.folders}

    def prepare_data(self) -> None:
        """Prepares what has not been prepared with these options before."""
        if not self.encoder:
            self.make_source()
            build_once(self.folder, self.prepare_into)

    def setup(self, stage: str) -> None:
        """Opens the prepared data, or reads the file to score."""
        if stage == "predict":
            if self.predict_path is None:
                raise ZooError("predict needs a raw file to score: give --data.predict_path FILE")
            if not self.encoder:
                self._require_prepared()
            self.open_predictions(self.predict_path)
        elif not self._is_open:
            manifests = self.manifests
            if self.verify and (self.trainer is None or self.trainer.local_rank == 0):
                for folder, manifest in manifests.items():
                    manifest.verify(folder)
            self.open_splits()
            self._is_open = True

    def predict_dataloader(self) -> Iterable[Any]:
        """Batches of `predict_path`, in its order, with row numbers."""
        return self._of_this_process("predict", with_row=True)

    def _require_prepared(self) -> None:
        for folder in self.folders:
            if not folder.exists():
                raise ZooError(f"{folder} is not prepared yet: call prepare_data()")

    def _temporary_folder(self) -> Path:
        """A folder that is removed with this object, or when the process ends."""
        folder = Path(tempfile.mkdtemp(prefix="interpretable-zoo-"))
        weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        return folder

    # What prepared data say

    @property
    def schema(self) -> Schema:
        """That of the encoder where one is given, else that of the prepared data."""
        if self.encoder:
            return self.encoded_schema(self.encoder)
        schemas = [Schema.from_dict(manifest.schema) for manifest in self.manifests.values()]
        return Schema(tuple(field for schema in schemas for field in schema.fields))

    def size(self, split: str) -> SplitSize:
        """The size of `train`, `val` or `test`, once prepared."""
        counts = self.manifest.splits[split]
        return SplitSize(counts["rows"], counts["positives"])

    def summary(self) -> DataSummary:
        """What the manifest says, once prepared."""
        manifest = self.manifest
        return DataSummary(
            str(self.folder),
            {split: self.size(split) for split in manifest.splits},
            manifest.rejected,
            manifest.rejected_examples,
            manifest.notes,
        )

    @property
    def positive_rate(self) -> float:
        """Share of positives among the training rows, once prepared."""
        train = self.size("train")
        return train.positives / train.rows

    @property
    def encoder_folder(self) -> Path:
        """The encoder that is given, or that of the prepared data."""
        return self.encoder or self.folder / "encoder"

    def save_encoder(self, folder: Path) -> None:
        """Writes a new folder that `encoder` can name: all that turns raw rows into batches."""
        shutil.copytree(self.encoder_folder, folder, dirs_exist_ok=True)
