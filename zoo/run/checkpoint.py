"""The checkpoints that a fit keeps: its best and its last."""

import math
import shutil
from pathlib import Path
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.callbacks import ModelCheckpoint, StochasticWeightAveraging
from rich.console import Console
from torch import Tensor

from zoo.data.errors import ZooError
from zoo.data.files import atomic_file
from zoo.data.shard_content import copy_parts, remove_unnamed
from zoo.inspect.checkpoint import read
from zoo.run.directory import rank_of_process
from zoo.run.early_stopping import mode_of


class RunCheckpoint(ModelCheckpoint):
    """Keeps `best.ckpt` and `last.ckpt` of a run.

    A fit is validated after its last step, wherever that falls, so that both are measured.

    A fit resumed from another run's `last.ckpt` takes that run's best checkpoint along, so
    that the best of the whole training is kept. One that had ended already leaves both as they
    were.

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
        self._resumed: tuple[Path, int] | None = None  # from which checkpoint, and its step
        super().__init__(
            dirpath=self.folder,
            filename="best",
            monitor=monitor,
            mode=mode_of(monitor),
            save_last=True,
            save_on_train_epoch_end=True if monitor.startswith("train/") else None,
            enable_version_counter=False,
        )

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Takes the directory of rank 0 on all processes."""
        super().setup(trainer, pl_module, stage)
        self.folder = Path(str(self.dirpath))

    # While a fit runs

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Refuses a fit that could not tell which checkpoint is best; says what none will hold."""
        if self.metric.startswith("val/") and not trainer.limit_val_batches:
            raise ZooError(
                f"trainer.limit_val_batches is 0: {self.metric}, which says which checkpoint is "
                "best, needs at least 1"
            )
        callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]  # undeclared
        if any(isinstance(c, StochasticWeightAveraging) for c in callbacks):
            _tell(
                trainer,
                "StochasticWeightAveraging gives the model its averages when the fit has ended: "
                "best.ckpt and last.ckpt are without them; WeightAveraging and EMAWeightAveraging "
                "save theirs",
            )

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Lets a validation follow the last step."""
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)
        limit = trainer.max_epochs
        epochs = limit is not None and limit != -1 and trainer.current_epoch + 1 >= limit
        steps = trainer.max_steps != -1 and trainer.global_step >= trainer.max_steps
        if trainer.should_stop or steps or (epochs and trainer.is_last_batch):
            trainer.should_stop = True
            if trainer.check_val_every_n_epoch is not None:
                trainer.check_val_every_n_epoch = 1

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
            f"the training diverged: val/logloss is NaN in epoch {trainer.current_epoch + 1}; "
            "a smaller --model.learning_rate or --trainer.gradient_clip_val=1 may help"
        )
        if not self.best_model_path:
            raise ZooError(message)
        trainer.should_stop = True
        self.save_top_k, self.save_last = 0, False
        message += f". The best checkpoint of before stands: {self.best_model_path}"
        _tell(trainer, message)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Saves at the end of an epoch, where that is also the end of its validation."""
        super().on_train_epoch_end(trainer, pl_module)
        if self._should_save_on_train_epoch_end(trainer):
            self._save_last(trainer)

    def _save_topk_checkpoint(
        self, trainer: Trainer, monitor_candidates: dict[str, Tensor]
    ) -> None:
        """Saves what is best; of an epoch without the metric, nothing."""
        value = monitor_candidates.get(self.metric)
        if value is None:
            return
        if value.isnan() and not self.best_model_path:
            raise ZooError(
                f"{self.metric} is NaN in epoch {trainer.current_epoch + 1}, so that no checkpoint "
                "is best (an AUC needs rows of both classes): choose another --monitor"
            )
        super()._save_topk_checkpoint(trainer, monitor_candidates)

    def _save_last(self, trainer: Trainer) -> None:
        """Saves `last.ckpt` where nothing was saved: Lightning does so only of what is best."""
        if not self._should_skip_saving_checkpoint(trainer):
            self._save_last_checkpoint(trainer, self._monitor_candidates(trainer))

    # Where a fit goes on from a checkpoint

    def on_load_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Notes where the fit goes on, as the best checkpoint may lie there."""
        if trainer.ckpt_path is not None:
            self._resumed = Path(trainer.ckpt_path), checkpoint["global_step"]

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restores the state, with the paths of this run."""
        if not state_dict["best_model_path"]:
            return  # no checkpoint was best yet
        before = self._best_of_before(state_dict)
        if before is None:
            message = (
                f"the best checkpoint of before is missing ({state_dict['best_model_path']}): "
                "best.ckpt is the best from here on"
            )
            if rank_of_process() == 0:
                Console(stderr=True).print(message, soft_wrap=True, highlight=False)
            return
        here = self.folder / "best.ckpt"
        if rank_of_process() == 0:
            _copy(before, here)
        state_dict = {
            **state_dict,
            "dirpath": self.dirpath,
            "best_model_path": str(here),
            "best_k_models": {str(here): state_dict["best_model_score"]},
            "kth_best_model_path": str(here),
            "last_model_path": "",
        }
        super().load_state_dict(state_dict)

    def _best_of_before(self, state_dict: dict[str, Any]) -> Path | None:
        """The best checkpoint of a state, where it was or beside the one that is resumed.

        A file of that name may be another: a later one of the same run, or that of a run that has
        taken its place. It is the one whose metric is the best.
        """
        score = float(state_dict["best_model_score"])
        places = [Path(state_dict["best_model_path"])]
        if self._resumed:
            places.insert(0, self._resumed[0].with_name("best.ckpt"))
        for path in filter(Path.is_file, places):
            metrics = read(path).get("metrics", {})
            if metrics.get(self.metric, score) == score:
                return path
        return None

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Completes the run where nothing was left to train: its last checkpoint is the given."""
        last, best = self.folder / "last.ckpt", self.folder / "best.ckpt"
        if self._resumed is None or self._resumed[1] != trainer.global_step or last.exists():
            return
        given = self._resumed[0]
        if trainer.is_global_zero:
            _copy(given, last)
        if not self.best_model_path:
            self.best_model_path = str(best)
            if trainer.is_global_zero:
                _copy(given, best)
        _tell(trainer, f"nothing is left to train: last.ckpt is a copy of {given}")


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.resolve() != target.resolve():
        copy_parts(read(source), source, target)
        with atomic_file(target) as partial:
            shutil.copyfile(source, partial)
        remove_unnamed(target.parent)


def _tell(trainer: Trainer, message: str) -> None:
    if trainer.is_global_zero:
        Console(stderr=True).print(message, soft_wrap=True, highlight=False)
