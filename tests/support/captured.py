"""Recorded steps without a GPU: a stand-in for a CUDA graph, that runs the function again."""

import contextlib
from unittest import mock

import pytorch_lightning as pl

from zoo.nn import captured
from zoo.nn.device import as_on_gpu


class Rerun:
    """Does again what was given, over the same tensors; nothing happens when it is made."""

    made = 0
    replays = 0

    def __init__(self, function):
        self.function = function
        type(self).made += 1

    def replay(self):
        type(self).replays += 1
        return self.function()


@contextlib.contextmanager
def stand_in(recording=Rerun):
    """A block in which CPUs take the ways of GPUs, and record steps."""
    recording.made = recording.replays = 0
    with as_on_gpu(), mock.patch.object(captured, "CUDAGraph", recording):
        yield recording


class Losses(pl.Callback):
    """The loss of each step."""

    def __init__(self):
        self.losses = []

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
        self.losses.append(float(outputs["loss"]))
