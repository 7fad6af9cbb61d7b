"""What the loggers of a fit are given beyond its metrics: settings, files, and how it has ended.

Loggers in the run directory, metrics.csv and TensorBoard, have these beside them already; MLflow,
Weights & Biases, and others of Lightning's, are elsewhere. They are meant here by trackers.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.loggers import (
    CSVLogger,
    Logger,
    MLFlowLogger,
    TensorBoardLogger,
    WandbLogger,
)
from rich.console import Console

from zoo.data.errors import causes
from zoo.data.plain import read_yaml
from zoo.inspect.checkpoint import read
from zoo.inspect.table import flat_options
from zoo.run.record import RunRecord
from zoo.run.signals import status_of

FILES = ("config.yaml", "metrics.json", "report.html")
FINISHED, FAILED, INTERRUPTED, PRUNED = "finished", "failed", "interrupted", "pruned"
OF_MLFLOW = {FINISHED: "FINISHED", FAILED: "FAILED", INTERRUPTED: "KILLED", PRUNED: "KILLED"}
OF_WANDB = {FINISHED: 0, FAILED: 1, INTERRUPTED: 130, PRUNED: 0}  # exit status
NOT_A_KEY = re.compile(r"[^\w\-. :/]")  # of MLflow
LONGEST_KEY = 250


class Pruned(Exception):
    """A fit ends early, as it is worse than others."""


class Tracking(Callback):
    """Logs the loss of steps, and gives trackers the settings and files of a run.

    Args:
        record: Knows the run directory.
    """

    def __init__(self, record: RunRecord) -> None:
        self.record = record
        self._trackers: list[Logger] = []
        self._with_checkpoint: set[int] = set()
        self._step = 0

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Takes over what `log_model: true` asks for: one checkpoint, in its run directory."""
        if stage != "fit" or not trainer.is_global_zero:
            return
        self._trackers = [
            x for x in trainer.loggers if not isinstance(x, CSVLogger | TensorBoardLogger)
        ]
        for logger in self._trackers:
            if getattr(logger, "_log_model", None) is True:  # Lightning would send last.ckpt too
                self._with_checkpoint.add(id(logger))
                vars(logger)["_log_model"] = False

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Logs the settings of the run."""
        config = self.record.run / "config.yaml"
        if not trainer.is_global_zero or not config.is_file():
            return
        options = dict(flat_options(read_yaml(config)))
        self._step = trainer.global_step
        for logger in self._trackers:
            if isinstance(logger, MLFlowLogger):
                _begin_mlflow(logger, options, self.record.run)
            else:
                logger.log_hyperparams({**options, "run_directory": str(self.record.run)})
            if isinstance(logger, WandbLogger) and getattr(logger, "_name", "") is None:
                logger.experiment.name = _name_of(self.record.run)

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Logs the loss of every so many steps, as `trainer.log_every_n_steps` says."""
        every, step = getattr(trainer, "log_every_n_steps", 0), trainer.global_step
        if not trainer.is_global_zero or not every or step == self._step or step % every:
            return
        self._step = step
        if isinstance(outputs, Mapping) and "loss" in outputs and trainer.loggers:
            # a GPU is waited for; Lightning has divided it by the number of batches of a step
            loss = float(outputs["loss"]) * trainer.accumulate_grad_batches
            for logger in trainer.loggers:
                logger.log_metrics({"train/loss": loss, "epoch": trainer.current_epoch}, step - 1)

    def complete(self, trainer: Trainer, metrics: Mapping[str, float | None]) -> None:
        """Logs the metrics of the best checkpoint, and the files of the run.

        Args:
            trainer: The trainer.
            metrics: Those of `metrics.json`.
        """
        best = {f"best/{name}": value for name, value in metrics.items() if value is not None}
        for logger in self._trackers:
            with_checkpoint = id(logger) in self._with_checkpoint

            def send(logger: Logger = logger, with_checkpoint: bool = with_checkpoint) -> None:
                logger.log_metrics(best, trainer.global_step)
                _send(logger, self.record.run, [*_files(self.record.run, with_checkpoint)])

            _try(logger, send)
        self._end(FINISHED)

    def fail(self, error: BaseException) -> None:
        """Says how a fit has ended that has not come to its end."""
        status = FAILED if status_of(error) is None else INTERRUPTED
        self._end(PRUNED if any(isinstance(e, Pruned) for e in causes(error)) else status)

    def _end(self, status: str) -> None:
        trackers, self._trackers = self._trackers, []
        for logger in trackers:
            if isinstance(logger, MLFlowLogger):
                _try(logger, lambda x=logger: _end_mlflow(x, status))
            elif isinstance(logger, WandbLogger):
                _try(logger, lambda x=logger: _end_wandb(x, status))


def _try(logger: Logger, call: Callable[[], None]) -> None:
    """What a tracker cannot take does not fail a fit that has ended."""
    try:
        call()
    except Exception as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        message = f"{type(logger).__name__} did not take the end of the run: {reason}"
        Console(stderr=True, markup=False).print(message, soft_wrap=True, highlight=False)


def _name_of(run: Path) -> str:
    return f"{run.parent.name}/{run.name}"


# Files


def _files(run: Path, with_checkpoint: bool) -> Iterable[Path]:
    """The files of a run that are sent, all but those inside of folders."""
    yield from (run / name for name in FILES if (run / name).is_file())
    if (run / "encoder").is_dir():
        yield run / "encoder"
    best = run / "checkpoints/best.ckpt"
    if with_checkpoint and best.is_file():
        yield best
        shards = read(best).get("shards")
        if shards:
            yield best.with_name(shards["folder"])


def _send(logger: Logger, run: Path, paths: Iterable[Path]) -> None:
    """Sends files, in the places that they have in the run directory."""
    if isinstance(logger, MLFlowLogger):
        for path in paths:
            place = path.relative_to(run).as_posix()
            if path.is_dir():
                logger.experiment.log_artifacts(str(logger.run_id), str(path), place)
            else:
                place = None if path.parent == run else path.parent.relative_to(run).as_posix()
                logger.experiment.log_artifact(str(logger.run_id), str(path), place)
    elif isinstance(logger, WandbLogger):
        import wandb  # which a fit without it does not need

        artifact = wandb.Artifact(f"run-{logger.experiment.id}", "run")
        for path in paths:
            place = path.relative_to(run).as_posix()
            add = artifact.add_dir if path.is_dir() else artifact.add_file
            add(str(path), name=place)
        logger.experiment.log_artifact(artifact)


# MLflow


def _begin_mlflow(logger: MLFlowLogger, options: Mapping[str, Any], run: Path) -> None:
    """Settings become parameters, which MLflow never changes: a run that goes on keeps its own."""
    client, run_id = logger.experiment, str(logger.run_id)
    known = client.get_run(run_id).data.params
    named = {_key(name): value for name, value in options.items()}
    logger.log_hyperparams({name: named[name] for name in named if name not in known})
    client.set_tag(run_id, "run_directory", str(run.absolute()))
    if options.get("ckpt_path"):
        client.set_tag(run_id, "resumed_from", options["ckpt_path"])
    if known:
        client.update_run(run_id, status="RUNNING")
    elif getattr(logger, "_run_name", "") is None:
        client.set_tag(run_id, "mlflow.runName", _name_of(run))


def _key(name: str) -> str:
    return NOT_A_KEY.sub("_", name.replace("[", ".").replace("]", ""))[:LONGEST_KEY]


def _end_mlflow(logger: MLFlowLogger, status: str) -> None:
    logger.experiment.set_tag(str(logger.run_id), "status", status)
    logger.experiment.set_terminated(str(logger.run_id), OF_MLFLOW[status])


# Weights & Biases


def _end_wandb(logger: WandbLogger, status: str) -> None:
    """Ends the run, which another fit of this process would go on with."""
    run = logger.experiment
    run.summary["status"] = status
    run.finish(exit_code=OF_WANDB[status])
