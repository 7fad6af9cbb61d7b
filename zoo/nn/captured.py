"""Training steps that are recorded once, as a CUDA graph, and replayed.

On a GPU a step is a hundred short kernels, and starting them one by one takes longer than they do.
A recorded step starts them all at once. It has the shapes of the batch that it was recorded for,
reads that batch where the recording found it, and asks nothing of the device.
"""

from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.optim import Optimizer

from zoo.data.batch import AnyBatch, Batch, SessionBatch

PLAIN_STEPS = 3  # before a recording: they make what is made once, such as the state of optimizers
MOST_SHAPES = 4  # of batches whose steps are recorded; each keeps its memory
ON_DEVICE = ("fused", "capturable")  # options by which torch's optimizers read tensors on GPUs

Outputs = tuple[Tensor, ...]


class Recording(Protocol):
    """What a function has done, once recorded."""

    def replay(self) -> Outputs:
        """Does it again; the outputs are overwritten by the next replay."""
        ...


class CUDAGraph:
    """A function without arguments, recorded as a CUDA graph; recordings share their memory.

    Args:
        function: What is recorded.
    """

    _pools: dict[int, Any] = {}  # noqa: RUF012  (one for each device, for as long as the process)

    def __init__(self, function: Callable[[], Outputs]) -> None:
        device = torch.cuda.current_device()
        pool = self._pools.setdefault(device, torch.cuda.graph_pool_handle())
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph, pool=pool):
            self.outputs = function()

    def replay(self) -> Outputs:
        """Does it again."""
        self.graph.replay()
        return self.outputs


class Recorded:
    """A step of batches of one shape.

    Args:
        step: The step; what it returns must not depend on the data's values for its shapes.
        batch: A batch of the shape.
        record: What records a function.
    """

    def __init__(
        self,
        step: Callable[[Any], Outputs],
        batch: Any,
        record: Callable[[Callable[[], Outputs]], Recording],
    ) -> None:
        self._batch = batch._replace(**{name: part.clone() for name, part in _parts(batch)})
        self._recording = record(lambda: step(self._batch))

    def __call__(self, batch: Any) -> Outputs:
        """Takes the step with another batch; the outputs are overwritten by the next step."""
        for name, part in _parts(batch):
            getattr(self._batch, name).copy_(part)
        return self._recording.replay()


class RecordedSteps:
    """A step that is recorded for each shape of its batches, when it has been taken a few times.

    Args:
        step: The step.
        record: What records a function.

    Attributes:
        shapes: Number of shapes that were recorded.
    """

    def __init__(
        self,
        step: Callable[[Any], Outputs],
        record: Callable[[Callable[[], Outputs]], Recording] = CUDAGraph,
    ) -> None:
        self._step = step
        self._record = record
        self._seen: Counter[Hashable] = Counter()
        self._recorded: dict[Hashable, Recorded] = {}

    @property
    def shapes(self) -> int:
        """Number of shapes that were recorded."""
        return len(self._recorded)

    def find(self, batch: AnyBatch) -> Recorded | None:
        """The recorded step of batches of this shape; None where it is to be taken plainly."""
        shape = tuple((name, part.shape, part.dtype) for name, part in _parts(batch))
        found = self._recorded.get(shape)
        if found is None and self.shapes < MOST_SHAPES:
            self._seen[shape] += 1
            if self._seen[shape] > PLAIN_STEPS:
                found = self._recorded[shape] = Recorded(self._step, batch, self._record)
        return found


def is_static(batch: Any) -> bool:
    """Whether the shapes of what is computed of a batch are known by its own."""
    return isinstance(batch, Batch | SessionBatch) and getattr(batch, "lists", None) is None


def _parts(batch: Any) -> Iterator[tuple[str, Tensor]]:
    return ((name, part) for name, part in batch._asdict().items() if part is not None)


class DeviceRates:
    """The learning rates of an optimizer, where a recorded step reads them.

    Args:
        optimizer: The optimizer.
        device: Where its parameters lie.
    """

    def __init__(self, optimizer: Optimizer, device: torch.device) -> None:
        self.optimizer = optimizer
        self._rates = [torch.zeros((), device=device) for _ in optimizer.param_groups]
        self._values: list[Any] = [None] * len(self._rates)
        # torch's warning that `capturable` is slow without a graph; by its private name
        optimizer._warned_capturable_if_run_uncaptured = True  # pyright: ignore[reportAttributeAccessIssue]
        for state in optimizer.state.values():  # a checkpoint has them on the CPU
            if "step" in state:
                state["step"] = torch.as_tensor(state["step"], dtype=torch.float32, device=device)

    def update(self) -> None:
        """Takes the rates that the optimizer has now."""
        for i, group in enumerate(self.optimizer.param_groups):
            if group["lr"] != self._values[i]:
                self._values[i] = group["lr"]
                self._rates[i].fill_(group["lr"])

    @contextmanager
    def read(self) -> Iterator[None]:
        """A block in which steps of the optimizer read them, and ask nothing of the device."""
        self.update()
        groups = self.optimizer.param_groups
        before = [{name: g[name] for name in ("lr", *ON_DEVICE) if name in g} for g in groups]
        for group, rate in zip(groups, self._rates, strict=True):
            group |= {name: True for name in ON_DEVICE if name in group} | {"lr": rate}
        try:
            yield
        finally:
            for group, options in zip(groups, before, strict=True):
                group |= options


def options_of(optimizer: Optimizer) -> Sequence[dict[str, Any]]:
    """What a recorded step has taken from an optimizer, for good: its options but the rates."""
    varying = {"params", "lr", *ON_DEVICE}
    return [{k: v for k, v in g.items() if k not in varying} for g in optimizer.param_groups]
