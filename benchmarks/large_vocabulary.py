"""Memory and time of vocabularies of very many ids.

    python benchmarks/large_vocabulary.py --ids 1e7 --memory_limit 1GB --folder data/bench
    python benchmarks/large_vocabulary.py --quick

Rows are generated chunk by chunk, as preparation reads them, and no raw file is written: 4 fields
of texts of 16 digits, each of which has a quarter of the ids; every fourth id comes twice. What
preparation does with them is done step by step: counts are gathered (`count`), ids given by rank
(`rank`), the vocabulary of fields written (`save`), that of all put together (`join`), read again
(`load`), compared with the kinds of columns (`known numbers`), and looked up by as many rows as
`--look_up` says. Of each step the seconds, the CPU seconds and the largest memory that the process
has had within it, of which `start` is that of Python, its libraries and a chunk of rows. `spilled`
is the largest size of the folder of what did not fit in memory.
"""

import argparse
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from common import console, make_table, print_machine

from datamodules.prepared.encoder import Encoder
from datamodules.prepared.engine import Engine
from datamodules.tabular.encoder import encode, fit_schema
from datamodules.tabular.rows import ROWS_PER_CHUNK, Rows
from datamodules.tabular.source import RawField
from datamodules.tabular.vocabularies import (
    fit_vocabulary,
    join_vocabularies,
    known_numbers,
    load_vocabulary,
    new_vocabulary,
    save_vocabulary,
    write_counts,
)

FIELDS = 4
QUICK = 2_000_000  # ids
TEXTS = 10**15  # all of 16 digits


class GeneratedChunk:
    """A chunk of rows whose columns are made when they are read, as a file's are."""

    column_names = ("row", "label", *(f"f{f}" for f in range(FIELDS)))

    def __init__(self, row: np.ndarray, ids: int) -> None:
        self.row, self.ids = row, ids

    def __len__(self) -> int:
        return len(self.row)

    def __getitem__(self, name: str) -> pa.ChunkedArray:
        if name in ("row", "label"):
            kind = np.int64 if name == "row" else np.float32
            return pa.chunked_array([self.row.astype(kind)])
        f = int(name[1:])
        code = (self.row * 2_654_435_761 + f) % self.ids  # a permutation: neighbours are far
        texts = pa.array(code + TEXTS * (f + 1)).cast("string")
        return pa.chunked_array([texts.dictionary_encode()])


class GeneratedRows(Rows):
    """Rows that are made when they are read."""

    def __init__(self, rows: int, ids: int) -> None:
        super().__init__(None)
        self.ids = ids
        starts = range(0, rows, ROWS_PER_CHUNK)
        self.splits = [np.zeros(min(ROWS_PER_CHUNK, rows - s), np.int8) for s in starts]

    def __iter__(self) -> Iterator[Any]:
        for number, split in enumerate(self.splits):
            row = np.arange(len(split)) + number * ROWS_PER_CHUNK
            yield GeneratedChunk(row, self.ids)


class Meter:
    """Peaks of memory and of what lies in a folder, and times, of steps."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.found: list[tuple[str, float, float, float, float]] = []

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Measures a block."""
        Path("/proc/self/clear_refs").write_text("5")  # the peak of memory begins anew
        spilled, done = [0], threading.Event()

        def watch() -> None:
            while not done.wait(0.5):
                spilled[0] = max(spilled[0], size_of(self.folder))

        thread = threading.Thread(target=watch)
        thread.start()
        start, cpu = time.perf_counter(), time.process_time()
        yield
        seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
        done.set()
        thread.join()
        self.found.append((name, seconds, cpu, peak_memory(), spilled[0] / 1e9))
        console.print(f"{name}: {seconds:.0f} s, {peak_memory():.2f} GB")


def size_of(folder: Path) -> int:
    """Bytes of the files that are spilled to a folder now."""
    total = 0
    for path in folder.rglob("spill/*"):
        try:
            total += path.stat().st_size
        except FileNotFoundError:
            continue
    return total


def peak_memory() -> float:
    """Largest memory that the process has had since it was last reset, in GB."""
    status = Path("/proc/self/status").read_text()
    (line,) = (line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024 / 1e9


def measure(folder: Path, ids: int, memory_limit: str, look_up: int) -> Meter:
    """Makes, writes, reads and uses a vocabulary."""
    each = ids // FIELDS
    rows = GeneratedRows(each + each // 4, each)
    fields = [RawField(f"f{f}", "categorical", "") for f in range(FIELDS)]
    meter = Meter(folder)
    with meter.step("start"):
        chunk = next(iter(rows))
        columns = [chunk[name] for name in chunk.column_names]
        del chunk, columns
    with Engine(folder / "work", memory_limit) as engine:
        with meter.step("count"):
            write_counts(engine, rows, fields, folder / "counts.parquet")
        with meter.step("rank"):
            new_vocabulary(engine)
            fit_vocabulary(engine, [folder / "counts.parquet"], fields, fields, 1)
        with meter.step("save"):
            (folder / "fields").mkdir()
            save_vocabulary(engine, folder / "fields", order="field, id")
    (folder / "counts.parquet").unlink()
    with Engine(folder / "work", memory_limit) as engine:
        with meter.step("join"):
            (folder / "encoder").mkdir()
            join_vocabularies(engine, [folder / "fields"], folder / "encoder")
            encoder = Encoder("Table", {}, fit_schema(engine, fields), {})
        shutil.rmtree(folder / "fields")
        with meter.step("load"):
            load_vocabulary(engine, folder / "encoder", "field, value, id")
        with meter.step("known numbers"):
            known_numbers(engine)
        with meter.step(f"look up {look_up:,} rows"):
            few = GeneratedRows(look_up, each)
            for chunk in encode(engine, few, encoder):
                assert chunk.categorical.min() > 1
    return meter


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--ids", type=float, default=1e7, help="distinct ids over all fields")
    parser.add_argument("--memory_limit", default="1GB", help="that of data.memory_limit")
    parser.add_argument("--look_up", type=float, default=2e6, help="rows that are encoded")
    parser.add_argument("--folder", type=Path, help="folder for what is spilled and written")
    parser.add_argument("--quick", action="store_true", help=f"{QUICK:,} ids")
    options = parser.parse_args()
    ids = QUICK if options.quick else int(options.ids)
    print_machine("duckdb", "pyarrow")
    with tempfile.TemporaryDirectory(dir=options.folder) as scratch:
        meter = measure(Path(scratch), ids, options.memory_limit, int(options.look_up))
        size = (Path(scratch) / "encoder/vocabulary.parquet").stat().st_size / 1e9
        shutil.rmtree(scratch, ignore_errors=True)
        Path(scratch).mkdir()
    title = f"{ids:,} ids, data.memory_limit {options.memory_limit}, {size:.2f} GB of Parquet"
    table = make_table(title, "", "seconds", "CPU s", "peak GB", "spilled GB")
    for name, *numbers in meter.found:
        seconds, cpu, peak, spilled = numbers
        table.add_row(name, f"{seconds:.1f}", f"{cpu:.1f}", f"{peak:.2f}", f"{spilled:.2f}")
    console.print(table)


if __name__ == "__main__":
    main()
