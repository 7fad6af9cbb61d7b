"""What a fit that goes on from a checkpoint takes over, where its rows are others."""

from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.callbacks import EarlyStopping, ModelCheckpoint
from rich.console import Console

from zoo.data.module import datamodule_of
from zoo.models.resuming import begin_epoch_again


class OtherRows(Callback):
    """Forgets of a checkpoint what says nothing of other rows than those that it was trained on.

    Weights, optimizer and epochs go on. With other validation rows, it is decided anew which
    checkpoint is best, how long to wait for a better one, and when to lower the learning rate: a
    score on the rows of one day says nothing of one on the rows of another. With other training
    rows, an epoch that was begun is begun again.
    """

    def on_load_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Compares the checksums of the rows, before anything is restored."""
        data = datamodule_of(trainer)
        mine, theirs = data.checksums() if data else {}, checkpoint.get("data") or {}
        train, val = (mine.get(s, 0) != theirs.get(s, mine.get(s, 0)) for s in ("train", "val"))
        if train:
            begin_epoch_again(checkpoint["loops"]["fit_loop"])
        if val:
            forget_scores(checkpoint, trainer)


def forget_scores(checkpoint: dict[str, Any], trainer: Trainer) -> None:
    """Removes what callbacks and schedulers know of earlier validations."""
    for callback in trainer.callbacks:  # pyright: ignore[reportAttributeAccessIssue]
        if isinstance(callback, ModelCheckpoint | EarlyStopping):
            checkpoint["callbacks"].pop(callback.state_key, None)
    checkpoint.get("resuming", {}).pop("validated", None)
    for state in checkpoint.get("lr_schedulers", ()):
        if "mode_worse" in state:  # of ReduceLROnPlateau
            state |= {"best": state["mode_worse"], "num_bad_epochs": 0}
    if trainer.is_global_zero:
        message = (
            "the validation rows are not those of the checkpoint: its best score is forgotten, "
            "and best.ckpt is the best on these rows"
        )
        Console(stderr=True).print(message, soft_wrap=True, highlight=False)
