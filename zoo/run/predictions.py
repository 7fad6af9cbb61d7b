"""What `predict` writes."""

import os
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from rich.console import Console

from zoo.data.errors import ZooError
from zoo.data.files import atomic_file, partial_file, partial_path
from zoo.data.module import ZooDataModule, datamodule_of
from zoo.models.base import ZooModule
from zoo.run.prediction_file import Carried, with_source, writer_of


class PredictionWriter(Callback):
    """Writes a line for every row of the scored file, in its order.

    Columns: the model's `prediction_keys`, int64: `row` (from 0), and `position` where a row is a
    session with a line for each of its tracks; and its `prediction_columns`, float32:
    `probability`, `label` (null where unknown), and the like. A malformed row has a single line
    of nulls.

    Columns of the file that the datamodule carries along (`ZooDataModule.carried`) come last.

    Args:
        output: File to write, Parquet or CSV by its suffix; it appears when it is complete.
        source: What the predictions are made of, which a Parquet file keeps; None keeps nothing.
    """

    scored = "rows scored"

    def __init__(self, output: Path, source: Mapping[str, str] | None = None) -> None:
        self.output = output
        self.source = source or {}
        self.open_output = writer_of(output)
        self.open_parts = ExitStack()  # of this process, until they are joined

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Opens this rank's part."""
        self.output.parent.mkdir(parents=True, exist_ok=True)
        data = datamodule_of(trainer)
        self.schema = self.schema_of(cast(ZooModule, pl_module), data)
        self.carried = Carried(data.carried if data else None)
        self.joined_schema = self._joined_schema()
        mine = self.open_parts.enter_context(partial_file(self.output, trainer.global_rank))
        self.writer = self.open_parts.enter_context(pq.ParquetWriter(mine, self.schema))
        self.last = 0

    def schema_of(self, model: ZooModule, data: ZooDataModule | None) -> pa.Schema:
        """The columns, those that are carried along left out."""
        keys = [(name, pa.int64()) for name in model.prediction_keys]
        columns = [(name, pa.float32()) for name in model.prediction_columns]
        return pa.schema([*keys, *columns])

    def on_predict_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: dict[str, torch.Tensor],
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Writes a batch."""
        model = cast(ZooModule, pl_module)
        keys = [outputs[name].cpu().numpy() for name in model.prediction_keys]
        if (np.diff(keys[0], prepend=self.last) < 0).any():
            raise ZooError(
                "the batches to predict are not in the order of the file: predict_dataloader must "
                "give them with a rising `row`, from 0"
            )
        if len(keys[0]):
            self.last = keys[0][-1]  # the largest, as they rise
        columns = [outputs[name].float().cpu().numpy() for name in model.prediction_columns]
        arrays = [pa.array(k) for k in keys] + [pa.array(c, mask=np.isnan(c)) for c in columns]
        self.writer.write_table(pa.Table.from_arrays(arrays, schema=self.schema))

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Joins the parts of all ranks, with a line for each malformed row."""
        self.writer.close()
        parts = self._all_parts(trainer)
        if trainer.is_global_zero:
            data = datamodule_of(trainer)
            rows = self._join(parts, data.predict_rows if data else None)
            Console().print(f"{rows:,} {self.scored}: {self.output}", soft_wrap=True)
        trainer.strategy.barrier("parts joined")
        self.open_parts.close()

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """Removes this rank's part."""
        self.open_parts.close()

    def _all_parts(self, trainer: Trainer) -> list[Path]:
        """The parts of all ranks, once these are written."""
        processes = [os.getpid()] * trainer.world_size
        if trainer.world_size > 1:
            torch.distributed.all_gather_object(processes, os.getpid())
        return [partial_path(self.output, process, rank) for rank, process in enumerate(processes)]

    def _join(self, parts: list[Path], rows: int | None) -> int:
        """Writes the output; returns the number of its rows."""
        with (
            atomic_file(self.output) as joined,
            self.open_output(joined, self.joined_schema) as writer,
        ):

            def write(table: pa.Table) -> None:
                writer.write_table(self.carried.beside(table).cast(self.joined_schema))

            next_row = 0
            for part in parts:
                for batch in pq.ParquetFile(part).iter_batches():
                    end = batch.column("row")[-1].as_py() + 1
                    write(_fill(pa.table(batch), next_row, end))
                    next_row = end
            rows = rows or next_row
            if next_row < rows:
                write(_fill(self.schema.empty_table(), next_row, rows))
        return rows

    def _joined_schema(self) -> pa.Schema:
        twice = [field.name for field in self.carried.fields if field.name in self.schema.names]
        if twice:
            raise ZooError(
                f"data.predict_columns: {twice[0]} is a column of the predictions already"
            )
        return with_source(pa.schema([*self.schema, *self.carried.fields]), self.source)


def _fill(table: pa.Table, start: int, stop: int) -> pa.Table:
    """The table with a line of nulls for each row from start to stop that is missing in it."""
    absent = np.setdiff1d(np.arange(start, stop), table["row"].to_numpy())
    if not len(absent):
        return table
    nulls = pa.table({"row": absent})
    return pa.concat_tables([table, nulls], promote_options="default").sort_by("row")  # stable
