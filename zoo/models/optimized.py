"""How a model is optimised: the options, the optimizer, the schedule of its learning rate."""

import sys
from typing import Any, Literal

from pytorch_lightning import LightningModule
from pytorch_lightning.plugins.precision import MixedPrecision
from pytorch_lightning.trainer.states import TrainerFn
from pytorch_lightning.utilities import rank_zero_warn
from pytorch_lightning.utilities.types import OptimizerLRScheduler
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from zoo.data.errors import ZooError, require
from zoo.models.capturing import CapturedSteps, CUDAGraphs
from zoo.models.class_spec import ClassSpec, parts_of
from zoo.models.optimizer_options import check_rates, check_resumed, checked_specs, try_out
from zoo.models.optimizers import groups_of, make_optimizer
from zoo.models.resuming import Resuming
from zoo.models.schedules import length_of, make_schedule, open_lengths, warmed_up

ANY_LENGTH = 10  # of a schedule whose state is loaded from a checkpoint


class OptimizedModule(LightningModule):
    """A module with one optimizer of all its parameters.

    Args:
        optimizer: Optimizer of all parameters: the name of one of torch's, such as `adagrad`,
            `adam`, `adamw` or `sgd`; or its class path and arguments, such as
            `{class_path: torch.optim.AdamW, init_args: {betas: [0.9, 0.99]}}`.
        learning_rate: Learning rate of the optimizer.
        plateau_decay: Factor of the learning rate after each epoch that does not lower
            `val/logloss`; null keeps the rate.
        min_learning_rate: Learning rate below which `plateau_decay` does not go.
        weight_decay: Weight decay of all weights but those of the embeddings, in the way of the
            optimizer; biases and the parameters of normalisations have none.
        embedding_weight_decay: Weight decay of the embeddings and first-order weights, of all
            rows of their tables in each step.
        lr_scheduler: Schedule of the learning rate: the class path and arguments of one of
            torch's, such as `{class_path: torch.optim.lr_scheduler.CosineAnnealingLR}`; null keeps
            the rate. Its `total_steps` or `T_max` may be left out: the length of the fit.
        lr_scheduler_interval: What `lr_scheduler` counts: `epoch`, or `step` of the optimizer.
        warmup_steps: Number of steps in which the learning rate rises to that of the schedule:
            it is multiplied by 1 / warmup_steps in the first, by 1 from step warmup_steps on.
        cuda_graphs: Whether a training step on a GPU is recorded once, as a CUDA graph, and
            replayed: `auto`, where it can be; false never; true refuses what cannot be.

    Attributes:
        plateau: The decay of the learning rate, once configured; None without one.
        resuming: Lets a fit go on from any checkpoint.
        captured: Records training steps.
    """

    def __init__(
        self,
        optimizer: ClassSpec = "adam",
        learning_rate: float = 0.001,
        plateau_decay: float | None = None,
        min_learning_rate: float = 0.0,
        weight_decay: float = 0.0,
        embedding_weight_decay: float = 0.0,
        lr_scheduler: ClassSpec | None = None,
        lr_scheduler_interval: Literal["step", "epoch"] = "epoch",
        warmup_steps: int = 0,
        cuda_graphs: Literal["auto"] | bool = "auto",
    ) -> None:
        super().__init__()
        check_rates(
            learning_rate,
            min_learning_rate,
            plateau_decay=plateau_decay,
            weight_decay=weight_decay,
            embedding_weight_decay=embedding_weight_decay,
            warmup_steps=warmup_steps,
        )
        self.optimizer, self.lr_scheduler = checked_specs(optimizer, lr_scheduler, plateau_decay)
        require(
            lr_scheduler_interval in ("step", "epoch"),
            "lr_scheduler_interval must be step or epoch",
            lr_scheduler_interval,
        )
        require(
            cuda_graphs == "auto" or isinstance(cuda_graphs, bool),
            "cuda_graphs must be auto, true or false",
            cuda_graphs,
        )
        self.save_hyperparameters(ignore="schema", logger=False)
        # plain data, so that a checkpoint loads with weights_only=True
        plain = {"optimizer": self.optimizer, "lr_scheduler": self.lr_scheduler}
        self.save_hyperparameters(plain, logger=False)
        self.learning_rate = learning_rate
        self.plateau_decay = plateau_decay
        self.min_learning_rate = min_learning_rate
        self.weight_decay = weight_decay
        self.embedding_weight_decay = embedding_weight_decay
        self.lr_scheduler_interval = lr_scheduler_interval
        self.warmup_steps = warmup_steps
        self.plateau: ReduceLROnPlateau | None = None
        self.resuming = Resuming()
        self.cuda_graphs: CUDAGraphs = cuda_graphs
        self.captured = CapturedSteps()

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """The optimizer over all parameters, and what changes its learning rate."""
        if not any(parameter.requires_grad for parameter in self.parameters()):
            raise ZooError(
                f"{type(self).__name__} has no parameter to train: a rule without any overrides "
                "training_step and configure_optimizers, as zoo.models.baselines.SkipBaseline does"
            )
        groups = groups_of(self, self.weight_decay, self.embedding_weight_decay)
        decays = "weight_decay" in groups[0]
        try_out(self.optimizer, self.lr_scheduler, self.learning_rate, decays)
        fusible = self.device.type == "cpu" and not self._clips_mixed()
        optimizer = make_optimizer(self.optimizer, groups, self.learning_rate, fusible)
        if self.lr_scheduler is not None:
            resumed = self.resuming.max_steps is not None
            # the batches must not be made before their state is loaded, as is that of the schedule
            length = (lambda: ANY_LENGTH) if resumed else self._schedule_length
            schedule = make_schedule(self.lr_scheduler, optimizer, self.learning_rate, length)
            interval = self.lr_scheduler_interval
            return {
                "optimizer": optimizer,
                "lr_scheduler": {"scheduler": schedule, "interval": interval},
            }
        if self.plateau_decay is None:
            return {"optimizer": optimizer}
        self.plateau = ReduceLROnPlateau(
            optimizer,
            factor=self.plateau_decay,
            patience=0,
            threshold=0.0,
            min_lr=self.min_learning_rate,
        )
        # Lightning keeps its state; `Resuming` makes its steps, ahead of the epoch's checkpoint
        return {
            "optimizer": optimizer,
            "lr_scheduler": {
                "scheduler": self.plateau,
                "monitor": "val/logloss",
                "frequency": sys.maxsize,
            },
        }

    def _clips_mixed(self) -> bool:
        """Whether gradients are clipped in mixed precision, which Lightning refuses if fused."""
        trainer = self._trainer
        return (
            trainer is not None
            and bool(trainer.gradient_clip_val)
            and isinstance(trainer.precision_plugin, MixedPrecision)
        )

    def _schedule_length(self) -> int:
        """How often the schedule is stepped in this fit."""
        return length_of(self.trainer, self.lr_scheduler_interval, self.resuming.max_steps)

    def check_schedule(self) -> None:
        """Warns where the schedule of a checkpoint is of another length than this fit."""
        if self.lr_scheduler is None or not isinstance(self.lr_schedulers(), LRScheduler):
            return
        schedule: Any = self.lr_schedulers()
        for name in open_lengths(type(schedule), parts_of(self.lr_scheduler)[1]):
            kept, here = getattr(schedule, name), self._schedule_length()
            if kept != here:
                rank_zero_warn(
                    f"the learning rate goes on by the schedule of the checkpoint, whose {name} is "
                    f"{kept}; that of this fit would be {here}"
                )

    def optimizer_step(
        self,
        epoch: int,
        batch_idx: int,
        optimizer: Any,
        optimizer_closure: Any = None,
    ) -> None:
        """Takes a step, with the learning rate that the warm-up leaves."""
        with warmed_up(optimizer, self.warmup_steps, self.global_step):
            if self.captured.replay is not None:
                optimizer_closure()  # whose `training_step` takes the whole step
                return
            with self.captured.recordable():
                super().optimizer_step(epoch, batch_idx, optimizer, optimizer_closure)

    def optimizer_zero_grad(self, epoch: int, batch_idx: int, optimizer: Any) -> None:
        """Forgets the gradients of before; a recorded step has none."""
        if self.captured.replay is None:
            super().optimizer_zero_grad(epoch, batch_idx, optimizer)

    def lr_scheduler_step(self, scheduler: Any, metric: Any) -> None:
        """Takes a step of the schedule.

        Raises:
            ZooError: where it has come to its end, such as OneCycleLR after `total_steps`.
        """
        try:
            super().lr_scheduler_step(scheduler, metric)
        except ValueError as error:
            raise ZooError(
                f"model.lr_scheduler: {' '.join(str(error).split())}; the schedule must be as long "
                "as the fit, or its length be left out"
            ) from error

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuses to go on with another optimizer or schedule, whose state the checkpoint has."""
        trainer = self._trainer
        if trainer is not None and trainer.state.fn == TrainerFn.FITTING:
            check_resumed(checkpoint["hyper_parameters"], self.hparams)
