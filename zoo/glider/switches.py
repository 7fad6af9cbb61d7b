"""What explains a black box by parts of its input that are on or off asks of these.

Shapes: N neighbours, d features.
"""

from typing import Any, Protocol

from torch import Tensor


class Switches(Protocol):
    """Turns parts of an instance on and off.

    `OnOff` does so with the fields of a row, `SessionOnOff` with parts of a session, `Between` with
    numbers, and the classes of `zoo.glider.domains` with texts, images, graphs and sequences.
    """

    def apply(self, instance: Any, masks: Tensor) -> Any:
        """The inputs of the black box that masks [N, d] of 1 (on) and 0 (off) give.

        Args:
            instance: What is explained.
            masks: Which features are on.
        """
        ...

    def centre(self, instance: Any) -> Tensor:
        """[d] the instance itself: everything is on."""
        ...
