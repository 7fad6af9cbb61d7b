"""Weights that a model gives to fields, pairs or parts of itself, anew in each row."""

from typing import NamedTuple

from torch import Tensor


class Gate(NamedTuple):
    """Weights of one kind.

    Attributes:
        title: What they are, such as `weights of SENET`.
        reading: How to read them, one sentence.
        names: What is weighed: fields, pairs, orders.
        values: [B, len(names)] the weights in each row.
    """

    title: str
    reading: str
    names: tuple[str, ...]
    values: Tensor
