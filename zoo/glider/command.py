"""What `train.py detect` does: rows in, interactions.json, a table and a picture out."""

import hashlib
import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import torch
from pytorch_lightning import LightningModule, Trainer
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from zoo.data.batch import Batch
from zoo.data.encoder import check_encoder
from zoo.data.errors import ZooError
from zoo.data.files import atomic_file, write_text
from zoo.data.interactions import SIGNIFICANCE_LEVEL, write_interactions
from zoo.data.module import ZooDataModule
from zoo.glider.detector import Detector, check_instances, read_results, sample_rows
from zoo.glider.madex import MadexConfig
from zoo.glider.perturb import OnOff, features_of
from zoo.glider.statistics import summarise
from zoo.glider.walsh_search import WalshConfig

SHOWN = 20  # interactions in the terminal


@dataclass(frozen=True)
class Detection:
    """A detection over validation rows; see `ZooTrainer.detect` for the options."""

    output: Path
    settings: MadexConfig | WalshConfig
    sampler: str = "bernoulli"
    instances: int = 1000
    permutations: int = 1
    top_k: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.output.name or self.output.suffix == ".html" or self.output.is_dir():
            raise ZooError(
                f"output: {self.output} must name a file such as interactions.json; a picture "
                "with the suffix .html is written beside it"
            )
        for option, least in {"permutations": 0, "seed": 0, "top_k": 1}.items():
            value = getattr(self, option)
            if value is not None and value < least:
                raise ZooError(f"{option} must be at least {least}, got {value}")

    @property
    def folder(self) -> Path:
        """Where the results lie until all are there."""
        return self.output.with_name(f".{self.output.name}.partial")

    def run(
        self,
        trainer: Trainer,
        model: LightningModule,
        datamodule: ZooDataModule,
        checkpoint: Path,
    ) -> None:
        """Explains the rows on all processes of the trainer, and reports on the first."""
        datamodule.prepare_data()
        datamodule.setup("fit")
        datamodule.setup("validate")
        schema = datamodule.schema
        names = features_of(schema)
        instances = self._instances(datamodule, len(names))
        means = torch.from_numpy(datamodule.numerical_means())
        load_weights(model, checkpoint, datamodule)
        lists = instances.lists or ()
        self._begin(checkpoint, [instances.numerical, instances.categorical, *lists, means])
        detector = Detector(
            model.eval(),
            instances,
            OnOff.of(schema, means, self.sampler),
            self.settings,
            self.folder,
            self.permutations,
            self.seed,
        )
        chunks = DataLoader(
            cast(Dataset[int], detector.chunk_starts(trainer.world_size)), batch_size=None
        )
        # Lightning's own, whatever a subclass of Trainer takes
        Trainer.predict(trainer, detector, dataloaders=chunks, return_predictions=False)
        trainer.strategy.barrier("all explained")
        if trainer.is_global_zero:
            self._finish(names, type(model).__name__)

    def _instances(self, datamodule: ZooDataModule, fields: int) -> Batch:
        """The rows to explain, drawn from the validation rows."""
        batches = datamodule.val_dataloader()
        if not isinstance(next(iter(batches), None), Batch):
            raise ZooError("detect explains models of rows, not of sessions")
        rows = datamodule.size("val").rows
        check_instances(self.instances, rows, fields)
        return sample_rows(batches, rows, self.instances, self.seed)

    def _begin(self, checkpoint: Path, data: Sequence[Tensor]) -> None:
        """Makes the folder of the results, or checks that those in it are of this detection.

        `data` are the rows to explain and what their fields are where they are off.
        """
        digest = hashlib.sha256(checkpoint.read_bytes()).hexdigest()
        content = hashlib.sha256(b"".join(part.cpu().numpy().tobytes() for part in data))
        plain = asdict(self) | {"checkpoint": digest, "data": content.hexdigest()}
        del plain["output"], plain["top_k"]  # which change no result
        mine = json.loads(json.dumps(plain, default=str))
        self.folder.mkdir(parents=True, exist_ok=True)
        file = self.folder / "options"
        if file.exists() and json.loads(file.read_text()) != mine:
            raise ZooError(
                f"{self.folder} holds an unfinished detection of another model, of other data or "
                "with other options: repeat that command to finish it, remove the folder, or give "
                "another --output"
            )
        write_text(file, json.dumps(mine))

    def _finish(self, names: list[str], model: str) -> None:
        results, left_out = read_results(self.folder)
        if len(results) + left_out < self.instances:
            raise ZooError(
                f"{len(results)} of {self.instances} rows have been explained: trainer options "
                "must not limit the batches"
            )
        if not results:
            shutil.rmtree(self.folder)
            raise ZooError(
                f"the model gives NaN or infinite scores around each of the {left_out:,} rows: "
                "are there NaN in its weights, in the rows, or in the means of the data?"
            )
        order = 2 if self.settings.detector == "gradient_nid" else self.settings.max_order
        found = {
            "model": model,
            "detector": self.settings.detector,
            "sampler": self.sampler,
            "seed": self.seed,
            "left_out": left_out,
            **summarise(results, names, order, self.top_k),
        }
        write_interactions(self.output, found)
        with atomic_file(self.output.with_suffix(".html")) as partial:
            picture(found).write_html(partial, include_plotlyjs=True)
        shutil.rmtree(self.folder)
        report(found)
        console = Console(highlight=False)
        if left_out:
            console.print(f"{left_out:,} rows left out: NaN or infinite scores around them")
        for file in (self.output, self.output.with_suffix(".html")):
            console.print(str(file), soft_wrap=True)


def load_weights(model: LightningModule, checkpoint: Path, data: ZooDataModule) -> None:
    """Gives a model the weights of a checkpoint of it, which must suit the ids of the data."""
    content = torch.load(checkpoint, map_location="cpu", weights_only=True)
    model.on_load_checkpoint(content)
    check_encoder(content.get("data"), data.checksums())
    model.load_state_dict(content["state_dict"])


def report(found: dict[str, Any]) -> None:
    """Prints the most frequent interactions."""
    console = Console(highlight=False)
    title = f"interactions of {found['model']} in {found['instances']:,} rows"
    table = Table(title=title, title_justify="left")
    table.add_column("fields", overflow="fold")
    for column in ("count", "permuted", "p uniform", "q permutation"):
        table.add_column(column, justify="right")
    for row in found["interactions"][:SHOWN]:
        null = "-" if row["null_count"] is None else f"{row['null_count']:g}"
        p_values = (f"{row[name]:.2g}" for name in ("p_uniform", "q_permutation"))
        table.add_row(" x ".join(row["fields"]), f"{row['count']:,}", null, *p_values)
    console.print(table)
    fidelity = found["fidelity"]
    significant = sum(row["q_permutation"] < SIGNIFICANCE_LEVEL for row in found["interactions"])
    console.print(
        f"{significant} of {len(found['interactions']):,} are significant "
        f"(q < {SIGNIFICANCE_LEVEL}); mean R^2 of the surrogates {fidelity['network']:.3f}, of "
        f"main effects {fidelity['linear']:.3f}, with the interactions "
        f"{fidelity['with_interactions']:.3f}"
    )


def picture(found: dict[str, Any]) -> Any:
    """Count against rank, orders beside significant points (Tsang et al. 2020, figures 2 and 7)."""
    import plotly.graph_objects as go

    rows = found["interactions"]
    ranks = list(range(1, len(rows) + 1))
    figure = go.Figure()
    for significant, name, colour in ((True, "significant", "#1f77b4"), (False, "not", "#c0c0c0")):
        chosen = [
            (rank, row)
            for rank, row in zip(ranks, rows, strict=True)
            if (row["q_permutation"] < SIGNIFICANCE_LEVEL) == significant
        ]
        figure.add_scatter(
            x=[rank for rank, _ in chosen],
            y=[row["count"] for _, row in chosen],
            text=[
                str(row["order"]) if significant and row["order"] > 2 else "" for _, row in chosen
            ],
            customdata=[
                [" x ".join(row["fields"]), row["q_permutation"], row["p_uniform"]]
                for _, row in chosen
            ],
            hovertemplate=(
                "%{customdata[0]}<br>count %{y}<br>q permutation %{customdata[1]:.2g}"
                "<br>p uniform %{customdata[2]:.2g}<extra></extra>"
            ),
            mode="markers+text",
            textposition="top center",
            marker={"color": colour},
            name=name,
        )
    critical = found["critical_count"]
    figure.add_hline(
        critical,
        line_dash="dash",
        annotation_text=f"uniform null, p < {SIGNIFICANCE_LEVEL}",
        annotation_position="top left",
    )
    figure.update_layout(
        title=f"{found['model']}: interactions in {found['instances']:,} rows",
        xaxis={
            "title": "rank",
            "type": "log",
            "tickvals": [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000],
        },
        yaxis={"title": "count"},
        legend_title="q permutation < 0.05",
        template="plotly_white",
    )
    return figure
