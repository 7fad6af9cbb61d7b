"""What a fit keeps beside its checkpoints: its encoder, its metrics and its speed."""

import json
import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer
from rich.console import Console
from rich.table import Table

from zoo.data.checksums import save_checksums
from zoo.data.errors import ZooError
from zoo.data.files import atomic_folder, write_text
from zoo.data.module import ZooDataModule, datamodule_of


class RunRecord(Callback):
    """Copies the encoder into the run directory, and measures the training alone.

    Args:
        run: Directory of the run.

    Attributes:
        rows: Number of training rows seen, on all processes.
        seconds: Time spent on them, in seconds, without that of validation.
    """

    def __init__(self, run: Path) -> None:
        self.run = run
        self.rows = 0
        self.seconds = 0.0
        self._since: float | None = None
        self._data: ZooDataModule | None = None

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keeps the encoder."""
        self._data = data = datamodule_of(trainer)
        if data and trainer.is_global_zero:
            with atomic_folder(self.run / "encoder") as partial:
                data.save_encoder(partial)
                if partial.is_dir():  # data that encode nothing keep nothing
                    save_checksums(partial)

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

    def _stop(self) -> None:
        if self._since is not None:
            self.seconds += time.perf_counter() - self._since
            self._since = None

    def finish(self, metrics: Mapping[str, float], epochs: int) -> None:
        """Writes `metrics.json` and prints it with the run's paths; rank 0 alone."""
        measured = {
            **metrics,
            "epochs": epochs,
            "seconds": round(self.seconds, 3),
            "samples_per_second": round(self.rows / max(self.seconds, 1e-9), 1),
        }
        # JSON has no NaN and no infinity: the AUC of a single class is null
        measured = {k: v if math.isfinite(v) else None for k, v in measured.items()}
        write_text(self.run / "metrics.json", json.dumps(measured, indent=1))
        table = Table(title="best checkpoint", title_justify="left")
        table.add_column("metric")
        table.add_column("value", justify="right")
        for name, value in measured.items():
            digits = 0 if value is None or value >= 1000 or value == int(value) else 5
            table.add_row(name, "-" if value is None else f"{value:,.{digits}f}")
        console = Console()
        console.print(table)
        for path in ("checkpoints/best.ckpt", "metrics.json", "config.yaml"):
            console.print(str(self.run / path), soft_wrap=True, highlight=False)

    def report(self, checkpoint: Path) -> None:
        """Writes `report.html` and prints its path; a run is complete without it."""
        path = self.run / "report.html"
        try:
            self._write_report(path, checkpoint)
        except Exception as error:  # whatever it is, it must not fail a fit that has ended
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            message = f"{path} was not written: {reason}"
            Console(stderr=True, markup=False).print(message, soft_wrap=True, highlight=False)
        else:
            Console().print(str(path), soft_wrap=True, highlight=False)

    def _write_report(self, path: Path, checkpoint: Path) -> None:
        """Scores all validation rows, on the CPU, with the data of the fit."""
        from zoo.inspect import load
        from zoo.inspect.report import write
        from zoo.inspect.scores import score

        data = self._data
        if data is None:
            raise ZooError("the fit had no datamodule")
        # with its trainer, a datamodule gives the rows of one rank, perhaps on a GPU
        trainer, data.trainer = data.trainer, None
        try:
            found = load(checkpoint)
            write(path, found, score(found, data))
        finally:
            data.trainer = trainer
