"""What the datamodules of click-through data share: preparation, crosses, prediction."""

import math
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import torch

from datamodules.prepared.arrays import Arrays, column_means, weighted_mean
from datamodules.prepared.carried import CARRIED
from datamodules.prepared.encoder import Encoder
from datamodules.prepared.folder import SPLITS, source_identity
from datamodules.prepared.options import at_least
from datamodules.tabular.cross_folders import encode_crosses
from datamodules.tabular.cross_rows import PreparedCrossRows
from datamodules.tabular.crossed import CrossedDataModule
from datamodules.tabular.crosses import Cross
from datamodules.tabular.file_checks import check_numbers
from datamodules.tabular.files import TableFiles
from datamodules.tabular.formats import MemoryFile
from datamodules.tabular.label import Label
from datamodules.tabular.loader import BatchLoader
from datamodules.tabular.memory import MemoryEncoder
from datamodules.tabular.paths import Reading, files_of, paths_of
from datamodules.tabular.prepare import encode_file, prepare
from datamodules.tabular.resident import fits, kept_bytes, number_type, numbers_of
from datamodules.tabular.serving import plan_of, serving_of
from datamodules.tabular.splitting import Splitting
from datamodules.tabular.table_file import TableFile
from zoo.data.errors import missing
from zoo.data.files import temporary_folder
from zoo.data.module import QUANTILE_ROWS, EncodedTable, quantiles
from zoo.data.serving import Serving


class CTRDataModule(CrossedDataModule):
    """Rows of raw files, prepared once, in batches of `zoo.Batch`.

    Args:
        path: A file, a folder of files, a pattern such as `clicks/*.parquet`, or a list of these.
            Files of a folder or a pattern are read in the order of their names.
        min_count: Smallest count of a categorical value in the training split; rarer ones become
            unknown.
        split: How rows are dealt to the splits: by a `hash` of their number, or by `time` where
            the data have one (training first, test last).
        split_ratio: Relative sizes of training, validation and test.
        negative_sampling_rate: Share of the negatives that are kept among the training rows, more
            than 0 and at most 1; validation and test keep all rows, and models recalibrate their
            probabilities to these.
        resident: Whether to keep a split in the memory of the device instead of reading it batch
            by batch from disk; `auto` does so where it fills at most a quarter of that memory.
        resident_numbers: Type in which the numbers of training rows are kept there; `float16`
            halves their bytes and rounds them to 11 bits (three digits), up to 65,504.
        workers: Number of processes that prepare, each a file at a time, and share
            `memory_limit`; `ray` prepares on the cluster of Ray that RAY_ADDRESS names, where
            `memory_limit` is that of each task. All prepare the same.
        shared: Options of `CrossedDataModule`.
    """

    def __init__(
        self,
        path: str | list[str],
        min_count: int = 1,
        split: Literal["hash", "time"] = "hash",
        split_ratio: tuple[int, int, int] = (8, 1, 1),
        negative_sampling_rate: float = 1.0,
        resident: Literal["auto"] | bool = "auto",
        resident_numbers: Literal["float32", "float16"] = "float32",
        workers: int | Literal["ray"] = 1,
        **shared: Any,
    ) -> None:
        super().__init__(**shared)
        at_least(1, min_count=min_count)
        if workers != "ray":
            at_least(1, workers=workers)
        self.path = path
        self.min_count = min_count
        self.splitting = Splitting(
            split,
            tuple(split_ratio),
            self.split_seed,
            self.time(),
            negatives=negative_sampling_rate,
        )
        self.resident = resident
        self.resident_numbers = number_type(resident_numbers)
        self.workers: int | Literal["ray"] = workers
        self._arrays: dict[str, Arrays] = {}

    # What a dataset defines

    label: Label
    reading = Reading()
    counts_copies = False  # of training rows in the other splits, for a note; takes a moment

    def table_file(self, path: Path) -> TableFile:
        """How a file is read; looks at its first line only."""
        missing(self, "table_file", "reader of raw files")

    def time(self) -> str | None:
        """SQL over the raw columns that sorts as time does; None if rows have no time."""
        return None

    def raw_file(self, path: str | list[str]) -> TableFiles:
        """Files to score, which may lack what is no field."""
        files = files_of(path, self.table_file)
        has_label = self.label.column in TableFiles(files, {}, self.reading).columns
        return self.rows_of(files, self.label if has_label else None)

    def training_file(self) -> TableFiles:
        """All files of the rows of the splits."""
        return self.raw_file(self.path)

    def row_columns(self) -> dict[str, str]:
        """What training rows have beside fields and label; see `row_columns.py`."""
        return {}

    def rows_of(
        self,
        files: list[TableFile],
        label: Label | None = None,
        time: str | None = None,
        group: str | None = None,
        weight: str | None = None,
    ) -> TableFiles:
        """The rows of files, which need the columns of the fields, and these."""
        uses: dict[str, dict[str, str]] = {}
        for field in self.raw_fields():
            uses.setdefault(field.column, {}).setdefault(field.use, f"field {field.name}")
            time = field.column if field.use == "time" else time
        named = (label and label.column, "label"), (time, "time"), (group, "group")
        for column, option in (*named, (weight, "weight")):
            if column:
                use = {"group": "text", "weight": "number"}.get(option, option)
                uses.setdefault(column, {})[use] = f"data.{option}"
        return TableFiles(files, uses, self.reading, label, time, weight)

    def encoder_options(self) -> dict[str, Any]:
        """The options that decide how a raw row becomes ids and numbers."""
        return {"min_count": self.min_count}

    def notes(self, file: TableFiles) -> dict[str, int]:
        """Counts that a user should know of, by what they count."""
        return {}

    # Preparation

    def numerical_means(self) -> np.ndarray:
        """[N] float32 means of the numerical fields over the training rows, once set up."""
        return column_means(self._arrays["train"].numerical).astype(np.float32)

    def numerical_quantiles(self, parts: int) -> np.ndarray:
        """[parts + 1, N] float32 quantiles of the training rows; of many, of every few rows."""
        rows = self._arrays["train"].numerical
        return quantiles(rows[:: math.ceil(len(rows) / QUANTILE_ROWS)], parts)

    @property
    def positive_rate(self) -> float:
        """Share of positives among the training rows, by their weights, once prepared."""
        rate = super().positive_rate  # which refuses data that are not prepared
        rows = self._arrays.get("train") or Arrays.open(self.folder / "train")
        return rate if rows.weight is None else weighted_mean(rows.label, rows.weight)

    @property
    def negative_sampling_rate(self) -> float:
        """Share of the negatives that are among the training rows."""
        return self.splitting.negatives

    def prepare_into(self, folder: Path) -> None:
        """Prepares the rows."""
        self._prepare_rows(folder, None, self.options())

    def encode_into(self, folder: Path, encoder: Path) -> None:
        """Prepares the rows by the vocabulary of a run."""
        Encoder.load(encoder).check(self.dataset, self.encoder_options(), encoder)
        self._prepare_rows(folder, encoder, {**self.options(), "encoder": self.given["encoder"]})

    def _prepare_rows(self, folder: Path, encoder: Path | None, options: dict[str, Any]) -> None:
        file = self.training_file()
        prepare(
            folder,
            file,
            self.raw_fields(),
            self.splitting,
            dataset=self.dataset,
            encoder_options=self.encoder_options(),
            min_count=self.min_count,
            max_bad_rows=self.max_bad_rows,
            memory_limit=self.memory_limit,
            source=self.source(),
            options=options,
            fitted=encoder,
            notes=self.notes(file),
            count_copies=self.counts_copies,
            row_columns=self.row_columns(),
            workers=self.workers,
        )

    def source(self) -> dict[str, Any]:
        """The raw file, or all of them."""
        files = [source_identity(path) for path in paths_of(self.path)]
        return files[0] if len(files) == 1 else {"files": files}

    def options(self) -> dict[str, Any]:
        """The options of the encoder and of the splits."""
        found = {
            **self.encoder_options(),
            "dataset": self.dataset,
            "split": self.splitting.by,
            "split_ratio": list(self.splitting.ratio),
            "split_seed": self.splitting.seed,
            "max_bad_rows": self.max_bad_rows,
        }
        if self.negative_sampling_rate < 1:  # else the folders are those of before
            found["negative_sampling_rate"] = self.negative_sampling_rate
        return found

    # Loading

    def open_splits(self) -> None:
        """Opens the arrays of rows and crosses."""
        base, *crosses = self.folders
        self._arrays = {s: Arrays.open(base / s, [c / s for c in crosses]) for s in SPLITS}

    def loader(self, split: str, **options: Any) -> BatchLoader:
        """Batches of a split, kept on the device where they fit."""
        arrays = self._arrays[split]
        device = self.trainer.strategy.root_device if self.trainer else torch.device("cpu")
        # what is measured or predicted stays as it is
        numbers = self.resident_numbers if split == "train" else torch.float32
        order = {name: options.get(name, False) for name in ("shuffle", "with_row")}
        size = kept_bytes(arrays, device, numbers, **order)
        resident = fits(size, device) if self.resident == "auto" else self.resident
        keep = device if resident else None
        with numbers_of([field.name for field in self.schema.numerical]):
            return BatchLoader(arrays, self.batch_size, device=keep, numbers=numbers, **options)

    def cross_rows(self, rows: int) -> PreparedCrossRows:
        """Rows on which the command `gains` tries out cross fields, once set up."""
        folder = temporary_folder(self)
        return PreparedCrossRows(
            self._arrays, self.schema, self.crossing, rows, folder, self.memory_limit
        )

    # Prediction

    def _fitted_encoder(self) -> Encoder:
        """The encoder that new rows are encoded by, which suits the options of these data."""
        fitted = Encoder.load(self.encoder_folder)
        fitted.check(self.dataset, self.encoder_options(), self.encoder_folder)
        return fitted

    def table_columns(self) -> tuple[str, ...]:
        """Those of the fields."""
        return tuple(self.rows_of([]).uses)

    def _memory_file(self, table: pa.Table) -> TableFiles:
        """A DataFrame, whose label is not looked at."""
        return self.rows_of([MemoryFile("the DataFrame", table)])

    @cached_property
    def _memory(self) -> MemoryEncoder:
        self._fitted_encoder()
        return MemoryEncoder(self.encoder_folder, self._cross_encoders, self.memory_limit)

    def encode_table(self, table: pa.Table) -> EncodedTable:
        """Encodes rows in memory, in batches as those of `predict`; writes no file."""
        fields = self.raw_fields()
        file = self._memory_file(table)
        file.check()
        check_numbers(file.files, fields, self._memory.numbers)
        arrays, rejected = self._memory.encode(table, self._memory_file, fields)
        batches = BatchLoader(arrays, self.batch_size, with_row=True) if len(arrays) else ()
        examples = [(example.line, example.reason) for example in rejected.examples]
        return EncodedTable(batches, rejected.reasons, examples)

    def serving(self) -> Serving:
        """The plan of the fields, and hashes of their vocabularies."""
        encoder = self.encoder_folder
        plan = plan_of(
            self.raw_fields(),
            self._fitted_encoder(),
            [Cross.load(cross) for cross in self._cross_encoders],
            self.encoded_schema(encoder),
            self.reading,
        )
        return serving_of(plan, encoder, self._cross_encoders, self.encode_table)

    def open_predictions(self, path: str) -> None:
        """Encodes the rows to score."""
        fitted = self._fitted_encoder()
        encoder = self.encoder_folder
        folder = temporary_folder(self)
        self.predict_rows = encode_file(
            folder,
            self.raw_file(path),
            self.raw_fields(),
            encoder,
            columns=self.predict_columns,
            max_bad_rows=self.max_bad_rows,
            memory_limit=self.memory_limit,
        )
        self.carried = folder / CARRIED if self.predict_columns else None
        crosses = encode_crosses(folder, self._cross_encoders, fitted.schema, self.memory_limit)
        self._arrays["predict"] = Arrays.open(folder / "rows", crosses)
