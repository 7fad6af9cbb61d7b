"""LightningCLI with run directories: fit, predict, detect, explain, gains and the others."""

import sys
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, TypeVar, cast

import torch
from jsonargparse import Namespace
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import Callback, Checkpoint, WeightAveraging
from pytorch_lightning.cli import LightningArgumentParser, LightningCLI
from rich.console import Console

from zoo.data.errors import ZooError
from zoo.data.module import ZooDataModule
from zoo.data.schema import Schema
from zoo.inspect.checkpoint import read
from zoo.models.base import ZooModule
from zoo.models.optimizer_options import check_optimization
from zoo.nn.embedding import without_tables
from zoo.run import compare, consolidate, describe, export, loggers
from zoo.run import inspect as inspect_command
from zoo.run.checkpoint import RunCheckpoint
from zoo.run.directory import (
    best_of,
    check_name,
    checkpoint_of,
    new_run_directory,
    rank_of_process,
    run_of,
    use_encoder,
)
from zoo.run.early_stopping import add_options as add_early_stopping
from zoo.run.early_stopping import early_stopping
from zoo.run.editing import command as edit_command
from zoo.run.launch import (
    REFUSALS,
    check_launched,
    check_limit,
    check_trainer,
    refusal,
    take_launched,
)
from zoo.run.parser import ZooParser, check_nulls
from zoo.run.plugins import import_plugins
from zoo.run.prediction_file import default_output, source_of
from zoo.run.predictions import PredictionWriter
from zoo.run.progress import progress
from zoo.run.recommendations import RecommendationWriter
from zoo.run.record import RunConfig, RunRecord
from zoo.run.resume import OtherRows
from zoo.run.sharded import is_sharded
from zoo.run.stopping import Stopping
from zoo.run.sweeping import options as sweep_options
from zoo.run.tracking import Tracking
from zoo.run.trainer import ZooTrainer
from zoo.run.trust import foreign_folders, restricted_imports
from zoo.run.warm_start import HELP as WARM_START
from zoo.run.warm_start import WarmStart
from zoo.run.watch import Watch

# commands whose processes score copies of different rows, each with a model of its own
WHOLE = ("detect", "explain", "gains", "subsets")
WITHOUT_CHECKPOINT = ("prepare", "subsets")


class CLIParser(ZooParser, LightningArgumentParser):
    """A `ZooParser` as LightningCLI asks for."""

    bases: Mapping[str, type] = {"model": ZooModule, "data": ZooDataModule}


class ZooCLI(LightningCLI):
    """LightningCLI with run directories, `prepare`, and the data's schema given to the model."""

    subcommand: str
    trainer: ZooTrainer
    datamodule: ZooDataModule
    record: RunRecord
    tracking: Tracking
    watch: Watch

    def __init__(self, *arguments: Any, **options: Any) -> None:
        try:
            super().__init__(*arguments, **options)
        except BaseException as error:
            if hasattr(self, "tracking"):
                self.tracking.fail(error)
            if hasattr(self, "record"):
                self.record.discard_unused()
            lost = self.watch.reason(error) if hasattr(self, "watch") else None
            if lost is not None:
                raise lost from error
            raise

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        """The subcommands, and those of their arguments that are not options."""
        names = ("fit", "validate", "test", "predict", "prepare", "detect", "explain", "gains")
        return {name: {"model", "datamodule"} for name in (*names, "subsets")}

    def _add_subcommands(self, parser: LightningArgumentParser, **kwargs: Any) -> None:
        super()._add_subcommands(parser, **kwargs)
        # `main` runs them without a trainer: here they are only listed
        listed = parser._subcommands_action
        assert listed is not None  # super() has made it
        listed.add_subcommand("inspect", inspect_command.parser(), help=inspect_command.SUMMARY)
        listed.add_subcommand("compare", compare.parser(), help=compare.SUMMARY)
        listed.add_subcommand("describe", describe.parser(), help=describe.SUMMARY)
        listed.add_subcommand("consolidate", consolidate.parser(), help=consolidate.SUMMARY)
        listed.add_subcommand("edit", edit_command.parser(), help=edit_command.SUMMARY)
        listed.add_subcommand("export", export.parser(), help=export.SUMMARY)
        listed.add_subcommand("sweep", sweep_options.parser(), help=sweep_options.SUMMARY)

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Adds the project's own options, and gives the schema of the data to the model."""
        parser.add_argument("--name", default="experiment", help="Name of the experiment.")
        parser.add_argument("--runs", default="runs", help="Folder of the runs of all experiments.")
        parser.add_argument(
            "--compile", type=bool, default=False, help="Whether to compile the model (for GPUs)."
        )
        parser.add_argument(
            "--monitor",
            default="val/logloss",
            help="Metric that best.ckpt is chosen by: a lowest logloss, a highest any other.",
        )
        add_early_stopping(parser)
        parser.add_argument(
            "--report",
            type=bool,
            default=False,
            help="Whether to write report.html into the run directory at the end of a fit: what "
            "`inspect` says of the best checkpoint and of its validation rows.",
        )
        parser.add_argument("--warm_start", type=str | None, default=None, help=WARM_START)
        parser._option_string_actions["--trainer.logger"].help = loggers.HELP
        parser.link_arguments("data", "model.init_args.schema", prepared_schema, "instantiate")

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Parses them; Lightning would warn of those of a process that calls `zoo.fit`."""
        self.config = parser.parse_args(args)

    def _parse_ckpt_path(self) -> None:
        """Lightning would merge the checkpoint's arguments into the config: the config stands."""

    @property
    def options(self) -> Any:
        """The options of the subcommand."""
        return self.config[self.subcommand]

    def before_instantiate_classes(self) -> None:
        """Finds the checkpoint and its encoder; of a config of a run, its best checkpoint."""
        if self.subcommand != "fit":
            self.save_config_callback = None
        for name in ("name", "runs", "monitor"):
            if self.options[name] is None:
                raise ZooError(f"{name} is null, which it cannot be: leave it out")
        check_name(self.options.name)
        for key in ("model", "data"):
            check_nulls(self.options[key], key)
        trainer = self.options.trainer
        if self.subcommand in WHOLE and is_sharded(trainer.strategy):
            trainer.strategy = "auto"
        take_launched(trainer)
        check_trainer(trainer.as_dict())
        check_limit(self.subcommand, trainer)
        unsaved = {"enable_checkpointing": False, "barebones": True}
        for name in (n for n, value in unsaved.items() if trainer[n] is value):
            if self.subcommand == "fit":
                raise ZooError(
                    f"trainer.{name} is {str(unsaved[name]).lower()}: fit keeps best.ckpt, which "
                    "it measures at its end; leave the option out"
                )
        if self.subcommand in WITHOUT_CHECKPOINT:
            return
        if self.subcommand == "fit":
            loggers.complete(trainer.logger, self.options.name)
        options = vars(self.options.model.get("init_args") or Namespace())
        if self.subcommand == "fit" and "lr_scheduler" in options:
            check_optimization(options, foreign_folders())
        if self.subcommand != "fit" and not (self.options.ckpt_path and _is_given("--ckpt_path")):
            self.options.ckpt_path = self._best_of_config()
        checkpoint = self.options.get("ckpt_path")
        if not checkpoint:
            return
        read(Path(checkpoint))  # which refuses what could run code
        use_encoder(self.options.data, Path(checkpoint))

    def instantiate_classes(self) -> None:
        """Makes no table that processes share, before each can make its part."""
        shared = is_sharded(self.options.trainer.strategy)
        with without_tables() if shared else nullcontext():
            super().instantiate_classes()

    def _best_of_config(self) -> str:
        """The best checkpoint of the run whose config.yaml is given."""
        best = best_of([str(path) for path in self.options.get("config") or ()])
        if best is None:
            raise ZooError(
                f"{self.subcommand} needs a checkpoint: give --ckpt_path RUN/checkpoints/best.ckpt,"
                " or --config RUN/config.yaml of a run that has one"
            )
        if rank_of_process() == 0:
            Console(stderr=True).print(f"checkpoint: {best}", soft_wrap=True, highlight=False)
        return str(best)

    def _prediction_writer(self) -> PredictionWriter:
        """Writes to the file that is named, or into the run directory of the checkpoint."""
        data, checkpoint = self.datamodule, Path(self.options.ckpt_path)
        source = source_of(data.predict_path, checkpoint, data.recommend)
        default = default_output(run_of(checkpoint) / "predictions", source)
        writer = RecommendationWriter if data.recommend else PredictionWriter
        return writer(data.predict_output or default, source)

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """A trainer that writes into the run directory."""
        trainer = self.config_init[self.subcommand]["trainer"]
        given = trainer["callbacks"] or []
        given = given if isinstance(given, list) else [given]  # Lightning takes a single one too
        if self.subcommand != "fit":  # where nothing is saved, and Lightning would warn of folders
            given = [callback for callback in given if not isinstance(callback, Checkpoint)]
        callbacks: list[Callback] = []
        last = None
        if self.subcommand == "detect":
            # the neighbours' scores must not be rounded: their small differences are explained
            trainer["precision"] = "32-true"
        if self.subcommand == "fit" and not trainer["fast_dev_run"]:
            run = new_run_directory(Path(self.options.runs), self.options.name)
            self.record = RunRecord(run)
            given = [*early_stopping(self.options, given), *given]
            self.checkpoint = RunCheckpoint(run, self.options.monitor)
            self.tracking = Tracking(self.record)
            callbacks = [OtherRows(), self.checkpoint, self.record, self.tracking]
            if self.options.warm_start and not self.options.ckpt_path:  # else it was before
                callbacks.append(WarmStart(checkpoint_of(self.options.warm_start)))
            last = run / "checkpoints/last.ckpt"
            kwargs["logger"] = loggers.loggers_of(trainer["logger"], run)
            if trainer["default_root_dir"] is None:
                kwargs["default_root_dir"] = run  # of what has no other place
        elif self.subcommand == "predict":
            callbacks = [self._prediction_writer()]
            kwargs["logger"] = False
        else:
            kwargs["logger"] = False
        if trainer["enable_progress_bar"] is not False and not trainer["barebones"]:
            callbacks += progress(given)
        self.watch = Watch(last)
        trainer["callbacks"] = [*given, *callbacks, Stopping(last), self.watch]
        try:
            made = super().instantiate_trainer(**kwargs)
        except REFUSALS as error:
            raise refusal(trainer, error) from error
        check_launched(made)
        return made

    def before_fit(self) -> None:
        """Compiles the model where `--compile` asks for it."""
        if self.options.compile:
            self.model = cast(LightningModule, torch.compile(self.model))

    def after_fit(self) -> None:
        """Measures the best checkpoint and completes the run directory."""
        if self.trainer.fast_dev_run:
            return
        best = self.checkpoint.best_model_path
        if not best:
            raise ZooError(
                "the fit ended before a checkpoint was saved: trainer.max_epochs (or max_steps, or "
                "limit_train_batches) is 0, or the data have no validation batch?"
            )
        epochs = self.trainer.current_epoch
        # it would put the last step's weights in place of the mean that the checkpoint holds
        self.trainer.callbacks = [
            c for c in self.trainer.callbacks if not isinstance(c, WeightAveraging)
        ]
        metrics: dict[str, float] = {}
        measures = {"val": self.trainer.validate, "test": self.trainer.test}
        for measure in (measures[split] for split in measures if self.datamodule.offers(split)):
            for values in measure(self.model, self.datamodule, ckpt_path=best, verbose=False):
                metrics |= values  # of no batch (trainer.limit_test_batches), nothing
        ceiling = {f"ceiling/{k}": v for k, v in self.datamodule.ceiling().items()}
        if self.trainer.is_global_zero:
            measured = self.record.finish({**metrics, **ceiling}, epochs)
            if self.options.report:
                self.record.report(Path(best))
            self.tracking.complete(self.trainer, measured)


def _is_given(option: str) -> bool:
    """Whether an option stands on the command line, and not merely in a config."""
    return any(argument.partition("=")[0] == option for argument in sys.argv[1:])


def prepared_schema(data: ZooDataModule) -> Schema:
    """The schema of data, which are prepared first: by every process, see `ZooDataModule`."""
    data.prepare_data()
    if not isinstance(data.schema, Schema):
        found = type(data.schema).__name__
        raise ZooError(f"the schema of {type(data).__name__} is a {found}, not a zoo.Schema")
    return data.schema


Kind = TypeVar("Kind", bound=ZooCLI)


def run(
    arguments: Sequence[str] | None = None,
    parser: type[CLIParser] = CLIParser,
    line: Sequence[str] | None = None,
    callbacks: Sequence[Callback] = (),
) -> ZooCLI:
    """Runs the subcommand that a command line names.

    Args:
        arguments: The command line; None is that of this process.
        parser: What parses it.
        line: What the user has typed, which says what may be imported, where that is another line.
        callbacks: Further callbacks of the trainer, which no config holds.
    """
    given = sys.argv[1:] if arguments is None else [*arguments]
    with restricted_imports(given if line is None else line):
        import_plugins()
        return made_of(ZooCLI, given, parser, callbacks)


def made_of(
    kind: type[Kind],
    arguments: list[str],
    parser: type[CLIParser],
    callbacks: Sequence[Callback] = (),
) -> Kind:
    """A command line, which has run when it is made.

    Args:
        kind: Its class.
        arguments: Its arguments.
        parser: What parses them.
        callbacks: Further callbacks of the trainer.
    """
    return kind(
        ZooModule,
        ZooDataModule,
        trainer_class=ZooTrainer,
        trainer_defaults={"callbacks": [*callbacks]},
        subclass_mode_model=True,
        subclass_mode_data=True,
        auto_configure_optimizers=False,
        load_from_checkpoint_support=False,
        save_config_callback=RunConfig,
        save_config_kwargs={"save_to_log_dir": False},
        seed_everything_default=0,
        parser_class=parser,
        parser_kwargs={"parser_mode": "omegaconf"}
        | {name: {"parser_mode": "omegaconf"} for name in ZooCLI.subcommands()},
        args=arguments,
    )
