"""Latency, size and quality of exported models of Criteo's size.

    python benchmarks/serving.py --folder data/bench
    python benchmarks/serving.py --quick

A DeepFM of 39 fields learns generated clicks in Criteo's raw format for an epoch: 700,000 rows have
about a million ids. The command `export` writes it with embeddings of each type; of these, the
seconds of the command, imports and the comparison on the validation rows included (those of the
CPU are moved less by other work on the machine), the bytes on disk, and the loss of AUC and
logloss. Then 10,000 raw rows, unseen, missing and malformed values among them, are scored
by each folder and by the command `predict`: `off by` is the largest difference of a probability.

Latency is that of a call with one row and with 1,000 rows, of one thread, other rows each time; the
contestants take turns. `graph` takes arrays, `reader` raw rows as dicts, `server` the same as JSON
by HTTP from another process (`examples/server.py`). PyTorch's graph is the model in eager mode, its
reader `zoo.load(run).predict` of a DataFrame.
"""

import os

os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")

import argparse
import gc
import http.client
import importlib.util
import json
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import torch
from common import PROJECT, console, fit_ours, make_table, print_machine

import zoo
from datamodules.synthetic.clicks import PlantedClicks
from datamodules.tabular.criteo import CATEGORICAL, NUMERICAL
from zoo.data.batch import Batch

TYPES = ("float32", "float16", "int8")
SIZES = (1, 1000)
CHECKED = 10_000  # raw rows
DISTINCT = 500  # calls, which then begin anew
ODD = ("", "never seen", "oops", "-3", "1e9", "0.5", " 7 ", "inf")
Call = Callable[[int], Any]  # by the number of the call, which says which rows


def train(folder: Path, rows: int) -> Path:
    """The run of a DeepFM; what an earlier call has left is used again."""
    file, run = folder / f"clicks_{rows}.txt", folder / "runs/deepfm_0/version_0"
    PlantedClicks(rows=rows).write_once(file)
    if not (run / "metrics.json").exists():
        config = PROJECT / "configs/criteo/deepfm.yaml"
        options = ("--data.min_count", "1", "--trainer.max_epochs", "1")
        fit_ours(config, file, 0, folder, *options, "--trainer.accelerator", "cpu")
    return run


def zoo_command(*arguments: object) -> str:
    """What a command of the project prints."""
    line = [sys.executable, str(PROJECT / "train.py"), *map(str, arguments)]
    done = subprocess.run(line, capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr)
    return done.stdout


def cpu_seconds() -> float:
    """CPU seconds of all processes that this one has started and that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def reader_of(folder: Path) -> Any:
    """The reader of an exported folder, with one thread."""
    spec = importlib.util.spec_from_file_location(f"reader_{folder.name}", folder / "reader.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.Model(folder, threads=1)


def raw_rows(file: Path, count: int) -> list[dict[str, str]]:
    """The last rows of a file, as text."""
    names = ("label", *NUMERICAL, *CATEGORICAL)
    with open(file) as lines:
        last = list(lines)[-count:]
    return [dict(zip(names, line.rstrip("\n").split("\t"), strict=True)) for line in last]


def checked(run: Path, folder: Path, folders: dict[str, Path], file: Path) -> dict[str, float]:
    """The largest difference of each folder's probabilities from those of `predict`."""
    random, rows = np.random.default_rng(0), raw_rows(file, CHECKED)
    for row in rows:
        if random.random() < 0.3:
            row[str(random.choice([*NUMERICAL, *CATEGORICAL]))] = str(random.choice(ODD))
    text = "".join("\t".join(row.values()) + "\n" for row in rows)
    (folder / "odd.txt").write_text(text)
    written = folder / "odd.parquet"
    zoo_command(
        *("predict", "--config", run / "config.yaml", "--ckpt_path", run / "checkpoints/best.ckpt"),
        *("--data.predict_path", folder / "odd.txt", "--data.predict_output", written),
        *("--data.max_bad_rows", "1", "--trainer.accelerator", "cpu"),
    )
    column = pq.read_table(written)["probability"]
    expected = np.array(column.to_pandas(), np.float64)
    off = {}
    for kind, place in folders.items():
        found = reader_of(place)(rows)["probability"]
        if (np.isnan(found) != np.isnan(expected)).any():
            sys.exit(f"{place} and predict do not score the same rows")
        off[kind] = float(np.nanmax(np.abs(found - expected)))
    console.print(f"{CHECKED:,} raw rows, of which {np.isnan(expected).sum():,} cannot be scored")
    return off


@contextmanager
def server(folder: Path) -> Iterator[Callable[[bytes], bytes]]:
    """A function that posts rows to `examples/server.py`, which another process runs."""
    line = [sys.executable, "-m", "uvicorn", "server:app", "--port", "0", "--no-use-colors"]
    kept = ("--timeout-keep-alive", "3600")  # the connection, while others are timed
    process = subprocess.Popen(
        [*line, "--app-dir", str(PROJECT / "examples"), "--no-access-log", *kept],
        env={**os.environ, "MODEL": str(folder)},
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        found = (
            re.search(r"running on http://([\d.]+:\d+)", text) for text in process.stderr or ()
        )
        address = next(match[1] for match in found if match)
        connection = http.client.HTTPConnection(address)

        def post(body: bytes) -> bytes:
            connection.request("POST", "/predict", body, {"content-type": "application/json"})
            return connection.getresponse().read()

        yield post
    finally:
        process.kill()
        process.wait()


def contestants(
    run: Any, folders: dict[str, Path], rows: list[dict[str, str]], size: int, post: Any
) -> dict[str, Call]:
    """What is timed, by name: calls that score `size` rows each."""
    parts = [rows[i : i + size] for i in range(0, len(rows) - size + 1, size)][:DISTINCT]
    frames = [pd.DataFrame(part) for part in parts]
    frames = [frame.astype(dict.fromkeys(NUMERICAL, "float64")) for frame in map(numbers, frames)]
    bodies = [json.dumps(part).encode() for part in parts]
    models = {kind: reader_of(folder) for kind, folder in folders.items()}
    arrays: list[dict[str, np.ndarray]] = []
    first = models["float32"]
    graph, first.graph = first.graph, lambda given: arrays.append(given) or graph(given)
    for part in parts:
        first(part)
    first.graph = graph
    batches = [Batch(*map(torch.from_numpy, a.values()), label=torch.zeros(size)) for a in arrays]

    @torch.inference_mode()
    def eager(i: int) -> Any:
        return run.model(batches[i]).sigmoid()

    found: dict[str, Call] = {"PyTorch graph": eager}
    found["PyTorch reader"] = lambda i: run.predict(frames[i])
    for kind, model in models.items():
        found[f"{kind} graph"] = lambda i, model=model: model.graph(arrays[i])
        found[f"{kind} reader"] = lambda i, model=model: model(parts[i])
    found["float32 server"] = lambda i: post(bodies[i])
    return {name: lambda n, call=call: call(n % len(parts)) for name, call in found.items()}


def numbers(frame: pd.DataFrame) -> pd.DataFrame:
    """Empty cells as missing values."""
    return frame.replace("", None)


def timed(calls: dict[str, Call], repeats: int) -> dict[str, np.ndarray]:
    """Seconds of each call of each contestant, who take turns."""
    found = {name: np.zeros(repeats) for name in calls}
    for call in calls.values():  # which do some things once
        call(0)
    for n in range(repeats):
        for name, call in calls.items():
            if name == "PyTorch reader" and n % 10:  # which takes as long as all others
                found[name][n] = np.nan
                continue
            start = time.perf_counter()
            call(n)
            found[name][n] = time.perf_counter() - start
    return found


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rows", type=int, default=700_000)
    parser.add_argument("--repeats", type=int, default=1000, help="of one row; a tenth of 1,000")
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--quick", action="store_true", help="20,000 rows, 100 repeats")
    options = parser.parse_args()
    rows, repeats = (20_000, 100) if options.quick else (options.rows, options.repeats)
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        measure(folder, rows, repeats)


def measure(folder: Path, rows: int, repeats: int) -> None:
    """Trains, exports, compares and times."""
    torch.set_num_threads(1)
    print_machine("torch", "onnxruntime", "numpy")
    run = train(folder, rows)
    loaded = zoo.load(run)
    ids = sum(field.cardinality for field in loaded.model.schema.categorical)
    console.print(f"{len(loaded.model.schema.fields)} fields, {ids:,} ids")
    folders, lines, seconds = {}, {}, {}
    table = make_table("", "embeddings", "export s", "CPU s", "model MB", "folder MB", "off by")
    for kind in TYPES:
        place = folders[kind] = folder / f"model_{kind}"
        if place.exists():
            for file in place.iterdir():
                file.unlink()
            place.rmdir()
        start, before = time.perf_counter(), cpu_seconds()
        arguments = ("--ckpt_path", run, "--output", place, "--embeddings", kind)
        lines[kind] = zoo_command("export", *arguments).splitlines()[1:]
        seconds[kind] = time.perf_counter() - start, cpu_seconds() - before
    off = checked(run, folder, folders, folder / f"clicks_{rows}.txt")
    for kind, place in folders.items():
        sizes = {file.name: file.stat().st_size / 1e6 for file in place.iterdir()}
        graph = sum(size for name, size in sizes.items() if name.startswith("model"))
        sizes = f"{graph:,.1f}", f"{sum(sizes.values()):,.1f}"
        table.add_row(kind, *(f"{s:.0f}" for s in seconds[kind]), *sizes, f"{off[kind]:.1e}")
    console.print(table)
    for kind in TYPES[1:]:
        console.print("\n".join(lines[kind]), highlight=False, soft_wrap=True)
    last = raw_rows(folder / f"clicks_{rows}.txt", 10_000)
    with server(folders["float32"]) as post:
        for size in SIZES:
            calls = contestants(loaded, folders, last, size, post)
            gc.freeze()  # as the server does: what is loaded is not looked through again
            table = make_table(f"ms for {size:,} rows", "", "p50", "p99", "rows/s")
            for name, found in timed(calls, repeats if size == 1 else repeats // 10).items():
                p50, p99 = (float(np.nanquantile(found, q)) for q in (0.5, 0.99))
                table.add_row(name, f"{p50 * 1e3:.2f}", f"{p99 * 1e3:.2f}", f"{size / p50:,.0f}")
            gc.unfreeze()
            console.print(table)


if __name__ == "__main__":
    main()
