"""Training throughput on one GPU, with the rows resident on it, side by side; and one epoch.

    python benchmarks/gpu.py

All models of `train_throughput.py` with its settings, a million ids and random rows, at each
batch size and precision, through `Trainer.fit`, against deepctr-torch's models trained by its own
`fit` in the same precision, which has no mixed one. A fresh model is warmed up before its clock
starts; the clock covers an epoch of `--steps` steps and waits for the device at both ends. Each
figure is the median over the repeats.

- zoo: as `Trainer.fit` trains it by default, with sparse gradients of the embeddings.
- dense: the same with `sparse_gradients=False`.
- compiled: that with `torch.compile`.

Then one epoch of DeepFM with the paper's settings (three layers of 400, 998,960 ids, Adagrad)
over `--epoch_rows` rows at Criteo's size, its training metrics included.

With `--device cpu --steps 2 --models DeepFM --epoch_rows 100000` it shows itself without a GPU.
"""

import argparse
import contextlib
import io
import logging
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from common import console, head, make_schema, make_table, print_machine, write_rows
from peers import deepctr_model, deepctr_rows, deepctr_torch
from pytorch_lightning import Callback, LightningModule, Trainer
from rich.progress import track
from train_throughput import MODELS, SHARED, make_model

from datamodules.prepared.arrays import Arrays
from datamodules.tabular.loader import BatchLoader
from zoo import DeepFM
from zoo.ctr.base import CTRModule

# name: precision of float32 products, precision of the trainer
PRECISIONS = {
    "fp32": ("highest", "32-true"),
    "tf32": ("high", "32-true"),
    "bf16": ("high", "bf16-mixed"),
}
WARM_UP = 10  # steps
CRITEO_IDS = 998_960


def now(device: torch.device) -> float:
    """Seconds, when the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


class Clock(Callback):
    """Seconds from the start of the epoch to the end of the training."""

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Starts."""
        self.start = now(pl_module.device)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stops."""
        self.seconds = now(pl_module.device) - self.start


class PeerClock(deepctr_torch("callbacks").Callback):
    """Seconds of the peer's epoch."""

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Starts."""
        self.start = now(torch.device(self.model.device))

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Stops."""
        self.seconds = now(torch.device(self.model.device)) - self.start


def time_ours(
    model: CTRModule | torch.nn.Module,
    loaders: list[BatchLoader],
    device: torch.device,
    precision: str,
) -> float:
    """Seconds of the last loader's epoch."""
    for loader in loaders:
        clock = Clock()
        trainer = Trainer(
            accelerator="gpu" if device.type == "cuda" else "cpu",
            devices=1,
            precision=precision,
            max_epochs=1,
            callbacks=[clock],
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        trainer.fit(model, loader)
    return clock.seconds


def time_peer(ours: CTRModule, arrays: Arrays, batch_size: int, device: torch.device) -> float:
    """Seconds of an epoch of the peer."""
    model = deepctr_model(ours, device=str(device))
    optimizer = torch.optim.Adagrad(model.parameters(), lr=SHARED["learning_rate"])
    model.compile(optimizer, "binary_crossentropy")
    rows, labels = deepctr_rows(arrays)
    for count in (WARM_UP * batch_size, len(labels)):
        clock = PeerClock()
        with contextlib.redirect_stdout(io.StringIO()):
            model.fit([rows[:count]], labels[:count], batch_size, verbose=0, callbacks=[clock])
    return clock.seconds


def contestants(
    name: str, arrays: Arrays, batch_size: int, device: torch.device, precision: str
) -> dict[str, Callable[[], float]]:
    """What is timed, by name; each gives the seconds of an epoch over `arrays`."""
    schema = make_schema(CRITEO_IDS)
    loaders = [
        BatchLoader(rows, batch_size, shuffle=True, device=device)
        for rows in (head(arrays, WARM_UP * batch_size), arrays)
    ]

    def ours(compiled: bool = False, **options: Any) -> float:
        model: Any = make_model(name, schema, **options).to(device)
        return time_ours(torch.compile(model) if compiled else model, loaders, device, precision)

    found: dict[str, Callable[[], float]] = {
        "zoo": ours,
        "dense": lambda: ours(sparse_gradients=False),
        "compiled": lambda: ours(compiled=True, sparse_gradients=False),
    }
    if precision == "32-true":
        model = make_model(name, schema)
        found["deepctr-torch"] = lambda: time_peer(model, arrays, batch_size, device)
    return found


def compare(options: argparse.Namespace, device: torch.device, folder: Path) -> None:
    """Prints a table for each batch size."""
    arrays = write_rows(
        folder / "rows",
        make_schema(CRITEO_IDS),
        max(options.steps, WARM_UP) * max(options.batch_sizes),
    )
    columns = ("zoo", "dense", "compiled", "deepctr-torch", "best / peer")
    for batch_size in options.batch_sizes:
        table = make_table(f"batch size {batch_size}: samples per second", "", *columns)
        epoch = head(arrays, options.steps * batch_size)
        settings = [(name, p) for name in options.models for p in PRECISIONS]
        peer = float("nan")
        for name, precision in track(settings, f"batch size {batch_size}", console=console):
            products, trainer_precision = PRECISIONS[precision]
            torch.set_float32_matmul_precision(products)
            speeds = {}
            for contestant, run in contestants(
                name, epoch, batch_size, device, trainer_precision
            ).items():
                seconds = [run() for _ in range(options.repeats)]
                speeds[contestant] = len(epoch) / statistics.median(seconds)
            # bf16 is compared with the peer's faster precision, tf32
            peer = speeds.pop("deepctr-torch", peer)
            cells = [f"{speed:,.0f}" for speed in (*speeds.values(), peer)]
            table.add_row(f"{name}, {precision}", *cells, f"{max(speeds.values()) / peer:.1f}")
        console.print(table)


def epoch(options: argparse.Namespace, device: torch.device, folder: Path) -> None:
    """Times one epoch of DeepFM."""
    schema = make_schema(CRITEO_IDS)
    console.print(f"writing {options.epoch_rows:,} rows", highlight=False)
    arrays = write_rows(folder / "epoch", schema, options.epoch_rows)
    loader = BatchLoader(arrays, options.epoch_batch_size, shuffle=True, device=device)
    warm_up = BatchLoader(
        head(arrays, WARM_UP * options.epoch_batch_size),
        options.epoch_batch_size,
        shuffle=True,
        device=device,
    )
    table = make_table(f"one epoch of DeepFM, {options.epoch_rows:,} rows", "", "seconds")
    for precision, (products, trainer_precision) in PRECISIONS.items():
        torch.set_float32_matmul_precision(products)
        model = DeepFM(schema).to(device)
        seconds = time_ours(model, [warm_up, loader], device, trainer_precision)
        table.add_row(f"{precision}, batch size {options.epoch_batch_size}", f"{seconds:.1f}")
    console.print(table)


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--batch_sizes", type=int, nargs="+", default=[4096, 16384])
    parser.add_argument("--steps", type=int, default=100, help="of an epoch")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--epoch_rows", type=int, default=36_700_000)
    parser.add_argument("--epoch_batch_size", type=int, default=10_000)
    options = parser.parse_args()
    warnings.filterwarnings("ignore", module="pytorch_lightning")
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    device = torch.device(options.device)
    if device.type == "cuda":
        if not torch.cuda.is_available():
            parser.error("no GPU that PyTorch can use; --device cpu shows the benchmark without")
        console.print(torch.cuda.get_device_name(device), highlight=False)
    print_machine("torch", "pytorch-lightning", "deepctr-torch")
    with tempfile.TemporaryDirectory() as folder:
        compare(options, device, Path(folder))
        epoch(options, device, Path(folder))


if __name__ == "__main__":
    main()
