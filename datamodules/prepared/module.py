"""What all datamodules share: their common options, when data are prepared, which loaders."""

from abc import abstractmethod
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from datamodules.prepared.store import Manifest, build_once, key
from zoo.data.errors import ZooError
from zoo.data.module import ZooDataModule
from zoo.data.schema import Schema


class LoadedData(ZooDataModule):
    """Splits of rows, in batches.

    Args:
        batch_size: rows (or sessions) of a batch on one process.
        shuffle_seed: seed of the order of the training rows.
    """

    def __init__(self, batch_size: int = 1024, shuffle_seed: int = 0) -> None:
        super().__init__()
        at_least(1, batch_size=batch_size)
        at_least(0, shuffle_seed=shuffle_seed)
        self.batch_size = batch_size
        self.shuffle_seed = shuffle_seed

    @abstractmethod
    def loader(self, split: str, **options: Any) -> Iterable[Any]:
        """Batches of `train`, `val`, `test` or `predict`.

        Args:
            split: which rows.
            options: `rank` and `world_size`; of training `shuffle`, `seed` and `epoch`; of
                prediction `with_row`.
        """

    def ceiling(self) -> dict[str, float]:
        """Metrics of the true probabilities of the test rows, where the data are generated."""
        return {}

    def train_dataloader(self) -> Iterable[Any]:
        """Shuffled batches of the training split."""
        trainer = self.trainer
        epoch = (lambda: trainer.current_epoch) if trainer else (lambda: 0)
        return self._shared("train", shuffle=True, seed=self.shuffle_seed, epoch=epoch)

    def val_dataloader(self) -> Iterable[Any]:
        """Batches of the validation split, in the order of the file."""
        return self._shared("val")

    def test_dataloader(self) -> Iterable[Any]:
        """Batches of the test split, in the order of the file."""
        return self._shared("test")

    def predict_dataloader(self) -> Iterable[Any]:
        """Batches of `predict_path`, in its order, with row numbers."""
        return self._shared("predict", with_row=True)

    def _shared(self, split: str, **options: Any) -> Iterable[Any]:
        trainer = self.trainer
        if trainer:
            options |= {"rank": trainer.global_rank, "world_size": trainer.world_size}
        return self.loader(split, **options)


class PreparedData(LoadedData):
    """Raw files, prepared once, in batches.

    Args:
        split_seed: of what is dealt or drawn at random once.
        max_bad_rows: share of malformed rows that is tolerated.
        prepared: folder for prepared data, one folder in it for each source and set of options.
        verify: compare prepared data with their checksums before use.
        encoder: the `encoder` folder of a run. `predict` scores with it, and needs no source.
        predict_path: raw file to score, labelled or not.
        predict_output: Parquet file that `predict` writes.
        shared: the options of `LoadedData`.
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
        **shared: Any,
    ) -> None:
        super().__init__(**shared)
        at_least(0, split_seed=split_seed)
        shares(max_bad_rows=max_bad_rows)
        self.split_seed = split_seed
        self.max_bad_rows = max_bad_rows
        self.prepared = Path(prepared)
        self.verify = verify
        self.encoder = Path(encoder) if encoder else None
        self.predict_path = predict_path
        self.predict_output = Path(predict_output) if predict_output else None
        self._is_open = False

    # What a dataset says of itself

    @abstractmethod
    def source(self) -> dict[str, Any]:
        """What tells these raw files from others; plain data."""

    @abstractmethod
    def options(self) -> dict[str, Any]:
        """The name of the dataset, and the options that decide what is prepared; plain data."""

    @abstractmethod
    def prepare_into(self, folder: Path) -> None:
        """Prepares everything into an empty folder, its manifest included."""

    @abstractmethod
    def open_splits(self) -> None:
        """Opens the prepared data."""

    @abstractmethod
    def open_predictions(self) -> None:
        """Reads `predict_path`; sets `predict_rows`, the number of its rows."""

    @abstractmethod
    def encoded_schema(self, encoder: Path) -> Schema:
        """Of the batches that an encoder makes."""

    def ensure_source(self) -> None:
        """Makes the raw files if they can be made."""

    # Preparation

    @property
    def folder(self) -> Path:
        """Where the prepared data of this source and these options lie."""
        name = type(self).__name__.lower()
        return self.prepared / f"{name}-{key(self.source(), self.options())}"

    @property
    def folders(self) -> list[Path]:
        """All folders of prepared data that the batches are made of."""
        return [self.folder]

    @property
    def manifest(self) -> Manifest:
        """Of the prepared data; they are prepared first if need be."""
        return self.manifests[self.folder]

    @property
    def manifests(self) -> dict[Path, Manifest]:
        """Of all `folders`; they are prepared first if need be."""
        if self.encoder:
            raise ZooError("data.encoder serves predict alone: leave it out")
        self.prepare_data()
        return {folder: Manifest.load(folder) for folder in self.folders}

    @property
    def schema(self) -> Schema:
        """Of the batches: that of the encoder where one is given, else of the prepared data."""
        if self.encoder:
            return self.encoded_schema(self.encoder)
        schemas = [Schema.from_dict(manifest.schema) for manifest in self.manifests.values()]
        return Schema(tuple(field for schema in schemas for field in schema.fields))

    @property
    def encoder_folder(self) -> Path:
        """The encoder that is given, or that of the prepared data."""
        return self.encoder or self.folder / "encoder"

    def prepare_data(self) -> None:
        """Prepares what has not been prepared with these options before."""
        if not self.encoder:
            self.ensure_source()
            build_once(self.folder, self.prepare_into)

    def setup(self, stage: str) -> None:
        """Opens the prepared data, or reads the file to score."""
        if stage == "predict":
            self.open_predictions()
        elif not self._is_open:
            manifests = self.manifests
            if self.verify and (self.trainer is None or self.trainer.local_rank == 0):
                for folder, manifest in manifests.items():
                    manifest.verify(folder)
            self.open_splits()
            self._is_open = True


def at_least(least: int, **options: int) -> None:
    """Raises `ZooError` where an option is smaller."""
    for option, value in options.items():
        if value < least:
            raise ZooError(f"data.{option} must be at least {least}, got {value}")


def shares(**options: float) -> None:
    """Raises `ZooError` where an option is not between 0 and 1."""
    for option, value in options.items():
        if not 0 <= value <= 1:
            raise ZooError(f"data.{option} is a share between 0 and 1, got {value}")
