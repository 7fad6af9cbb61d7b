"""Hidden units that never fire: zero on every row, they neither say nor learn anything.

Shapes: U units of a layer.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import Tensor, nn

from zoo.ctr.autoint import InteractingLayer
from zoo.ctr.xdeepfm import CompressedInteractionLayer

RELUS = (nn.ReLU, CompressedInteractionLayer, InteractingLayer)  # modules that end in one


@dataclass(frozen=True)
class Layer:
    """A hidden layer with ReLU.

    Attributes:
        name: `layer 2 of deep`, counted from 1 within a part of the model.
        units: U.
        dead: number of those that are zero wherever they were looked at.
    """

    name: str
    units: int
    dead: int


@contextmanager
def watched(model: nn.Module) -> Iterator[dict[str, Tensor]]:
    """Watches the ReLU of a model; gives bool [U] of each, whether a unit has ever fired.

    Of tensors [B, .., U], as the last dimension has it. The dictionary fills while the model is
    used in here.
    """
    fired: dict[str, Tensor] = {}
    named = ((n, module) for n, module in model.named_modules() if isinstance(module, RELUS))
    hooks = [module.register_forward_hook(partial(_note, fired, name)) for name, module in named]
    try:
        yield fired
    finally:
        for hook in hooks:
            hook.remove()


def _note(fired: dict[str, Tensor], name: str, _module: Any, _inputs: Any, out: Tensor) -> None:
    active = (out > 0).flatten(0, -2).any(0)
    fired[name] = fired[name] | active if name in fired else active


def layers(fired: dict[str, Tensor], experts: tuple[str, ...]) -> Iterator[Layer]:
    """The layers that were watched.

    Args:
        fired: of `watched`.
        experts: names of those that a mixture has, each with its own units.
    """
    for name, active in fired.items():
        part, *rest = name.split(".")
        numbers = [int(step) for step in rest if step.isdecimal()]
        own = part == "activations"  # of an expert, not of a part of the model
        owner = f"expert {experts[numbers[1]]}" if own else part
        label = f"layer {numbers[0] + 1} of {owner}" if numbers else owner
        yield Layer(label, len(active), int((~active).sum()))
