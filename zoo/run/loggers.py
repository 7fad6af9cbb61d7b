"""Where a fit logs its metrics."""

import os
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from pytorch_lightning.loggers import CSVLogger, Logger, TensorBoardLogger

from zoo.data.errors import ZooError

# what they log with
PACKAGES = {"MLFlowLogger": "mlflow", "WandbLogger": "wandb"}
MLFLOW = "sqlite:///mlflow.db"
HELP = (
    "Where a fit logs its metrics: null or true for metrics.csv and TensorBoard events in the run "
    "directory, false for neither, or a logger or a list of loggers in place of TensorBoard's, "
    "beside metrics.csv, such as WandbLogger or MLFlowLogger (docs/tracking.md). Other commands "
    "use none."
)


def complete(given: Any, experiment: str) -> None:
    """Gives trackers that are to be made the places that their users expect.

    Args:
        given: Value of the option `trainer.logger`, before anything is made of it.
        experiment: Name of the experiment.

    Raises:
        ZooError: where a package is missing.
    """
    for spec in given if isinstance(given, list) else [given]:
        name = getattr(spec, "class_path", "").rpartition(".")[2]
        if name in PACKAGES and find_spec(PACKAGES[name]) is None:
            raise ZooError(
                f"trainer.logger: {name} needs the package {PACKAGES[name]}: "
                'pip install "interpretable-zoo[track]"'
            )
        options = spec.get("init_args") if name in PACKAGES else None
        if options is None:
            continue
        if name == "WandbLogger":
            if options.project is None and not os.environ.get("WANDB_PROJECT"):
                options.project = experiment
            continue
        if options.experiment_name == "lightning_logs":  # which is Lightning's default
            options.experiment_name = experiment
        if options.tracking_uri is None and options.save_dir == "./mlruns":
            options.tracking_uri = MLFLOW  # MLflow refuses that folder, and looks here itself


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
