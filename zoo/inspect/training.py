"""How a checkpoint was trained: what it holds of that itself, and what its run left beside it."""

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from torch import Tensor

from zoo.inspect.checkpoint import optimizers_of


@dataclass(frozen=True)
class Monitor:
    """A metric that decided which checkpoint was kept.

    Attributes:
        name: such as `val/logloss`.
        value: when the checkpoint was saved; None where it was not finite.
        best: so far.
    """

    name: str
    value: float | None
    best: float | None


@dataclass(frozen=True)
class Training:
    """How far a training went; None where the checkpoint does not say.

    Attributes:
        epochs: begun.
        steps: of the optimiser.
        learning_rate: of the next step.
        optimizer_state: whether the training can go on where it stopped.
        monitors: what decided which checkpoint was kept.
        metrics: at save, those that are finite; empty in checkpoints that do not hold them.
        versions: of what wrote the checkpoint.
    """

    epochs: int | None
    steps: int | None
    learning_rate: float | None
    optimizer_state: bool
    monitors: tuple[Monitor, ...]
    metrics: dict[str, float]
    versions: dict[str, str]


@dataclass(frozen=True)
class Run:
    """What lies in a run directory.

    Attributes:
        folder: the directory.
        config: `config.yaml`, all options of the run.
        metrics: `metrics.json`, those of the best checkpoint; None where it is not there.
    """

    folder: str
    config: dict[str, Any]
    metrics: dict[str, Any] | None

    @property
    def encoder(self) -> Path:
        """The folder of its encoder, which need not be there."""
        return Path(self.folder) / "encoder"


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


def run_beside(path: Path, model: str | None) -> tuple[Run | None, list[str]]:
    """The run directory of `<run>/checkpoints/best.ckpt`, and what is wrong with it.

    Args:
        path: of the checkpoint.
        model: its class; a config of another model is none of its run.
    """
    folder = path.resolve().parent.parent
    readers = {"config.yaml": yaml.safe_load, "metrics.json": json.loads}
    found, wrong = {}, []
    for name, parse in readers.items():
        if not (folder / name).is_file():
            continue
        try:
            content = parse((folder / name).read_text())
        except (OSError, ValueError, yaml.YAMLError):
            content = None
        if isinstance(content, dict):
            found[name] = content
        else:
            wrong.append(f"{folder / name} cannot be read")
    config = found.get("config.yaml")
    if model is None or config is None or _model_in(config) != model:
        return None, wrong
    return Run(str(folder), config, found.get("metrics.json")), wrong


def _model_in(config: Mapping[str, Any]) -> str | None:
    model = config.get("model")
    path = model.get("class_path") if isinstance(model, Mapping) else None
    return path.rpartition(".")[2] if isinstance(path, str) else None
