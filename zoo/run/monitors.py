"""Whether a fit logs the metrics that decide over it, asked before it has trained."""

from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer

from zoo.data.errors import ZooError
from zoo.models.base import ZooModule


class LoggedMetrics(Callback):
    """Stops a fit that does not log a metric which an option, a callback or a schedule watches.

    The names of what a shipped model logs are known before the first step. Another model may log
    more: of it a name that looks misspelt is refused before the first step too, any other at the
    end of the first validation (of `val/`) or epoch.

    Args:
        named: Name of the metric, by the option that names it.
    """

    def __init__(self, named: Mapping[str, str]) -> None:
        self.named = dict(named)
        self._known: set[str] | None = None
        self._whole_epoch = False  # has ended, so that its metrics are there

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Finds what else watches a metric."""
        self.named |= dict(_watched(trainer))

    def on_validation_batch_start(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Compares the names with those that batches like the first one lead to."""
        self._learn(trainer, pl_module, batch)

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Compares the names, where no validation came first."""
        self._learn(trainer, pl_module, batch)

    def _learn(self, trainer: Trainer, pl_module: LightningModule, batch: Any) -> None:
        if self._known is not None or not isinstance(pl_module, ZooModule):
            return
        splits = ("train/", "val/") if trainer.limit_val_batches else ("train/",)
        known = {name for split in splits for name in pl_module.metric_names(split, batch)}
        self._known = known
        shipped = type(pl_module).__module__.startswith("zoo.")
        for option, metric in self.named.items():
            if metric not in known and (shipped or get_close_matches(metric, known, cutoff=0.8)):
                raise _refusal(option, metric, known)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Compares the names `val/...` with the metrics logged."""
        if not trainer.sanity_checking:
            self._compare(trainer, "val/")

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Notes that all metrics follow, but for those of an epoch resumed in its midst."""
        self._whole_epoch = isinstance(pl_module, ZooModule) and not pl_module.resuming.partly

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Compares all names with the metrics logged in the first epoch."""
        self._compare_all(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Compares all names with the metrics logged."""
        self._compare_all(trainer)

    def _compare_all(self, trainer: Trainer) -> None:
        if self._whole_epoch:
            self._compare(trainer, "")

    def _compare(self, trainer: Trainer, prefix: str) -> None:
        logged = {*trainer.callback_metrics} | (self._known or set())
        for option, metric in self.named.items():
            if metric.startswith(prefix) and metric not in logged:
                raise _refusal(option, metric, logged)


def _watched(trainer: Trainer) -> Iterator[tuple[str, str]]:
    """What the user's callbacks and the schedule of the learning rate watch."""
    for callback in trainer.callbacks:  # pyright: ignore[reportAttributeAccessIssue]
        name = getattr(callback, "monitor", None)
        own = type(callback).__module__.startswith("zoo.")  # named by options
        if isinstance(name, str) and not own:
            yield f"trainer.callbacks: monitor of {type(callback).__name__}", name
    for config in trainer.lr_scheduler_configs:
        if config.reduce_on_plateau and isinstance(config.monitor, str):
            yield "the schedule of the learning rate", config.monitor


def _refusal(option: str, metric: str, logged: set[str]) -> ZooError:
    names = ", ".join(sorted(name for name in logged if "/" in name))
    return ZooError(f"{option}: this fit logs no {metric}; choose one of {names}")
