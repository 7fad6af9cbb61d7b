"""The checkpoints that a fit keeps: its best and its last."""

import math
import shutil
from pathlib import Path
from typing import Any

from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import ModelCheckpoint
from rich.console import Console

from zoo.data.errors import ZooError
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

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Takes the directory of rank 0 on all processes."""
        super().setup(trainer, pl_module, stage)
        self.folder = Path(str(self.dirpath))

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
