"""Recorded steps without a GPU: a stand-in for a CUDA graph."""

import contextlib
import gc
from unittest import mock

import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from zoo.nn import captured
from zoo.nn.device import as_on_gpu

# that give values, or shapes that depend on them
ASKING = {"_local_scalar_dense", "equal", "masked_select", "nonzero", "_unique2"}
ASKING |= {"unique_consecutive", "unique_dim", "repeat_interleave"}
OF_NUMBERS = {"lift_fresh", "fill_"}  # of one number, which a kernel is given


class Tape(TorchDispatchMode):
    """The ATen calls of a function, recorded once and made again over the same tensors.

    As with a CUDA graph, no Python runs in a replay: a number that Python has read or counted is
    that of the recording for ever, and what was computed outside of the tape is not computed again.
    Recording changes nothing, neither tensors nor the state of random numbers. It fails where a
    value is asked for, or where a tensor is made of numbers of the host, which are to be copied.
    """

    made = 0
    replays = 0

    def __init__(self, function, beside=None):
        super().__init__()
        type(self).made += 1
        self.calls, self.known, self.before = [], set(), {}
        tensors = [x for x in gc.get_objects() if type(x) in (Tensor, torch.nn.Parameter)]
        self.old = _places([x for x in tensors if x.layout == torch.strided])
        random = torch.get_rng_state()
        with self:
            self.outputs = function()
        with torch.no_grad():
            for tensor, value in self.before.values():
                tensor.copy_(value)
        torch.set_rng_state(random)

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        given, name = _places((args, kwargs)), func._schema.name.removeprefix("aten::")
        of_host = name not in OF_NUMBERS and not given <= self.old | self.known
        if name in ASKING or of_host:
            raise RuntimeError(f"{name}: operation not permitted when stream is capturing")
        if func._schema.is_mutable or "batch_norm" in func._schema.name:
            for tensor in _tensors((args, kwargs)):
                if _place(tensor) not in self.known:  # it was there before
                    self.before.setdefault(id(tensor), (tensor, tensor.clone()))
        found = func(*args, **kwargs)
        self.calls.append((func, args, kwargs, _new(found, given)))
        self.known |= _places(found) - given if name != "lift_fresh" else set()
        return found

    def replay(self):
        type(self).replays += 1
        with torch.no_grad(), torch.autocast("cpu", enabled=False):  # which has been gone through
            for func, args, kwargs, outputs in self.calls:
                again = _new(func(*args, **kwargs), _places((args, kwargs)))
                for output, value in zip(outputs, again, strict=True):
                    output.copy_(value)
        return self.outputs


def _tensors(values):
    """All tensors; of sparse ones, their parts."""
    found = [x for x in tree_leaves(values) if isinstance(x, Tensor)]
    return [y for x in found for y in ((x._indices(), x._values()) if x.is_sparse else (x,))]


def _place(tensor):
    return tensor.untyped_storage()._cdata


def _places(values):
    return {_place(tensor) for tensor in _tensors(values)}


def _new(found, given):
    """The tensors of a result that are no views of what was given, and not it itself."""
    return [tensor for tensor in _tensors(found) if _place(tensor) not in given]


@contextlib.contextmanager
def stand_in(recording=Tape):
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
