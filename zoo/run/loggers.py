"""Where a fit logs its metrics."""

from collections.abc import Sequence
from pathlib import Path

from pytorch_lightning.loggers import CSVLogger, Logger, TensorBoardLogger

HELP = (
    "Where a fit logs its metrics: null or true for metrics.csv and TensorBoard events in the run "
    "directory, false for neither, or a logger or a list of loggers in place of TensorBoard's, "
    "beside metrics.csv. Other commands use none."
)


def loggers_of(given: Logger | Sequence[Logger] | bool | None, run: Path) -> list[Logger]:
    """The loggers of a fit, as `trainer.logger` says.

    Args:
        given: Value of the option; see `HELP`.
        run: Directory of the run.
    """
    if given is False:
        return []
    where = {"save_dir": run.parent.parent, "name": run.parent.name, "version": run.name}
    ours = CSVLogger(**where)
    if given is None or given is True:
        # the metric would be a -1 that nothing ever changes
        return [ours, TensorBoardLogger(**where, default_hp_metric=False)]
    return [ours, *([given] if isinstance(given, Logger) else given)]
