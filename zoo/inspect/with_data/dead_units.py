"""Hidden units that never fire: zero on every row, they neither say nor learn anything.

Shapes: B batch, U units of a layer.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import Tensor

from zoo.models.base import ZooModule


@dataclass(frozen=True)
class Layer:
    """A hidden layer with ReLU.

    Attributes:
        name: Name of the layer, such as `layer 2 of deep`, counted from 1 within a part of the
            model.
        units: Number of its units.
        dead: Number of units that are zero wherever they were looked at.
    """

    name: str
    units: int
    dead: int


@contextmanager
def watched(model: ZooModule) -> Iterator[dict[str, Tensor]]:
    """Watches the layers with ReLU; gives bool [U] of each, whether a unit has ever fired.

    Of tensors [B, .., U], as the last dimension has it. The dictionary fills while the model is
    used in here, in the order in which the layers are.
    """
    fired: dict[str, Tensor] = {}
    hooks = [
        module.register_forward_hook(partial(_note, fired, name))
        for name, module in model.rectified()
    ]
    try:
        yield fired
    finally:
        for hook in hooks:
            hook.remove()


def _note(fired: dict[str, Tensor], name: str, _module: Any, _inputs: Any, out: Tensor) -> None:
    active = (out > 0).flatten(0, -2).any(0)
    fired[name] = fired[name] | active if name in fired else active


def layers_of(fired: Mapping[str, Tensor]) -> tuple[Layer, ...]:
    """The layers that were watched."""
    return tuple(Layer(name, len(active), int((~active).sum())) for name, active in fired.items())


def dead_unit_warnings(layers: tuple[Layer, ...]) -> Iterator[str]:
    """A sentence for each layer with dead units."""
    for layer in layers:
        if layer.dead:
            yield (
                f"{layer.dead:,} of {layer.units:,} units of {layer.name} are dead: zero on every "
                "row"
            )
