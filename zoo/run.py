"""The run directory: what `fit` and `predict` write, and where.

runs/<name>/version_<n>/config.yaml          repeats the run
                        encoder/             scores new raw files
                        checkpoints/         best.ckpt last.ckpt
                        metrics.csv          every epoch; TensorBoard events beside it
                        metrics.json         the best checkpoint, when the fit has ended
                        report.html          what `inspect` says of it, where that is asked for
                        predictions/         what `predict` wrote
"""

import json
import math
import os
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.utilities import rank_zero_only
from rich.console import Console
from rich.table import Table

from zoo.schema import ZooError

VERSION_VARIABLE = "INTERPRETABLE_ZOO_RUN"  # tells the processes that Lightning starts


def new_run_directory(root: Path, name: str) -> Path:
    """Makes the next `version_<n>` below `root/name`; all processes of a run get the same."""
    folder = root / name
    if rank_zero_only.rank != 0:
        # only rank 0 writes; a launcher that starts all ranks at once leaves this unset
        return Path(os.environ.get(VERSION_VARIABLE, folder / "version_of_rank_0"))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        taken = [int(p.name[8:]) for p in folder.glob("version_*") if p.name[8:].isdecimal()]
        version = max(taken, default=-1) + 1
        while True:
            try:
                (folder / f"version_{version}").mkdir()
                break
            except FileExistsError:  # another run was quicker
                version += 1
    except OSError as error:
        raise ZooError(f"cannot make a run directory in {folder}: {error.strerror}") from error
    os.environ[VERSION_VARIABLE] = str(folder / f"version_{version}")
    return folder / f"version_{version}"


def run_of(checkpoint: Path) -> Path:
    """The run directory of `<run>/checkpoints/best.ckpt`."""
    return checkpoint.resolve().parent.parent


def use_encoder(options: Any, checkpoint: Path) -> None:
    """Gives the options of a datamodule the encoder of a checkpoint's run, if they have none."""
    encoder = run_of(checkpoint) / "encoder"
    if options.get("encoder", "") is None and encoder.is_dir():
        options.encoder = str(encoder)


class RunCheckpoint(ModelCheckpoint):
    """Keeps `best.ckpt` and `last.ckpt` of a run.

    A fit resumed from another run's `last.ckpt` takes that run's best checkpoint along, so
    that the best of the whole training is kept.

    A fit whose `val/logloss` is NaN has diverged. It stops, and no checkpoint of it is kept: the
    best of before stands, and without one the fit fails.

    Args:
        run: directory of the run.
        monitor: metric that says which is best: a logloss at its lowest, any other at its
            highest.
    """

    def __init__(self, run: Path, monitor: str = "val/logloss") -> None:
        super().__init__(
            dirpath=run / "checkpoints",
            filename="best",
            monitor=monitor,
            mode="min" if monitor.endswith("logloss") else "max",
            save_last=True,
            enable_version_counter=False,
        )

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Refuses a fit that could not tell which checkpoint is best."""
        if self.monitor.startswith("val/") and not trainer.limit_val_batches:
            raise ZooError(
                f"trainer.limit_val_batches is 0: {self.monitor}, which says which checkpoint is "
                "best, needs at least 1"
            )

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Saves, where the validation logged the metric."""
        known = sorted(name for name in trainer.callback_metrics if "/" in name)
        if not trainer.sanity_checking and self.monitor not in known:
            raise ZooError(
                f"monitor: this fit logs no {self.monitor}; choose one of {', '.join(known)}"
            )
        logloss = trainer.callback_metrics.get("val/logloss", 0.0)
        if not trainer.sanity_checking and math.isnan(logloss):
            self._stop(trainer)
        super().on_validation_end(trainer, pl_module)
        if not self._should_save_on_train_epoch_end(trainer):
            self._save_last(trainer)

    def _stop(self, trainer: Trainer) -> None:
        message = (
            f"the training diverged: val/logloss is NaN in epoch {trainer.current_epoch}; "
            "a smaller --model.learning_rate or --trainer.gradient_clip_val=1 may help"
        )
        if not self.best_model_path:
            raise ZooError(message)
        trainer.should_stop = True
        self.save_top_k, self.save_last = 0, False
        if trainer.is_global_zero:
            message += f". The best checkpoint of before stands: {self.best_model_path}"
            Console(stderr=True).print(message, soft_wrap=True, highlight=False)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Saves at the end of an epoch, where that is also the end of its validation."""
        super().on_train_epoch_end(trainer, pl_module)
        if self._should_save_on_train_epoch_end(trainer):
            self._save_last(trainer)

    def _save_last(self, trainer: Trainer) -> None:
        """Saves `last.ckpt` where nothing was saved: Lightning does so only of what is best."""
        if not self._should_skip_saving_checkpoint(trainer):
            self._save_last_checkpoint(trainer, self._monitor_candidates(trainer))

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restores the state, with the paths of this run."""
        best = Path(state_dict["best_model_path"])
        here = Path(self.dirpath) / "best.ckpt"
        if best.is_file() and best.resolve() != here.resolve():
            if rank_zero_only.rank == 0:
                here.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(best, here)
            score = state_dict["best_model_score"]
            state_dict = {
                **state_dict,
                "dirpath": self.dirpath,
                "best_model_path": str(here),
                "best_k_models": {str(here): score},
                "kth_best_model_path": str(here),
                "last_model_path": "",
            }
        super().load_state_dict(state_dict)


class RunRecord(Callback):
    """Copies the encoder into the run directory, and measures the training alone.

    Args:
        run: directory of the run.

    Attributes:
        rows: training rows seen, on all processes.
        seconds: spent on them, validation left out.
    """

    def __init__(self, run: Path) -> None:
        self.run = run
        self.rows = 0
        self.seconds = 0.0
        self._since: float | None = None

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keeps the encoder."""
        save = getattr(trainer.datamodule, "save_encoder", None)
        if save and trainer.is_global_zero:
            partial = self.run / ".encoder.partial"
            save(partial)
            os.replace(partial, self.run / "encoder")

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Starts the clock."""
        self._since = time.perf_counter()

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Counts rows."""
        self.rows += len(batch.label) * trainer.world_size

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stops the clock."""
        self._stop()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Starts the clock again where validation falls inside an epoch."""
        if trainer.training:
            self._since = time.perf_counter()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stops the clock."""
        self._stop()

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """Says how an interrupted fit goes on."""
        last = self.run / "checkpoints" / "last.ckpt"
        if isinstance(exception, KeyboardInterrupt) and trainer.is_global_zero and last.is_file():
            message = f"interrupted; to go on, repeat the command with --ckpt_path {last}"
            Console(stderr=True).print(message, soft_wrap=True, highlight=False)

    def _stop(self) -> None:
        if self._since is not None:
            self.seconds += time.perf_counter() - self._since
            self._since = None

    def finish(self, metrics: Mapping[str, float], epochs: int) -> None:
        """Writes `metrics.json` and prints it with the run's paths; rank 0 alone."""
        facts = {
            **metrics,
            "epochs": epochs,
            "seconds": round(self.seconds, 3),
            "samples_per_second": round(self.rows / max(self.seconds, 1e-9), 1),
        }
        # JSON has no NaN: the AUC of a single class is null
        facts = {k: None if math.isnan(v) else v for k, v in facts.items()}
        partial = self.run / ".metrics.json.partial"
        partial.write_text(json.dumps(facts, indent=1))
        os.replace(partial, self.run / "metrics.json")
        table = Table(title="best checkpoint", title_justify="left")
        table.add_column("metric")
        table.add_column("value", justify="right")
        for name, value in facts.items():
            digits = 0 if value is None or value >= 1000 or value == int(value) else 5
            table.add_row(name, "-" if value is None else f"{value:,.{digits}f}")
        console = Console()
        console.print(table)
        for path in ("checkpoints/best.ckpt", "metrics.json", "config.yaml"):
            console.print(str(self.run / path), soft_wrap=True, highlight=False)

    def report(self, checkpoint: Path) -> None:
        """Writes `report.html` and prints its path; a run is complete without it."""
        from zoo.inspect import load
        from zoo.inspect.data import data_of
        from zoo.inspect.report import write
        from zoo.inspect.scores import score

        path = self.run / "report.html"
        try:
            found = load(checkpoint)
            write(path, found, score(found, data_of(self.run / "config.yaml")))
        except Exception as error:  # whatever it is, it must not fail a fit that has ended
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            message = f"{path} was not written: {reason}"
            Console(stderr=True, markup=False).print(message, soft_wrap=True, highlight=False)
        else:
            Console().print(str(path), soft_wrap=True, highlight=False)


class PredictionWriter(Callback):
    """Writes a line for every row of the scored file, in its order, to a Parquet file.

    Columns: the model's `prediction_keys`, int64: `row` (from 0), and `position` where a row is a
    session with a line for each of its tracks; and its `prediction_columns`, float32:
    `probability`, `label` (null where unknown), and the like. A malformed row has a single line
    of nulls.

    Args:
        output: the Parquet file; it appears when it is complete.
    """

    def __init__(self, output: Path) -> None:
        self.output = output

    def _part(self, rank: int) -> Path:
        return self.output.with_name(f".{self.output.name}.{rank}.partial")

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Opens this rank's part."""
        self.output.parent.mkdir(parents=True, exist_ok=True)
        keys = [(name, pa.int64()) for name in pl_module.prediction_keys]
        columns = [(name, pa.float32()) for name in pl_module.prediction_columns]
        self.schema = pa.schema([*keys, *columns])
        self.writer = pq.ParquetWriter(self._part(trainer.global_rank), self.schema)

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
        keys = [outputs[name].cpu().numpy() for name in pl_module.prediction_keys]
        columns = [outputs[n].float().cpu().numpy() for n in pl_module.prediction_columns]
        arrays = [pa.array(k) for k in keys] + [pa.array(c, mask=np.isnan(c)) for c in columns]
        self.writer.write_table(pa.Table.from_arrays(arrays, schema=self.schema))

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Joins the parts of all ranks, with a line for each malformed row."""
        self.writer.close()
        trainer.strategy.barrier("parts written")
        if trainer.is_global_zero:
            rows = trainer.datamodule.predict_rows
            parts = [self._part(rank) for rank in range(trainer.world_size)]
            joined = self._part(-1)
            with pq.ParquetWriter(joined, self.schema) as writer:
                next_row = 0
                for part in parts:
                    for batch in pq.ParquetFile(part).iter_batches():
                        end = batch.column("row")[-1].as_py() + 1
                        writer.write_table(_fill(pa.table(batch), next_row, end))
                        next_row = end
                if next_row < rows:
                    writer.write_table(_fill(self.schema.empty_table(), next_row, rows))
            os.replace(joined, self.output)
            for part in parts:
                part.unlink()
            Console().print(f"{rows:,} rows scored: {self.output}", soft_wrap=True)


def _fill(table: pa.Table, start: int, stop: int) -> pa.Table:
    """The table with a line of nulls for each row from start to stop that it lacks."""
    lacking = np.setdiff1d(np.arange(start, stop), table["row"].to_numpy())
    if not len(lacking):
        return table
    nulls = pa.table({"row": lacking})
    return pa.concat_tables([table, nulls], promote_options="default").sort_by("row")  # stable
