"""How a fit goes on from a checkpoint, whatever moment it was saved at.

Lightning repeats or leaves out what lay between the last step and the checkpoint: a validation that
was due, the end of an epoch, the first batches of an accumulated gradient. What is restored here
lets the steps of a resumed fit be those of one that was never stopped.
"""

from collections.abc import Mapping
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.trainer.states import TrainerFn
from pytorch_lightning.utilities import rank_zero_warn


class Resuming(Callback):
    """Completes what a checkpoint says of the progress of its fit; every `ZooModule` has one.

    Attributes:
        partly: Whether a part of this epoch was trained before the checkpoint.
        max_steps: `max_steps` of the trainer while it loads a checkpoint, which hides it from it.
    """

    def __init__(self) -> None:
        self.partly = False
        self._validated = False  # in this epoch
        self._metrics: dict[str, float] = {}  # of its validation, where that was before
        self._random: dict[str, torch.Tensor] = {}
        self.max_steps: int | None = None

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Adds what Lightning does not keep."""
        random = {"cpu": torch.get_rng_state()}
        if pl_module.device.type == "cuda":
            random["cuda"] = torch.cuda.get_rng_state(pl_module.device)
        checkpoint["resuming"] = {
            "validation_due": _validation_due(trainer),
            "validated": self._validated,
            "random": random,
        }

    def on_load_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Moves the progress to where Lightning goes on as if nothing had been in between."""
        if trainer.state.fn != TrainerFn.FITTING:
            return
        loops, state = checkpoint["loops"]["fit_loop"], checkpoint.get("resuming", {})
        reopen_epoch(loops)
        finish_batch(loops, state.get("validation_due", False))
        rewind(loops, trainer.accumulate_grad_batches)
        epoch = loops["epoch_progress"]["current"]
        begun = epoch["processed"] < epoch["ready"]
        over = loops["epoch_loop.batch_progress"]["is_last_batch"]
        if begun and not over and "combined_loader" not in loops["state_dict"]:
            rank_zero_warn(
                "the checkpoint does not say which batches of its epoch have been trained on: the "
                "epoch begins again"
            )
            begin_epoch_again(loops)
        self.partly = epoch["processed"] < epoch["ready"]
        self._validated = self.partly and state.get("validated", False)
        metrics = checkpoint.get("metrics", {}) if self._validated else {}
        self._metrics = {name: x for name, x in metrics.items() if name.startswith("val/")}
        self._random = state.get("random", {})
        # with a number of steps to reach, Lightning takes every epoch for unfinished
        self.max_steps = trainer.max_steps
        trainer.fit_loop.epoch_loop.max_steps = -1

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Goes on with the random numbers of the checkpoint, those of its first process."""
        check_schedule = getattr(pl_module, "check_schedule", None)
        if check_schedule:
            check_schedule()
        self._restore_max_steps(trainer)
        if "cpu" in self._random:
            torch.set_rng_state(self._random["cpu"].cpu())
        if "cuda" in self._random and pl_module.device.type == "cuda":
            torch.cuda.set_rng_state(self._random["cuda"].cpu(), pl_module.device)
        self._random = {}

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begins a whole epoch."""
        self.partly = self._validated = False
        self._metrics = {}

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Takes the metrics of this validation in place of those of before."""
        if not trainer.sanity_checking:
            self._validated, self._metrics = True, {}

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Logs the metrics of before, and lets the learning rate decay, ahead of checkpoints."""
        logged = {k: torch.tensor(x, dtype=torch.float64) for k, x in self._metrics.items()}
        pl_module.log_dict(logged)
        decay = getattr(pl_module, "plateau", None)
        logloss = trainer.callback_metrics.get("val/logloss")
        whole = trainer.fit_loop.epoch_loop.batch_progress.is_last_batch
        if decay and whole and self._validated and logloss is not None:
            decay.step(logloss)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Ends where nothing was left to train."""
        self._restore_max_steps(trainer)

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """Leaves the trainer as it was."""
        self._restore_max_steps(trainer)

    def _restore_max_steps(self, trainer: Trainer) -> None:
        if self.max_steps is not None:
            trainer.fit_loop.epoch_loop.max_steps = self.max_steps
            self.max_steps = None


def _validation_due(trainer: Trainer) -> bool:
    """Whether a validation follows the batch that was trained last."""
    fetcher = trainer.fit_loop._data_fetcher
    return (
        trainer.training
        and fetcher is not None
        and trainer.fit_loop.epoch_loop._should_check_val_fx(fetcher)
    )


def begin_epoch_again(loops: Mapping[str, Any]) -> None:
    """Moves the progress from the midst of an epoch to its beginning."""
    batch, epoch = loops["epoch_loop.batch_progress"], loops["epoch_progress"]
    if batch["is_last_batch"]:
        return
    batch["current"] |= dict.fromkeys(batch["current"], 0)
    loops["state_dict"].pop("combined_loader", None)
    for part in epoch.values():
        part["ready"] = part["started"] = part["processed"] = part["completed"]


def reopen_epoch(loops: Mapping[str, Any]) -> None:
    """Of an epoch that was cut short, such as by `max_steps`, the rest is still to be trained."""
    epoch, batch = loops["epoch_progress"], loops["epoch_loop.batch_progress"]
    over = epoch["current"]["processed"] == epoch["current"]["ready"]
    if over and batch["current"]["completed"] and not batch["is_last_batch"]:
        for part in epoch.values():
            part["processed"] -= 1
            part["completed"] = part["processed"]


def finish_batch(loops: Mapping[str, Any], validation_due: bool) -> None:
    """What follows a batch after which a checkpoint was saved: a validation, the epoch's end."""
    batch = loops["epoch_loop.batch_progress"]
    saved_within = batch["current"]["completed"] < batch["current"]["processed"]
    if not saved_within or not (validation_due or batch["is_last_batch"]):
        return
    for part in ("current", "total"):
        batch[part]["completed"] += 1
    if validation_due:
        validation = loops["epoch_loop.val_loop.batch_progress"]
        validation["total"] |= {"ready": 1, "started": 1, "processed": 0, "completed": 0}
        validation["current"] |= dict.fromkeys(validation["current"], 0)
    else:
        loops["epoch_loop.state_dict"]["_batches_that_stepped"] += 1


def rewind(loops: Mapping[str, Any], accumulated: int) -> None:
    """Goes back to the first of the batches whose gradients had not all been accumulated."""
    batch = loops["epoch_loop.batch_progress"]
    done = batch["current"]["processed"]
    extra = 0 if batch["is_last_batch"] else done % accumulated
    if not extra:
        return
    for part in ("current", "total"):
        for count in batch[part]:
            batch[part][count] = batch[part]["processed"] - extra
    if done == extra:  # the epoch has not begun
        for part in loops["epoch_progress"].values():
            part["ready"] = part["started"] = part["processed"]
