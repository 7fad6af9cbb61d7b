"""What PyTorch is called for, counted."""

from collections import Counter

from torch.utils._python_dispatch import TorchDispatchMode

from zoo.nn.device import as_on_gpu


class Kernels(TorchDispatchMode):
    """Counts the ATen calls that are no views."""

    def __init__(self):
        super().__init__()
        self.names = Counter()
        self.views = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func.namespace != "profiler":
            self.names[func._schema.name] += not func.is_view
            self.views += func.is_view
        return func(*args, **kwargs or {})


def kernels(function):
    """Calls of a function, on the way of GPUs, that are no views."""
    with as_on_gpu(), Kernels() as counted:
        function()
    return counted.names.total()
