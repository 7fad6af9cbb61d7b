"""What the benchmarks share: the machine's name, tables, the peer, random rows."""

import importlib
import importlib.util
import os
import platform
import statistics
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from datamodules.store import Arrays, ArraysWriter
from datamodules.synthetic import CARDINALITIES
from zoo.schema import Field, Schema

CLICK_RATE = 0.25  # of random rows

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
    """Mean and sample standard deviation."""
    deviation = statistics.stdev(values) if len(values) > 1 else float("nan")
    return f"{statistics.mean(values):.4f} ± {deviation:.4f}"


def deepctr_torch(module: str) -> ModuleType:
    """A module of deepctr-torch, imported below a bare package.

    Importing the package itself would start a thread that asks the package index for its
    newest version.
    """
    if "deepctr_torch" not in sys.modules:
        spec = importlib.util.find_spec("deepctr_torch")
        if spec is None:
            raise ModuleNotFoundError("the peer is missing: pip install deepctr-torch")
        bare = ModuleType("deepctr_torch")
        bare.__path__ = list(spec.submodule_search_locations or [])
        sys.modules["deepctr_torch"] = bare
    return importlib.import_module(f"deepctr_torch.{module}")


def peer_deepfm(schema: Schema, embedding_dim: int, **options: Any) -> Any:
    """deepctr-torch's DeepFM without regularisation; its inputs are `peer_rows`."""
    inputs = deepctr_torch("inputs")
    columns = [inputs.DenseFeat(field.name) for field in schema.numerical]
    columns += [
        inputs.SparseFeat(field.name, field.cardinality, embedding_dim)
        for field in schema.categorical
    ]
    options |= {"l2_reg_linear": 0, "l2_reg_embedding": 0, "l2_reg_dnn": 0}
    return deepctr_torch("models").DeepFM(columns, columns, **options)


def peer_rows(numerical: np.ndarray, categorical: np.ndarray) -> np.ndarray:
    """Rows as `peer_deepfm` takes them: one float32 matrix [n, N + C]."""
    return np.concatenate((numerical, categorical.astype(np.float32)), 1)


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
    ids = (sizes + 1) ** random.random((rows, len(sizes))) - 1  # P(k) ~ log((k + 2) / (k + 1))
    with ArraysWriter(folder, rows, schema) as writer:
        writer.write(
            random.normal(size=(rows, len(schema.numerical))),
            np.minimum(ids, sizes - 1),
            random.random(rows) < CLICK_RATE,
            np.arange(rows),
        )
    return Arrays.open(folder)


def head(arrays: Arrays, rows: int) -> Arrays:
    """The first rows."""
    columns = (arrays.numerical, arrays.categorical, arrays.label, arrays.row)
    return Arrays(*(column[:rows] for column in columns))
