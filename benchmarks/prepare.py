"""Speed and peak memory of the preparation of Criteo rows, side by side.

    python benchmarks/prepare.py --rows 1000000 --repeats 5
    python benchmarks/prepare.py --rows 10000000 --repeats 1 --folder data/bench

    python benchmarks/prepare.py --quick

Generated rows in Criteo's raw format. The contestants take turns within each repeat, each in a
fresh process. `rows/s` is the median of the speeds, imports left out; `peak GB` the largest
memory of the process in any repeat, imports (torch among them) and mapped files included; `CPU s`
the median of the seconds of all its threads, which other work on the machine moves less.

- zoo: `Criteo.prepare_data` into an empty folder: vocabularies, arrays, manifest, checksums.
- zoo Parquet: the same of the same rows in a Parquet file; the arrays are equal.
- DuckDB scan: DuckDB alone reads the lines of the same file and counts them: the ceiling.
- pandas (`--peer`): the plain way with the same result, all in memory: `read_csv`, the rare-id
  rule by `value_counts`, ids by `map`, one `npy` file for each array and split.

`/ scan` and `/ pandas` are ratios of median speeds.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from common import console, make_table, print_machine, spread

from datamodules.synthetic.clicks import PlantedClicks
from datamodules.tabular.criteo import CATEGORICAL, NUMERICAL, Criteo

MIN_COUNT = 10
QUICK = 100_000  # rows
PARQUET, SCAN, PANDAS = "zoo Parquet", "DuckDB scan", "pandas"


def run_zoo(file: Path, folder: Path) -> float:
    """Seconds of the project's preparation."""
    data = Criteo(str(file), min_count=MIN_COUNT, prepared=str(folder))
    start = time.perf_counter()
    data.prepare_data()
    return time.perf_counter() - start


def run_scan(file: Path, folder: Path) -> float:
    """Seconds of reading all lines."""
    import duckdb

    start = time.perf_counter()
    duckdb.sql(
        f"SELECT count(line) FROM read_csv('{file}', delim='', quote='', escape='', "
        "header=false, columns={'line': 'VARCHAR'}, auto_detect=false, strict_mode=false)"
    ).fetchall()
    return time.perf_counter() - start


def run_pandas(file: Path, folder: Path) -> float:
    """Seconds of the same work by pandas."""
    import numpy as np
    import pandas as pd

    start = time.perf_counter()
    columns = ["label", *NUMERICAL, *CATEGORICAL]
    kinds = dict.fromkeys(NUMERICAL, "float32") | dict.fromkeys(CATEGORICAL, "str")
    rows = pd.read_csv(file, sep="\t", names=columns, dtype=kinds)
    split = np.random.default_rng(0).choice(3, len(rows), p=[0.8, 0.1, 0.1])
    numerical = rows[list(NUMERICAL)].fillna(0).to_numpy()
    large = numerical > 2
    numerical[large] = np.floor(np.log(numerical[large]) ** 2)
    categorical = np.empty((len(rows), len(CATEGORICAL)), np.int32)
    for i, name in enumerate(CATEGORICAL):
        counts = rows[name][split == 0].value_counts()
        ids = pd.Series({v: k for k, v in enumerate(counts.index[counts >= MIN_COUNT], 2)})
        known = rows[name].map(ids).fillna(0)
        categorical[:, i] = known.where(rows[name].notna(), 1)
    folder.mkdir()
    for array, values in (("n", numerical), ("c", categorical), ("y", rows["label"].to_numpy())):
        for s in range(3):
            np.save(folder / f"{array}{s}.npy", values[split == s])
    return time.perf_counter() - start


def run_parquet(file: Path, folder: Path) -> float:
    """Seconds of the project's preparation of the same rows in Parquet."""
    return run_zoo(file.with_suffix(".parquet"), folder)


CONTESTANTS: dict[str, Callable[[Path, Path], float]] = {
    "zoo": run_zoo,
    PARQUET: run_parquet,
    SCAN: run_scan,
    PANDAS: run_pandas,
}


def peak_memory() -> float:
    """Largest memory that this process has had, in GB; the parent's share is not in it."""
    status = Path("/proc/self/status").read_text()
    (line,) = (line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024 / 1e9


def measure(contestant: str, file: Path) -> tuple[float, float, float]:
    """Seconds, peak memory in GB and CPU seconds of a contestant, in a process of its own."""
    with tempfile.TemporaryDirectory(dir=file.parent) as folder:
        command = [sys.executable, __file__, "--measure", contestant]
        command += ["--file", str(file), "--folder", str(Path(folder) / "prepared")]
        done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr)
    return tuple(json.loads(done.stdout.splitlines()[-1]))


def generate(folder: Path, rows: int) -> Path:
    """The raw file, which is written unless it exists."""
    file = folder / f"criteo_{rows}.txt"
    if not file.exists():
        console.print(f"writing {rows:,} rows")
    PlantedClicks(rows=rows).write_once(file)
    if not file.with_suffix(".parquet").exists():
        write_parquet(file)
    return file


def write_parquet(file: Path) -> None:
    """Writes the rows of a raw file as Parquet, beside it."""
    import pyarrow as pa
    import pyarrow.parquet as pq
    from pyarrow import csv

    names = ["label", *NUMERICAL, *CATEGORICAL]
    types = dict.fromkeys(names, pa.string()) | dict.fromkeys(("label", *NUMERICAL), pa.int32())
    read = csv.ReadOptions(column_names=names)
    convert = csv.ConvertOptions(column_types=types, strings_can_be_null=True)
    lines = csv.open_csv(file, read, csv.ParseOptions(delimiter="\t"), convert)
    with pq.ParquetWriter(file.with_suffix(".parquet"), lines.schema) as writer:
        for batch in lines:
            writer.write_batch(batch)


def report(file: Path, rows: int, found: dict[str, list[tuple[float, float, float]]]) -> None:
    """Prints the table."""
    size = file.stat().st_size / 1e9
    peers = [name for name in (SCAN, PANDAS) if name in found]
    columns = ("rows/s", "min .. max", "peak GB", "CPU s")
    ratios = [f"/ {peer.split()[-1]}" for peer in peers]
    table = make_table(f"{rows:,} rows, {size:.2f} GB of text", "", *columns, *ratios)
    speeds = {name: [rows / seconds for seconds, *_ in runs] for name, runs in found.items()}
    for name, values in speeds.items():
        median = statistics.median(values)
        shares = [f"{median / statistics.median(speeds[peer]):.2f}" for peer in peers]
        memory = max(memory for _, memory, _ in found[name])
        cpu = statistics.median(cpu for *_, cpu in found[name])
        table.add_row(name, *spread(values), f"{memory:.2f}", f"{cpu:.1f}", *shares)
    console.print(table)


def main() -> None:
    """Runs the benchmark, or one contestant of it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help=f"{QUICK:,} rows, once")
    parser.add_argument("--folder", type=Path, help="keep the raw file here, and use it again")
    parser.add_argument("--peer", action="store_true", help="also measure pandas")
    parser.add_argument("--measure", choices=CONTESTANTS, help=argparse.SUPPRESS)
    parser.add_argument("--file", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        before = time.process_time()
        seconds = CONTESTANTS[options.measure](options.file, options.folder)
        print(json.dumps((seconds, peak_memory(), time.process_time() - before)))
        return
    if options.quick:
        options.rows, options.repeats = QUICK, 1
    print_machine("duckdb", "numpy", "pyarrow", *(["pandas"] if options.peer else []))
    with tempfile.TemporaryDirectory() as scratch:
        file = generate(options.folder or Path(scratch), options.rows)
        names = [name for name in CONTESTANTS if name != PANDAS or options.peer]
        found: dict[str, list[tuple[float, float, float]]] = {name: [] for name in names}
        for _ in range(options.repeats):
            for name in names:
                found[name].append(measure(name, file))
        report(file, options.rows, found)


if __name__ == "__main__":
    main()
