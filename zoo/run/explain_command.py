"""What `train.py explain` does: rows in, what their fields add to the predictions out."""

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning_fabric.utilities import move_data_to_device
from pytorch_lightning import Trainer
from rich.console import Console
from rich.progress import Progress

from zoo.data.batch import take
from zoo.data.batch_checks import row_numbers
from zoo.data.errors import ZooError
from zoo.data.module import STAGES, ZooDataModule
from zoo.glider.command import load_weights
from zoo.glider.explained import Explained, Explainer, Instance, not_finite
from zoo.glider.perturb import NotFinite
from zoo.glider.session_switches import Features
from zoo.glider.walsh import Coefficient
from zoo.glider.walsh_search import WalshConfig
from zoo.inspect.explained_row import Contribution, ExplainedRow, RSquared
from zoo.inspect.explained_rows import ExplainedRows
from zoo.models.base import ZooModule
from zoo.run.explain import training_means
from zoo.run.explained_values import Values, Words
from zoo.run.explanation_file import check_output, explanation_file

SPLITS = {"val": "validation", "test": "test"}
Numbered = Iterator[tuple[list[int], Any]]  # numbers of rows, and the rows


@dataclass(frozen=True)
class Explanation:
    """An explanation of rows; see `ZooTrainer.explain` for the options."""

    row: int | None
    rows: str | None
    split: str
    position: int | None
    features: Features
    config: WalshConfig
    seed: int
    output: Path | None

    def __post_init__(self) -> None:
        if self.row is None and self.rows is None:
            raise ZooError(
                "explain needs rows: give --row N, the N-th row of the validation split from 0, or "
                "--rows FILE, all rows of a raw file as predict takes it"
            )
        if self.rows is not None and self.split != "val":
            raise ZooError("split is of the data, and --rows another file: give one of them")
        for option, least in {"row": 0, "position": 1, "seed": 0}.items():
            value = getattr(self, option)
            if value is not None and value < least:
                raise ZooError(f"{option} must be at least {least}, got {value}")
        if self.output is not None:
            check_output(self.output)

    @property
    def source(self) -> str:
        """Where the rows are from, in words."""
        return self.rows if self.rows is not None else f"the {SPLITS[self.split]} split"

    def run(
        self, trainer: Trainer, model: ZooModule, data: ZooDataModule, checkpoint: Path
    ) -> None:
        """Explains the rows on the trainer's device, and shows and writes what was found."""
        means = training_means(data, model.schema)  # before a file takes the place of splits
        batches = self._batches(data)
        load_weights(model, checkpoint, data)
        model.eval().to(trainer.strategy.root_device)
        explainer = Explainer(model, means, self.config, self.seed, self.features, self.position)
        head = {
            "model": type(model).__name__,
            "checkpoint": str(checkpoint.resolve()),
            "source": self.source,
            "masks": [self.config.masks, self.config.held_out],
            "max_order": self.config.max_order,
            "min_gain": self.config.min_gain,
            "seed": self.seed,
        }
        summary = ExplainedRows(type(model).__name__, self.source)
        values = Values(model.schema, data.encoder_folder, means, self.features)
        # of every row where a file shows them, else of one
        every = self.output is not None and self.output.suffix != ".parquet"
        first, left_out = None, 0
        shown = self.row is None and trainer.progress_bar_callback is not None
        sessions = not isinstance(means, torch.Tensor)
        file = explanation_file(self.output, head, sessions) if self.output else nullcontext()
        with file as add, _progress(shown, data.predict_rows) as advance:
            for numbers, batch in batches:
                names = values.names(batch) if every else None
                for instance in explainer.instances(move_data_to_device(batch, model.device)):
                    number = numbers[instance.row]
                    try:
                        found = explainer.explain(instance)
                    except NotFinite as error:
                        if self.row is not None:
                            raise not_finite(f"row {number} of {self.source}", error) from error
                        left_out += 1
                        continue
                    if names is None and first is None:
                        names = values.names(instance.batch)
                    on, off = ({}, {}) if names is None else values.words(found, names)
                    row = self._row(model, found, number, on, off)
                    summary.add(row)
                    first = first or row
                    if add:
                        add(row)
                advance(len(numbers))
            if first is None:
                raise ZooError(self._nothing(left_out))
        self._report(first if summary.count == 1 else summary, data, left_out)

    # Rows

    def _batches(self, data: ZooDataModule) -> Numbered:
        """The rows with their numbers, batch by batch."""
        if self.rows is not None:
            data.predict_path = self.rows
            found = self._of_file(data)
        else:
            if not data.offers(self.split):
                raise ZooError(f"{type(data).__name__} has no {SPLITS[self.split]} rows")
            data.prepare_data()
            data.setup(STAGES[self.split])
            found = _numbered(data.batches(self.split))
        return found if self.row is None else self._only(found, self.row, data)

    def _of_file(self, data: ZooDataModule) -> Numbered:
        if not data.offers("predict"):
            raise ZooError(f"{type(data).__name__} reads no raw files: give --row N")
        data.setup("predict")
        for batch in data.batches("predict"):
            yield row_numbers(batch).tolist(), batch

    def _only(self, batches: Numbered, row: int, data: ZooDataModule) -> Numbered:
        last = -1
        for numbers, batch in batches:
            if row in numbers:
                place = numbers.index(row)
                yield [row], take(batch, slice(place, place + 1))
                return
            last = numbers[-1] if numbers else last
        total = data.predict_rows if self.rows is not None and data.predict_rows else last + 1
        if row < total:
            raise ZooError(f"row {row} of {self.rows} is malformed and cannot be explained")
        raise ZooError(
            f"row: there is no row {row} in {self.source}: it has {total:,}, numbered from 0"
        )

    # What was found

    def _row(
        self, model: ZooModule, found: Explained, number: int, on: Words, off: Words
    ) -> ExplainedRow:
        instance, walsh = found.instance, found.found
        return ExplainedRow(
            type(model).__name__,
            self.source,
            number,
            instance.position,
            _label(instance),
            walsh.score,
            _contribution(found, walsh.intercept),
            tuple(_contribution(found, c) for c in found.largest_first),
            walsh.rest,
            RSquared(*walsh.r2),
            on,
            off,
            _attribution(model, instance),
        )

    def _nothing(self, left_out: int) -> str:
        if left_out:
            return (
                f"the model gives NaN or infinite scores around each of the {left_out:,} rows of "
                f"{self.source}: are there NaN in its weights, in the rows, or in the means of the "
                "data?"
            )
        if self.position is not None:
            return f"position: no session of {self.source} has a track {self.position} to predict"
        return f"{self.source} has no row that can be explained"

    def _report(
        self, found: ExplainedRow | ExplainedRows, data: ZooDataModule, left_out: int
    ) -> None:
        console = Console(highlight=False)
        console.print(found)
        if left_out:
            console.print(f"{left_out:,} rows left out: NaN or infinite scores around them")
        if self.output:
            console.print(str(self.output), soft_wrap=True)


def _numbered(batches: Iterable[Any]) -> Numbered:
    """The batches of a split, with the numbers of their rows in it."""
    start = 0
    for batch in batches:
        stop = start + len(batch.label)
        yield [*range(start, stop)], batch
        start = stop


def _contribution(found: Explained, c: Coefficient) -> Contribution:
    return Contribution(found.members(c), c.value, c.error, c.share if c.features else None)


def _label(instance: Instance) -> float | None:
    label = instance.batch.label[0]
    value = float(label if instance.position is None else label[instance.position - 1])
    return None if math.isnan(value) else value


@torch.inference_mode()
def _attribution(model: ZooModule, instance: Instance) -> dict[str, float]:
    """The share of each expert of a mixture; of other models, nothing."""
    if len(model.experts) < 2:
        return {}
    shares = model.explain(instance.batch)[1][0]
    shares = shares if instance.position is None else shares[instance.position - 1]
    return dict(zip(model.experts, shares.tolist(), strict=True))


@contextmanager
def _progress(shown: bool, total: int | None) -> Iterator[Callable[[int], None]]:
    """A bar in a terminal, which is told how many rows are done."""
    console = Console(stderr=True)
    hidden = not shown or not console.is_terminal
    with Progress(console=console, transient=True, disable=hidden) as bar:
        task = bar.add_task("explained", total=total)
        yield lambda count: bar.advance(task, count)
