"""Fits of two processes, which this script starts as Lightning does; see `test_processes`."""

import sys
import warnings
from pathlib import Path
from unittest import mock

import torch
from pytorch_lightning.callbacks import WeightAveraging

sys.path.insert(0, str(Path(__file__).parents[1]))
from support.resuming import Diary, SmallRows, WeightedRows, fit, state_of

from zoo import Field, Schema
from zoo.nn import exchange

TWO = {"devices": 2, "strategy": "ddp", "max_epochs": 2, "num_sanity_val_steps": 0}


class Wrapped(Diary):
    """Also what DDP leaves alone."""

    def on_train_start(self, trainer, module):
        self.left_alone = trainer.strategy.model.parameters_to_ignore


# fits in which tables were exchanged whole, or whose optimizers take whole tables
OTHERS = {
    "adam": {"model": {"optimizer": "adam"}},
    "decays": {"model": {"optimizer": "adamw", "embedding_weight_decay": 0.1}},
    "dense": {"model": {"sparse_gradients": False}},
    "clipped": {"gradient_clip_val": 0.1},
    "half precision": {"precision": "bf16-mixed"},
    "averaged": {"callbacks": [WeightAveraging()]},
    "accumulated": {"accumulate_grad_batches": 2},
}


def sent(ids, **options):
    """Numbers that a process gets of the others in a fit of ten steps of a table of so many ids."""
    count, diary = 0, Wrapped()
    gather = exchange.all_gather
    data = SmallRows(8 // options.get("accumulate_grad_batches", 1))
    data.schema = Schema((Field("n", "numerical"), Field("c", "categorical", ids)))

    def gathering(found, part):
        nonlocal count
        count += len(part.flatten())
        return gather(found, part)

    with mock.patch.object(exchange, "all_gather", gathering):
        trainer = fit(diary, data=data, **TWO, **options)
    assert diary.left_alone == {"embedding.table"}
    assert trainer.lightning_module._row_hooks == []  # as before the fit
    return count


def main(folder):
    """Writes the weights after a fit, and whether each of its checkpoints leads to them."""
    warnings.simplefilter("ignore")
    unbroken = Diary(folder / "checkpoints")
    expected = state_of(fit(unbroken, data=SmallRows(8), val_check_interval=2, **TWO))
    equal = {}
    for path, events in unbroken.checkpoints[1::6]:
        resumed = Diary()
        found = state_of(fit(resumed, path, SmallRows(8), val_check_interval=2, **TWO))
        same = all(torch.equal(found[0][name], x) for name, x in expected[0].items())
        equal[path.name] = same and resumed.events == unbroken.events[events:]
    binned = fit(Diary(), data=SmallRows(8), model={"numerical_encoding": "learned_bins"}, **TWO)
    edges = binned.lightning_module.embedding.encoding.bin_edges
    torch.save(edges, folder / f"edges of {torch.distributed.get_rank()}.pt")
    disk = state_of(fit(Diary(), data=SmallRows(8, resident=False), **TWO))
    weighted = state_of(fit(Diary(), data=WeightedRows(8), **TWO))
    accumulated = state_of(fit(Diary(), data=WeightedRows(4), accumulate_grad_batches=2, **TWO))
    exchanged = {}
    for ids in (100, 100_000):
        exchanged[ids] = sent(ids)
    exchanged |= {name: sent(100_000, **options) for name, options in OTHERS.items()}
    if torch.distributed.get_rank() == 0:
        result = {"equal": equal, "weights": expected[0], "weights from disk": disk[0]}
        result |= {"of weighted rows": weighted[0], "accumulated": accumulated[0]}
        result["exchanged"] = exchanged
        torch.save(result, folder / "result.pt")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
