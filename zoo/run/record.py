"""What a fit keeps beside its checkpoints: its encoder, its metrics and its speed."""

import json
import math
import shutil
import time
from collections.abc import Mapping
from contextlib import suppress
from enum import Enum
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser, Namespace
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.cli import SaveConfigCallback
from pytorch_lightning.loggers import CSVLogger, TensorBoardLogger
from rich.console import Console
from rich.table import Table

from zoo.data.checksums import save_checksums
from zoo.data.errors import ZooError
from zoo.data.files import atomic_folder, write_text
from zoo.data.module import ZooDataModule, datamodule_of
from zoo.run.directory import rank_of_process


class RunConfig(SaveConfigCallback):
    """Writes `config.yaml`, which repeats the run, into the run directory."""

    def save_config(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Writes it; rank 0 alone."""
        callbacks: list[Callback] = trainer.callbacks  # pyright: ignore[reportAttributeAccessIssue]
        (record,) = (c for c in callbacks if isinstance(c, RunRecord))
        config = self.config
        if settled := getattr(pl_module, "settled", {}):
            config = config.clone()
            for name, value in settled.items():
                config.model.init_args[name] = value
        write_text(record.run / "config.yaml", config_text(self.parser, config))


def config_text(parser: ArgumentParser, config: Namespace) -> str:
    """The config.yaml of a run."""
    return parser.dump(_without_enums(config), skip_none=False)


def _without_enums(config: Any) -> Any:
    """The values of enumerations, such as defaults of Lightning's callbacks, as YAML has them."""
    if isinstance(config, Namespace):
        return Namespace({name: _without_enums(value) for name, value in vars(config).items()})
    if isinstance(config, list):
        return [_without_enums(value) for value in config]
    return config.value if isinstance(config, Enum) else config


class RunRecord(Callback):
    """Copies the encoder into the run directory, and measures the training alone.

    Args:
        run: Directory of the run.

    Attributes:
        rows: Number of training rows that this fit has seen, on all processes.
        seconds: Time spent on them, in seconds, without that of validation.
        has_begun: Whether a batch has been trained on.
    """

    def __init__(self, run: Path) -> None:
        self.run = run
        self.rows = 0
        self.seconds = 0.0
        self.has_begun = False
        self._has_config = False
        self._since: float | None = None
        self._data: ZooDataModule | None = None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Takes the directory of rank 0 on all processes."""
        self.run = Path(trainer.strategy.broadcast(str(self.run)))

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keeps the encoder, and gives the loggers of the run the arguments of the model."""
        options = {name: value for name, value in pl_module.hparams.items() if name != "schema"}
        for logger in (x for x in trainer.loggers if isinstance(x, CSVLogger | TensorBoardLogger)):
            logger.log_hyperparams({"model": type(pl_module).__name__, **options})
        self._data = data = datamodule_of(trainer)
        self._has_config = trainer.is_global_zero and (self.run / "config.yaml").is_file()
        if data and trainer.is_global_zero:
            with atomic_folder(self.run / "encoder") as partial:
                data.save_encoder(partial)
                if partial.is_dir():  # data that encode nothing keep nothing
                    save_checksums(partial)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Starts the clock, where the fit goes on within an epoch."""
        self._since = time.perf_counter()

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
        self.has_begun = True
        self.rows += len(batch.label) * trainer.world_size

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stops the clock."""
        self._stop()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Starts the clock again where validation falls inside an epoch."""
        self._check_run()
        if trainer.training:
            self._since = time.perf_counter()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stops the clock; ends a fit whose run directory has been deleted."""
        self._stop()
        self._check_run()

    def _check_run(self) -> None:
        # what is written next would make its folders anew, and a run without its config
        if self._has_config and not (self.run / "config.yaml").is_file():
            raise ZooError(f"{self.run} has been deleted while the fit was writing into it")

    def discard_unused(self) -> None:
        """Removes the directory of a fit that has failed before its first step."""
        if not self.has_begun and rank_of_process() == 0:
            shutil.rmtree(self.run, ignore_errors=True)
            with suppress(OSError):  # which holds other runs
                self.run.parent.rmdir()

    def _stop(self) -> None:
        if self._since is not None:
            self.seconds += time.perf_counter() - self._since
            self._since = None

    def finish(self, metrics: Mapping[str, float], epochs: int) -> dict[str, float | None]:
        """Writes `metrics.json` and prints it with the run's paths; rank 0 alone."""
        measured = {
            **metrics,
            "epochs": epochs,
            "seconds": round(self.seconds, 3),
            "samples_per_second": round(self.rows / self.seconds, 1) if self.rows else math.nan,
        }
        # JSON has no NaN and no infinity: the AUC of a single class is null, and so is the speed
        # of a fit that had nothing left to train
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
        return measured

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
        from zoo.run.inspect import ROWS_OF_A_PAGE
        from zoo.run.inspect_data import explained

        data = self._data
        if data is None:
            raise ZooError("the fit had no datamodule")
        # with its trainer, a datamodule gives the rows of one rank, perhaps on a GPU
        trainer, data.trainer = data.trainer, None
        try:
            found = load(checkpoint)
            scores = score(found, data, chosen=ROWS_OF_A_PAGE)
            write(path, found, scores, explained(found, data, scores))
        finally:
            data.trainer = trainer
