"""What all datamodules share: their common options, and which loaders they have."""

import sys
from collections.abc import Iterable
from typing import Any

from pytorch_lightning import Trainer

from datamodules.prepared.options import at_least
from datamodules.prepared.prefetch import prefetched
from zoo.data.errors import missing
from zoo.data.module import ZooDataModule


class BatchedDataModule(ZooDataModule):
    """Splits of rows, in batches.

    Args:
        batch_size: Number of rows (or sessions) of a batch on one process.
        shuffle_seed: Seed of the order of the training rows.
    """

    def __init__(self, batch_size: int = 1024, shuffle_seed: int = 0) -> None:
        super().__init__()
        at_least(1, batch_size=batch_size)
        at_least(0, shuffle_seed=shuffle_seed)
        self.batch_size = batch_size
        self.shuffle_seed = shuffle_seed

    def loader(self, split: str, **options: Any) -> Iterable[Any]:
        """Batches of `train`, `val`, `test` or `predict`, once set up.

        Args:
            split: Which rows.
            options: `rank` and `world_size`; of training `shuffle`, `seed`, `epoch`, `trained`
                and `accumulate`; `with_row` of prediction, and of training where the model asks.
        """
        missing(self, "loader", "batches")

    def train_dataloader(self) -> Iterable[Any]:
        """Shuffled batches of the training split."""
        options: dict[str, Any] = {"shuffle": True, "seed": self.shuffle_seed}
        if trainer := self.trainer:
            options["accumulate"] = trainer.accumulate_grad_batches
            options["epoch"] = lambda: trainer.current_epoch
            options["trained"] = lambda: _trained(trainer)
            if getattr(trainer.lightning_module, "numbered_rows", False):
                options["with_row"] = True
        return self._of_this_process("train", **options)

    def val_dataloader(self) -> Iterable[Any]:
        """Batches of the validation split, in the order of the file."""
        return self._of_this_process("val")

    def test_dataloader(self) -> Iterable[Any]:
        """Batches of the test split, in the order of the file."""
        return self._of_this_process("test")

    def _of_this_process(self, split: str, **options: Any) -> Iterable[Any]:
        trainer = self.trainer
        if not trainer:
            return self.loader(split, **options)
        options |= {"rank": trainer.global_rank, "world_size": trainer.world_size}
        return prefetched(self.loader(split, **options), split, trainer.strategy.root_device)


def _trained(trainer: Trainer) -> int:
    """How many batches of its epoch a trainer has trained on; of all of them, no smaller number."""
    progress = trainer.fit_loop.epoch_loop.batch_progress
    # a trainer may take less than all batches that there are (limit_train_batches)
    return sys.maxsize if progress.is_last_batch else progress.current.ready
