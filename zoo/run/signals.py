"""SIGTERM, by which a scheduler ends a process: it ends a command as Ctrl-C does."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from zoo.data.errors import causes

# What a shell reports of a process that a signal ended
INTERRUPTED, TERMINATED = (128 + int(number) for number in (signal.SIGINT, signal.SIGTERM))


_received: list[int] = []  # signals, since the last `terminable` began


class Terminated(KeyboardInterrupt):
    """SIGTERM has been received; raised where Ctrl-C would raise `KeyboardInterrupt`."""


@contextmanager
def terminable() -> Iterator[None]:
    """SIGTERM raises `Terminated` inside the block, so that what is half-written is removed."""
    process = os.getpid()

    def terminate(number: int, frame: FrameType | None) -> None:
        if os.getpid() != process:  # a fork of this one, which has nothing to remove
            os._exit(TERMINATED)
        _received.append(number)
        raise Terminated

    _received.clear()
    before = signal.getsignal(signal.SIGTERM)
    if before != signal.SIG_DFL or threading.current_thread() is not threading.main_thread():
        yield
        return
    signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def status_of(error: BaseException) -> int | None:
    """The exit status where a signal is why an error was raised; None where none is.

    Lightning turns Ctrl-C into `SystemExit(1)`, and a SIGTERM of which it is left in charge into a
    `SIGTERMException`, whose status would be 0. A signal amid an import can come out as any error.
    """
    if _received or type(error).__name__ == "SIGTERMException":
        return TERMINATED
    for cause in causes(error):
        if isinstance(cause, Terminated):
            return TERMINATED
        if isinstance(cause, KeyboardInterrupt):
            return INTERRUPTED
    return None
