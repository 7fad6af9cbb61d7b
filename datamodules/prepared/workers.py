"""Who does tasks beside this process: processes of this machine, or a cluster by Ray."""

import logging
import multiprocessing
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Protocol

from zoo.data.errors import ZooError

SECONDS_TO_ANSWER = 20  # of a cluster
KEPT = "what is finished is kept, and the repeated command goes on from there"


class Executor(Protocol):
    """Calls functions, as a `with` block.

    Attributes:
        share: Among how many calls `data.memory_limit` is shared.
        threads: Number of threads of DuckDB in a call.
    """

    share: int
    threads: int

    def __enter__(self) -> Any: ...

    def __exit__(self, *exception: object) -> None: ...

    def run(self, function: Callable, calls: Sequence[tuple]) -> Iterator[tuple[int, Any]]:
        """Calls a function with each of the arguments; gives the numbers of the calls and their
        results as they end.

        Raises:
            ZooError: where a call does so, or a worker is killed.
        """
        ...


class Processes:
    """Processes of this machine, which end with it, whatever ends it.

    Args:
        workers: Their number.
    """

    def __init__(self, workers: int) -> None:
        self.workers = self.share = workers
        self.threads = max((os.cpu_count() or 1) // workers, 1)

    def __enter__(self) -> "Processes":
        spawn = multiprocessing.get_context("spawn")
        ours, self.end = spawn.Pipe(duplex=False)
        self.pool = ProcessPoolExecutor(
            self.workers, mp_context=spawn, initializer=_follow, initargs=(ours,)
        )
        return self

    def __exit__(self, *exception: object) -> None:
        if exception[0] is not None:
            self.end.close()  # they end, whatever they do
        self.pool.shutdown(cancel_futures=True)
        self.end.close()

    def run(self, function: Callable, calls: Sequence[tuple]) -> Iterator[tuple[int, Any]]:
        """See `Executor`."""
        try:
            futures = {self.pool.submit(function, *call): n for n, call in enumerate(calls)}
            for future in as_completed(futures):
                yield futures[future], future.result()
        except BrokenProcessPool as error:
            raise ZooError(
                f"a process of data.workers={self.workers} was killed: {KEPT}; where memory was "
                "why, use fewer or a smaller data.memory_limit, and in a script of Python prepare "
                "below `if __name__ == '__main__':`"
            ) from error


def _follow(ours: Any) -> None:
    """Lets a worker end with the process that has started it, and leave Ctrl-C to that."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def wait() -> None:
        ours.poll(None)  # until nobody holds the other end
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


class RayTasks:
    """The machines of a cluster of Ray: that of RAY_ADDRESS, else one of this machine alone."""

    share = 1
    threads = 1

    def __init__(self) -> None:
        if find_spec("ray") is None:
            raise ZooError(
                "data.workers=ray needs the package ray: pip install 'interpretable-zoo[scale]'"
            )

    def __enter__(self) -> "RayTasks":
        ray: Any = import_module("ray")  # of an extra
        self.ray = ray
        self.is_ours = not ray.is_initialized()
        if self.is_ours:
            where = os.environ.get("RAY_ADDRESS", "")
            try:
                _knock(where)
                # which looks at RAY_ADDRESS
                ray.init(log_to_driver=False, logging_level=logging.WARNING)
            except (OSError, ValueError, RuntimeError) as error:
                reason = " ".join(str(error).split())
                raise ZooError(
                    f"no cluster of Ray answers (RAY_ADDRESS is {where or 'not set'}): {reason}"
                ) from error
        return self

    def __exit__(self, *exception: object) -> None:
        if self.is_ours:
            self.ray.shutdown()

    def run(self, function: Callable, calls: Sequence[tuple]) -> Iterator[tuple[int, Any]]:
        """See `Executor`."""
        remote = self.ray.remote(num_cpus=1, max_retries=1)(_there)
        pending = {remote.remote(os.getcwd(), function, call): n for n, call in enumerate(calls)}
        try:
            while pending:
                (done,), _ = self.ray.wait([*pending], num_returns=1)
                result, sentence = self.ray.get(done)
                if sentence is not None:
                    raise ZooError(sentence)
                yield pending.pop(done), result
        except self.ray.exceptions.RayTaskError:
            raise  # an error of ours
        except self.ray.exceptions.RayError as error:
            raise ZooError(f"a worker of Ray was killed, twice ({error}): {KEPT}") from error
        finally:
            for left in pending:
                self.ray.cancel(left, force=True)


def _knock(address: str) -> None:
    """Raises `OSError` where nobody answers at host:port, for which Ray would try for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if port.isdecimal():
        socket.create_connection((host.strip("[]"), int(port)), timeout=SECONDS_TO_ANSWER).close()


def _there(folder: str, function: Callable, call: tuple) -> tuple[Any, str | None]:
    """A call on a machine of a cluster, from the same folder: paths may be relative to it.

    Returns:
        Its result, or the sentence of a `ZooError`, which Ray would wrap.
    """
    try:
        os.chdir(folder)
    except OSError:
        return None, (
            f"{folder} is not there on one of the machines that prepare: start the command in a "
            "folder on storage that all of them share, at the same place"
        )
    try:
        return function(*call), None
    except ZooError as error:
        return None, str(error)
    except OSError as error:
        return None, f"{error.filename or folder}: {error.strerror or error}"
