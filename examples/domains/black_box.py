"""What the examples of this folder make, and the benchmarks measure: a model and instances."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from zoo.glider.switches import Switches


@dataclass(frozen=True)
class Instance:
    """Something that a black box scores.

    Attributes:
        x: The instance, as the switches take it.
        switches: What its parts are, and what on and off mean.
        names: [d] names of its parts.
        title: What it is, a few words.
        scores: The black box around it: inputs [N, ..] to N scores (logits of what it says).
    """

    x: Any
    switches: Switches
    names: Sequence[str]
    title: str
    scores: Callable[[Any], Tensor]


@dataclass(frozen=True)
class BlackBox:
    """A model, with instances it has not been trained on.

    Attributes:
        name: Its name, such as `Sentiment-LSTM`.
        instances: The instances, in random order.
        accuracy: Its accuracy on instances it has not been trained on.
    """

    name: str
    instances: Sequence[Instance]
    accuracy: float
