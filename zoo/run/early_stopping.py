"""Early stopping as two options: `--early_stopping.patience` and `--early_stopping.monitor`."""

from typing import Any

from jsonargparse import ArgumentParser
from jsonargparse.typing import NonNegativeInt
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.callbacks import EarlyStopping

from zoo.run.monitors import LoggedMetrics


def add_options(parser: ArgumentParser) -> None:
    """Adds `early_stopping.patience` and `early_stopping.monitor`."""
    parser.add_argument(
        "--early_stopping.patience",
        type=NonNegativeInt | None,  # pyright: ignore[reportOperatorIssue]  (it is a class)
        default=None,
        help="Number of validations in a row without progress after which a fit stops; null for no "
        "early stopping. An EarlyStopping among trainer.callbacks replaces it.",
    )
    parser.add_argument(
        "--early_stopping.monitor",
        type=str | None,
        default=None,
        help="Metric that must make progress; null for that of --monitor.",
    )


def early_stopping(options: Any, given: list[Callback]) -> list[Callback]:
    """The callbacks that stop a fit early, as the options say.

    Args:
        options: Options of `fit`, with `monitor` and `early_stopping`.
        given: The user's own callbacks; an EarlyStopping among them replaces that of the options.
    """
    patience, monitor = options.early_stopping.patience, options.early_stopping.monitor
    if patience is None or any(isinstance(c, EarlyStopping) for c in given):
        return [LoggedMetrics({"monitor": options.monitor})]
    watched = monitor or options.monitor
    named = {"monitor": options.monitor, "early_stopping.monitor": watched}
    # the parser's own type of integers would keep checkpoints from loading as plain data
    stopping = PatientStopping(
        watched,
        patience=int(patience),
        mode=mode_of(watched),
        check_on_train_epoch_end=True if watched.startswith("train/") else None,
    )
    return [LoggedMetrics(named), stopping]


def mode_of(metric: str) -> str:
    """`min` of a logloss, `max` of any other metric."""
    return "min" if metric.endswith("logloss") else "max"


class PatientStopping(EarlyStopping):
    """Early stopping whose patience is that of the option, in a resumed fit too."""

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Checks; an epoch that was resumed in its midst has no metrics of its training rows."""
        if self.monitor in trainer.callback_metrics:
            super().on_train_epoch_end(trainer, pl_module)

    @property
    def state_key(self) -> str:
        """That of Lightning's own class, so that earlier checkpoints resume."""
        return EarlyStopping(self.monitor, mode=self.mode).state_key

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restores all but the patience."""
        super().load_state_dict({**state_dict, "patience": self.patience})
