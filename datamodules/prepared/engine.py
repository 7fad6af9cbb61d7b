"""DuckDB, the engine of streaming preparation: bounded memory, a progress bar, Ctrl-C."""

import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import TypeVar

import duckdb
import numpy as np
import pyarrow as pa
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from zoo.data.errors import ZooError

Result = TypeVar("Result")
ROWS_PER_BATCH = 122_880  # of what DuckDB gives piece by piece
SECONDS_PER_LOOK = 0.1  # at the progress, while DuckDB works


class Engine:
    """One DuckDB database in a folder of its own, for as long as a `with` block lasts.

    Args:
        folder: Folder for what does not fit in memory; it is removed at the end. None writes
            nothing, and shows no progress.
        memory_limit: Bound of DuckDB's memory, such as `1GB`.
        share: Among how many engines the memory is shared.
        threads: Number of threads; 0 takes all processors, and shows the progress, but in a
            notebook, where a bar would need ipywidgets.
    """

    def __init__(
        self, folder: Path | None, memory_limit: str, share: int = 1, threads: int = 0
    ) -> None:
        self.folder = folder
        self.memory_limit = memory_limit
        self.share = share
        self.threads = threads
        self.failure: ZooError | None = None  # of batches that a statement reads
        columns = (TextColumn("{task.description:<24}"), BarColumn(), TimeElapsedColumn())
        console = Console(stderr=True)
        hidden = folder is None or threads > 0 or console.is_jupyter
        self.progress = Progress(*columns, console=console, disable=hidden)

    def __enter__(self) -> "Engine":
        spill = ""
        if self.folder is not None:
            self.folder.mkdir(exist_ok=True)
            spill = str(self.folder / "spill")
        self.connection = duckdb.connect(":memory:")
        self.connection.execute(f"SET temp_directory = {sql_literal(spill)}")
        if not self.progress.disable:  # DuckDB refuses it in a notebook without ipywidgets
            self.connection.execute("SET enable_progress_bar = true")
            self.connection.execute("SET enable_progress_bar_print = false")
        limit = self.memory_limit if self.share == 1 else f"{self.bytes} bytes"
        self.connection.execute(f"SET memory_limit = {sql_literal(limit)}")
        if self.threads:
            self.connection.execute(f"SET threads = {self.threads}")
        self.worker = ThreadPoolExecutor(1)
        self.progress.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.progress.stop()
        self.worker.shutdown()
        self.connection.close()
        if self.folder is not None:
            shutil.rmtree(self.folder)

    @property
    def bytes(self) -> int:
        """Its share of the memory, in bytes."""
        size = re.fullmatch(r"([\d.]+) *([KMGT])(i?)B", self.memory_limit)
        assert size is not None
        unit = (1024 if size[3] else 1000) ** (1 + "KMGT".index(size[2]))
        return int(float(size[1]) * unit / self.share)

    def run(self, sql: str, task: str | None = None) -> list[tuple]:
        """Executes one statement and returns its rows.

        Args:
            sql: The statement.
            task: Name of its progress bar.
        """
        bar = self.progress.add_task(task, total=100) if task else None
        query = self.worker.submit(lambda: self.connection.execute(sql).fetchall())
        found = self._result(query, bar)
        if bar is not None:
            self.progress.update(bar, completed=100)
        return found

    def batches(
        self, sql: str, task: str | None = None, progress: Callable[[], float | None] | None = None
    ) -> Iterator[pa.RecordBatch]:
        """Executes one query and gives its rows in order, piece by piece.

        The next piece is made while one is worked on: until the last, no other statement can run.

        Args:
            sql: The query.
            task: Name of its progress bar.
            progress: Gives the share that is done; where that is None, DuckDB is asked.
        """
        bar = self.progress.add_task(task, total=100) if task else None
        query = self.worker.submit(lambda: self.connection.sql(sql).to_arrow_reader(ROWS_PER_BATCH))
        reader = self._result(query, bar, progress)
        future = self.worker.submit(next, reader, None)
        try:
            while (batch := self._result(future, bar, progress)) is not None:
                future = self.worker.submit(next, reader, None)
                yield batch
        finally:
            if not future.done():
                self.connection.interrupt()
                wait([future])
        if bar is not None:
            self.progress.update(bar, completed=100)

    def arrays(self, sql: str) -> dict[str, np.ndarray]:
        """Executes one query and returns its columns, none of which may hold a NULL."""
        found = self._result(self.worker.submit(lambda: self.connection.execute(sql).fetchnumpy()))
        return {name: np.asarray(column) for name, column in found.items()}

    def table(self, sql: str) -> pa.Table:
        """Executes one query and returns its rows."""
        return self._result(self.worker.submit(lambda: self.connection.sql(sql).to_arrow_table()))

    def view(self, table: str, columns: Mapping[str, np.ndarray | pa.Array]) -> None:
        """Lets SQL read arrays of one length as a table's columns; replaces an earlier view."""
        self.connection.register(table, pa.table(dict(columns)))

    def stream(self, table: str, batches: Iterator[pa.RecordBatch], schema: pa.Schema) -> None:
        """Lets one statement read batches, as they are made, as the rows of a table."""

        def kept() -> Iterator[pa.RecordBatch]:
            try:
                yield from batches
            except ZooError as error:  # of which DuckDB would say little
                self.failure = error
                raise

        self.connection.register(table, pa.RecordBatchReader.from_batches(schema, kept()))

    def _result(
        self,
        future: Future[Result],
        bar: TaskID | None = None,
        progress: Callable[[], float | None] | None = None,
    ) -> Result:
        # DuckDB does not see Ctrl-C: it works in a thread while this one listens.
        try:
            while not future.done():
                wait([future], timeout=SECONDS_PER_LOOK)
                if bar is not None:
                    share = progress() if progress else None
                    done = self.connection.query_progress() if share is None else 100 * share
                    self.progress.update(bar, completed=max(done, 0))
            return future.result()
        except KeyboardInterrupt:
            self.connection.interrupt()
            wait([future])
            raise
        except (duckdb.Error, pa.ArrowException, OSError) as error:
            meant = self.failure or _user_error(error, self)
            if meant is None:
                raise
            raise meant from error


def sql_literal(text: object) -> str:
    """A value as an SQL string literal."""
    return "'" + str(text).replace("'", "''") + "'"


def sql_identifier(name: str) -> str:
    """A column name as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def _user_error(error: Exception, engine: Engine) -> ZooError | None:
    """What is said of an error that a user can correct; None of any other."""
    first_line = next(iter(str(error).splitlines()), "")
    # of a query that is read piece by piece, PyArrow says what DuckDB does
    if isinstance(error, duckdb.OutOfMemoryException) or "Out of Memory Error" in first_line:
        shared = f", shared by {engine.share} workers," if engine.share > 1 else ""
        return ZooError(
            f"data.memory_limit {engine.memory_limit}{shared} is too small for this file: raise it "
            f"({first_line})"
        )
    if isinstance(error, duckdb.IOException) or "IO Error" in first_line:
        return ZooError(f"reading or writing failed while preparing data: {first_line}")
    return None
