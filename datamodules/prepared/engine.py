"""DuckDB, the engine of streaming preparation: bounded memory, a progress bar, Ctrl-C."""

import shutil
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import TypeVar

import duckdb
import numpy as np
import pyarrow as pa
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from zoo.data.errors import ZooError

Result = TypeVar("Result")


class Engine:
    """One DuckDB database in a folder of its own, for as long as a `with` block lasts.

    Args:
        folder: Folder for what does not fit in memory; it is removed at the end. None writes
            nothing, and shows no progress.
        memory_limit: Bound of DuckDB's memory, such as `1GB`.
    """

    def __init__(self, folder: Path | None, memory_limit: str) -> None:
        self.folder = folder
        self.memory_limit = memory_limit
        self.failure: ZooError | None = None  # of batches that a statement reads
        columns = (TextColumn("{task.description:<24}"), BarColumn(), TimeElapsedColumn())
        console = Console(stderr=True)
        self.progress = Progress(*columns, console=console, disable=folder is None)

    def __enter__(self) -> "Engine":
        spill = ""
        if self.folder is not None:
            self.folder.mkdir(exist_ok=True)
            spill = str(self.folder / "spill")
        self.connection = duckdb.connect(":memory:")
        self.connection.execute(f"SET temp_directory = {sql_literal(spill)}")
        self.connection.execute("SET enable_progress_bar = true")
        self.connection.execute("SET enable_progress_bar_print = false")
        self.connection.execute(f"SET memory_limit = {sql_literal(self.memory_limit)}")
        self.worker = ThreadPoolExecutor(1)
        self.progress.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.progress.stop()
        self.worker.shutdown()
        self.connection.close()
        if self.folder is not None:
            shutil.rmtree(self.folder)

    def run(
        self, sql: str, task: str | None = None, progress: Callable[[], float] | None = None
    ) -> list[tuple]:
        """Executes one statement and returns its rows.

        Args:
            sql: The statement.
            task: Name of its progress bar.
            progress: Gives the share that is done; without it, DuckDB is asked.
        """
        return self._interruptible(lambda: self.connection.execute(sql).fetchall(), task, progress)

    def arrays(self, sql: str) -> dict[str, np.ndarray]:
        """Executes one query and returns its columns, none of which may hold a NULL."""
        found = self._interruptible(lambda: self.connection.execute(sql).fetchnumpy())
        return {name: np.asarray(column) for name, column in found.items()}

    def view(self, table: str, columns: dict[str, np.ndarray]) -> None:
        """Lets SQL read arrays of one length as a table's columns; replaces an earlier view."""
        self.connection.register(table, pa.table(columns))

    def stream(self, table: str, batches: Iterator[pa.RecordBatch], schema: pa.Schema) -> None:
        """Lets one statement read batches, as they are made, as the rows of a table."""

        def kept() -> Iterator[pa.RecordBatch]:
            try:
                yield from batches
            except ZooError as error:  # of which DuckDB would say little
                self.failure = error
                raise

        self.connection.register(table, pa.RecordBatchReader.from_batches(schema, kept()))

    def _interruptible(
        self,
        work: Callable[[], Result],
        task: str | None = None,
        progress: Callable[[], float] | None = None,
    ) -> Result:
        # DuckDB does not see Ctrl-C: it works in a thread while this one listens.
        bar = self.progress.add_task(task, total=100) if task else None
        future = self.worker.submit(work)
        try:
            pause = 0.0005
            while not future.done():
                time.sleep(pause)
                pause = min(2 * pause, 0.1)
                if bar is not None:
                    done = 100 * progress() if progress else self.connection.query_progress()
                    self.progress.update(bar, completed=max(done, 0))
            result = future.result()
        except KeyboardInterrupt:
            self.connection.interrupt()
            wait([future])
            raise
        except duckdb.Error as error:
            meant = self.failure or _user_error(error, self)
            if meant is None:
                raise
            raise meant from error
        if bar is not None:
            self.progress.update(bar, completed=100)
        return result


def sql_literal(text: object) -> str:
    """A value as an SQL string literal."""
    return "'" + str(text).replace("'", "''") + "'"


def sql_identifier(name: str) -> str:
    """A column name as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def _user_error(error: duckdb.Error, engine: Engine) -> ZooError | None:
    """What is said of an error that a user can correct; None of any other."""
    first_line = str(error).splitlines()[0]
    if isinstance(error, duckdb.OutOfMemoryException):
        return ZooError(
            f"data.memory_limit {engine.memory_limit} is too small for this file: raise it "
            f"({first_line})"
        )
    if isinstance(error, duckdb.IOException):
        return ZooError(f"reading or writing failed while preparing data: {first_line}")
    return None
