"""One trial, as a process of its own: a fit whose end, whatever it is, is not that of the sweep.

It is forked from a process that has imported what a fit needs, which takes some hundredths of a
second where a start takes five. The parent is told of each validation, and says whether to go on.
"""

import json
import math
import multiprocessing
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer

import zoo
from zoo.data.errors import shortened
from zoo.run import cli
from zoo.run.fit import RaisingParser
from zoo.run.mistakes import sentence_of
from zoo.run.record import RunRecord
from zoo.run.signals import terminable
from zoo.run.silence import silenced
from zoo.run.tracking import Pruned

GRACE = 10.0  # seconds in which a trial may end by itself


@dataclass(frozen=True)
class Outcome:
    """How a trial has ended.

    Attributes:
        value: The metric of its best checkpoint; None where it has failed or was pruned.
        pruned: Whether it was ended early.
        reason: Why it has failed.
    """

    value: float | None = None
    pruned: bool = False
    reason: str | None = None


# The parent


def run_trial(
    arguments: Sequence[str],
    line: Sequence[str],
    log: Path,
    report: Callable[[int, float], bool],
    found: Callable[[str], None],
    beat: Callable[[], None],
    every: float,
) -> Outcome:
    """Fits in a process of its own.

    Args:
        arguments: Command line of the fit.
        line: What the user has typed; see `cli.run`.
        log: File of what it prints.
        report: Takes the number of a validation and its metric, and says whether to end the fit.
        found: Takes the directory of the run.
        beat: Called again and again while it lasts.
        every: Seconds between these calls.
    """
    with _process(arguments, line, log) as (process, connection):
        while True:
            ready = wait([connection, process.sentinel], every)
            beat()
            if connection in ready:
                try:
                    message = json.loads(connection.recv_bytes())
                except (EOFError, OSError):
                    message = {}
                if "step" in message:
                    stop = report(message["step"], message["value"])
                    with suppress(OSError):  # it has died meanwhile
                        connection.send_bytes(json.dumps(stop).encode())
                    continue
                if "run" in message:
                    found(message["run"])
                    continue
                if message:
                    return Outcome(**message)
                process.join(GRACE)
            elif process.sentinel not in ready:
                continue
            return Outcome(reason=_end_of(process.exitcode, log))


def _set_path(path: str | None) -> None:
    if path is None:
        os.environ.pop("PYTHONPATH", None)
    else:
        os.environ["PYTHONPATH"] = path


def _end_of(code: int | None, log: Path) -> str:
    if code is not None and code < 0:
        name = signal.Signals(-code).name
        return f"its process was ended by {name}, as where memory runs out (SIGKILL)"
    return f"its process has ended with status {code}; see {log}"


@contextmanager
def _process(
    arguments: Sequence[str], line: Sequence[str], log: Path
) -> Iterator[tuple[Any, Connection]]:
    method = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
    context: Any = multiprocessing.get_context(method)
    mine, its = context.Pipe()
    path = os.environ.get("PYTHONPATH")
    process = context.Process(target=_fit, args=(its, [*arguments], [*line], str(log), path))
    if method == "forkserver":
        context.set_forkserver_preload(["zoo.run.sweeping.child", *zoo.MODELS.values()])
    home = str(Path(zoo.__file__).parents[1])  # else it might preload another installation's
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [home, path]))
    try:
        process.start()
    finally:
        _set_path(path)
    its.close()
    try:
        with mine:
            yield process, mine
    finally:
        process.join(0 if sys.exc_info()[0] else GRACE)
        for end in (process.terminate, process.kill):
            if process.is_alive():
                end()
                process.join(GRACE)
        process.close()


# The process of a trial


def _fit(
    connection: Connection, arguments: list[str], line: list[str], log: str, path: str | None
) -> None:
    _set_path(path)
    with open(log, "ab", buffering=0) as file:
        for descriptor in (1, 2):
            os.dup2(file.fileno(), descriptor)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the sweep, which then ends this
    threading.Thread(target=_end_with_parent, daemon=True).start()
    sys.argv[1:] = arguments  # which processes that Lightning starts are given
    try:
        with silenced(), terminable():
            made = cli.run(arguments, RaisingParser, line, [Reports(connection)])
        score = made.checkpoint.best_model_score
        message: dict[str, Any] = {"value": math.nan if score is None else float(score)}
    except Pruned:
        message = {"pruned": True}
    except BaseException as error:
        message = {"reason": _reason(error, log)}
    sys.stdout.flush()
    with suppress(OSError):  # the sweep has ended
        connection.send_bytes(json.dumps(message).encode())


def _reason(error: BaseException, log: str) -> str:
    sentence = sentence_of(error) if isinstance(error, Exception) else None
    print(f"error: {sentence}" if sentence else traceback.format_exc(), file=sys.stderr, flush=True)
    if sentence:
        return sentence
    first = (str(error).splitlines() or [""])[0]
    return shortened(f"{type(error).__name__}: {first} ({log})")


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


class Reports(Callback):
    """Reports each validation to the sweep, and ends the fit where that says so.

    Args:
        connection: Leads to the sweep.
    """

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.count = 0

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Says where the run is."""
        callbacks: list[Callback] = trainer.callbacks  # pyright: ignore[reportAttributeAccessIssue]
        (record,) = (c for c in callbacks if isinstance(c, RunRecord))
        self.connection.send_bytes(json.dumps({"run": str(record.run)}).encode())
        (self.checkpoint,) = (c for c in callbacks if isinstance(c, cli.RunCheckpoint))

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Reports."""
        if not self.checkpoint.metric.startswith("train/"):
            self._report(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Reports a metric of training rows."""
        if self.checkpoint.metric.startswith("train/"):
            self._report(trainer)

    def _report(self, trainer: Trainer) -> None:
        value = trainer.callback_metrics.get(self.checkpoint.metric)
        if trainer.state.fn != "fit" or trainer.sanity_checking or value is None or value.isnan():
            return
        self.count += 1
        message = {"step": self.count, "value": float(value)}
        self.connection.send_bytes(json.dumps(message).encode())
        if json.loads(self.connection.recv_bytes()):
            raise Pruned(f"after validation {self.count}")
