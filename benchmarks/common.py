"""What the benchmarks share: the machine's name, tables, random rows."""

import json
import os
import platform
import statistics
import subprocess
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from rich.console import Console
from rich.table import Table

import datamodules
from datamodules.prepared.arrays import Arrays, ArraysWriter
from datamodules.synthetic.click_truth import CARDINALITIES
from zoo.data.schema import Field, Schema

PROJECT = Path(__file__).parent.parent
CLICK_RATE = 0.25  # of random rows
PIECE = 1_000_000  # rows that are drawn at once

console = Console()


def print_machine(*packages: str) -> None:
    """Prints processor, cores and versions: a figure means nothing without them."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    models = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    processor = models[0] if models else platform.processor()
    versions = ", ".join(f"{package} {version(package)}" for package in packages)
    console.print(f"{processor}, {os.cpu_count()} cores", highlight=False)
    console.print(f"Python {platform.python_version()}, {versions}", highlight=False)


def make_table(title: str, first: str, *columns: str) -> Table:
    """An empty table whose first column is text and whose other columns are numbers."""
    table = Table(title=title, title_justify="left")
    table.add_column(first)
    for column in columns:
        table.add_column(column, justify="right")
    return table


def spread(values: Sequence[float]) -> tuple[str, str]:
    """Median, and minimum .. maximum."""
    return f"{statistics.median(values):,.0f}", f"{min(values):,.0f} .. {max(values):,.0f}"


def mean_and_deviation(values: Sequence[float]) -> str:
    """Mean and sample standard deviation, which a single value does not have."""
    mean = f"{statistics.mean(values):.4f}"
    return f"{mean} ± {statistics.stdev(values):.4f}" if len(values) > 1 else mean


def fit_ours(
    config: Path, path: Path | None, seed: int, folder: Path, *options: str
) -> tuple[dict[str, float], dict[str, Any]]:
    """Metrics and resolved config of one run of `train.py fit`; no path where data have none."""
    name = f"{config.stem}_{seed}"
    command = [sys.executable, str(PROJECT / "train.py"), "fit", "--config", str(config)]
    if path:
        command += ["--data.path", str(path.resolve()), "--data.prepared", str(folder / "prepared")]
    command += ["--data.shuffle_seed", str(seed), "--seed_everything", str(seed)]
    command += ["--runs", str(folder / "runs"), "--name", name]
    command += ["--trainer.enable_progress_bar", "false", *options]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr)
    run = folder / "runs" / name / "version_0"
    metrics = json.loads((run / "metrics.json").read_text())
    return metrics, yaml.safe_load((run / "config.yaml").read_text())


def open_data(config: dict[str, Any]) -> Any:
    """The datamodule of a run, whose data have been prepared."""
    name = config["data"]["class_path"].rpartition(".")[2].removeprefix("Synthetic")
    # generated rows exist by now
    options = {k: v for k, v in config["data"]["init_args"].items() if k != "synthetic"}
    return getattr(datamodules, name)(**options)


def make_schema(ids: int) -> Schema:
    """13 numerical and 26 categorical fields, of `ids` ids in all."""
    low, high = 2, max(CARDINALITIES)
    while low < high:  # the largest cut that leaves no more than `ids`
        cut = (low + high + 1) // 2
        low, high = (cut, high) if np.minimum(CARDINALITIES, cut).sum() <= ids else (low, cut - 1)
    sizes = np.minimum(CARDINALITIES, low)
    sizes[np.argmax(sizes)] += max(ids - sizes.sum(), 0)
    fields = [Field(f"I{i}", "numerical") for i in range(1, 14)]
    fields += [Field(f"C{i}", "categorical", int(size)) for i, size in enumerate(sizes, 1)]
    return Schema(tuple(fields))


def write_rows(folder: Path, schema: Schema, rows: int) -> Arrays:
    """Random rows on disk, mapped into memory."""
    random = np.random.default_rng(0)
    sizes = np.array([field.cardinality for field in schema.categorical])
    with ArraysWriter(folder, rows, schema) as writer:
        for start in range(0, rows, PIECE):
            count = min(PIECE, rows - start)
            # P(k) ~ log((k + 2) / (k + 1))
            ids = (sizes + 1) ** random.random((count, len(sizes))) - 1
            writer.write(
                numerical=random.normal(size=(count, len(schema.numerical))),
                categorical=np.minimum(ids, sizes - 1),
                label=random.random(count) < CLICK_RATE,
                row=np.arange(start, start + count),
            )
    return Arrays.open(folder)


def head(arrays: Arrays, rows: int) -> Arrays:
    """The first rows."""
    columns = (arrays.numerical, arrays.categorical, arrays.label, arrays.row)
    return Arrays(*(column[:rows] for column in columns))
