"""What `train.py subsets` does: rows in, a lattice of subsets and the steps that led to it out."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml
from pytorch_lightning import Trainer
from pytorch_lightning.utilities import move_data_to_device
from rich.console import Console
from rich.table import Table

from zoo.data.batch import Batch
from zoo.data.errors import ZooError
from zoo.data.files import write_text
from zoo.data.module import ZooDataModule
from zoo.experts.growth import Choice
from zoo.experts.learned import LearnConfig, Learned, learn
from zoo.glider.detector import rows_at, sample_positions
from zoo.models.base import ZooModule
from zoo.models.description import class_name

MIXTURE = "InterpretableMLP"  # what a config of another model is to become


@dataclass(frozen=True)
class SubsetStep:
    """Learns subsets in the first process; see `ZooTrainer.subsets` for the options."""

    config: LearnConfig
    rows: int
    output: Path

    def __post_init__(self) -> None:
        if self.rows < 20:
            raise ZooError(f"rows must be at least 20, got {self.rows}")
        if self.output.suffix not in (".yaml", ".yml") or self.output.is_dir():
            raise ZooError(f"output: {self.output} must name a file such as subsets.yaml")

    def run(self, trainer: Trainer, model: ZooModule, datamodule: ZooDataModule) -> None:
        """Learns them and writes the file."""
        datamodule.prepare_data()
        datamodule.setup("fit")
        datamodule.setup("validate")
        if not trainer.is_global_zero:
            return
        device = trainer.strategy.root_device
        if not isinstance(next(iter(datamodule.val_dataloader()), None), Batch):
            raise ZooError("subsets learns from rows, not from sessions: name the subsets of these")

        def batches() -> Iterator[Batch]:
            for batch in datamodule.train_dataloader():
                yield move_data_to_device(batch, device)

        size = datamodule.size("val").rows
        chosen = (
            np.arange(size)
            if size <= self.rows
            else sample_positions(size, self.rows, self.config.seed)
        )
        console = Console(highlight=False)
        learned = learn(
            datamodule.schema,
            batches,
            move_data_to_device(rows_at(datamodule.val_dataloader(), chosen), device),
            self.config,
            quantiles=datamodule.numerical_quantiles,
            rate=datamodule.negative_sampling_rate,
            shown=lambda said: Console(stderr=True, highlight=False).print(said),
        )
        report(learned, console)
        if len(learned.subsets) < 2:
            raise ZooError(
                f"no subset is sufficient within {self.config.tolerance} nats in so many rows that "
                f"a prediction would use {self.config.least:.0%} fewer fields: give more "
                "--tolerance"
            )
        kind = class_name(type(model)) if model.experts else MIXTURE
        path = kind if "." in kind else f"zoo.{kind}"
        write_text(self.output, text_of(learned, self.config, path))
        console.print(str(self.output), soft_wrap=True)


def report(learned: Learned, console: Console) -> None:
    """Prints what was tried, and what was chosen."""
    table = Table(title="best subset of each size", title_justify="left")
    table.add_column("subset", overflow="fold")
    for column in ("tried", "logloss", "gained"):
        table.add_column(column, justify="right")
    nothing, everything = learned.logloss
    table.add_row("nothing", "", f"{nothing:.4f}", "")
    for growth in learned.growth:
        cells = (str(growth.tried), f"{growth.logloss:.4f}", f"{growth.gained:.4f}")
        table.add_row(learned.name(growth.subset), *cells)
    table.add_row("all", "", f"{everything:.4f}", "")
    console.print(table)
    table = Table(title="subsets that save fields", title_justify="left")
    table.add_column("subset", overflow="fold")
    for column in ("alone", "sufficient in", "fields used", "logloss"):
        table.add_column(column, justify="right")
    table.add_row("all", f"{everything:.4f}", "", f"{learned.fields}", f"{everything:.4f}")
    for choice in learned.choices:
        table.add_row(*_cells(learned, choice))
    console.print(table)


def _cells(learned: Learned, choice: Choice) -> tuple[str, ...]:
    name = learned.name(choice.subset)
    return (
        name if choice.kept else f"without {name}",
        f"{choice.logloss:.4f}",
        f"{choice.rows:.1%}",
        f"{choice.fields:.2f}",
        f"{choice.mixed:.4f}",
    )


def text_of(learned: Learned, config: LearnConfig, class_path: str) -> str:
    """A config that `fit` takes behind another, with the steps as comments.

    Args:
        learned: What was learned.
        config: How.
        class_path: Class of the model.
    """
    nothing, everything = learned.logloss
    lines = [
        f"learned from {learned.rows:,} validation rows (tolerance {config.tolerance} nats, seed "
        f"{config.seed}); logloss {nothing:.4f} of the share of positives, {everything:.4f} of all "
        f"{learned.fields} fields",
        "best of each size: subset, how many were tried, logloss, how much less than a part less",
    ]
    for growth in learned.growth:
        name, gained = learned.name(growth.subset), f"{growth.gained:.4f}"
        lines.append(f"  {name}: {growth.tried}, {growth.logloss:.4f}, {gained}")
    lines.append(
        "chosen: subset, its logloss, in how many rows it is sufficient; with it and those before: "
        "mean number of fields that a prediction uses, logloss"
    )
    lines += [
        f"  {name}: {', '.join(rest)}"
        for name, *rest in (_cells(learned, c) for c in learned.choices)
    ]
    options = {
        "gate": "sufficiency",
        "tolerance": config.tolerance,
        "subsets": learned.subsets,
    }
    content = {"model": {"class_path": class_path, "init_args": options}}
    shown = yaml.safe_dump(content, sort_keys=False, default_flow_style=None, width=100)
    return "".join(f"# {line}\n" for line in lines) + shown
