"""Training throughput of DeepFM, in samples per second, side by side.

    python benchmarks/train_throughput.py --batch_sizes 1024 4096 --ids 1000000 --repeats 5

DeepFM with embedding 16 and hidden units 400-400 on 13 numerical and 26 categorical fields. The
cardinalities are those of the Criteo file, the largest cut so that all sum to `--ids`; the ids
of a field are drawn log-uniformly. All contestants train on the same rows, with Adagrad at 0.01.
They take turns within each repeat, each with a fresh model that is built and warmed up before
its clock starts; the clock covers one epoch.

- zoo: `Trainer.fit` with the project's loader over memory-mapped arrays, from the start of the
  epoch to the end of the training, so that the training metrics of the epoch are paid for.
- zoo, no train metrics: the same with `train_metrics=False`; the difference is their price.
- deepctr-torch: its DeepFM, trained by its own `fit`, silent, without metrics or regularisation.
- deep part alone: the same network from flat embeddings to logit, with the same optimiser and
  loss, in a bare loop over ready tensors, which no training of the whole model can beat.

`/ peer` is the ratio of medians to deepctr-torch, `/ deep part` that to the deep part alone.
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
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import (
    CLICK_RATE,
    console,
    deepctr_torch,
    head,
    make_schema,
    make_table,
    peer_deepfm,
    peer_rows,
    print_machine,
    spread,
    write_rows,
)
from pytorch_lightning import Callback, LightningModule, Trainer
from rich.progress import track
from torch.nn.functional import binary_cross_entropy_with_logits

from datamodules.loader import BatchLoader
from datamodules.store import Arrays
from zoo.ctr import DeepFM
from zoo.ctr.deep import deep_part
from zoo.schema import Schema

EMBEDDING_DIM = 16
HIDDEN_UNITS = (400, 400)
LEARNING_RATE = 0.01
WARM_UP = 5  # steps
READY = 8  # batches that the bare loop cycles through
PEER, CEILING = "deepctr-torch", "deep part alone"


class Clock(Callback):
    """Seconds from the start of the epoch to the end of the training."""

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Starts."""
        self.start = time.perf_counter()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stops."""
        self.seconds = time.perf_counter() - self.start


class PeerClock(deepctr_torch("callbacks").Callback):
    """Seconds of the peer's epoch."""

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Starts."""
        self.start = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Stops."""
        self.seconds = time.perf_counter() - self.start


def time_zoo(schema: Schema, arrays: Arrays, batch_size: int, **options: Any) -> float:
    """Seconds of an epoch of the project's DeepFM."""
    options |= {"embedding_dim": EMBEDDING_DIM, "learning_rate": LEARNING_RATE}
    model = DeepFM(schema, hidden_units=HIDDEN_UNITS, **options)
    for rows in (head(arrays, WARM_UP * batch_size), arrays):
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


def time_peer(schema: Schema, arrays: Arrays, batch_size: int) -> float:
    """Seconds of an epoch of deepctr-torch's DeepFM."""
    model = peer_deepfm(schema, EMBEDDING_DIM, dnn_hidden_units=HIDDEN_UNITS)
    model.compile(torch.optim.Adagrad(model.parameters(), lr=LEARNING_RATE), "binary_crossentropy")
    x, y = peer_rows(arrays.numerical, arrays.categorical), np.array(arrays.label)
    for rows in (WARM_UP * batch_size, len(y)):
        clock = PeerClock()
        with contextlib.redirect_stdout(io.StringIO()):
            model.fit([x[:rows]], y[:rows], batch_size, verbose=0, callbacks=[clock])
    return clock.seconds


def time_deep_part(schema: Schema, arrays: Arrays, batch_size: int) -> float:
    """Seconds of the deep part alone, for as many steps as `arrays` make."""
    width = EMBEDDING_DIM * len(schema.categorical) + len(schema.numerical)
    deep = deep_part(width, HIDDEN_UNITS, dropout=0.0, batch_norm=False)
    model = torch.nn.Sequential(deep, torch.nn.Linear(HIDDEN_UNITS[-1], 1, bias=False))
    optimizer = torch.optim.Adagrad(model.parameters(), lr=LEARNING_RATE)
    inputs = torch.randn(READY, batch_size, width)
    labels = (torch.rand(READY, batch_size, 1) < CLICK_RATE).float()
    start = 0.0
    for step in range(-WARM_UP, len(arrays) // batch_size):
        if step == 0:
            start = time.perf_counter()
        loss = binary_cross_entropy_with_logits(model(inputs[step % READY]), labels[step % READY])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return time.perf_counter() - start


CONTESTANTS: dict[str, Callable[[Schema, Arrays, int], float]] = {
    "zoo": time_zoo,
    "zoo, no train metrics": partial(time_zoo, train_metrics=False),
    PEER: time_peer,
    CEILING: time_deep_part,
}


def report(batch_size: int, speeds: dict[str, list[float]]) -> None:
    """Prints the table of one batch size."""
    title = f"batch size {batch_size}: samples per second"
    table = make_table(title, "", "median", "min .. max", "/ peer", "/ deep part")
    peer, ceiling = (statistics.median(speeds[name]) for name in (PEER, CEILING))
    for name, values in speeds.items():
        median = statistics.median(values)
        table.add_row(name, *spread(values), f"{median / peer:.2f}", f"{median / ceiling:.2f}")
    console.print(table)


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--batch_sizes", type=int, nargs="+", default=[1024, 4096])
    parser.add_argument("--ids", type=int, default=1_000_000, help="ids of all fields together")
    parser.add_argument("--steps", type=int, default=100, help="of an epoch")
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    warnings.filterwarnings("ignore", module="pytorch_lightning")
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    print_machine("torch", "pytorch-lightning", "deepctr-torch")
    schema = make_schema(options.ids)
    with tempfile.TemporaryDirectory() as folder:
        rows = options.steps * max(options.batch_sizes)
        arrays = write_rows(Path(folder) / "rows", schema, rows)
        for batch_size in options.batch_sizes:
            epoch = head(arrays, options.steps * batch_size)
            speeds: dict[str, list[float]] = {name: [] for name in CONTESTANTS}
            for _ in track(range(options.repeats), f"batch size {batch_size}", console=console):
                for name, contestant in CONTESTANTS.items():
                    speeds[name].append(len(epoch) / contestant(schema, epoch, batch_size))
            report(batch_size, speeds)


if __name__ == "__main__":
    main()
