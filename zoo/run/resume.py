"""What a fit that goes on from a checkpoint takes over, where its rows are others."""

from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.callbacks import EarlyStopping, ModelCheckpoint
from rich.console import Console

from zoo.data.module import datamodule_of


class OtherRows(Callback):
    """Forgets the scores of a checkpoint that was validated on other rows.

    Weights, optimizer and epochs go on. Which checkpoint is best, how long to wait for a better
    one, and when to lower the learning rate are decided anew: a score on the rows of one day says
    nothing of one on the rows of another.
    """

    def on_load_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Compares the checksums of the validation rows, before anything is restored."""
        data = datamodule_of(trainer)
        mine = data.checksums().get("val") if data else None
        theirs = (checkpoint.get("data") or {}).get("val")
        if not mine or not theirs or mine == theirs:
            return
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
