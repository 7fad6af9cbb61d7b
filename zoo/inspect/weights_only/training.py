"""How far a checkpoint was trained, and what lies in its run directory."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from zoo.inspect.chapters import TRAINING
from zoo.inspect.checkpoint import optimizers_of
from zoo.inspect.page import Section
from zoo.inspect.table import text_table
from zoo.inspect.weights_only import curves
from zoo.inspect.weights_only import run as run_files
from zoo.inspect.weights_only.run import Run


@dataclass(frozen=True)
class Monitor:
    """A metric that decided which checkpoint was kept.

    Attributes:
        name: Name of the metric, such as `val/logloss`.
        value: Its value when the checkpoint was saved; None where that was not finite.
        best: Its best value so far.
    """

    name: str
    value: float | None
    best: float | None


@dataclass(frozen=True)
class Training:
    """How far a training went; None where the checkpoint does not say.

    Attributes:
        epochs: Number of epochs begun.
        steps: Number of steps of the optimiser.
        learning_rate: Learning rate of the next step.
        optimizer_state: Whether the training can go on where it stopped.
        monitors: What decided which checkpoint was kept.
        metrics: Metrics at save that are finite; empty in checkpoints that do not hold them.
        versions: Versions of what wrote the checkpoint, by name.
        negative_sampling_rate: Share of the negatives that it was trained on.
    """

    epochs: int | None
    steps: int | None
    learning_rate: float | None
    optimizer_state: bool
    monitors: tuple[Monitor, ...]
    metrics: dict[str, float]
    versions: dict[str, str]
    negative_sampling_rate: float = 1.0


def training_of(checkpoint: Mapping[str, Any]) -> Training:
    """Reads what Lightning keeps of a training."""
    steps = checkpoint.get("global_step")
    groups = [g for o in optimizers_of(checkpoint) for g in o["param_groups"]]
    metrics, versions = (checkpoint.get(key) for key in ("metrics", "versions"))
    versions = {str(k): str(v) for k, v in versions.items()} if isinstance(versions, dict) else {}
    version = checkpoint.get("pytorch-lightning_version")
    if version:
        versions["pytorch-lightning"] = str(version)
    metrics = {str(k): _number(v) for k, v in metrics.items()} if isinstance(metrics, dict) else {}
    return Training(
        _epochs(checkpoint),
        steps if isinstance(steps, int) else None,
        _number(groups[0].get("lr")) if groups else None,
        bool(groups),
        tuple(_monitors(checkpoint)),
        {name: value for name, value in metrics.items() if value is not None},
        versions,
        _number(checkpoint.get("negative_sampling_rate")) or 1.0,
    )


def _epochs(checkpoint: Mapping[str, Any]) -> int | None:
    """The epochs begun; Lightning's `epoch` is one less at the end of an epoch's validation."""
    try:
        epochs = checkpoint["loops"]["fit_loop"]["epoch_progress"]["total"]["started"]
    except (KeyError, TypeError):
        epochs = checkpoint.get("epoch")
    return epochs if isinstance(epochs, int) else None


def _monitors(checkpoint: Mapping[str, Any]) -> Iterator[Monitor]:
    for state in (checkpoint.get("callbacks") or {}).values():
        if isinstance(state, Mapping) and state.get("monitor") and "current_score" in state:
            values = (_number(state.get(key)) for key in ("current_score", "best_model_score"))
            yield Monitor(str(state["monitor"]), *values)


def _number(value: Any) -> float | None:
    """A number as JSON has them."""
    if isinstance(value, Tensor):
        value = value.item() if value.numel() == 1 else None
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


def sections(training: Training, run: Run | None, options: Mapping[str, Any]) -> Iterator[Section]:
    """The training, its metrics at save, and those of the run with its config.

    Args:
        training: How far the training went.
        run: The run directory, where the checkpoint is in one.
        options: Arguments of the model's constructor.
    """
    shown = [text_table("training", ("", "value"), _rows(training, run, options))]
    if training.metrics:
        shown.append(text_table("metrics at save", ("metric", "value"), training.metrics.items()))
    of_run = [*run_files.tables(run)] if run else []
    content = [*shown, *of_run]
    if run:
        yield from curves.sections(run.curves, [monitor.name for monitor in training.monitors])
    yield Section("state", content, TRAINING, page=[*shown, *of_run[:-1]])
    if run:
        yield Section("config of the run", [], TRAINING, folded=True, page=of_run[-1:])


def _rows(
    training: Training, run: Run | None, options: Mapping[str, Any]
) -> Iterator[tuple[str, Any]]:
    yield "epochs", training.epochs
    yield "steps", training.steps
    if "optimizer" in options:
        yield "optimizer", _class_name(options["optimizer"])
    if options.get("lr_scheduler"):
        yield "schedule of the learning rate", _class_name(options["lr_scheduler"])
    yield "learning rate", training.learning_rate
    if training.negative_sampling_rate != 1:
        rate = training.negative_sampling_rate
        yield "share of the negatives that it was trained on", rate
    yield "can be resumed", "yes" if training.optimizer_state else "no"
    for monitor in training.monitors:
        yield f"{monitor.name} at save", monitor.value
        yield f"{monitor.name}, best so far", monitor.best
    yield from training.versions.items()
    if run:
        yield "run", run.folder


def _class_name(option: Any) -> Any:
    """The class that an option names; its arguments are among the options of the model."""
    return option.get("class_path") if isinstance(option, Mapping) else option
