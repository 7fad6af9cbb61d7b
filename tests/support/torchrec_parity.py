"""Fits whose tables TorchRec shares beside fits by the own exchange, where TorchRec is installed.

    for processes in 1 2 3; do
        python -m torch.distributed.run --standalone --nproc-per-node $processes \
            tests/support/torchrec_parity.py
    done

Weights and what the optimizer keeps must be equal to 1e-6 after 26 steps (4 of Adagrad from 1e-8,
from where rounding grows fast), also where one has gone on from a checkpoint of the other. It ends
with a sentence and another status where they are not. On CPUs, unless `--device cuda` says else.
"""

import argparse
import logging
import os
import shutil
import sys
import tempfile
import warnings
from pathlib import Path

import pytorch_lightning as pl
import torch
from torch import distributed

sys.path.insert(0, str(Path(__file__).parents[1]))

import zoo
from zoo import Batch, Field, Schema
from zoo.data.lists import Lists
from zoo.run.sharded import ShardedStrategy

PLAIN = Schema(
    (
        Field("n", "numerical"),
        *(Field(f"c{size}", "categorical", size) for size in (3, 1000, 70)),
    )
)
LISTED = Schema((*PLAIN.fields, Field("seen", "multi", 1000, vocabulary="c1000")))
WARM = {"warmup_steps": 7, "lr_scheduler": "CosineAnnealingLR", "lr_scheduler_interval": "step"}
EPS = {
    "class_path": "torch.optim.Adagrad",
    "init_args": {"eps": 1e-3, "initial_accumulator_value": 0.01},
}
# from 1e-8 on, as ours begins, rounding grows too fast to compare many steps
FROM = {"class_path": "adagrad", "init_args": {"initial_accumulator_value": 0.01}}
CASES = {
    "Adagrad": ("DeepFM", PLAIN, {"optimizer": "adagrad"}),
    "Adagrad, warm-up and a schedule": ("DeepFM", PLAIN, {"optimizer": FROM, **WARM}),
    "Adagrad of torch, with an eps": ("DeepFM", PLAIN, {"optimizer": EPS}),
    "SGD, no first order": ("AutoInt", PLAIN, {"optimizer": "sgd", "first_order": False}),
    "tables of several widths": ("DCN", PLAIN, {"optimizer": FROM, "embedding_dims": {"c1000": 5}}),
    "lists, by attention": ("DeepFM", LISTED, {"optimizer": FROM, "pooling": "attention"}),
}
ROWS = 128
CLOSE = 1e-6


class Rows:
    """Batches drawn by their number, of which each process has a share; one has fewer rows."""

    def __init__(self, schema, steps):
        self.schema, self.steps = schema, steps

    def __len__(self):
        return self.steps

    def __iter__(self):
        rank, processes = distributed.get_rank(), distributed.get_world_size()
        return (self.batch(n, rank, processes) for n in range(self.steps))

    def batch(self, number, rank, processes):
        """Rows of one process."""
        random = torch.Generator().manual_seed(number)
        rows = ROWS // processes - (rank == 0) * (number % 3)
        first = ROWS // processes * rank
        sizes = torch.tensor([field.cardinality for field in self.schema.categorical])
        uniform = torch.rand(ROWS, len(sizes), generator=random)
        ids = (uniform**3 * sizes).int()
        labels = ids.sum(1) % 2 == 0
        mine = slice(first, first + rows)
        lists = None
        if self.schema.lists:
            lengths = torch.randint(0, 4, (ROWS, 1), generator=random)[mine]
            offsets = (lengths.flatten().cumsum(0) - lengths.flatten()).unsqueeze(1)
            values = torch.randint(0, 1000, (int(lengths.sum()),), generator=random)
            lists = Lists(values, offsets, lengths)
        numbers = torch.randn(ROWS, 1, generator=random)
        return Batch(numbers[mine], ids[mine], labels[mine].float(), lists=lists)


class Saved(pl.callbacks.Checkpoint):  # which Lightning calls last, as it does its own
    """A checkpoint after the first of two epochs."""

    def __init__(self, path):
        self.path = path

    def on_train_epoch_end(self, trainer, *_):
        if self.path is not None and trainer.current_epoch == 0:
            trainer.save_checkpoint(self.path)


def fit(backend, case, device, saved=None, checkpoint=None):
    """What a fit leaves on this process, by name, and the shards of the tables."""
    name, schema, options = CASES[case]
    torch.manual_seed(1)
    processes = int(os.environ["WORLD_SIZE"])
    # few layers: a ReLU that rounding switches would be seen
    shared = {"hidden_units": (8,), "embedding_dim": 6, "embedding_std": 0.1, "learning_rate": 0.05}
    model = getattr(zoo, name)(schema, train_metrics=False, **shared, **options)
    strategy = ShardedStrategy(backend, process_group_backend=None if device == "cuda" else "gloo")
    trainer = pl.Trainer(
        accelerator=device,
        devices=processes,
        strategy=strategy,
        max_epochs=2,
        callbacks=[Saved(saved)],
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
    )
    rows = Rows(schema, 2 if options["optimizer"] == "adagrad" else 13)
    trainer.fit(model, rows, Rows(schema, 2), ckpt_path=checkpoint, weights_only=True)
    kinds = {type(shard).__name__ for shard in strategy.shards.values()}
    assert kinds == {"TorchRecShard" if backend == "torchrec" else "Shard"}, kinds
    found = {**model.state_dict(), **trainer.callback_metrics}
    for number, state in trainer.optimizers[0].state_dict()["state"].items():
        found |= {f"{name} of {number}": torch.as_tensor(x) for name, x in state.items()}
    return {n: x.float().cpu() for n, x in found.items()}


def worst(found, expected):
    """The largest difference of any number, of those above 1 as a share of it."""
    assert found.keys() == expected.keys(), found.keys() ^ expected.keys()
    pairs = [(found[name], expected[name]) for name in expected]
    assert all(a.shape == b.shape for a, b in pairs)
    found = [((a - b).abs() / b.abs().clamp_min(1)).max() for a, b in pairs if a.numel()]
    return torch.stack(found).max()


def compare(case, device, folder):
    """Prints how far the two backends are apart in a case; returns whether that is close enough."""
    saved = {backend: folder / f"{backend}.ckpt" for backend in ("exchange", "torchrec")}
    ends = {backend: fit(backend, case, device, path) for backend, path in saved.items()}
    expected = ends["exchange"]
    apart = {"unbroken": worst(ends["torchrec"], expected)}
    for backend, other in (("exchange", "torchrec"), ("torchrec", "exchange")):
        went_on = fit(backend, case, device, checkpoint=saved[other])
        apart[f"{backend} from {other}"] = worst(went_on, expected)
    every = torch.stack([*apart.values()]).to(device)
    distributed.all_reduce(every, distributed.ReduceOp.MAX)
    if distributed.get_rank() == 0:
        parts = (f"{n} {x:.1e}" for n, x in zip(apart, every.tolist(), strict=True))
        print(f"{distributed.get_world_size()} processes, {case}: {', '.join(parts)}", flush=True)
    return bool((every <= CLOSE).all())


def main():
    """Compares all cases."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    device = parser.parse_args().device
    warnings.simplefilter("ignore")
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    torch.set_num_threads(1)
    # one for all processes
    folder = Path(tempfile.gettempdir()) / f"torchrec parity {os.environ['MASTER_PORT']}"
    folder.mkdir(exist_ok=True)
    try:
        close = [compare(case, device, folder) for case in CASES]
        distributed.barrier()
        distributed.destroy_process_group()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if not all(close):
        sys.exit(f"apart by more than {CLOSE}")


if __name__ == "__main__":
    main()
