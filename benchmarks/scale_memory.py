"""Memory of a process whose tables are shared, at 1e8 ids: a fit, its checkpoint, fits from there.

    python benchmarks/scale_memory.py --folder /scratch
    python benchmarks/scale_memory.py --quick

DeepFM with a layer of 8 and the rows of `scale.py`, with `--trainer.strategy sharded` on CPUs: two
epochs of 50 steps on four processes, with a checkpoint after each. From the first of these, two and
three processes train the second epoch, and compare all rows of the table and all that Adagrad keeps
of them with those of the second: the largest difference, of numbers above 1 as a share of them.
Adagrad's sums begin at 0.01, as from 1e-8 rounding grows too fast to compare 50 steps.

`own` is the largest memory of a process without the pages of files that are mapped, `with files`
with those that it has touched; `allowed` is its share of the table and of Adagrad's sums, plus
500 MB. All in GB, by phase: until the first step, in the steps, while a checkpoint is written.

1e8 ids of D = 16 + 1 columns take 18 GB of memory and 30 GB of disk; `--dim` takes fewer columns.
"""

import argparse
import json
import logging
import os
import shutil
import subprocess
import sys
import tempfile
import time
import warnings
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from common import console, make_table, print_machine
from measured import Memory
from pytorch_lightning import Trainer, seed_everything
from pytorch_lightning.callbacks import Checkpoint
from scale import MODEL, ROWS, Batches, schema_of
from torch import Tensor, distributed

from zoo import DeepFM
from zoo.data.shard_content import opened
from zoo.inspect.checkpoint import read
from zoo.nn.embedding import without_tables
from zoo.run.sharded import ShardedStrategy

STEPS = 50  # of an epoch
ALLOWED = 500e6  # bytes beside a process's share
CLOSE = 1e-6
PIECE = 1 << 18  # rows that are compared at once
ADAGRAD = {"class_path": "adagrad", "init_args": {"initial_accumulator_value": 0.01}}
# a few units: of many, rounding switches a ReLU within 100 steps
OPTIONS = {**MODEL, "hidden_units": (8,), "optimizer": ADAGRAD}


class Phases(Checkpoint):  # which Lightning calls last, as it does its own
    """The largest memory of each phase, and its seconds; a checkpoint after each epoch."""

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder
        self.found: dict[str, dict[str, float]] = {}
        self.begin("until the first step")

    def begin(self, name: str) -> None:
        """Ends the phase before, if there is one, and begins another."""
        self.end()
        self.name, self.since = name, time.perf_counter()
        self.memory = Memory().__enter__()

    def end(self) -> None:
        """Ends the phase; one that has been before keeps the larger memory and all seconds."""
        if not hasattr(self, "memory"):
            return
        self.memory.__exit__()
        before = self.found.get(self.name, {"own": 0, "files": 0, "seconds": 0})
        self.found[self.name] = {
            "own": max(before["own"], self.memory.anonymous),
            "files": max(before["files"], self.memory.resident),
            "seconds": before["seconds"] + time.perf_counter() - self.since,
        }

    def on_train_start(self, *_: Any) -> None:
        """The first step follows."""
        self.begin("steps")

    def on_train_epoch_end(self, trainer: Trainer, *_: Any) -> None:
        """Saves a checkpoint."""
        if self.folder is not None:
            self.begin("checkpoint")
            trainer.save_checkpoint(self.folder / f"{trainer.current_epoch}.ckpt")
            self.begin("steps")


def fit(ids: int, dim: int, folder: Path, resumed: bool) -> dict[str, Any]:
    """What a fit takes of this process, by phase; if it is resumed, how far it ends off."""
    rank, processes = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    schema = schema_of(ids)
    seed_everything(0, verbose=False)
    rows = Batches(schema, ROWS, STEPS, rank, processes)
    phases = Phases(None if resumed else folder)
    strategy = ShardedStrategy("exchange", process_group_backend="gloo", timeout=timedelta(hours=1))
    trainer = Trainer(
        accelerator="cpu",
        devices=processes,
        strategy=strategy,
        max_epochs=2,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        callbacks=[phases],
    )
    with without_tables():
        model = DeepFM(schema, embedding_dim=dim, **OPTIONS)
    start = folder / "0.ckpt" if resumed else None
    trainer.fit(model, train_dataloaders=rows, ckpt_path=start, weights_only=True)
    phases.end()
    found: dict[str, Any] = {"phases": phases.found}
    if resumed:
        state = trainer.optimizers[0].state[model.embedding.table]
        found["apart"] = apart(folder / "1.ckpt", strategy, model, state["sum"])
    return found


def apart(checkpoint: Path, strategy: ShardedStrategy, model: DeepFM, sums: Tensor) -> float:
    """The largest difference of this process's rows, and of other weights, from a checkpoint."""
    content = read(checkpoint)
    shards = opened(content, checkpoint)
    (shard,) = strategy.shards.values()
    largest = 0.0
    for key in shards.keys:
        own = model.embedding.table.detach() if key.startswith("state_dict/") else sums
        for first in range(0, len(own), PIECE):
            mine = own[first : first + PIECE]
            start = shard.start + first
            largest = max(largest, difference(mine, shards.rows(key, start, start + len(mine))))
    for name, value in model.state_dict().items():
        if f"state_dict/{name}" not in shards.keys:
            largest = max(largest, difference(value, content["state_dict"][name]))
    return largest


def difference(found: Tensor, expected: Tensor) -> float:
    """The largest difference, of numbers above 1 as a share of them."""
    if not found.is_floating_point():
        return float(not torch.equal(found, expected))
    return ((found - expected).abs() / expected.abs().clamp_min(1)).max().item()


def measure_here(options: argparse.Namespace) -> None:
    """Prints what a fit takes of each process."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    mine = fit(options.ids, options.dim, options.folder, options.measure == "resumed")
    found = [mine] * distributed.get_world_size()
    distributed.all_gather_object(found, mine)
    distributed.barrier()
    distributed.destroy_process_group()
    if os.environ["RANK"] == "0":
        print(json.dumps(found), flush=True)


def measure(what: str, processes: int, options: argparse.Namespace) -> list[dict[str, Any]]:
    """What a fit takes of each of its processes, which are started here."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += ["--nproc-per-node", str(processes), __file__, "--measure", what]
    command += ["--ids", str(options.ids), "--dim", str(options.dim)]
    done = subprocess.run(
        [*command, "--folder", str(options.folder)],
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith("[{")]
    if done.returncode or not lines:
        sys.exit(done.stderr)
    return json.loads(lines[-1])


def report(options: argparse.Namespace) -> bool:
    """Prints the table; returns whether memory and differences are as they should be."""
    kept = 2 * 4 * options.ids * (options.dim + 1)
    columns = ("own", "with files", "allowed", "seconds", "apart")
    title = f"{options.ids:,} ids, D = {options.dim} + 1: table and sums take {kept / 1e9:.2f} GB"
    table = make_table(title, "", *columns)
    good = True
    for count in options.processes:
        first = count == options.processes[0]
        found = measure("unbroken" if first else "resumed", count, options)
        allowed = kept / count + ALLOWED
        for number, name in enumerate(found[0]["phases"]):
            parts = [part["phases"][name] for part in found]
            own, files, seconds = (
                max(p[key] for p in parts) for key in ("own", "files", "seconds")
            )
            good = good and own <= allowed
            last = "" if first or number else f"{max(part['apart'] for part in found):.1e}"
            sizes = (f"{size / 1e9:.2f}" for size in (own, files, allowed))
            title = f"{count} processes{'' if first else ', resumed'}: {name}"
            table.add_row(title, *sizes, f"{seconds:.0f}", last)
        good = good and all(part.get("apart", 0) <= CLOSE for part in found)
    console.print(table)
    return good


def main() -> None:
    """Runs the benchmark, or one process of it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--ids", type=int, default=100_000_000)
    parser.add_argument("--dim", type=int, default=16, help="size of an embedding, D")
    parser.add_argument("--processes", type=int, nargs="+", default=[4, 2, 3])
    parser.add_argument("--quick", action="store_true", help="1e6 ids")
    parser.add_argument("--folder", type=Path, help="where the checkpoints go; they are removed")
    parser.add_argument("--measure", choices=["unbroken", "resumed"], help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        measure_here(options)
        return
    if options.quick:
        options.ids = 1_000_000
    print_machine("torch", "pytorch-lightning", "safetensors")
    options.folder = Path(tempfile.mkdtemp(prefix="scale_memory ", dir=options.folder))
    try:
        good = report(options)
    finally:
        shutil.rmtree(options.folder, ignore_errors=True)
    if not good:
        sys.exit("more memory than allowed, or other numbers than those of the unbroken fit")


if __name__ == "__main__":
    main()
