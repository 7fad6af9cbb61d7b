"""What a process measures of itself: its memory, and the bytes that it sends to others."""

import threading
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

from torch import Tensor, distributed
from torch.utils._python_dispatch import TorchDispatchMode

PAGE = 4096


def anonymous() -> int:
    """Bytes of memory of this process that are its own, without the pages of mapped files."""
    _, resident, shared, *_ = map(int, Path("/proc/self/statm").read_text().split())
    return (resident - shared) * PAGE


def resident() -> int:
    """Bytes of memory of this process, with those pages of mapped files that it has touched."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE


class Memory:
    """The largest memory while it is open, looked at every 20 ms.

    Attributes:
        anonymous: Without the pages of mapped files, in bytes.
        resident: With them.
    """

    def __init__(self) -> None:
        self.anonymous, self.resident = anonymous(), resident()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def _watch(self) -> None:
        while not self._over.wait(0.02):
            self.look()

    def look(self) -> None:
        """Looks now, as at a moment that is known to take much."""
        self.anonymous = max(self.anonymous, anonymous())
        self.resident = max(self.resident, resident())

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        self.look()


def loopback() -> int:
    """Bytes that the loopback interface has carried, of all programs that may use it."""
    with suppress(FileNotFoundError):
        for line in Path("/proc/net/dev").read_text().splitlines():
            if line.strip().startswith("lo:"):
                return int(line.split()[1])
    return 0


class Traffic(TorchDispatchMode):
    """Bytes that this process sends in collective operations while it is open.

    Of an all-reduce those of a ring, 2 (P - 1) / P of its tensors; of an all-to-all those for other
    processes; of an all-gather the own part, P - 1 times; of a broadcast a P-th of P - 1 times the
    tensor, as its root's share on average.

    Attributes:
        sent: Bytes.
    """

    def __init__(self) -> None:
        super().__init__()
        self.sent = 0.0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.namespace == "c10d":
            self.sent += _sent(func._schema.name.removeprefix("c10d::"), args)
        return func(*args, **kwargs or {})


def _sent(name: str, args: Any) -> float:
    processes, rank = distributed.get_world_size(), distributed.get_rank()
    if name == "allreduce_":
        return 2 * (processes - 1) / processes * _bytes(args[0])
    if name == "broadcast_":
        return (processes - 1) / processes * _bytes(args[0])
    if name in ("_allgather_base_", "allgather_"):
        return (processes - 1) * _bytes(args[1])
    if name == "alltoall_base_":
        sizes = args[4]
        if not sizes:
            return (processes - 1) / processes * _bytes(args[1])
        rows = sum(size for n, size in enumerate(sizes) if n != rank)
        return rows * _bytes(args[1]) / max(1, len(args[1]))
    if name == "alltoall_":
        return sum(_bytes(part) for n, part in enumerate(args[1]) if n != rank)
    if name in ("barrier", "monitored_barrier_"):
        return 0
    raise NotImplementedError(f"bytes of c10d::{name}")


def _bytes(found: Any) -> int:
    if isinstance(found, Tensor):
        return found.numel() * found.element_size()
    return sum(map(_bytes, found))
