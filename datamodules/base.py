"""What all datamodules of click-through data share: preparation, splits, loaders, prediction."""

import re
import shutil
import tempfile
import weakref
from abc import abstractmethod
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from pytorch_lightning import LightningDataModule

from datamodules.crosses import Cross, cross_folder, encode_crosses, prepare_crosses
from datamodules.encoder import CHUNK, Encoder
from datamodules.interactions import Crossing
from datamodules.loader import BatchLoader, fits
from datamodules.prepare import Splitting, encode_file, prepare
from datamodules.raw import RawField, RawFile
from datamodules.store import SPLITS, Arrays, Manifest, build_once, key, source_identity
from zoo.schema import Schema, ZooError


class CTRDataModule(LightningDataModule):
    """Rows of a raw text file, prepared once, in batches of `zoo.schema.Batch`.

    Args:
        path: raw file, plain or .gz.
        batch_size: rows of a batch on one process.
        min_count: a categorical value rarer than this in the training split becomes unknown.
        split: deal rows to the splits by a `hash` of their number, or by `time` where the
            data have one (training first, test last).
        split_ratio: sizes of training, validation and test.
        split_seed: seed of the hash.
        shuffle_seed: seed of the order of the training rows.
        max_bad_rows: share of malformed rows that is tolerated.
        memory_limit: bound of the memory that preparation uses, such as `1GB`.
        prepared: folder for prepared data, one folder in it for each file and set of options.
        resident: keep a split in the memory of the device instead of reading it batch by batch
            from disk; `auto` does so where it fills at most a quarter of that memory.
        verify: compare prepared data with their checksums before use.
        crosses: interactions.json; its interactions become cross fields (`datamodules.crosses`)
            behind the categorical ones.
        top_k: cross the first K interactions; null crosses all.
        cross_bins: quantile bins of a numerical field in a cross, at most.
        cross_min_share: a combination gets an id of its own if its count exceeds this share of
            the training rows.
        encoder: the `encoder` folder of a run. `predict` scores with it, its crosses included,
            and needs neither `path` nor `crosses`.
        predict_path: raw file to score, labelled or not.
        predict_output: Parquet file that `predict` writes.
    """

    def __init__(
        self,
        path: str,
        batch_size: int = 1024,
        min_count: int = 1,
        split: Literal["hash", "time"] = "hash",
        split_ratio: tuple[int, int, int] = (8, 1, 1),
        split_seed: int = 0,
        shuffle_seed: int = 0,
        max_bad_rows: float = 0.001,
        memory_limit: str = "1GB",
        prepared: str = "prepared",
        resident: Literal["auto"] | bool = "auto",
        verify: bool = True,
        crosses: str | None = None,
        top_k: int | None = None,
        cross_bins: int = 100,
        cross_min_share: float = 1e-4,
        encoder: str | None = None,
        predict_path: str | None = None,
        predict_output: str | None = None,
    ) -> None:
        super().__init__()
        for option, value in (("batch_size", batch_size), ("min_count", min_count)):
            if value < 1:
                raise ZooError(f"data.{option} must be at least 1, got {value}")
        for option, value in (("split_seed", split_seed), ("shuffle_seed", shuffle_seed)):
            if value < 0:
                raise ZooError(f"data.{option} must be at least 0, got {value}")
        if not 0 <= max_bad_rows <= 1:
            raise ZooError(f"data.max_bad_rows is a share between 0 and 1, got {max_bad_rows}")
        if not re.fullmatch(r"\d+(\.\d+)? *[KMGT]i?B", memory_limit):
            raise ZooError(f"data.memory_limit {memory_limit!r} is not a size such as 1GB")
        self.path = Path(path)
        self.batch_size = batch_size
        self.min_count = min_count
        self.splitting = Splitting(split, tuple(split_ratio), split_seed, self.time())
        file = Path(crosses) if crosses else None
        self.crossing = Crossing(file, top_k, cross_bins, cross_min_share)
        self.shuffle_seed = shuffle_seed
        self.max_bad_rows = max_bad_rows
        self.memory_limit = memory_limit
        self.prepared = Path(prepared)
        self.resident = resident
        self.verify = verify
        self.encoder = Path(encoder) if encoder else None
        self.predict_path = Path(predict_path) if predict_path else None
        self.predict_output = Path(predict_output) if predict_output else None
        self._arrays: dict[str, Arrays] = {}

    # What a dataset says of itself

    @abstractmethod
    def raw_file(self, path: Path) -> RawFile:
        """How `path` is read; looks at its first line only."""

    @abstractmethod
    def raw_fields(self) -> list[RawField]:
        """The fields, in the order of the schema."""

    def time(self) -> str | None:
        """SQL over the raw columns that sorts as time does; None if rows have no time."""
        return None

    def encoder_options(self) -> dict[str, Any]:
        """The options that decide how a raw row becomes ids and numbers."""
        return {"min_count": self.min_count}

    def ensure_source(self) -> None:
        """Makes the raw file if it can be made."""

    def ceiling(self) -> dict[str, float]:
        """`auc` and `logloss` of the true test probabilities, where the data are generated."""
        return {}

    # Preparation

    @property
    def folder(self) -> Path:
        """Where the prepared data of this source and these options lie."""
        name = type(self).__name__.lower()
        return self.prepared / f"{name}-{key(self._source(), self._options())}"

    @property
    def manifest(self) -> Manifest:
        """Of the prepared data without crosses; all is prepared first if need be."""
        return self._manifests[self.folder]

    @property
    def _manifests(self) -> dict[Path, Manifest]:
        """Of the prepared data and of each cross field, by folder."""
        if self.encoder:
            raise ZooError("data.encoder serves predict alone: leave it out")
        self.prepare_data()
        return {folder: Manifest.load(folder) for folder in (self.folder, *self._cross_folders)}

    @property
    def schema(self) -> Schema:
        """Of the batches: that of the encoder where one is given, else of the prepared data."""
        if self.encoder:
            crosses = [Cross.load(encoder).field for encoder in self._cross_encoders]
            return Schema((*Encoder.load(self.encoder).schema.fields, *crosses))
        schemas = (Schema.from_dict(manifest.schema) for manifest in self._manifests.values())
        return Schema(tuple(field for schema in schemas for field in schema.fields))

    def numerical_means(self) -> np.ndarray:
        """[N] float32 means of the numerical fields over the training rows, once set up."""
        rows = self._arrays["train"].numerical
        pieces = (rows[i : i + CHUNK].sum(0, dtype=np.float64) for i in range(0, len(rows), CHUNK))
        return (sum(pieces, np.zeros(rows.shape[1])) / len(rows)).astype(np.float32)

    @property
    def encoder_folder(self) -> Path:
        """The encoder of the batches, without their crosses."""
        return self.encoder or self.folder / "encoder"

    def save_encoder(self, folder: Path) -> None:
        """Writes a folder that `encoder` can name: all that turns raw rows into these batches."""
        shutil.copytree(self.encoder_folder, folder, dirs_exist_ok=True)
        for i, encoder in enumerate(self._cross_encoders):
            shutil.copytree(encoder, folder / f"crosses/{i:04}", dirs_exist_ok=True)

    def prepare_data(self) -> None:
        """Prepares what has not been prepared with these options before."""
        if self.encoder:
            return
        interactions = self._interactions  # first of all: their file may be wrong
        self.ensure_source()
        build_once(self.folder, self._prepare)
        prepare_crosses(
            self.folder, interactions, self.crossing, self.memory_limit, verify=self.verify
        )

    def _prepare(self, folder: Path) -> None:
        prepare(
            folder,
            self.raw_file(self.path),
            self.raw_fields(),
            self.splitting,
            dataset=type(self).__name__,
            encoder_options=self.encoder_options(),
            min_count=self.min_count,
            max_bad_rows=self.max_bad_rows,
            memory_limit=self.memory_limit,
            source=self._source(),
            options=self._options(),
        )

    @cached_property
    def _interactions(self) -> list[tuple[str, ...]]:
        return self.crossing.interactions([field.name for field in self.raw_fields()])

    @property
    def _cross_folders(self) -> list[Path]:
        base = self.folder
        return [cross_folder(base, members, self.crossing) for members in self._interactions]

    @property
    def _cross_encoders(self) -> list[Path]:
        if self.encoder:
            return sorted(self.encoder.glob("crosses/*"))
        return [folder / "encoder" for folder in self._cross_folders]

    def _source(self) -> dict[str, Any]:
        return source_identity(self.path)

    def _options(self) -> dict[str, Any]:
        return {
            **self.encoder_options(),
            "dataset": type(self).__name__,
            "split": self.splitting.by,
            "split_ratio": list(self.splitting.ratio),
            "split_seed": self.splitting.seed,
            "max_bad_rows": self.max_bad_rows,
        }

    # Loading

    def setup(self, stage: str) -> None:
        """Opens the prepared arrays; `predict` encodes its file instead."""
        if stage == "predict":
            self._encode_predictions()
        elif not self._arrays:
            manifests = self._manifests
            if self.verify and (self.trainer is None or self.trainer.local_rank == 0):
                for folder, manifest in manifests.items():
                    manifest.verify(folder)
            base, *crosses = manifests
            self._arrays = {s: Arrays.open(base / s, [c / s for c in crosses]) for s in SPLITS}

    def train_dataloader(self) -> BatchLoader:
        """Shuffled batches of the training split."""
        trainer = self.trainer
        epoch = (lambda: trainer.current_epoch) if trainer else (lambda: 0)
        return self._loader("train", shuffle=True, seed=self.shuffle_seed, epoch=epoch)

    def val_dataloader(self) -> BatchLoader:
        """Batches of the validation split, in file order."""
        return self._loader("val")

    def test_dataloader(self) -> BatchLoader:
        """Batches of the test split, in file order."""
        return self._loader("test")

    def predict_dataloader(self) -> BatchLoader:
        """Batches of `predict_path`, in file order, with row numbers."""
        return self._loader("predict", with_row=True)

    def _loader(self, split: str, **options: Any) -> BatchLoader:
        arrays = self._arrays[split]
        trainer = self.trainer
        if trainer:
            options |= {"rank": trainer.global_rank, "world_size": trainer.world_size}
        device = trainer.strategy.root_device if trainer else torch.device("cpu")
        resident = fits(arrays, device) if self.resident == "auto" else self.resident
        keep = device if resident else None
        return BatchLoader(arrays, self.batch_size, device=keep, **options)

    # Prediction

    def _encode_predictions(self) -> None:
        if self.predict_path is None:
            raise ZooError("predict needs a raw file to score: give --data.predict_path FILE")
        encoder = self.encoder_folder
        fitted = Encoder.load(encoder)
        fitted.check(type(self).__name__, self.encoder_options(), encoder)
        folder = Path(tempfile.mkdtemp(prefix="interpretable-zoo-"))
        # when this object goes, or the process ends
        weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        self.predict_rows = encode_file(
            folder,
            self.raw_file(self.predict_path),
            self.raw_fields(),
            encoder,
            max_bad_rows=self.max_bad_rows,
            memory_limit=self.memory_limit,
        )
        crosses = encode_crosses(folder, self._cross_encoders, fitted.schema, self.memory_limit)
        self._arrays["predict"] = Arrays.open(folder / "rows", crosses)
