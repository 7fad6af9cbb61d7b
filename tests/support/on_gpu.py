"""Small fits on a GPU, and on a CPU that takes the ways of one, to compare with plain ones."""

import contextlib
from unittest import mock

import pytorch_lightning as pl
import torch
from support.captured import Losses, stand_in
from support.small_checkpoints import MODELS, QUIET, row_batch, session_batch, small

from zoo.models.baselines import SkipBaseline
from zoo.models.sessions import SessionModule
from zoo.nn import captured

NAMES = [name for name in MODELS if not issubclass(MODELS[name], SkipBaseline)]
ROW_NAMES = [name for name in NAMES if not issubclass(MODELS[name], SessionModule)]
CPU = torch.device("cpu")


class Graph(captured.CUDAGraph):
    """A CUDA graph that is counted."""

    made = 0
    replays = 0

    def __init__(self, function, beside=None):
        super().__init__(function, beside)
        type(self).made += 1

    def replay(self):
        type(self).replays += 1
        return super().replay()


@contextlib.contextmanager
def ways_of_gpus(device):
    """A block in which models on the device take the ways of GPUs; counts what is recorded."""
    if device.type == "cpu":
        with stand_in() as recording:
            yield recording
        return
    Graph.made = Graph.replays = 0
    with mock.patch.object(captured, "CUDAGraph", Graph):
        yield Graph


def accelerator(device):
    """Options of a trainer on the device."""
    return {"accelerator": "gpu" if device.type == "cuda" else "cpu", "devices": 1}


def batches_of(name, count=4):
    """Batches of the rows, or sessions, of a model."""
    torch.manual_seed(7)
    make = row_batch if name in ROW_NAMES else session_batch
    return [make() for _ in range(count)]


def fitted(name, device, epochs=3, callbacks=(), trainer=None, **options):
    """The losses of all steps, and the weights at the end, on the CPU."""
    seen, model = Losses(), small(name, **options)
    settings = {**QUIET, **accelerator(device), "max_epochs": epochs, **(trainer or {})}
    fit = pl.Trainer(callbacks=[*callbacks, seen], enable_checkpointing=False, **settings)
    data = torch.utils.data.DataLoader(batches_of(name), batch_size=None)
    fit.fit(model, data, data)
    return torch.tensor(seen.losses, dtype=torch.float64), model.cpu().state_dict()
