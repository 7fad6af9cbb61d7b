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
# options by which torch's optimizers read tensors on GPUs
ON_DEVICE = {"fused": True, "capturable": True}

Outputs = tuple[Tensor, ...]


class Recording(Protocol):
    """What a function has done, once recorded."""

    def replay(self) -> Outputs:
        """Does it again; the outputs are overwritten by the next replay."""
        ...


class CUDAGraph:
    """A function without arguments, recorded as a CUDA graph.

    Args:
        function: What is recorded.
        beside: A recording whose memory this one may use too, as both are never replayed at once.
            Memory whose recordings are gone is not taken up again, which PyTorch refuses.
    """

    def __init__(self, function: Callable[[], Outputs], beside: "CUDAGraph | None" = None) -> None:
        pool = None if beside is None else beside.graph.pool()
        stream = torch.cuda.current_stream()
        self.graph = torch.cuda.CUDAGraph()
        try:
            # other threads may go on, such as one that pins the memory of the next batches
            with torch.cuda.graph(self.graph, pool=pool, capture_error_mode="thread_local"):
                self.outputs = function()
        except BaseException:
            # a failed recording would go on with its stream, and with random numbers that take
            # themselves for recorded, which the next dropout would refuse
            torch.cuda.set_stream(stream)
            random = torch.cuda.default_generators[torch.cuda.current_device()]
            random.graphsafe_set_state(random.clone_state())
            raise

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
        self.recording = record(lambda: step(self._batch))

    def __call__(self, batch: Any) -> Outputs:
        """Takes the step with another batch; the outputs are overwritten by the next step."""
        for name, part in _parts(batch):
            getattr(self._batch, name).copy_(part)
        return self.recording.replay()


class RecordedSteps:
    """A step that is recorded for each shape of its batches, when it has been taken a few times.

    Args:
        step: The step.
        record: What records a function, beside another recording or None.

    Attributes:
        shapes: Number of shapes that were recorded.
    """

    def __init__(
        self,
        step: Callable[[Any], Outputs],
        record: Callable[[Callable[[], Outputs], Any], Recording] = CUDAGraph,
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
                beside = next((other.recording for other in self._recorded.values()), None)
                found = self._recorded[shape] = Recorded(
                    self._step, batch, lambda function: self._record(function, beside)
                )
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
        self.device = device
        self._rates: list[Tensor] = []
        self._values: list[Any] = []
        # torch's warning that `capturable` is slow without a graph; by its private name
        optimizer._warned_capturable_if_run_uncaptured = True  # pyright: ignore[reportAttributeAccessIssue]
        self.take_state()

    def take_state(self) -> None:
        """Brings numbers of steps to the device; those of a checkpoint lie on the CPU."""
        for state in self.optimizer.state.values():
            if "step" in state:
                step = torch.as_tensor(state["step"], dtype=torch.float32, device=self.device)
                state["step"] = step

    def update(self) -> None:
        """Takes the rates that the optimizer has now, of groups that it was given since, too."""
        for i, group in enumerate(self.optimizer.param_groups):
            if i == len(self._rates):
                self._rates.append(torch.zeros((), device=self.device))
                self._values.append(None)
            if group["lr"] != self._values[i]:
                self._values[i] = group["lr"]
                self._rates[i].fill_(group["lr"])

    @contextmanager
    def read(self) -> Iterator[None]:
        """A block in which steps of the optimizer read them, and ask nothing of the device."""
        self.update()
        groups = self.optimizer.param_groups
        names = ("lr", *ON_DEVICE, "foreach")
        before = [{name: g[name] for name in names if name in g} for g in groups]
        for group, rate in zip(groups, self._rates, strict=True):
            if self._begins(group):
                continue
            group |= {name: on for name, on in ON_DEVICE.items() if name in group} | {"lr": rate}
            if "fused" in group:  # which SGD takes after `foreach`, by a rate that it reads
                group["foreach"] = False
        try:
            yield
        finally:
            for group, options in zip(groups, before, strict=True):
                group |= options

    def _begins(self, group: dict[str, Any]) -> bool:
        """Whether some parameters have a momentum and others not yet, for which no kernel is."""
        if not group.get("momentum") or "dampening" not in group:
            return False
        trained = [p for p in group["params"] if p.requires_grad]
        return len({"momentum_buffer" in self.optimizer.state.get(p, ()) for p in trained}) > 1


def options_of(optimizer: Optimizer) -> Sequence[dict[str, Any]]:
    """What a recorded step has taken from an optimizer, for good: its options but the rates.

    What schedules keep in its groups is not among them.
    """
    kept = optimizer.defaults.keys() - {"lr", "foreach", *ON_DEVICE}
    return [{name: group.get(name) for name in kept} for group in optimizer.param_groups]
