"""Raw files that are prepared once: when, into which folder, with which encoder."""

import shutil
from collections.abc import Iterable
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from datamodules.prepared.batched import BatchedDataModule
from datamodules.prepared.folder import Manifest, build_once, key, report
from datamodules.prepared.options import at_least, shares
from datamodules.prepared.verified import Verify, verify
from zoo.data.checksums import combined
from zoo.data.encoder import encoder_checksums
from zoo.data.errors import ZooError, missing
from zoo.data.module import DataSummary, SplitSize
from zoo.data.schema import Schema


class PreparedDataModule(BatchedDataModule):
    """Raw files, prepared once, in batches.

    Args:
        split_seed: Seed of what is dealt or drawn at random once.
        max_bad_rows: Share of malformed rows that is tolerated, from 0 to 1.
        prepared: Folder for prepared data; each source and set of options gets a folder in it.
        verify: Whether to compare prepared data with their checksums before use: `once` (or true)
            compares each file that has been written, changed or copied since it was compared last,
            `always` all files at every start, false none.
        encoder: The folder `encoder` of a run: rows get the ids that its model knows, in place of
            ids fitted on these data. `predict` needs no other source.
        predict_path: Raw file to score, labelled or not.
        predict_output: File that `predict` writes, .parquet or .csv.
        predict_columns: Column of `predict_path` that the predictions carry along, as text, such
            as an id; or a list of them.
        synthetic: Retired: generated data have classes of their own, such as
            `datamodules.SyntheticCriteo`; only null is accepted.
        shared: Options of `BatchedDataModule`.
    """

    def __init__(
        self,
        split_seed: int = 0,
        max_bad_rows: float = 0.001,
        prepared: str = "prepared",
        verify: Verify = "once",
        encoder: str | None = None,
        predict_path: str | None = None,
        predict_output: str | None = None,
        predict_columns: list[str] | str | None = None,
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
        self.verify: Verify = verify
        self.encoder = Path(encoder) if encoder else None
        self.predict_path = predict_path
        self.predict_output = Path(predict_output) if predict_output else None
        one = isinstance(predict_columns, str)
        self.predict_columns = (predict_columns,) if one else tuple(predict_columns or ())
        self._is_open = False
        self._checksums: dict[str, str] = {}
        self._found_fitted = False

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

    def encode_into(self, folder: Path, encoder: Path) -> None:
        """As `prepare_into`, with the encoder of a run; a copy of it becomes `folder/encoder`.

        A dataset that defines none serves checkpoints of the very same data alone.
        """
        missing(self, "encode_into", "splits of a given encoder")

    def open_splits(self) -> None:
        """Opens the prepared data."""
        missing(self, "open_splits", "prepared splits")

    def open_predictions(self, path: str) -> None:
        """Reads the raw file to score; sets `predict_rows`, the number of its rows."""
        missing(self, "open_predictions", "rows to predict")

    def open_recommendations(self) -> None:
        """Sets `recommended`, and opens all pairs of its users and items."""
        missing(self, "open_recommendations", "users and items to recommend")

    def encoded_schema(self, encoder: Path) -> Schema:
        """The schema of the batches that an encoder makes."""
        missing(self, "encoded_schema", "schema of an encoder")

    def make_source(self) -> None:
        """Makes the raw files where they can be made."""

    # Preparation

    @property
    def folder(self) -> Path:
        """Where the prepared data of this source, these options and this encoder lie."""
        return self._fitted_folder if self._is_fitted_here else self._encoded_folder

    @property
    def folders(self) -> list[Path]:
        """All folders of prepared data that the batches are made of."""
        return [self.folder, *self.further_folders()]

    def further_folders(self) -> list[Path]:
        """Those beside `folder`; none."""
        return []

    @property
    def _fitted_folder(self) -> Path:
        return self._folder_of(self.options())

    @property
    def _encoded_folder(self) -> Path:
        return self._folder_of({**self.options(), "encoder": self.given["encoder"]})

    def _folder_of(self, options: dict[str, Any]) -> Path:
        return self.prepared / f"{self.dataset.lower()}-{key(self.source(), options)}"

    @cached_property
    def given(self) -> dict[str, str]:
        """The checksums of the encoder that is given; none without one."""
        return encoder_checksums(self.encoder) if self.encoder else {}

    @property
    def _is_fitted_here(self) -> bool:
        """Whether the batches are of an encoder that was fitted on these very data.

        The encoder of a run is, where the data are those of the run: nothing is prepared again.
        """
        if self.encoder is None:
            return True
        if not self._found_fitted:
            self._found_fitted = self._fitted() == self.given
        return self._found_fitted

    def _fitted(self) -> dict[str, str]:
        """The checksums of the encoder fitted on these data; none where they are not prepared."""
        folder = self._fitted_folder
        if not folder.is_dir():
            return {}
        return {"encoder": combined(Manifest.load(folder).below("encoder"))}

    @property
    def _encodes(self) -> bool:
        return type(self).encode_into is not PreparedDataModule.encode_into

    @property
    def manifest(self) -> Manifest:
        """The manifest of the rows, once prepared."""
        return self.manifests[self.folder]

    @property
    def manifests(self) -> dict[Path, Manifest]:
        """The manifests of all `folders`, once prepared."""
        self._require_prepared()
        return {folder: Manifest.load(folder) for folder in self.folders}

    def prepare_data(self) -> None:
        """Prepares what has not been prepared with these options before.

        With an `encoder`, whose data `predict` does not need, `setup` does so.
        """
        if not self.encoder:
            self.prepare()

    def prepare(self) -> None:
        """Makes the raw files where they can be made, and prepares the folders that are missing.

        Raises:
            ZooError: where the data cannot be prepared with the encoder that is given.
        """
        self.make_source()
        if self.encoder and self._encodes and not self._is_fitted_here:
            if build_once(self.folder, partial(self.encode_into, encoder=self.encoder)):
                report(self.folder)
            return
        if build_once(self._fitted_folder, self.prepare_into):
            report(self._fitted_folder)
        if not self._is_fitted_here:
            name = type(self).__name__
            raise ZooError(
                f"{self.encoder} (data.encoder) was fitted on other data than these, and {name} "
                "encodes its splits by its own data alone: give the data.path and the options of "
                "that run"
            )

    def setup(self, stage: str) -> None:
        """Opens the prepared data, or reads the file to score."""
        if stage == "predict":
            if not self.encoder:
                self._require_prepared()
            if self.recommend:
                self.open_recommendations()
            elif self.predict_path is None:
                raise ZooError("predict needs a raw file to score: give --data.predict_path FILE")
            else:
                self.open_predictions(self.predict_path)
        elif not self._is_open:
            if self.encoder:
                self.prepare()
            manifests = self.manifests
            if self.trainer is None or self.trainer.local_rank == 0:
                for folder, manifest in manifests.items():
                    verify(folder, manifest, self.verify)
            self.open_splits()
            # now: the raw file may go while a fit goes on
            rows = {split: combined(self.manifest.below(split)) for split in ("train", "val")}
            self._checksums = self.checksums() | rows
            self._is_open = True

    def predict_dataloader(self) -> Iterable[Any]:
        """Batches of `predict_path`, in its order, with row numbers."""
        return self._of_this_process("predict", with_row=True)

    def _require_prepared(self) -> None:
        for folder in self.folders:
            if not folder.exists():
                raise ZooError(f"{folder} is not prepared yet: call prepare_data()")

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
        if self.encoder:
            self.prepare()
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

    def checksums(self) -> dict[str, str]:
        """Of the encoder, and, where they are open, of training and validation rows."""
        return self._checksums if self._is_open else self.given or self._fitted()

    def save_encoder(self, folder: Path) -> None:
        """Writes a new folder that `encoder` can name: all that turns raw rows into batches."""
        shutil.copytree(self.encoder_folder, folder, dirs_exist_ok=True)
