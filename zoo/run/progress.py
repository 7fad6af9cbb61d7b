"""How far a command is: a bar in a terminal, lines in a log file or a pipe."""

import sys
import time
from collections.abc import Sequence
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.callbacks import ProgressBar, RichProgressBar
from rich.console import Console

from zoo.run.checkpoint import RunCheckpoint
from zoo.run.record import RunRecord

SECONDS = 180.0  # between lines within an epoch


def progress(given: Sequence[Callback]) -> list[Callback]:
    """What shows the progress; nothing where a callback of the user does."""
    if any(isinstance(callback, ProgressBar) for callback in given):
        return []
    return [EpochBar() if sys.stdout.isatty() else EpochLines()]


class EpochBar(RichProgressBar):
    """Lightning's bar; epochs are counted from 1, and the name of the run is left out."""

    def _get_train_description(self, current_epoch: int) -> str:
        return f"{_epoch(self.trainer):{len(self.validation_description)}}".capitalize()

    def get_metrics(self, trainer: Trainer, pl_module: LightningModule) -> dict[str, Any]:
        """The metrics beside the bar."""
        metrics = super().get_metrics(trainer, pl_module)
        metrics.pop("v_num", None)
        return metrics


class EpochLines(ProgressBar):
    """Prints a line for each epoch, and one every few minutes within.

    Its loss is the mean of the batches of the epoch so far, its samples per second are those of
    training alone.
    """

    def __init__(self) -> None:
        super().__init__()
        self._is_enabled = True
        self._printed = time.monotonic()
        self._best: Any = None
        self._loss: Any = 0.0
        self._batches = 0

    def disable(self) -> None:
        """Prints nothing, on processes other than the first."""
        self._is_enabled = False

    def enable(self) -> None:
        """Prints again, after a callback that has tried out batch sizes or learning rates."""
        self._is_enabled = True

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Takes the best score of before, where a fit goes on, perhaps within an epoch."""
        self._begin(trainer)
        checkpoint = _callback(trainer, RunCheckpoint)
        self._best = checkpoint.best_model_score if checkpoint else None

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begins the means of an epoch."""
        self._begin(trainer)

    def _begin(self, trainer: Trainer) -> None:
        self._loss, self._batches = 0.0, 0
        record = _callback(trainer, RunRecord)
        self._before = (record.rows, record.seconds) if record else (0, 0.0)

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Prints a line where the last one is old."""
        if isinstance(outputs, dict) and "loss" in outputs:
            # on its device, without waiting; Lightning has divided it by their number
            whole = outputs["loss"].detach() * trainer.accumulate_grad_batches
            self._loss = self._loss + whole
            self._batches += 1
        place = f"{_epoch(trainer)}, batch {batch_idx + 1:,}"
        self._print_within(place, trainer.num_training_batches)

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Prints a line where the last one is old."""
        self._print_within(f"validation, batch {batch_idx + 1:,}", sum(trainer.num_val_batches))

    def on_predict_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Prints a line where the last one is old."""
        self._print_within(f"batch {batch_idx + 1:,}", sum(trainer.num_predict_batches))

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Prints the line of the epoch."""
        found = {k: float(v) for k, v in trainer.callback_metrics.items() if k.startswith("val/")}
        parts = [
            f"loss {self._mean_loss():.5f}",
            *(f"{name} {value:.5f}" for name, value in found.items()),
        ]
        record = _callback(trainer, RunRecord)
        if record is not None:
            rows, seconds = record.rows - self._before[0], record.seconds - self._before[1]
            parts.append(f"{rows / max(seconds, 1e-9):,.0f} samples/s")
        if self._is_best(trainer):
            parts.append("best")
        self._print(f"{_epoch(trainer)}: {', '.join(parts)}")

    def _is_best(self, trainer: Trainer) -> bool:
        """Whether a checkpoint of this epoch is the best so far, or will be when it is written."""
        checkpoint = _callback(trainer, RunCheckpoint)
        if checkpoint is None:
            return False
        score, now = checkpoint.best_model_score, trainer.callback_metrics.get(checkpoint.monitor)
        if score is not None and (self._best is None or score != self._best):
            self._best = score
            return True
        if now is None or not checkpoint.check_monitor_top_k(trainer, now):
            return False
        self._best = now
        return True

    def _mean_loss(self) -> float:
        return float(self._loss) / max(self._batches, 1)

    def _print_within(self, place: str, total: float) -> None:
        if time.monotonic() - self._printed > SECONDS:
            loss = f", loss {self._mean_loss():.5f}" if self._batches else ""
            self._print(f"{place} of {total:,}{loss}")

    def _print(self, line: str) -> None:
        self._printed = time.monotonic()
        if self._is_enabled:
            Console().print(line, soft_wrap=True, highlight=False, markup=False)
            sys.stdout.flush()


def _epoch(trainer: Trainer) -> str:
    """Such as `epoch 1 of 5`."""
    last = trainer.max_epochs
    return f"epoch {trainer.current_epoch + 1}" + (f" of {last}" if last and last > 0 else "")


def _callback(trainer: Trainer, kind: type) -> Any:
    callbacks: list[Callback] = trainer.callbacks  # pyright: ignore[reportAttributeAccessIssue]
    return next((c for c in callbacks if isinstance(c, kind)), None)
