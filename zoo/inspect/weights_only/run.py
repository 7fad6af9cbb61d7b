"""What lies in the run directory beside a checkpoint."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from zoo.data.errors import ZooError
from zoo.data.plain import check_bounds, check_kinds, read_json, read_yaml
from zoo.inspect.table import TextTable, options_table, text_table
from zoo.inspect.weights_only.curves import Curve, curves_of


@dataclass(frozen=True)
class Run:
    """What lies in a run directory.

    Attributes:
        folder: Path of the directory.
        config: Content of `config.yaml`: all options of the run.
        metrics: Content of `metrics.json`: metrics of the best checkpoint; None without it.
        curves: Metrics by step, from `metrics.csv`; none without it.
    """

    folder: str
    config: dict[str, Any]
    metrics: dict[str, Any] | None
    curves: dict[str, Curve] = field(default_factory=dict)

    @property
    def encoder(self) -> Path:
        """The folder of its encoder, which need not be there."""
        return Path(self.folder) / "encoder"


def run_beside(path: Path, model: str | None) -> tuple[Run | None, list[str]]:
    """The run directory of `<run>/checkpoints/best.ckpt`, and what is wrong with it.

    Args:
        path: Path of the checkpoint.
        model: Class of its model; a config of another model is not that of its run.
    """
    folder = path.resolve().parent.parent
    readers = {"config.yaml": read_yaml, "metrics.json": read_json}
    found, wrong = {}, []
    for name, reader in readers.items():
        if not (folder / name).is_file():
            continue
        try:
            found[name] = check_kinds(reader(folder / name), {})
            check_bounds(found[name], folder / name)
        except (ZooError, TypeError):
            found.pop(name, None)
            wrong.append(f"{folder / name} cannot be read")
    config = found.get("config.yaml")
    if model is None or config is None or _model_in(config) != model.rpartition(".")[2]:
        return None, wrong
    return Run(
        str(folder), config, found.get("metrics.json"), curves_of(folder / "metrics.csv")
    ), wrong


def _model_in(config: Mapping[str, Any]) -> str | None:
    model = config.get("model")
    path = model.get("class_path") if isinstance(model, Mapping) else None
    return path.rpartition(".")[2] if isinstance(path, str) else None


def tables(run: Run) -> Iterator[TextTable]:
    """The metrics of a run, and the options of its data and trainer."""
    if run.metrics:
        title = "metrics of the run's best checkpoint"
        yield text_table(title, ("metric", "value"), run.metrics.items())
    yield config_table(run)


def config_table(run: Run) -> TextTable:
    """The options of the data and the trainer of a run that are not null."""
    sections = {name: run.config.get(name) for name in ("data", "trainer")}
    return options_table("config of the run: data and trainer", _given(sections))


def _given(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options without those that are null."""
    found = {
        name: _given(value) if isinstance(value, Mapping) else value
        for name, value in options.items()
    }
    return {name: value for name, value in found.items() if value not in (None, {})}
