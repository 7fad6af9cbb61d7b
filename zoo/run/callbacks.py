"""What a fit keeps: its best and last checkpoint, its encoder, its metrics and speed."""

import json
import math
import os
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.callbacks import ModelCheckpoint
from rich.console import Console
from rich.table import Table

from zoo.data.errors import ZooError
from zoo.data.module import ZooDataModule, datamodule_of
from zoo.run.directory import rank_of_process
from zoo.run.early_stopping import mode_of


class RunCheckpoint(ModelCheckpoint):
    """Keeps `best.ckpt` and `last.ckpt` of a run.

    A fit resumed from another run's `last.ckpt` takes that run's best checkpoint along, so
    that the best of the whole training is kept.

    A fit whose `val/logloss` is NaN has diverged. It stops, and no checkpoint of it is kept: the
    best of before stands, and without one the fit fails.

    Args:
        run: Directory of the run.
        monitor: Metric that decides which checkpoint is best: a logloss at its lowest, any other
            at its highest.
    """

    def __init__(self, run: Path, monitor: str = "val/logloss") -> None:
        self.folder = (run / "checkpoints").resolve()  # as Lightning names it in its state
        self.metric = monitor
        super().__init__(
            dirpath=self.folder,
            filename="best",
            monitor=monitor,
            mode=mode_of(monitor),
            save_last=True,
            enable_version_counter=False,
        )

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Refuses a fit that could not tell which checkpoint is best."""
        if self.metric.startswith("val/") and not trainer.limit_val_batches:
            raise ZooError(
                f"trainer.limit_val_batches is 0: {self.metric}, which says which checkpoint is "
                "best, needs at least 1"
            )

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Saves; stops a fit that diverged."""
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
        here = self.folder / "best.ckpt"
        if best.is_file() and best.resolve() != here.resolve():
            if rank_of_process() == 0:
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
            partial = self.run / ".encoder.partial"
            data.save_encoder(partial)
            if partial.is_dir():  # data that encode nothing keep nothing
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
        measured = {
            **metrics,
            "epochs": epochs,
            "seconds": round(self.seconds, 3),
            "samples_per_second": round(self.rows / max(self.seconds, 1e-9), 1),
        }
        # JSON has no NaN: the AUC of a single class is null
        measured = {k: None if math.isnan(v) else v for k, v in measured.items()}
        partial = self.run / ".metrics.json.partial"
        partial.write_text(json.dumps(measured, indent=1))
        os.replace(partial, self.run / "metrics.json")
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
