"""Training throughput of the click-through models, in samples per second, side by side.

    python benchmarks/train_throughput.py --batch_sizes 1024 4096 --ids 1000000 --repeats 5

All models have embedding 16 and hidden units 400-400, on 13 numerical and 26 categorical fields;
DCN six cross layers, xDeepFM three CIN layers of 200 (`split_half`), AutoInt three attention
layers of the embedding's width over the categorical fields, with two heads: what the peer has,
too. The cardinalities are those of the Criteo file, the largest cut so that all sum to `--ids`;
the ids of a field are drawn log-uniformly. All contestants train on the same rows, with Adagrad
at 0.01. They take turns within each repeat, each with a fresh model in a process of its own,
warmed up before its clock starts; the clock covers one epoch.

- zoo: `Trainer.fit` with the project's loader over memory-mapped arrays, from the start of the
  epoch to the end of the training, so that the training metrics of the epoch are paid for.
- deepctr-torch: its model, trained by its own `fit`, silent, without metrics or regularisation.
- FuxiCTR, where it is installed: a model of its layers (see `peers.py`), trained by its own
  `train_epoch`; it has no AutoInt, and its xDeepFM is about twice as large.

The ratios are those of medians. `of peak` is the share of the machine's matrix-product peak, as
measured in the same run, that a model's own arithmetic reaches: the floating-point operations of
the products of one step, forward and backward, over the time of a step.
"""

import argparse
import contextlib
import importlib.util
import io
import json
import logging
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from common import console, head, make_schema, make_table, print_machine, write_rows
from peers import deepctr_model, deepctr_rows, deepctr_torch, fuxictr_loader, fuxictr_model
from pytorch_lightning import Callback, LightningModule, Trainer
from rich.progress import track
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

import zoo
from datamodules.prepared.arrays import Arrays
from datamodules.tabular.loader import BatchLoader
from zoo.ctr.base import CTRModule
from zoo.data.batch import Batch
from zoo.data.schema import Schema
from zoo.nn.linear import onednn_products

SHARED = {"embedding_dim": 16, "hidden_units": (400, 400), "learning_rate": 0.01}
# options of a model, steps of its epoch
MODELS: dict[str, tuple[dict[str, Any], int]] = {
    "WideDeep": ({}, 100),
    "DeepFM": ({}, 100),
    "DCN": ({"first_order": True}, 100),
    "xDeepFM": ({}, 6),
    "AutoInt": ({"first_order": True, "embed_numerical": False, "attention_dim": None}, 40),
}
WARM_UP = 5  # steps at most
PEAK_SIZE = 2048  # of the matrices whose product is the peak
OURS, DEEPCTR, FUXICTR = "zoo", "deepctr-torch", "FuxiCTR"


class Clock(Callback):
    """Seconds from the start of the epoch to the end of the training."""

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Starts."""
        self.start = time.perf_counter()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stops."""
        self.seconds = time.perf_counter() - self.start


class PeerClock(deepctr_torch("callbacks").Callback):
    """Seconds of deepctr-torch's epoch."""

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Starts."""
        self.start = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Stops."""
        self.seconds = time.perf_counter() - self.start


def make_model(name: str, schema: Schema, **options: Any) -> CTRModule:
    """One of ours."""
    return getattr(zoo, name)(schema, **SHARED, **MODELS[name][0], **options)


def parts(arrays: Arrays, batch_size: int) -> tuple[Arrays, Arrays]:
    """The rows to warm up on, and those of the epoch."""
    return head(arrays, min(WARM_UP * batch_size, len(arrays) // 2)), arrays


def time_ours(model: CTRModule, arrays: Arrays, batch_size: int) -> float:
    """Seconds of an epoch of ours."""
    warnings.filterwarnings("ignore", module="pytorch_lightning")
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    for rows in parts(arrays, batch_size):
        clock = Clock()
        trainer = Trainer(
            accelerator="cpu",
            max_epochs=1,
            callbacks=[clock],
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        trainer.fit(model, BatchLoader(rows, batch_size, shuffle=True))
    return clock.seconds


def time_deepctr(ours: CTRModule, arrays: Arrays, batch_size: int) -> float:
    """Seconds of an epoch of deepctr-torch's model."""
    model = deepctr_model(ours)
    optimizer = torch.optim.Adagrad(model.parameters(), lr=SHARED["learning_rate"])
    model.compile(optimizer, "binary_crossentropy")
    for part in parts(arrays, batch_size):
        rows, labels = deepctr_rows(part)
        clock = PeerClock()
        with contextlib.redirect_stdout(io.StringIO()):
            model.fit([rows], labels, batch_size, verbose=0, callbacks=[clock])
    return clock.seconds


def time_fuxictr(ours: CTRModule, arrays: Arrays, batch_size: int) -> float:
    """Seconds of an epoch of the model of FuxiCTR's layers."""
    model = fuxictr_model(ours)
    with tempfile.TemporaryDirectory() as folder:
        for part in parts(arrays, batch_size):
            loader = fuxictr_loader(model, part, Path(folder) / "rows.npz", batch_size)
            start = time.perf_counter()
            model.train_epoch(loader)
    return time.perf_counter() - start


CONTESTANTS: dict[str, Callable[[CTRModule, Arrays, int], float]] = {
    OURS: time_ours,
    DEEPCTR: time_deepctr,
    FUXICTR: time_fuxictr,
}


def measure(contestant: str, name: str, batch_size: int, ids: int, folder: Path) -> float:
    """Samples per second of a contestant, in a process of its own."""
    command = [sys.executable, __file__, "--measure", contestant, name]
    command += ["--batch_sizes", str(batch_size), "--ids", str(ids), "--folder", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def measure_here(contestant: str, name: str, batch_size: int, ids: int, folder: Path) -> float:
    """The same, in this process."""
    epoch = head(Arrays.open(folder), MODELS[name][1] * batch_size)
    ours = make_model(name, make_schema(ids))
    return len(epoch) / CONTESTANTS[contestant](ours, epoch, batch_size)


def flops(name: str, schema: Schema) -> float:
    """Operations of the matrix products of one sample, forward and backward, as PyTorch counts.

    Those of the formula: without the faster paths of CPUs, which the counter does not know.
    """
    rows = 64
    ids = torch.zeros(rows, len(schema.categorical), dtype=torch.int)
    numbers = torch.zeros(rows, len(schema.numerical))
    batch = Batch(numerical=numbers, categorical=ids, label=torch.zeros(rows))
    model = make_model(name, schema)
    # the counter leaves out the products that are added in place
    in_place = {torch.ops.aten.addmm_: lambda _, a, b, **__: 2 * a[0] * a[1] * b[1]}
    with (
        mock.patch("zoo.nn.linear.HAS_ONEDNN", False),
        sdpa_kernel(SDPBackend.MATH),
        FlopCounterMode(display=False, custom_mapping=in_place) as counter,
    ):
        model.training_step(batch).backward()
    return counter.get_total_flops() / rows


def measure_peak() -> float:
    """Operations per second of the product of two large matrices: the best of several."""
    a, b = torch.randn(2, PEAK_SIZE, PEAK_SIZE)
    seconds = []
    for _ in range(10):
        start = time.perf_counter()
        with onednn_products():
            a @ b
        seconds.append(time.perf_counter() - start)
    return 2 * PEAK_SIZE**3 / min(seconds)


def report(
    batch_size: int, schema: Schema, peak: float, speeds: dict[str, dict[str, list[float]]]
) -> None:
    """Prints the table of one batch size; `speeds` by model and contestant."""
    peers = [name for name in (DEEPCTR, FUXICTR) if any(name in found for found in speeds.values())]
    columns = [column for peer in peers for column in (peer, "ratio")]
    title = f"batch size {batch_size}: samples per second"
    table = make_table(title, "", OURS, *columns, "of peak")
    for name, found in speeds.items():
        median = statistics.median(found[OURS])
        cells = [f"{median:,.0f}"]
        for peer in peers:
            theirs = statistics.median(found.get(peer, [float("nan")]))
            cells += [f"{theirs:,.0f}", f"{median / theirs:.1f}"] if peer in found else ["-", "-"]
        table.add_row(name, *cells, f"{median * flops(name, schema) / peak:.2f}")
    console.print(table)


def main() -> None:
    """Runs the benchmark, or one contestant of it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--batch_sizes", type=int, nargs="+", default=[1024, 4096])
    parser.add_argument("--ids", type=int, default=1_000_000, help="ids of all fields together")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--measure", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        speed = measure_here(*options.measure, *options.batch_sizes, options.ids, options.folder)
        print(json.dumps(speed))
        return
    contestants = list(CONTESTANTS)
    if importlib.util.find_spec("fuxictr") is None:
        contestants.remove(FUXICTR)
    packages = ("torch", "pytorch-lightning", "deepctr-torch", "fuxictr")
    print_machine(*packages[: len(contestants) + 1])
    peak = measure_peak()
    console.print(f"matrix-product peak: {peak / 1e9:,.0f} Gflop/s", highlight=False)
    schema = make_schema(options.ids)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "rows"
        steps = max(MODELS[name][1] for name in options.models)
        write_rows(folder, schema, steps * max(options.batch_sizes))
        for batch_size in options.batch_sizes:
            speeds: dict[str, dict[str, list[float]]] = {}
            turns = [(name, c) for name in options.models for c in contestants]
            turns = [turn for turn in turns if turn != ("AutoInt", FUXICTR)] * options.repeats
            for name, contestant in track(turns, f"batch size {batch_size}", console=console):
                speed = measure(contestant, name, batch_size, options.ids, folder)
                speeds.setdefault(name, {}).setdefault(contestant, []).append(speed)
            report(batch_size, schema, peak, speeds)


if __name__ == "__main__":
    main()
