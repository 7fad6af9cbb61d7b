"""Training from Python: `zoo.fit(df, label="click")` is the command `fit` on a DataFrame."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from pytorch_lightning.utilities.seed import isolate_rng

from zoo.data.errors import ZooError, shortened
from zoo.data.plain import read_yaml
from zoo.run import cli
from zoo.run.declared import inferred, path_of, sentences
from zoo.run.directory import checkpoint_of, run_of
from zoo.run.loaded import LoadedRun, load
from zoo.run.signals import terminable
from zoo.run.silence import SEED, silenced

if TYPE_CHECKING:
    import pandas as pd

TABLE = "datamodules.Table"
EPOCHS = 20  # at most
OF_ROWS = ("path", "encoder", "predict_path", "predict_output", "predict_columns")


class RaisingParser(cli.CLIParser):
    """A parser that raises what is wrong, where the command line exits."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Raises `ZooError`."""
        if not self.exit_on_error:
            super().error(message, ex)
        raise ZooError(shortened(self._sentence(message)))


def fit(
    rows: "pd.DataFrame | str | Path | Sequence[str | Path]",
    label: str | Mapping[str, Any] | Any,
    model: str | Mapping[str, Any] | None = None,
    fields: Sequence[Mapping[str, Any] | Any] | None = None,
    *,
    data: Mapping[str, Any] | None = None,
    trainer: Mapping[str, Any] | None = None,
    warm_start: str | Path | LoadedRun | None = None,
    patience: int | None = 2,
    monitor: str = "val/logloss",
    seed: int = 0,
    name: str = "table",
    runs: str | Path = "runs",
) -> LoadedRun:
    """Trains a model on a table, as the command `fit` does, into a run directory.

    The rows of a DataFrame are kept as Parquet among the prepared data, so that the run's
    config.yaml repeats the run, and all commands work on it. The summary of the model is not
    printed, unless `trainer` asks for it.

    Args:
        rows: The table: a DataFrame, whose index is no column, or the path of `datamodules.Table`.
        label: Column of 0 and 1, or of false and true; or `column` and `positive`, such as
            `{"column": "rating", "positive": ">= 4"}`.
        model: Name of the model, or a mapping of its `class_path` and its options, such as
            `{"class_path": "DCN", "embedding_dim": 8}`; None is DeepFM, or, with `warm_start`,
            the model of that run.
        fields: The fields, as those of `datamodules.Table`; None takes them, the time and the
            split from what the columns hold, as the command `describe` does, or, with
            `warm_start`, all options of the data from that run.
        data: Further options of `datamodules.Table`, such as `{"time": "ts", "batch_size": 512}`.
        trainer: Options of the trainer; at most 20 epochs, if they do not say it.
        warm_start: Run whose weights the fit begins with; see the option of the command line.
        patience: Number of validations in a row without progress after which the fit stops; None
            for no early stopping.
        monitor: Metric that the best checkpoint is chosen by.
        seed: Seed of all random numbers.
        name: Name of the experiment.
        runs: Folder of the runs of all experiments.

    Returns:
        The run with its best checkpoint, its `metrics`, and `predict`.

    Raises:
        ZooError: where an option or the table is wrong, in one sentence.
    """
    options = dict(data or {})
    if isinstance(warm_start, LoadedRun):
        warm_start = warm_start.checkpoint
    prepared = Path(options.get("prepared") or "prepared")
    with sentences(prepared), silenced(SEED), isolate_rng(), terminable():
        if (trainer or {}).get("fast_dev_run"):
            raise ZooError("trainer.fast_dev_run makes no run: give trainer={'max_steps': 1}")
        before = _config_of(checkpoint_of(warm_start)) if warm_start else {}
        options["path"] = path_of(rows, prepared)
        options["label"] = label
        if fields is not None:
            options["fields"] = [*fields]
        elif before:
            options = {**_declared(before), **options}
        else:
            options = {**inferred(options), **options}
        wanted = {
            "name": name,
            "runs": str(runs),
            "seed_everything": seed,
            "monitor": monitor,
            "early_stopping": {"patience": patience},
            "warm_start": warm_start and str(warm_start),
            "model": before["model"] if before and model is None else _spec(model or "DeepFM"),
            "data": {"class_path": TABLE, "init_args": options},
            "trainer": {"max_epochs": EPOCHS, "enable_model_summary": False, **(trainer or {})},
        }
        made = cli.run(["fit", "--config", _text(wanted)], RaisingParser)
        return load(made.record.run)


def _config_of(checkpoint: Path) -> dict[str, Any]:
    """The config of a run, as far as it is one of a table."""
    config = run_of(checkpoint) / "config.yaml"
    if not checkpoint.is_file() or not config.is_file():
        raise ZooError(f"warm_start: {checkpoint} is no checkpoint of a run")
    content = read_yaml(config)
    for part in ("model", "data"):
        if not isinstance(content, dict) or not isinstance(content.get(part), dict):
            raise ZooError(f"warm_start: {config} has no section {part}")
    return content


def _declared(config: Mapping[str, Any]) -> dict[str, Any]:
    """The options of the data of a run, without those of its own rows."""
    data = config["data"]
    if data.get("class_path") != TABLE:
        raise ZooError(f"warm_start: its data are no {TABLE}: give fields")
    found = data.get("init_args") or {}
    return {k: v for k, v in found.items() if k not in OF_ROWS and v is not None}


def _spec(model: str | Mapping[str, Any]) -> dict[str, Any]:
    if isinstance(model, str):
        return {"class_path": model}
    if not isinstance(model, Mapping) or not isinstance(model.get("class_path"), str):
        raise ZooError(
            f"model must be the name of a model, or a mapping of class_path and options, got "
            f"{model!r}"
        )
    others = {k: v for k, v in model.items() if k not in ("class_path", "init_args")}
    return {
        "class_path": model["class_path"],
        "init_args": {**others, **(model.get("init_args") or {})},
    }


def _text(config: Mapping[str, Any]) -> str:
    def plain(value: Any) -> Any:
        if is_dataclass(value) and not isinstance(value, type):
            return asdict(value)
        if isinstance(value, Path):
            return str(value)
        raise ZooError(
            f"{value!r} is a {type(value).__name__}: options are plain data, which a config can "
            "hold, such as a class_path with init_args"
        )

    return json.dumps({k: v for k, v in config.items() if v is not None}, default=plain)
