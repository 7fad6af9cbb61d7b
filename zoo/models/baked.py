"""What a recorded step has taken from Python for good: where that changes, it is recorded anew."""

from typing import Any

from pytorch_lightning import LightningModule, Trainer
from torch import Tensor, nn

PLAIN = (bool, int, float, str)  # types of the options of a module, such as its dropout
CALLED = ("_forward_hooks", "_backward_hooks", "_backward_pre_hooks", "_forward_pre_hooks")
OF_GRADIENTS = ("_backward_hooks", "_post_accumulate_grad_hooks")


class Baked:
    """What steps that are recorded now depend on, beside tensors.

    These are the numbers, names and modes of all modules, whether each parameter is trained, by
    which groups of the optimizer, and how gradients are clipped.

    Args:
        trainer: The trainer.
        model: Its model.
    """

    def __init__(self, trainer: Trainer, model: LightningModule) -> None:
        self._trainer = trainer
        self._options = [
            (vars(module), name)
            for module in model.modules()
            for name, value in vars(module).items()
            if isinstance(value, PLAIN) and not name.startswith("_")
        ]
        self._parameters = [*model.parameters()]
        self._before = self._now()

    @property
    def changed(self) -> bool:
        """Whether steps that were recorded before are of the past."""
        return self._now() != self._before

    def _now(self) -> list[Any]:
        trainer = self._trainer
        return [
            trainer.gradient_clip_val,
            trainer.gradient_clip_algorithm,
            *(len(group["params"]) for group in trainer.optimizers[0].param_groups),
            *(parameter.requires_grad for parameter in self._parameters),
            *(options.get(name) for options, name in self._options),
        ]


def tensors_of(trainer: Trainer, model: LightningModule) -> list[int]:
    """Where the tensors lie that a recorded step reads and writes, once the optimizer has its."""
    states = [v for s in trainer.optimizers[0].state.values() for v in s.values()]
    every = [*model.parameters(), *model.buffers(), *states]
    return [tensor.data_ptr() for tensor in every if isinstance(tensor, Tensor)]


def hooked(model: nn.Module) -> str | None:
    """Name of a module or parameter with a hook, which a recorded step would not call.

    Those of torch itself compute weights of others, and are recorded with the step.
    """
    things = [(thing, CALLED) for thing in model.named_modules()]
    things += [(thing, OF_GRADIENTS) for thing in model.named_parameters()]
    for (name, thing), kinds in things:
        hooks = [hook for kind in kinds for hook in (getattr(thing, kind, None) or {}).values()]
        if any(not type(hook).__module__.startswith("torch.nn.utils") for hook in hooks):
            return name or type(thing).__name__
    return None
