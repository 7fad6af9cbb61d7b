"""Which way of computing suits a device: that of CPUs, or that of GPUs.

On a GPU a step of a model is many short kernels, and the time goes into starting them: there a way
of few kernels is taken whose shapes and branches do not depend on the data, so that the processor
does not wait for the device, and a whole step can be recorded and replayed.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

_pretends = False  # no ContextVar, which torch.compile does not see through


def is_cpu(where: Tensor | torch.device) -> bool:
    """Whether a tensor, or a device, is one for which the ways of CPUs are meant.

    What torch.export makes of a model goes the way of GPUs, which takes batches of any size and
    values.
    """
    device = where.device if isinstance(where, Tensor) else where
    return device.type == "cpu" and not (_pretends or torch.compiler.is_exporting())


@contextmanager
def as_on_gpu() -> Iterator[None]:
    """A block in which CPUs take the ways of GPUs, which is how these are tested without one."""
    global _pretends
    before, _pretends = _pretends, True
    try:
        yield
    finally:
        _pretends = before
