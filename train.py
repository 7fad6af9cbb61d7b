"""The command line: fit, validate, test, predict, prepare, detect and inspect.

    python train.py fit --config configs/demo.yaml
    python train.py fit --config configs/criteo/deepfm.yaml --data.path train.txt
    python train.py predict --config RUN/config.yaml --ckpt_path RUN/checkpoints/best.ckpt \\
        --data.predict_path new_rows.txt
    python train.py detect --config RUN/config.yaml --ckpt_path RUN/checkpoints/best.ckpt
    python train.py inspect RUN/checkpoints/best.ckpt
"""

import errno
import logging
import sys
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import torch
from pytorch_lightning import LightningDataModule, LightningModule, Trainer
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.cli import LightningArgumentParser, LightningCLI
from pytorch_lightning.loggers import CSVLogger, TensorBoardLogger
from rich.console import Console
from rich.table import Table

from zoo.inspect import command as inspect_command
from zoo.inspect.checkpoint import read
from zoo.parser import ZooParser
from zoo.run import PredictionWriter, RunCheckpoint, RunRecord, new_run_directory, run_of
from zoo.schema import ZooError


class ZooTrainer(Trainer):
    """Lightning's Trainer; it never unpickles more than weights, so no checkpoint can run code."""

    def fit(
        self,
        model: LightningModule,
        datamodule: LightningDataModule,
        ckpt_path: str | None = None,
    ) -> None:
        """Train a model, then measure its best checkpoint on validation and test rows.

        Args:
            ckpt_path: checkpoint to resume from, such as a run's `last.ckpt`.
        """
        super().fit(model, datamodule=datamodule, ckpt_path=ckpt_path, weights_only=True)

    def validate(
        self,
        model: LightningModule,
        datamodule: LightningDataModule,
        ckpt_path: str | None = None,
        verbose: bool = True,
    ) -> list[dict[str, float]]:
        """Measure a checkpoint on the validation rows.

        Args:
            ckpt_path: checkpoint to measure.
            verbose: print the metrics.
        """
        return super().validate(
            model, datamodule=datamodule, ckpt_path=ckpt_path, verbose=verbose, weights_only=True
        )

    def test(
        self,
        model: LightningModule,
        datamodule: LightningDataModule,
        ckpt_path: str | None = None,
        verbose: bool = True,
    ) -> list[dict[str, float]]:
        """Measure a checkpoint on the test rows.

        Args:
            ckpt_path: checkpoint to measure.
            verbose: print the metrics.
        """
        return super().test(
            model, datamodule=datamodule, ckpt_path=ckpt_path, verbose=verbose, weights_only=True
        )

    def predict(
        self,
        model: LightningModule,
        datamodule: LightningDataModule,
        ckpt_path: str | None = None,
    ) -> None:
        """Score a raw file (data.predict_path) and write the probabilities to a Parquet file.

        Args:
            ckpt_path: checkpoint to score with; its run's encoder is used.
        """
        super().predict(
            model,
            datamodule=datamodule,
            ckpt_path=ckpt_path,
            return_predictions=False,
            weights_only=True,
        )

    def prepare(self, model: LightningModule, datamodule: LightningDataModule) -> None:
        """Prepare the data of a config and print what they hold."""
        _print_manifest(datamodule)

    def detect(
        self,
        model: LightningModule,
        datamodule: LightningDataModule,
        ckpt_path: str | None = None,
        instances: int = 1000,
        detector: Literal["nid", "gradient_nid"] = "nid",
        sampler: Literal["bernoulli", "lime"] = "bernoulli",
        lime_weights: bool = False,
        max_order: int | None = None,
        permutations: int = 1,
        prune_subsets: bool = False,
        bf16: bool = False,
        seed: int = 0,
        output: str = "interactions.json",
    ) -> None:
        """Find the interactions of fields that a model has learned (GLIDER).

        An interrupted detection goes on where it stopped when the command is repeated.

        Args:
            ckpt_path: checkpoint of the model.
            instances: validation rows to explain.
            detector: nid (interactions of any order) or gradient_nid (pairs).
            sampler: of a row's neighbours, bernoulli or that of lime.
            lime_weights: weigh the neighbours by their distance to the row, as lime does.
            max_order: fields of an interaction at most.
            permutations: explanations of permuted scores for each row, on which q-values rest.
            prune_subsets: leave out interactions inside a more frequent one.
            bf16: train the explainers in bfloat16.
            seed: of rows, neighbours and explainers.
            output: file of the interactions; a picture is written beside it.
        """
        from zoo.glider.command import Detection
        from zoo.glider.madex import DETECTORS, Settings

        explainer = replace(DETECTORS[detector], bf16=bf16)
        settings = Settings(detector, explainer, max_order=max_order, lime_weights=lime_weights)
        Detection(
            Path(output), settings, sampler, instances, permutations, prune_subsets, seed
        ).run(self, model, datamodule, Path(ckpt_path))


class ZooCLI(LightningCLI):
    """LightningCLI with run directories, `prepare`, and the data's schema given to the model."""

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        """The subcommands, and those of their arguments that are no options."""
        names = ("fit", "validate", "test", "predict", "prepare", "detect")
        return {name: {"model", "datamodule"} for name in names}

    def _add_subcommands(self, parser: LightningArgumentParser, **kwargs: Any) -> None:
        super()._add_subcommands(parser, **kwargs)
        # `main` runs it without a trainer: here it is only listed
        listed = parser._subcommands_action
        listed.add_subcommand("inspect", inspect_command.parser(), help=inspect_command.SUMMARY)

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Options of the project's own, and the schema's way from data to model."""
        parser.add_argument("--name", default="experiment", help="name of the experiment")
        parser.add_argument("--runs", default="runs", help="folder of all experiments' runs")
        parser.add_argument(
            "--compile", type=bool, default=False, help="fit with torch.compile (for GPUs)"
        )
        parser.add_argument(
            "--monitor",
            default="val/logloss",
            help="metric that best.ckpt keeps: the lowest of a logloss, the highest of any other",
        )
        parser.link_arguments("data.schema", "model.init_args.schema", apply_on="instantiate")

    def _parse_ckpt_path(self) -> None:
        """Lightning would merge the checkpoint's arguments into the config: the config stands."""

    @property
    def options(self) -> Any:
        """The options of the subcommand."""
        return self.config[self.subcommand]

    def before_instantiate_classes(self) -> None:
        """Finds the run: a new one for `fit`, that of the checkpoint otherwise."""
        if self.subcommand != "fit":
            self.save_config_callback = None
        checkpoint = self.options.get("ckpt_path")
        if checkpoint and not Path(checkpoint).is_file():
            raise ZooError(f"no such checkpoint: {checkpoint} (ckpt_path)")
        if checkpoint:
            read(Path(checkpoint))  # which refuses what could run code
        if self.subcommand in ("predict", "detect") and not checkpoint:
            raise ZooError(
                f"{self.subcommand} needs a checkpoint: give --ckpt_path RUN/checkpoints/best.ckpt"
            )
        if self.subcommand == "predict":
            self._use_run(run_of(Path(checkpoint)))

    def _use_run(self, run: Path) -> None:
        data = self.options.data.init_args
        if data.encoder is None and (run / "encoder").is_dir():
            data.encoder = str(run / "encoder")
        if data.predict_output is None and data.predict_path:
            data.predict_output = str(
                run / "predictions" / f"{Path(data.predict_path).stem}.parquet"
            )

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """A trainer that writes into the run directory."""
        trainer = self.config_init[self.subcommand]["trainer"]
        callbacks: list[Callback] = []
        if self.subcommand == "fit" and not trainer["fast_dev_run"]:
            run = new_run_directory(Path(self.options.runs), self.options.name)
            self.record = RunRecord(run)
            callbacks = [RunCheckpoint(run, self.options.monitor), self.record]
            where = {"save_dir": run.parent.parent, "name": run.parent.name, "version": run.name}
            kwargs["logger"] = [CSVLogger(**where), TensorBoardLogger(**where)]
        elif self.subcommand == "predict" and self.options.data.init_args.predict_output:
            callbacks = [PredictionWriter(Path(self.options.data.init_args.predict_output))]
            kwargs["logger"] = False
        else:
            kwargs["logger"] = False
        trainer["callbacks"] = [*(trainer["callbacks"] or []), *callbacks]
        return super().instantiate_trainer(**kwargs)

    def before_fit(self) -> None:
        """Compiles the model where that is asked for."""
        if self.options.compile:
            self.model = torch.compile(self.model)

    def after_fit(self) -> None:
        """Measures the best checkpoint and completes the run directory."""
        if self.trainer.fast_dev_run:
            return
        best = self.trainer.checkpoint_callback.best_model_path
        if not best:
            raise ZooError("the fit ended before a checkpoint was saved: trainer.max_epochs is 0?")
        epochs = self.trainer.current_epoch
        metrics: dict[str, float] = {}
        for measure in (self.trainer.validate, self.trainer.test):
            (values,) = measure(self.model, self.datamodule, ckpt_path=best, verbose=False)
            metrics |= values
        ceiling = {f"ceiling/{k}": v for k, v in self.datamodule.ceiling().items()}
        if self.trainer.is_global_zero:
            self.record.finish({**metrics, **ceiling}, epochs)


def _print_manifest(datamodule: LightningDataModule) -> None:
    manifest = datamodule.manifest
    console = Console()
    table = Table(title=str(datamodule.folder), title_justify="left")
    for column in ("split", "rows", "positives", "share"):
        table.add_column(column, justify="left" if column == "split" else "right")
    for split, size in manifest.splits.items():
        share = size["positives"] / size["rows"]
        table.add_row(split, f"{size['rows']:,}", f"{size['positives']:,}", f"{share:.4f}")
    console.print(table)
    table = Table("field", "kind", "group")
    table.add_column("ids", justify="right")
    for field in datamodule.schema.fields:
        table.add_row(
            field.name,
            field.kind,
            field.group,
            f"{field.cardinality or '':,}" if field.cardinality else "",
        )
    console.print(table)
    rejected = sum(manifest.rejected.values())
    console.print(f"{rejected:,} malformed rows left out")
    for reason, count in manifest.rejected.items():
        console.print(f"  {count:,}: {reason}")
    for note, count in manifest.notes.items():
        console.print(f"{count:,} {note}")
    for line, reason in manifest.rejected_examples:
        console.print(f"  line {line}: {reason}")


def main() -> None:
    """Runs one command; what a user can mend is told in one sentence."""
    # Lightning's hints and its use of deprecated names are not the user's to mend.
    logging.getLogger("pytorch_lightning.utilities.rank_zero").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", r".*LeafSpec.*is deprecated")
    warnings.filterwarnings("ignore", r"predict returned None")
    warnings.filterwarnings("ignore", r"The state dict in .* contains no parameters")
    warnings.filterwarnings("ignore", r".*configure_optimizers` returned `None`")
    warnings.filterwarnings("ignore", r"Be aware that when using `ckpt_path`")
    warnings.filterwarnings(
        "ignore", r"The number of training batches .* is smaller than the logging"
    )
    try:
        if sys.argv[1:2] == ["inspect"]:
            inspect_command.run(sys.argv[2:])
            return
        ZooCLI(
            LightningModule,
            LightningDataModule,
            trainer_class=ZooTrainer,
            subclass_mode_model=True,
            subclass_mode_data=True,
            auto_configure_optimizers=False,
            load_from_checkpoint_support=False,
            save_config_kwargs={"overwrite": True},
            seed_everything_default=0,
            parser_class=ZooParser,
            parser_kwargs={name: {"parser_mode": "omegaconf"} for name in ZooCLI.subcommands()},
        )
    except KeyboardInterrupt:
        sys.exit("interrupted")
    except Exception as error:
        sentence = _sentence(error)
        if sentence is None:
            raise
        sys.exit(f"error: {sentence}")


def _sentence(error: BaseException | None) -> str | None:
    """What to tell of an error that the user can mend; jsonargparse may have wrapped it."""
    while error is not None:
        if isinstance(error, ZooError):
            return str(error)
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            return f"the disk is full: {error}"
        error = error.__cause__ or error.__context__
    return None


if __name__ == "__main__":
    main()
