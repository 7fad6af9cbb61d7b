"""The trainer behind the command line: one method for each subcommand."""

from dataclasses import replace
from pathlib import Path
from typing import Literal

from pytorch_lightning import LightningDataModule, LightningModule, Trainer
from rich.console import Console
from rich.table import Table

from zoo.data.errors import ZooError


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
        if self.world_size > 1 and not any(p.requires_grad for p in model.parameters()):
            raise ZooError(
                f"{type(model).__name__} has nothing to train, which processes cannot share: run "
                "it with --trainer.devices=1"
            )
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
        min_gain: float = 1e-3,
        patience: int = 1,
        prune_subsets: bool = False,
        region_points: int = 0,
        permutations: int = 1,
        top_k: int | None = None,
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
            max_order: fields of an interaction at most; null is any number.
            min_gain: share of the scores' variance that an interaction of a row must explain beyond
                the others.
            patience: candidates of a row in turn that do not, after which no more are tried.
            prune_subsets: leave out interactions of a row that lie inside others of it.
            region_points: gradient_nid averages over so many neighbours; 0 takes the row alone.
            permutations: explanations of permuted scores for each row, on which q-values rest.
            top_k: keep so many of the most frequent interactions, none inside another.
            bf16: train the explainers in bfloat16.
            seed: of rows, neighbours and explainers.
            output: file of the interactions; a picture is written beside it.
        """
        from zoo.glider.command import Detection
        from zoo.glider.madex import DETECTORS, MadexConfig

        explainer = replace(DETECTORS[detector], bf16=bf16)
        settings = MadexConfig(
            detector,
            explainer,
            max_order=max_order,
            min_gain=min_gain,
            patience=patience,
            prune_subsets=prune_subsets,
            lime_weights=lime_weights,
            region_points=region_points,
        )
        Detection(Path(output), settings, sampler, instances, permutations, top_k, seed).run(
            self, model, datamodule, Path(ckpt_path)
        )


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
