"""Small fits whose every checkpoint can be kept, and resumed."""

import numpy as np
import pytorch_lightning as pl
import torch

from datamodules.prepared.arrays import Arrays
from datamodules.prepared.batched import BatchedDataModule
from datamodules.tabular.loader import BatchLoader
from zoo import DeepFM, Field, Schema

QUIET = {
    "accelerator": "cpu",
    "logger": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
}


class SmallRows(BatchedDataModule):
    """77 rows to train on, in five batches of one process."""

    schema = Schema((Field("n", "numerical"), Field("c", "categorical", 8)))

    def __init__(self, batch_size=16, resident=True, rows=77):
        super().__init__(batch_size)
        self.device = torch.device("cpu") if resident else None
        random = np.random.default_rng(0)
        self.arrays = {
            split: Arrays(
                random.normal(size=(n, 1)).astype(np.float32),
                random.integers(2, 8, (n, 1)).astype(np.int32),
                (random.random(n) < 0.4).astype(np.float32),
                np.arange(n),
            )
            for split, n in (("train", rows), ("val", 40))
        }

    def loader(self, split, **options):
        """Batches of either kind."""
        return BatchLoader(self.arrays[split], self.batch_size, device=self.device, **options)


class WeightedRows(SmallRows):
    """Rows whose weights are 0, 1, 2 or 3; as many are also to be had as repeated rows."""

    def __init__(self, *options, scale=1.0, **named):
        super().__init__(*options, **named)
        random = np.random.default_rng(3)
        self.weight = torch.from_numpy(random.integers(0, 4, 1000)).float() * scale

    def loader(self, split, **options):
        """Batches with the weight and the group of each row."""
        found = super().loader(split, **options | {"with_row": True})
        return Weighing(found, self.weight)


class Weighing:
    def __init__(self, loader, weight):
        self.loader, self.weight = loader, weight

    def __len__(self):
        return len(self.loader)

    def __iter__(self):
        for batch in self.loader:
            group = batch.row % 7
            yield batch._replace(weight=self.weight[batch.row], group=group)


class Diary(pl.callbacks.Checkpoint):  # which Lightning calls last, as it does its own
    """What happened in a fit; with a folder, a checkpoint after each event.

    Attributes:
        events: Name, epoch and step of each.
        checkpoints: Path of each checkpoint, and the number of events before it.
    """

    def __init__(self, folder=None):
        self.folder = folder
        self.events = []
        self.checkpoints = []

    def _happened(self, name, trainer, *more, save=True):
        if trainer.sanity_checking:
            return
        self.events.append((name, trainer.current_epoch, trainer.global_step, *more))
        if self.folder and save:
            path = self.folder / f"{len(self.events):03}_{name}.ckpt"
            trainer.save_checkpoint(path)
            self.checkpoints.append((path, len(self.events)))

    def on_train_epoch_start(self, trainer, module):
        self._happened("start", trainer, save=False)

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
        self._happened("batch", trainer, batch_idx, batch.numerical.sum().item())

    def on_validation_end(self, trainer, module):
        self._happened("validation", trainer, float(trainer.callback_metrics["val/logloss"]))

    def on_train_epoch_end(self, trainer, module):
        self._happened("end", trainer)


def fit(diary, checkpoint=None, data=None, model=None, callbacks=(), **options):
    """The trainer after a fit of the rows, from a checkpoint on where one is given."""
    torch.manual_seed(1)
    data = data or SmallRows()
    settings = {"embedding_dim": 2, "hidden_units": [4], "learning_rate": 0.3, **(model or {})}
    trainer = pl.Trainer(callbacks=[*callbacks, diary], **{**QUIET, **options})
    trainer.fit(DeepFM(data.schema, **settings), data, ckpt_path=checkpoint, weights_only=True)
    return trainer


def state_of(trainer):
    """Weights, and what the optimizer and its schedule have come to."""
    return (
        trainer.lightning_module.state_dict(),
        trainer.optimizers[0].state_dict()["state"],
        [
            {name: value for name, value in group.items() if name != "param_names"}
            for group in trainer.optimizers[0].state_dict()["param_groups"]
        ],
        [numbers(c.scheduler.state_dict()) for c in trainer.lr_scheduler_configs],
    )


def numbers(state):
    """The numbers of a state, without that of the calls in this process."""
    return {
        name: value
        for name, value in state.items()
        if isinstance(value, int | float) and name != "_step_count"
    }
