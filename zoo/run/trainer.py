"""The trainer behind the command line: one method for each subcommand."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from lightning_fabric.plugins import TorchCheckpointIO
from pytorch_lightning import Callback, LightningModule, Trainer
from rich.console import Console
from rich.table import Table

from zoo.data.errors import ZooError
from zoo.data.module import ZooDataModule
from zoo.inspect.checkpoint import read
from zoo.models.base import ZooModule
from zoo.run.checkpoint_io import AtomicCheckpointIO


class ZooTrainer(Trainer):
    """Lightning's Trainer; it never unpickles more than weights, so no checkpoint can run code.

    Its methods take what the command line offers, which is less than Lightning's do.
    """

    callbacks: list[Callback]  # which Lightning sets without a declaration
    fast_dev_run: bool | int

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        if type(self.strategy.checkpoint_io) is TorchCheckpointIO:  # not one of the user's
            self.strategy.checkpoint_io = AtomicCheckpointIO()

    def fit(  # pyright: ignore[reportIncompatibleMethodOverride]
        self,
        model: LightningModule,
        datamodule: ZooDataModule,
        ckpt_path: str | None = None,
    ) -> None:
        """Train a model, then measure its best checkpoint on validation and test rows.

        Args:
            ckpt_path: Checkpoint to go on from, such as the `last.ckpt` of a run.
        """
        if self.world_size > 1 and not any(p.requires_grad for p in model.parameters()):
            raise ZooError(
                f"{type(model).__name__} has nothing to train, which processes cannot share: run "
                "it with --trainer.devices=1"
            )
        super().fit(model, datamodule=datamodule, ckpt_path=ckpt_path, weights_only=True)

    def validate(  # pyright: ignore[reportIncompatibleMethodOverride]
        self,
        model: LightningModule,
        datamodule: ZooDataModule,
        ckpt_path: str | None = None,
        verbose: bool = True,
    ) -> list[Mapping[str, float]]:
        """Measure a checkpoint on the validation rows.

        Args:
            ckpt_path: Checkpoint to measure.
            verbose: Whether to print the metrics.
        """
        return super().validate(
            model, datamodule=datamodule, ckpt_path=ckpt_path, verbose=verbose, weights_only=True
        )

    def test(  # pyright: ignore[reportIncompatibleMethodOverride]
        self,
        model: LightningModule,
        datamodule: ZooDataModule,
        ckpt_path: str | None = None,
        verbose: bool = True,
    ) -> list[Mapping[str, float]]:
        """Measure a checkpoint on the test rows.

        Args:
            ckpt_path: Checkpoint to measure.
            verbose: Whether to print the metrics.
        """
        return super().test(
            model, datamodule=datamodule, ckpt_path=ckpt_path, verbose=verbose, weights_only=True
        )

    def predict(  # pyright: ignore[reportIncompatibleMethodOverride]
        self,
        model: LightningModule,
        datamodule: ZooDataModule,
        ckpt_path: str | None = None,
    ) -> None:
        """Score a raw file (data.predict_path) and write the probabilities to a Parquet file.

        Args:
            ckpt_path: Checkpoint to score with; the encoder of its run is used.
        """
        super().predict(
            model,
            datamodule=datamodule,
            ckpt_path=ckpt_path,
            return_predictions=False,
            weights_only=True,
        )

    def prepare(
        self, model: LightningModule, datamodule: ZooDataModule, ckpt_path: str | None = None
    ) -> None:
        """Prepare the data of a config and print what they hold.

        Args:
            ckpt_path: Not used; a run's config.yaml names it.
        """
        _print_summary(datamodule)

    def detect(
        self,
        model: LightningModule,
        datamodule: ZooDataModule,
        ckpt_path: str | None = None,
        instances: int = 1000,
        detector: Literal["walsh", "nid", "gradient_nid"] = "walsh",
        sampler: Literal["bernoulli", "lime"] = "bernoulli",
        lime_weights: bool = False,
        max_order: int | None = None,
        min_gain: float = 1e-3,
        patience: int = 5,
        prune_subsets: bool = False,
        contexts: bool = False,
        region_points: int = 100,
        permutations: int | None = None,
        top_k: int | None = None,
        bf16: bool = False,
        seed: int = 0,
        also: list[str] | None = None,
        output: str = "interactions.json",
    ) -> None:
        """Find the interactions of fields that a model has learned (GLIDER).

        An interrupted detection goes on where it stopped when the command is repeated.

        Args:
            ckpt_path: Checkpoint of the model.
            instances: Number of validation rows to explain.
            detector: Estimator of interactions: walsh, least squares on on/off masks that all rows
                share (see `zoo.glider.walsh`), or surrogate networks, nid (of any order) or
                gradient_nid (pairs).
            sampler: How the neighbours of a row are drawn for surrogates: bernoulli, or as lime
                draws them.
            lime_weights: Whether surrogates weigh the neighbours by their distance to the row, as
                lime does.
            max_order: Largest number of fields in an interaction; null is 4 for walsh, any number
                for nid.
            min_gain: Share of the scores' variance that an interaction of a row must explain beyond
                the others.
            patience: Number of successive candidates of nid and gradient_nid that explain less,
                after which no more are tried.
            prune_subsets: Whether nid leaves out interactions of a row that lie inside others of
                it.
            contexts: Whether walsh also looks at each pair with all other fields on and with all
                off, where groups of many fields show that no random mask shows; for d fields it
                takes d (d + 1) + 2 further scores of the model a row.
            region_points: Number of neighbours that gradient_nid averages over; 0 takes the row
                alone.
            permutations: Number of explanations of permuted scores for each row; null is 1 for nid
                and gradient_nid, whose q-values are computed from them, and 0 for walsh.
            top_k: Number of interactions to keep, the strongest (of surrogates the most frequent),
                none inside another; null keeps all.
            bf16: Whether to train the surrogate networks in bfloat16.
            seed: Seed of the choice of rows, of the neighbours and of the surrogate networks.
            also: Further checkpoints of the same config, trained with other seeds, which walsh
                explains around the same rows: which interactions all have learned, and which are
                luck of the seed.
            output: File of the interactions; a page of them is written beside it.
        """
        from zoo.glider.command import Detection
        from zoo.glider.settings import settings_of
        from zoo.glider.walsh.search import WALSH
        from zoo.run.inspect_data import interactions_page

        settings = settings_of(
            detector,
            contexts,
            max_order,
            min_gain,
            sampler=sampler,
            lime_weights=lime_weights,
            patience=patience,
            prune_subsets=prune_subsets,
            region_points=region_points,
            bf16=bf16,
        )
        if permutations is None:
            permutations = 0 if detector == WALSH else 1
        others = tuple(Path(path) for path in also or ())
        for path in others:
            read(path)  # which refuses what could run code
        options = settings, sampler, instances, permutations, top_k, seed, contexts, others
        Detection(Path(output), *options, interactions_page).run(
            self,
            model,
            datamodule,
            Path(str(ckpt_path)),  # which the command line insists on
        )

    def explain(
        self,
        model: ZooModule,
        datamodule: ZooDataModule,
        ckpt_path: str | None = None,
        row: int | None = None,
        rows: str | None = None,
        split: Literal["val", "test"] = "val",
        position: int | None = None,
        features: Literal["groups", "events", "fields"] = "groups",
        masks: int | None = None,
        max_order: int = 4,
        min_gain: float = 2e-4,
        seed: int = 0,
        output: str | None = None,
    ) -> None:
        """Say what each field, and each interaction of fields, adds to a prediction.

        The contributions of a row add up to its logit, with the mean logit of copies of the row in
        which each field is on or off at random, and a rest that is stated.

        Args:
            ckpt_path: Checkpoint of the model; its run's encoder is used.
            row: Number of the row to explain (of sessions, of the session), from 0: in the split,
                or in the file that `rows` names.
            rows: Raw file whose rows are explained, as `predict` takes it; with `row`, one of them.
            split: Split that `row` is a row of: val or test.
            position: Number of the track to predict that is explained in each session, from 1; null
                explains all.
            features: What is switched on and off in sessions: groups of fields, single fields, or
                events of the past beside groups of fields of the track.
            masks: Number of copies of a row that its coefficients are fitted on; null is 1,500, or
                four for each field where that is more. 499 others measure how well they explain.
            max_order: Largest number of fields in an interaction.
            min_gain: Share of the variance of the logits around a row that an interaction must have
                to be shown; less than in `detect`, as all of one row is to be said.
            seed: Seed of the copies.
            output: File to write: .json, .parquet (a line for each contribution), or .html (a page
                with pictures, of 20 predictions at most).
        """
        from zoo.glider.walsh.search import WalshConfig
        from zoo.run.explaining.command import Explanation

        if not self.is_global_zero:  # one process explains
            return
        config = WalshConfig(masks=masks, max_order=max_order, min_gain=min_gain)
        file = Path(output) if output is not None else None
        Explanation(row, rows, split, position, features, config, seed, file).run(
            self,
            model,
            datamodule,
            Path(str(ckpt_path)),  # which the command line insists on
        )

    def gains(
        self,
        model: LightningModule,
        datamodule: ZooDataModule,
        ckpt_path: str | None = None,
        interactions: str = "interactions.json",
        output: str | None = None,
        beyond: Literal["fields", "model"] = "fields",
        bins: list[int] = [10, 30, 100],  # noqa: B006  (which jsonargparse shows)
        errors: float = 2.0,
        most: int = 100,
        rows: int = 1_000_000,
    ) -> None:
        """Measure which interactions pay as cross fields: what each gains on validation rows.

        A table of one number for each id of the cross field is fitted to training rows and measured
        on validation rows, beyond what its fields say by themselves and beside the others that
        pay. `data.crosses` then takes those of the file that pay.

        Args:
            ckpt_path: Checkpoint of the model.
            interactions: File of the interactions, as detect writes it; threes of fields of which
                it has all pairs are tried too.
            output: File for them and their gains; null adds the gains to the file they are in.
            beyond: What a cross field must add to: what all fields say by themselves (fields), or
                what the model says (model), with the fields by themselves on top.
            bins: Numbers of quantile bins to try for the numerical fields of a cross.
            errors: Number of standard errors that the gain of a cross field that pays exceeds.
            most: Largest number of candidates; of more, the first are taken.
            rows: Largest number of rows of a split that are used; of more, evenly spread ones are.
        """
        from zoo.glider.gains.command import GainStep
        from zoo.glider.gains.measure import GainConfig

        config = GainConfig(tuple(bins), errors, most, rows)
        source = Path(interactions)
        GainStep(source, Path(output) if output else source, config, beyond).run(
            self,
            model,
            datamodule,
            Path(str(ckpt_path)),  # which the command line insists on
        )

    def subsets(
        self,
        model: ZooModule,
        datamodule: ZooDataModule,
        ckpt_path: str | None = None,
        size: int = 6,
        of: Literal["groups", "fields"] | None = None,
        tolerance: float = 0.02,
        least: float = 0.03,
        rows: int = 40_000,
        epochs: int = 10,
        embedding_dim: int = 8,
        seed: int = 0,
        output: str = "subsets.yaml",
    ) -> None:
        """Learn which subsets of the fields a mixture of experts should have.

        One network learns to predict from any of the parts of the input. Subsets of growing size
        are then tried on validation rows, and those are taken by which a prediction uses the fewest
        fields, where it may miss no more than the tolerance. The file is a config for `fit`, behind
        that of the data.

        Args:
            ckpt_path: Not used; a run's config.yaml names it.
            size: Largest number of subsets, that of all fields included.
            of: What subsets are made of: groups of fields, or single fields; null takes groups
                where the data have at least two.
            tolerance: Nats of logloss that a subset may miss in a row and still be sufficient.
            least: Share of all fields that a subset must save in the mean prediction.
            rows: Largest number of validation rows that are used: half of them stop the training
                and teach what subsets miss, half choose the subsets.
            epochs: Largest number of passes over the training rows.
            embedding_dim: Size of the embedding vectors of the network.
            seed: Seed of the network and of the choice of rows.
            output: File to write.
        """
        from zoo.experts.learned import LearnConfig
        from zoo.experts.masked import NetworkConfig
        from zoo.run.subsets import SubsetStep

        network = NetworkConfig(embedding_dim=embedding_dim, epochs=epochs)
        config = LearnConfig(size, of, tolerance, least, seed=seed, network=network)
        SubsetStep(config, rows, Path(output)).run(self, model, datamodule)


def _print_summary(datamodule: ZooDataModule) -> None:
    summary = datamodule.summary()
    console = Console()
    table = Table(title=summary.place, title_justify="left")
    for column in ("split", "rows", "positives", "share"):
        table.add_column(column, justify="left" if column == "split" else "right")
    for split, size in summary.splits.items():
        share = size.positives / max(size.rows, 1)
        table.add_row(split, f"{size.rows:,}", f"{size.positives:,}", f"{share:.4f}")
    console.print(table)
    table = Table("field", "kind", "group")
    table.add_column("ids", justify="right")
    for field in datamodule.schema.fields:
        ids = f"{field.cardinality:,}" if field.cardinality else ""
        table.add_row(field.name, field.kind, field.group, ids)
    console.print(table)
    console.print(f"{sum(summary.rejected.values()):,} malformed rows left out")
    for reason, count in summary.rejected.items():
        console.print(f"  {count:,}: {reason}")
    for note, count in summary.notes.items():
        console.print(f"{count:,} {note}")
    for line, reason in summary.rejected_examples:
        console.print(f"  line {line}: {reason}")
