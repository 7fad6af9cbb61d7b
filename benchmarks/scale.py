"""What a training step costs on one and several processes, by how they share the table, on CPUs.

    python benchmarks/scale.py
    python benchmarks/scale.py --quick

DeepFM of 26 fields of ids and 13 numbers, D = 16 + 1, layers of 64 and 64 (`--hidden`), Adagrad, in
Lightning's Trainer; 2,048 rows a step over all processes, one thread each. Fields have from 25 % to
0.3 % of all ids; a field's ids are drawn as u^4 of its size, u uniform, of which about half a
batch's are distinct.

- one process: the step of before, also with the rows that a process has where several share 2,048.
- dense: DDP exchanges the gradient of the whole table.
- rows: DDP exchanges the rows of the batches; the default of the zoo. Each process holds the table.
- sharded: each process holds a part of the table (`--trainer.strategy sharded`), our exchange.
- TorchRec: the same by TorchRec and FBGEMM, where they are installed (docs/scale.md).

Of each, in one start of its processes: `CPU ms` and `ms` are the medians over the steps, their mean
over the processes; `/ one` is the ratio of CPU ms to one process of the same rows a process. `MB` a
step are those of all processes, counted at the collectives (c10d; a ring for sums), in steps of
their own; `loopback` is what the interface has seen, where no other program may use it. `GB` is the
largest memory of a process, without files that are mapped, and `start` of it what it has before
there is a model.
"""

import argparse
import importlib.util
import json
import logging
import os
import re
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import nullcontext
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from common import console, make_table, print_machine
from measured import Memory, Traffic, loopback
from pytorch_lightning import Callback, Trainer, seed_everything
from pytorch_lightning.strategies import DDPStrategy
from rich.progress import track
from torch import distributed

from zoo import Batch, DeepFM, Field, Schema
from zoo.nn.embedding import without_tables
from zoo.run.sharded import ShardedStrategy

ROWS = 2048  # of a step, over all processes
WARM_UP, COUNTED = 5, 4  # steps
NUMBERS, FIELDS = 13, 26
SHARES = (0.25, 0.2, 0.15, 0.12, 0.1, 0.08, 0.05, *[0.05 / 19] * 19)  # of the ids, by field
MODEL: dict[str, Any] = {
    "hidden_units": (64, 64),
    "train_metrics": False,
    "optimizer": "adagrad",
    "learning_rate": 0.02,
}
ONE, DENSE, GATHERED, SHARDED, TORCHREC = "one process", "dense", "rows", "sharded", "TorchRec"
LIMIT = 900  # seconds of a start


class DenseDeepFM(DeepFM):
    """The model whose table DDP exchanges whole, as it does any other parameter."""

    def setup(self, stage: str) -> None:
        """Leaves the table to DDP."""
        super().setup(stage)
        for hook in self._row_hooks:
            hook.remove()
        self._row_hooks, self._exchanged, self._ddp_params_and_buffers_to_ignore = [], [], []
        self.embedding.sparse = False


def schema_of(ids: int) -> Schema:
    """Fields of numbers, and of so many ids in all."""
    numbers = [Field(f"I{n}", "numerical") for n in range(NUMBERS)]
    sizes = [max(2, int(ids * share)) for share in SHARES]
    fields = [Field(f"C{n}", "categorical", size) for n, size in enumerate(sizes)]
    return Schema((*numbers, *fields))


class Batches:
    """The same rows for any number of processes, of which each takes its share."""

    def __init__(self, schema: Schema, rows: int, steps: int, rank: int, processes: int) -> None:
        self.sizes = torch.tensor([field.cardinality for field in schema.categorical])
        self.part = slice(rows * rank // processes, rows * (rank + 1) // processes)
        self.batches = [self._batch(step, rows) for step in range(steps)]

    def _batch(self, step: int, rows: int) -> Batch:
        random = torch.Generator().manual_seed(step)
        uniform = torch.rand(rows, FIELDS, generator=random).double()
        ids = (uniform**4 * self.sizes).long().minimum(self.sizes - 1).int()
        numbers = torch.randn(rows, NUMBERS, generator=random)
        labels = (torch.rand(rows, generator=random) < 0.3).float()
        return Batch(*(part[self.part] for part in (numbers, ids, labels)))

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[Batch]:
        return iter(self.batches)


class Clock(Callback):
    """CPU and wall seconds of each step, from its batch to the next one's, and what it sends."""

    def __init__(self, memory: Memory, counted: int) -> None:
        self.memory, self.counted = memory, counted
        self.times: list[tuple[float, float]] = []
        self.traffic: Traffic | None = None
        self.loopback = [0, 0, 0]

    def on_train_batch_start(self, trainer: Trainer, *_: Any) -> None:
        """Notes the time; lets the last steps be counted."""
        steps = trainer.num_training_batches
        number = len(self.times)
        if number in (WARM_UP, steps - self.counted):
            self._meet()
            self.loopback.append(loopback())
        self.times.append((time.process_time(), time.perf_counter()))
        if number == steps - self.counted and trainer.world_size > 1:
            self.traffic = Traffic()
            self.traffic.__enter__()

    def on_before_optimizer_step(self, *_: Any) -> None:
        """Looks at the memory, of which the gradients are part."""
        self.memory.look()

    def on_train_epoch_end(self, *_: Any) -> None:
        """Ends the count."""
        if self.traffic is not None:
            self.traffic.__exit__(None, None, None)

    def _meet(self) -> None:
        if distributed.is_initialized():
            distributed.barrier()

    def found(self) -> dict[str, float]:
        """Medians over the steps that were timed."""
        timed = self.times[WARM_UP : len(self.times) - self.counted + 1]
        steps = [(b[0] - a[0], b[1] - a[1]) for a, b in pairwise(timed)]
        cpu, wall = (statistics.median(column) for column in zip(*steps, strict=True))
        sent = self.traffic.sent / self.counted if self.traffic else 0
        seen = (self.loopback[-1] - self.loopback[-2]) / (len(timed) - 1)
        return {"cpu": cpu, "wall": wall, "sent": sent, "loopback": seen}


def strategy_of(way: str) -> Any:
    """The strategy of a fit."""
    waiting = timedelta(seconds=LIMIT)
    if way == ONE:
        return "auto"
    if way in (DENSE, GATHERED):
        return DDPStrategy(process_group_backend="gloo", timeout=waiting)
    backend = "torchrec" if way == TORCHREC else "exchange"
    return ShardedStrategy(backend, process_group_backend="gloo", timeout=waiting)


def fit(way: str, ids: int, rows: int, steps: int) -> dict[str, float]:
    """What a fit costs this process."""
    rank, processes = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    schema = schema_of(ids)
    data = Batches(schema, rows, WARM_UP + steps + COUNTED, rank, processes)
    seed_everything(0, verbose=False)
    with Memory() as memory:
        before = memory.anonymous
        clock = Clock(memory, COUNTED)
        trainer = Trainer(
            accelerator="cpu",
            devices=processes,
            strategy=strategy_of(way),
            max_epochs=1,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            use_distributed_sampler=False,
            callbacks=[clock],
        )
        sharded = way in (SHARDED, TORCHREC)
        with without_tables() if sharded else nullcontext():
            model = (DenseDeepFM if way == DENSE else DeepFM)(schema, **MODEL)
        trainer.fit(model, train_dataloaders=data)
    return {**clock.found(), "memory": memory.anonymous, "start": before}


def measure_here(way: str, ids: int, rows: int, steps: int) -> None:
    """Prints what a fit costs, as the mean over all processes (of memory, the largest)."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    mine = fit(way, ids, rows, steps)
    found = [mine]
    if distributed.is_initialized():
        found = [mine] * distributed.get_world_size()
        distributed.all_gather_object(found, mine)
        distributed.barrier()
        distributed.destroy_process_group()  # or its threads may end the process with an error
    if int(os.environ.get("RANK", 0)) == 0:
        print(json.dumps(found), flush=True)


def cannot(way: str, ids: int, processes: int) -> str | None:
    """Why a way cannot be measured here; None where it can."""
    if way == TORCHREC and importlib.util.find_spec("torchrec") is None:
        return "TorchRec is not installed: docs/scale.md has the command"
    if way == DENSE:
        # table, sums, gradient and DDP's copy of it
        needs = 4 * processes * ids * (16 + 1) * 4
        (free,) = re.findall(r"MemAvailable: *(\d+) kB", Path("/proc/meminfo").read_text())
        if needs > 0.8 * 1024 * int(free):
            return f"needs {needs / 1e9:.0f} GB of memory"
    return None


def measure(way: str, ids: int, processes: int, rows: int, steps: int) -> list[dict[str, float]]:
    """What a fit costs each of its processes, which are started here; a sentence where it fails."""
    command = [sys.executable]
    if processes > 1:
        command += ["-m", "torch.distributed.run", "--standalone"]
        command += ["--nproc-per-node", str(processes)]
    command += [__file__, "--measure", way, "--ids", str(ids), "--rows", str(rows)]
    command += ["--hidden", *map(str, MODEL["hidden_units"])]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*command, "--steps", str(steps)],
        capture_output=True,
        text=True,
        env=environment,
        timeout=LIMIT,
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith("[{")]
    if done.returncode or not lines:
        sys.exit(done.stderr)
    return json.loads(lines[-1])


def cells(found: list[dict[str, float]], one: float | None) -> list[str]:
    """The columns of a way's row; `one` is the CPU time of one process of as many rows."""
    cpu, wall = (statistics.mean(part[name] for part in found) for name in ("cpu", "wall"))
    sent = sum(part["sent"] for part in found)
    memory, start = (max(part[name] for part in found) for name in ("memory", "start"))
    ratio = f"{cpu / one:.2f}" if one else "-"
    seen = found[0]["loopback"]
    numbers = [f"{1e3 * cpu:.0f}", ratio, f"{1e3 * wall:.0f}"]
    traffic = [f"{sent / 1e6:.2f}", f"{seen / 1e6:.2f}"] if len(found) > 1 else ["-", "-"]
    return [*numbers, *traffic, f"{memory / 1e9:.2f}", f"{start / 1e9:.2f}"]


def report(ids: int, processes: list[int], ways: list[str], steps: int) -> None:
    """Measures and prints the table of a number of ids."""
    columns = ("CPU ms", "/ one", "ms", "MB", "loopback", "GB", "start")
    table = make_table(f"{ids:,} ids, {ROWS:,} rows a step", "", *columns)
    starts = [
        (count, way) for count in processes for way in ([ONE] if count == 1 else [ONE, *ways])
    ]
    one, left_out = {}, []
    for count, way in track(starts, f"{ids:,} ids", console=console, transient=True):
        share = way == ONE and count > 1
        rows = ROWS // count if share else ROWS
        name = f"{ONE}, {rows:,} rows" if way == ONE else f"{count} processes, {way}"
        reason = cannot(way, ids, count)
        if reason:
            left_out.append(f"{name}: {reason}")
            continue
        found = measure(way, ids, 1 if way == ONE else count, rows, steps)
        if way == ONE:
            one[count] = found[0]["cpu"]
        table.add_row(name, *cells(found, one.get(count)))
    console.print(table, *left_out, sep="\n", highlight=False)


def main() -> None:
    """Runs the benchmark, or one process of it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    ways = [DENSE, GATHERED, SHARDED, TORCHREC]
    parser.add_argument("--ids", type=int, nargs="+", default=[100_000, 1_000_000, 10_000_000])
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--ways", nargs="+", choices=ways, default=ways)
    parser.add_argument("--hidden", type=int, nargs="+", default=MODEL["hidden_units"])
    parser.add_argument("--steps", type=int, default=30, help="of which the medians are")
    parser.add_argument("--quick", action="store_true", help="1e5 ids, 1 and 2 processes, 8 steps")
    parser.add_argument("--measure", choices=[ONE, *ways], help=argparse.SUPPRESS)
    parser.add_argument("--rows", type=int, default=ROWS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    MODEL["hidden_units"] = tuple(options.hidden)
    if options.measure:
        measure_here(options.measure, options.ids[0], options.rows, options.steps)
        return
    if options.quick:
        options.ids, options.processes, options.steps = [100_000], [1, 2], 8
    print_machine("torch", "pytorch-lightning")
    for ids in options.ids:
        report(ids, options.processes, options.ways, options.steps)


if __name__ == "__main__":
    main()
