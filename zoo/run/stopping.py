"""How a trainer ends where Ctrl-C or SIGTERM interrupts it."""

import signal
import threading
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from lightning_fabric.plugins.environments.slurm import SLURMEnvironment
from pytorch_lightning import Callback, LightningModule, Trainer
from rich.console import Console

from zoo.run.signals import Terminated

BATCHES_BETWEEN_QUESTIONS = 16  # of one process to all others


class Stopping(Callback):
    """Ends a trainer at SIGTERM; a fit at the end of the running batch, with a checkpoint.

    Where a SLURM job requeues itself, signals are left to Lightning. A signal while rows are
    validated, tested or predicted ends these at once.

    Args:
        last: Checkpoint that a fit writes when it is terminated; None for other commands.
    """

    def __init__(self, last: Path | None = None) -> None:
        self.last = last
        self.received = False
        self._training = False

    # Lightning registers a handler of its own when a trainer starts. It broadcasts from within the
    # handler, in the midst of other collectives, and nothing looks at it where rows are predicted.

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Takes the directory of rank 0; leaves SIGTERM to Lightning where it requeues a job."""
        self.last = trainer.strategy.broadcast(self.last)
        environment = getattr(trainer.strategy, "cluster_environment", None)
        self._is_slurm = isinstance(environment, SLURMEnvironment) and environment.auto_requeue
        if self._is_slurm:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)

    def _listen(self, trainer: Trainer) -> None:
        def receive(number: int, frame: FrameType | None) -> None:
            launcher = trainer.strategy.launcher
            if launcher is not None and not self.received:
                launcher.kill(signal.SIGTERM)  # type: ignore[attr-defined]
            self.received = True
            if not self._training:
                raise Terminated

        # another is that of a user, or SIGTERM is ignored; other threads cannot listen
        if not self._is_slurm and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, receive)

    def on_sanity_check_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Listens."""
        self._listen(trainer)

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Listens."""
        self._listen(trainer)

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Listens."""
        self._listen(trainer)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Listens; from now on the running batch is finished first."""
        self._listen(trainer)
        self._training = True

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Listens; a validation is not finished first."""
        self._listen(trainer)
        self._training = False
        if self.received:
            raise Terminated

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """From now on the checkpoints that follow a validation are written first."""
        self._training = trainer.state.fn == "fit" and not trainer.sanity_checking

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Ends a fit that was terminated."""
        if not self._any_received(trainer, batch_idx):
            return
        if self._can_go_on_from_here(trainer, batch_idx):
            trainer.save_checkpoint(str(self.last), weights_only=False)
        raise Terminated

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Ends a fit that was terminated."""
        self._training = False
        if self.received:
            raise Terminated

    def _any_received(self, trainer: Trainer, batch: int) -> bool:
        """Whether a process has received SIGTERM: all learn of it at the end of the same batch."""
        if trainer.world_size == 1 or not torch.distributed.is_initialized():
            return self.received
        if (batch + 1) % BATCHES_BETWEEN_QUESTIONS and not trainer.is_last_batch:
            return False  # to ask the others takes time, and the GPU has to be waited for
        flag = torch.tensor(int(self.received), device=trainer.strategy.root_device)
        torch.distributed.all_reduce(flag, torch.distributed.ReduceOp.MAX)
        return bool(flag)

    def _can_go_on_from_here(self, trainer: Trainer, batch: int) -> bool:
        """Whether a checkpoint of now resumes exactly: not where gradients are being accumulated,
        nor in the midst of batches that cannot be continued."""
        if self.last is None:
            return False
        if trainer.is_last_batch:
            return True
        loader = trainer.train_dataloader
        resumes = hasattr(loader, "state_dict") and hasattr(loader, "load_state_dict")
        return resumes and (batch + 1) % trainer.accumulate_grad_batches == 0

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """Says how an interrupted fit goes on."""
        if isinstance(exception, KeyboardInterrupt) and trainer.is_global_zero:
            word = "terminated" if isinstance(exception, Terminated) else "interrupted"
            if self.last is not None and self.last.is_file():
                word += f"; to go on, repeat the command with --ckpt_path {self.last}"
            Console(stderr=True).print(word, soft_wrap=True, highlight=False)
