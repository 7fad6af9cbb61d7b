"""Which training steps are recorded and replayed, and why others are not."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any, Literal

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.strategies import SingleDeviceStrategy
from rich.console import Console
from torch import Tensor
from torch.optim import SGD, Adam, AdamW

from zoo.data.errors import ZooError
from zoo.models.baked import Baked, hooked, tensors_of
from zoo.nn import captured
from zoo.nn.device import is_cpu
from zoo.nn.optim import RowOptimizer

CUDAGraphs = Literal["auto"] | bool
# what may look at, or change, the gradients of a step
HOOKS = (
    "on_before_zero_grad",
    "on_before_backward",
    "on_after_backward",
    "on_before_optimizer_step",
)
STEPS = (*HOOKS, "training_step", "backward", "optimizer_step", "optimizer_zero_grad")


class CapturedSteps(Callback):
    """Records the training step of a `ZooModule` on a GPU, and replays it; each has one.

    Forward, loss, backward, clipping and the step of the optimizer are one CUDA graph (see
    `zoo.nn.captured`). What Lightning does around a step stays: the module's `training_step` takes
    the whole one, and its `backward` and `optimizer_step` find nothing left to do. Where a step
    cannot be recorded it is taken plainly, and said once why.

    Attributes:
        replay: The recorded step of the batch that is trained on; None takes it plainly.
    """

    def __init__(self) -> None:
        self.replay: captured.Recorded | None = None
        self._steps: captured.RecordedSteps | None = None
        self._rates: captured.DeviceRates | None = None
        self._options: Any = None  # of the optimizer
        self._tensors: list[int] = []  # where those lie that recordings are of
        self._baked: Baked | None = None
        self._insists = False

    def __getstate__(self) -> dict[str, Any]:
        """What a copy of the model has: no recordings, which are of the tensors of this one."""
        return {**vars(self), "replay": None, "_steps": None, "_rates": None, "_baked": None}

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Looks whether steps can be recorded."""
        self._forget()
        model: Any = pl_module
        self._insists = model.cuda_graphs is True
        if is_cpu(model.device) and not self._insists:
            return
        obstacle = _obstacle_of_rates(trainer, model)
        if obstacle is None:  # plain steps are then those that would be recorded, bit for bit
            self._rates = captured.DeviceRates(trainer.optimizers[0], model.device)
        if model.cuda_graphs is False:
            return
        obstacle = obstacle or _obstacle(trainer, model, self._insists)
        if obstacle:
            self._say(trainer, obstacle)
            return
        self._begin(trainer, model)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Forgets recordings of other tensors, such as weights that were pruned or loaded."""
        if self._rates is not None:
            self._rates.take_state()  # which may have been loaded
        if self._steps is None:
            return
        if name := hooked(pl_module):
            self._stop(trainer, f"{name} has a hook, which a recorded step would not call")
        elif self._steps.shapes and tensors_of(trainer, pl_module) != self._tensors:
            self._begin(trainer, pl_module)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Looks again, in the midst of an epoch too."""
        if not trainer.sanity_checking:
            self.on_train_epoch_start(trainer, pl_module)

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Finds, or makes, the recording for a batch."""
        self.replay = None
        if self._steps is None or self._rates is None:
            return
        if self._baked is None or self._baked.changed:
            self._begin(trainer, pl_module)
        obstacle = None
        if trainer.accumulate_grad_batches > 1:
            obstacle = "gradients of several batches are accumulated"
        elif not captured.is_static(batch):
            obstacle = "the batches hold lists, or are of a class of their own"
        elif captured.options_of(trainer.optimizers[0]) != self._options:
            obstacle = "options of the optimizer other than its learning rate change"
        if obstacle is None:
            try:
                with self._rates.read():
                    self.replay = self._steps.find(batch)
                if self.replay is not None and not self._tensors:
                    self._tensors = tensors_of(trainer, pl_module)
            except RuntimeError as error:
                obstacle = f"PyTorch cannot record them ({' '.join(str(error).split())})"
        if obstacle is not None:
            self._stop(trainer, obstacle)

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Leaves nothing to steps that are taken without callbacks, as a learning-rate finder's."""
        self.replay = None

    def _begin(self, trainer: Trainer, model: Any) -> None:
        """Records anew, of the tensors and the state that there are now."""
        self._tensors = []
        self._options = captured.options_of(trainer.optimizers[0])
        self._baked = Baked(trainer, model)
        self._steps = captured.RecordedSteps(
            lambda batch: _whole_step(trainer, model, batch), captured.CUDAGraph
        )

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Gives the memory of the recordings back."""
        self._forget()

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """Gives the memory of the recordings back."""
        self._forget()

    def take(self, batch: Any) -> tuple[Tensor, ...]:
        """Takes the whole step of a batch by its recording; returns what `losses` would."""
        assert self.replay is not None
        assert self._rates is not None
        self._rates.update()
        # the next step overwrites them
        return tuple(output.clone() for output in self.replay(batch))

    @contextmanager
    def recordable(self) -> Iterator[None]:
        """A block in which a plain step of the optimizer is the one that will be recorded."""
        with nullcontext() if self._rates is None else self._rates.read():
            yield

    def _forget(self) -> None:
        self.replay = self._steps = self._rates = self._baked = None

    def _stop(self, trainer: Trainer, obstacle: str) -> None:
        self._steps = None
        self._say(trainer, obstacle)

    def _say(self, trainer: Trainer, obstacle: str) -> None:
        if self._insists:
            raise ZooError(
                f"model.cuda_graphs is true, but training steps cannot be recorded: {obstacle}"
            )
        if trainer.is_global_zero:
            message = f"training steps are not recorded as CUDA graphs: {obstacle}"
            Console(stderr=True).print(message, soft_wrap=True, highlight=False, markup=False)


def _obstacle_of_rates(trainer: Trainer, model: Any) -> str | None:
    """Why an optimizer cannot read its learning rate on the device; None where it can."""
    optimizer = trainer.optimizers[0]
    name = type(optimizer).__name__
    if is_cpu(model.device) or model.device.type not in ("cuda", "cpu"):
        return f"the device is {model.device.type}"
    if not any(parameter.requires_grad for parameter in model.parameters()):
        return f"{type(model).__name__} has no parameters to train"
    if not isinstance(trainer.strategy, SingleDeviceStrategy):
        return f"processes exchange gradients ({type(trainer.strategy).__name__})"
    if getattr(trainer.precision_plugin, "scaler", None) is not None:
        return "16-mixed looks at the gradients of each step (bf16-mixed does not)"
    if type(optimizer) is SGD and getattr(getattr(model, "embedding", None), "sparse", False):
        return (
            f"{name} has no step of rows that can be recorded; model.sparse_gradients false gives "
            "it one of whole tables"
        )
    known = isinstance(optimizer, RowOptimizer) or type(optimizer) in (SGD, Adam, AdamW)
    if known or "capturable" in optimizer.defaults:
        return None
    return f"{name} has no step that can be recorded"


def _obstacle(trainer: Trainer, model: Any, insists: bool) -> str | None:
    """Why no step of a fit can be recorded; None where nothing speaks against it."""
    callbacks: list[Callback] = trainer.callbacks  # pyright: ignore[reportAttributeAccessIssue]
    looking = [c for c in callbacks if any(_overrides(c, name, Callback) for name in HOOKS)]
    own = next((k for k in type(model).__mro__ if k.__module__.startswith("zoo.")), object)
    if model._compiler_ctx is not None:
        return "the model is compiled"
    if torch.is_anomaly_enabled():
        return "detect_anomaly looks at the gradients of each step"
    if looking:
        return f"the callback {type(looking[0]).__name__} looks at the gradients of each step"
    if name := hooked(model):
        return f"{name} has a hook, which a recorded step would not call"
    if any(_overrides(model, name, own) for name in STEPS):
        return f"{type(model).__name__} has a step, or hooks of a step, of its own"
    if own is not type(model) and not insists:
        return (
            f"{type(model).__name__} is not of this package, and might compute with what changes "
            "outside of its tensors; model.cuda_graphs true says that it does not"
        )
    return None


def _overrides(thing: Any, name: str, base: type) -> bool:
    found = getattr(thing, name)
    return getattr(found, "__func__", found) is not getattr(base, name)


def _whole_step(trainer: Trainer, model: Any, batch: Any) -> tuple[Tensor, ...]:
    """Forward, loss, backward, clipping and the step of the optimizer; returns the `losses`."""
    optimizer = trainer.optimizers[0]
    optimizer.zero_grad()
    with trainer.precision_plugin.train_step_context():
        losses = model.losses(batch)
    losses[0].backward()  # which gives gradients the strides of weights, as fused steps need them
    model.configure_gradient_clipping(
        optimizer, trainer.gradient_clip_val, trainer.gradient_clip_algorithm
    )
    optimizer.step()
    optimizer.zero_grad()  # gradients of a recording are its own
    return tuple(loss.detach() for loss in losses)
