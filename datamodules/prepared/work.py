"""Tasks of a preparation: done here and now, or by workers, who keep what they have done.

A task is a function of an engine, a new folder for what it makes, and further arguments; it returns
plain data, as JSON knows it.

    .<name>.work/read-00003/     what a task of the stage `read` has made, and result.json

A folder of a finished task appears whole or not at all, and the tasks that it holds are not done
again. What a folder of work is called decides what is in it: it lies beside the folder of prepared
data that it is for, whose name is a hash of the source (path, size and time of each file) and of
the options.
"""

import json
import os
import re
import shutil
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, Literal, Protocol

from filelock import FileLock, Timeout

from datamodules.prepared.engine import Engine
from datamodules.prepared.workers import Executor, Processes, RayTasks
from zoo.data.errors import ZooError

Workers = int | Literal["ray"]
Task = Callable[..., Any]
Found = list[tuple[Path, Any]]  # of each task its folder and what it returned
RESULT = "result.json"
SUFFIX = ".work"
SECONDS_KEPT = 7 * 24 * 3600  # of work that nobody goes on with


class Work(Protocol):
    """Who does tasks.

    Attributes:
        is_parted: Whether there shall be a task for each part.
    """

    is_parted: bool

    def run(self, stage: str, task: Task, calls: Sequence[tuple]) -> Found:
        """Does a task for each of the calls, and gives their folders and results in order.

        Args:
            stage: Name of these tasks; a task is known by it and by its place among the calls.
            task: The function.
            calls: Its arguments behind engine and folder.
        """
        ...


class Alone:
    """This process, with an engine that its tasks share.

    Args:
        engine: The engine, in whose folder they write.
    """

    is_parted = False

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    def run(self, stage: str, task: Task, calls: Sequence[tuple]) -> Found:
        """See `Work`."""
        found = []
        for number, call in enumerate(calls):
            folder = _folder(self.engine.folder or Path(), stage, number)
            folder.mkdir()
            found.append((folder, task(self.engine, folder, *call)))
        return found


class Kept:
    """Workers, whose finished tasks are kept in a folder, as a `with` block.

    The folder is left when the block ends, for a command that goes on; see `remove_work`.

    Args:
        folder: The folder of work.
        engine: Engine of this process, which shows the progress, and whose memory is shared.
        workers: Number of processes, or `ray`.
    """

    is_parted = True

    def __init__(self, folder: Path, engine: Engine, workers: Workers) -> None:
        self.folder = folder.resolve()
        self.engine = engine
        self.executor: Executor = RayTasks() if workers == "ray" else Processes(workers)

    def __enter__(self) -> "Kept":
        self.folder.mkdir(exist_ok=True)
        for partial in self.folder.glob(".*.partial"):  # of tasks that were killed
            shutil.rmtree(partial, ignore_errors=True)
        _remove_old(self.folder)
        self.executor.__enter__()
        return self

    def __exit__(self, *exception: object) -> None:
        self.executor.__exit__(*exception)

    def run(self, stage: str, task: Task, calls: Sequence[tuple]) -> Found:
        """See `Work`."""
        folders = [_folder(self.folder, stage, number) for number, _ in enumerate(calls)]
        results = [_result(folder) for folder in folders]
        left = [number for number, result in enumerate(results) if result is None]
        progress, total = self.engine.progress, len(calls)
        bar = progress.add_task("", total=total)

        def show(left: int) -> None:
            said = f"{stage} {total - left:,} of {total:,}"
            progress.update(bar, completed=total - left, description=said)

        share = max(min(self.executor.share, len(left)), 1)  # more workers have nothing to do
        limit = self.engine.memory_limit, share, self.executor.threads
        todo = [(task, folders[number], limit, calls[number]) for number in left]
        show(len(left))
        for ended, (number, result) in enumerate(self.executor.run(do, todo), 1):
            results[left[number]] = result
            show(len(left) - ended)
        return list(zip(folders, [result["result"] for result in results if result], strict=True))


def do(task: Task, folder: Path, limit: tuple[str, int, int], call: tuple) -> dict[str, Any]:
    """Does a task whose folder then appears as a whole.

    Args:
        task: The task.
        folder: Its folder.
        limit: Memory of all workers, how many share it, and number of threads of each.
        call: Its arguments.
    """
    if not folder.parent.is_dir():
        raise ZooError(
            f"{folder.parent} is not there on one of the machines that prepare: data.prepared and "
            "data.path must lie on storage that all of them share, at the same place"
        )
    partial = Path(mkdtemp(prefix=f".{folder.name}.", suffix=".partial", dir=folder.parent))
    try:
        memory, share, threads = limit
        with Engine(partial / "work", memory, share=share, threads=threads) as engine:
            found = {"result": task(engine, partial, *call)}
        (partial / RESULT).write_text(json.dumps(found))
        _flush(partial)
        partial.chmod(0o777 & ~_umask())  # what mkdtemp makes is private
        with suppress(OSError):  # another one, whose command was killed, has been quicker
            os.rename(partial, folder)
        return json.loads((folder / RESULT).read_text())
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def remove_work(folder: Path) -> None:
    """Removes the folder of work that is for a folder of prepared data."""
    shutil.rmtree(folder.with_name(f".{folder.name}{SUFFIX}"), ignore_errors=True)


def _folder(work: Path, stage: str, number: int) -> Path:
    return work / f"{stage}-{number:05}"


def _result(folder: Path) -> dict[str, Any] | None:
    """What a finished task returned."""
    try:
        return {"result": json.loads((folder / RESULT).read_text())["result"]}
    except (OSError, ValueError, KeyError, TypeError):
        shutil.rmtree(folder, ignore_errors=True)  # damaged, where it is there
        return None


def _flush(folder: Path) -> None:
    """Waits until the files of a folder are on disk."""
    for path in folder.rglob("*"):
        if path.is_file():
            with open(path, "rb") as file:
                os.fsync(file.fileno())


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _remove_old(mine: Path) -> None:
    """Removes folders of work that nobody has gone on with for long, nor holds the lock of."""
    with suppress(OSError):
        for entry in os.scandir(mine.parent):
            name = re.fullmatch(rf"\.(.+){re.escape(SUFFIX)}", entry.name)
            is_old = time.time() - entry.stat().st_mtime > SECONDS_KEPT
            if name and is_old and entry.is_dir() and entry.name != mine.name:
                lock = FileLock(mine.with_name(f"{name[1]}.lock"))
                with suppress(Timeout), lock.acquire(timeout=0):
                    shutil.rmtree(entry.path, ignore_errors=True)
