"""Preparation of many files: by one process, by several, and by Ray.

    python benchmarks/prepare_files.py --rows 4000000 --repeats 3 --ray
    python benchmarks/prepare_files.py --quick

Generated rows in Criteo's format, in one file of text, and the same rows in several files: text,
text as .gz and Parquet in turns. The contestants take turns within each repeat, each in a fresh
process and into an empty folder.

- one file: `Criteo.prepare_data` of the one file, by one process.
- files, 1 process; files, N processes; files, Ray: that of the files, with `--data.workers`.
- before (`--before CHECKOUT`): one file, by another checkout of the project.

`rows/s` is the median of the speeds, imports of the first process left out; `rows / CPU s` that of
the rows for each second that a processor worked for the process and all that it started: what
workers import, and what Ray does by itself, are in it. `equal` says whether the vocabulary, the
encoder and all arrays are equal to those of one file, bit for bit.
"""

import argparse
import gzip
import hashlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from common import PROJECT, console, make_table, print_machine, spread
from pyarrow import csv

from datamodules.prepared.arrays import ARRAYS, Arrays
from datamodules.prepared.folder import SPLITS

# what needs Lightning is imported within functions: workers import this file, as they do train.py
QUICK = 80_000  # rows
PIECE = 100_000  # rows that are compared at once
ONE, BEFORE = "one file", "before"


def write_files(folder: Path, rows: int, files: int) -> Path:
    """The rows in one file of text and in several; these lie in the folder `files`."""
    one = folder / f"criteo_{rows}.txt"
    parts = folder / f"files_{rows}_{files}"
    if parts.exists():
        return one
    from datamodules.synthetic.clicks import PlantedClicks

    console.print(f"writing {rows:,} rows")
    PlantedClicks(rows=rows).write_once(one)
    partial = folder / "partial"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    with open(one, "rb") as file:
        for number in range(files):
            count = rows * (number + 1) // files - rows * number // files
            write_part(partial / f"{number:03}", number % 3, b"".join(islice(file, count)))
    partial.rename(parts)
    return one


def write_part(path: Path, form: int, lines: bytes) -> None:
    """Writes lines as text, as .gz or as Parquet."""
    if form == 0:
        path.with_suffix(".txt").write_bytes(lines)
    elif form == 1:
        with gzip.open(path.with_suffix(".txt.gz"), "wb", compresslevel=1) as file:
            file.write(lines)
    else:
        from datamodules.tabular.criteo import CATEGORICAL, NUMERICAL

        names = ["label", *NUMERICAL, *CATEGORICAL]
        types = dict.fromkeys(names, pa.string())
        types |= dict.fromkeys(("label", *NUMERICAL), pa.int32())
        table = csv.read_csv(
            pa.py_buffer(lines),
            csv.ReadOptions(column_names=names),
            csv.ParseOptions(delimiter="\t"),
            csv.ConvertOptions(column_types=types, strings_can_be_null=True),
        )
        pq.write_table(table, path.with_suffix(".parquet"))


def cpu_seconds() -> float:
    """Of this process and all that it has started, those that have ended included."""
    stats = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            values = path.read_text().rpartition(")")[2].split()
        except OSError:  # it has just ended
            continue
        stats[int(path.parent.name)] = int(values[1]), sum(map(int, values[11:15]))
    mine, total = {os.getpid()}, 0
    while mine:
        total += sum(stats[process][1] for process in mine)
        mine = {process for process, (parent, _) in stats.items() if parent in mine}
    return total / os.sysconf("SC_CLK_TCK")


def digest(prepared: Path) -> str:
    """A hash of all that is prepared, however its rows lie in files."""
    found = hashlib.sha256()
    for name in ("vocabulary.parquet", "encoder.json"):
        found.update((prepared / "encoder" / name).read_bytes())
    for split in SPLITS:
        arrays = Arrays.open(prepared / split)
        for name in ARRAYS:
            for start in range(0, len(arrays), PIECE):
                piece = getattr(arrays, name)[start : start + PIECE]
                found.update(np.ascontiguousarray(piece).data)
    return found.hexdigest()


def measure(path: str, folder: str, workers: str) -> None:
    """Prepares, and prints seconds, CPU seconds and a hash of what was made."""
    from datamodules.tabular.criteo import Criteo

    given: dict = (
        {} if workers == "1" else {"workers": workers if workers == "ray" else int(workers)}
    )
    data = Criteo(path, prepared=folder, **given)
    if workers == "ray":
        import ray

        ray.init(log_to_driver=False, include_dashboard=False)
    before, start = cpu_seconds(), time.perf_counter()
    data.prepare_data()
    seconds = time.perf_counter() - start
    cpu = cpu_seconds() - before
    print(json.dumps((seconds, cpu, digest(data.folder))))


def run(path: Path, folder: Path, workers: str, checkout: Path) -> tuple[float, float, str]:
    """`measure` in a process of its own."""
    with tempfile.TemporaryDirectory(dir=folder) as prepared:
        line = [sys.executable, __file__, "--measure", str(path), prepared, workers]
        places = [str(checkout), *filter(None, [os.environ.get("PYTHONPATH")])]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(places)}
        done = subprocess.run(line, capture_output=True, text=True, env=environment)
    if done.returncode:
        sys.exit(done.stderr)
    return tuple(json.loads(done.stdout.splitlines()[-1]))


def main() -> None:
    """Runs the benchmark, or one contestant of it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=4_000_000)
    parser.add_argument("--files", type=int, default=8)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--ray", action="store_true", help="also by Ray, on this machine")
    parser.add_argument("--before", type=Path, help="a checkout to compare one process with")
    parser.add_argument("--quick", action="store_true", help=f"{QUICK:,} rows, once")
    parser.add_argument("--folder", type=Path, help="keep the raw files here, and use them again")
    parser.add_argument("--measure", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        measure(*options.measure)
        return
    if options.quick:
        options.rows, options.repeats = QUICK, 1
    print_machine("duckdb", "numpy", "pyarrow", *(["ray"] if options.ray else []))
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.folder or Path(scratch)
        one = write_files(folder, options.rows, options.files)
        files = folder / f"files_{options.rows}_{options.files}"
        many = f"{options.files} files"
        contestants = {
            ONE: (one, "1", PROJECT),
            f"{many}, 1 process": (files, "1", PROJECT),
            f"{many}, {options.workers} processes": (files, str(options.workers), PROJECT),
        }
        if options.ray:
            contestants[f"{many}, Ray"] = (files, "ray", PROJECT)
        if options.before:
            contestants[BEFORE] = (one, "1", options.before)
        found: dict[str, list[tuple[float, float, str]]] = {name: [] for name in contestants}
        for _ in range(options.repeats):
            for name, (path, workers, checkout) in contestants.items():
                found[name].append(run(path, folder, workers, checkout))
    columns = ("rows/s", "min .. max", "rows / CPU s", "equal")
    table = make_table(f"{options.rows:,} rows", "", *columns)
    for name, runs in found.items():
        speeds = spread([options.rows / seconds for seconds, *_ in runs])
        cpu = statistics.median(options.rows / cpu for _, cpu, _ in runs)
        equal = {made for *_, made in runs} == {made for *_, made in found[ONE]}
        table.add_row(name, *speeds, f"{cpu:,.0f}", "yes" if equal else "NO")
    console.print(table)


if __name__ == "__main__":
    main()
