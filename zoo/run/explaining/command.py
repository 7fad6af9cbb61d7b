"""What `train.py explain` does: rows in, what their fields add to the predictions out."""

import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightning_fabric.utilities import move_data_to_device
from pytorch_lightning import Trainer
from rich.console import Console
from rich.progress import Progress
from torch import Tensor

from zoo.data.batch import take
from zoo.data.batch_checks import row_numbers
from zoo.data.errors import ZooError
from zoo.data.module import STAGES, ZooDataModule
from zoo.glider.command import load_weights
from zoo.glider.explained import Explainer, not_finite
from zoo.glider.scoring import NotFinite
from zoo.glider.session_switches import Features, SessionMeans
from zoo.glider.walsh.search import WalshConfig
from zoo.inspect.explained_row import ExplainedRow
from zoo.inspect.explained_rows import ExplainedRows
from zoo.models.base import ZooModule
from zoo.run.explaining.exact import AnyExplainer, ExactExplainer
from zoo.run.explaining.file import check_output, explanation_file
from zoo.run.explaining.python import training_means
from zoo.run.explaining.row import explained_row
from zoo.run.explaining.values import Values
from zoo.run.inspect import wide_console

SPLITS = {"val": "validation", "test": "test"}
Numbered = Iterator[tuple[list[int], Any]]  # numbers of rows, and the rows


@dataclass
class Explanation:
    """An explanation of rows; see `ZooTrainer.explain` for the options.

    Attributes:
        left_out: Number of rows around which the model gave no finite scores.
    """

    row: int | None
    rows: str | None
    split: str
    position: int | None
    features: Features
    config: WalshConfig
    seed: int
    output: Path | None
    left_out: int = 0

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
        # before a file takes the place of splits
        means = None if model.terms else training_means(data, model.schema)
        self._check_sessions(means)
        batches = self._batches(data)
        load_weights(model, checkpoint, data)
        model.eval().to(trainer.strategy.root_device)
        if means is None:
            explainer: AnyExplainer = ExactExplainer(model)
        else:
            explainer = Explainer(
                model, means, self.config, self.seed, self.features, self.position
            )
        values = Values(model.schema, data.encoder_folder, means, self.features)
        summary = ExplainedRows(type(model).__name__, self.source)
        shown = self.row is None and trainer.progress_bar_callback is not None
        first = None
        with (
            self._file(model, checkpoint, isinstance(means, SessionMeans)) as add,
            _progress(shown, data.predict_rows) as advance,
        ):
            for row in self._explained(explainer, batches, values, advance):
                first = first or row
                summary.add(row)
                if add:
                    add(row)
            if first is None:
                raise ZooError(self._nothing())
        self._report(first if summary.count == 1 else summary)

    def _check_sessions(self, means: Tensor | SessionMeans | None) -> None:
        """Refuses options of sessions where these are rows."""
        given = {"position": self.position is not None, "features": self.features != "groups"}
        for option in (name for name, is_given in given.items() if is_given):
            if not isinstance(means, SessionMeans):
                raise ZooError(f"{option} is of sessions, and these are rows: leave it out")

    # Rows

    def _batches(self, data: ZooDataModule) -> Numbered:
        """The rows with their numbers, batch by batch."""
        if self.rows is not None:
            if not data.offers("predict"):
                raise ZooError(f"rows: {type(data).__name__} reads no raw files: give --row N")
            data.predict_path = self.rows
            try:
                data.setup("predict")
            except ZooError as error:  # which names the option of the datamodule
                said = re.sub(r"\bdata\.(predict_)?path\b", "--rows", str(error))
                raise ZooError(said) from error
            found = ((row_numbers(b).tolist(), b) for b in data.batches("predict"))
        else:
            if not data.offers(self.split):
                raise ZooError(f"{type(data).__name__} has no {SPLITS[self.split]} rows")
            data.prepare_data()
            data.setup(STAGES[self.split])
            found = _numbered(data.batches(self.split))
        return found if self.row is None else self._only(found, self.row, data)

    def _only(self, batches: Numbered, row: int, data: ZooDataModule) -> Numbered:
        total = 0
        for numbers, batch in batches:
            if row in numbers:
                place = numbers.index(row)
                yield [row], take(batch, slice(place, place + 1))
                return
            total = max(total, *(number + 1 for number in numbers), 0)
        if self.rows is not None:
            total = data.predict_rows or total
        if row < total:
            raise ZooError(f"row {row} of {self.rows} is malformed and cannot be explained")
        raise ZooError(
            f"row: there is no row {row} in {self.source}: it has {total:,}, numbered from 0"
        )

    # What is found

    def _explained(
        self,
        explainer: AnyExplainer,
        batches: Numbered,
        values: Values,
        advance: Callable[[int], None],
    ) -> Iterator[ExplainedRow]:
        model = explainer.model
        # of every row where a file shows them, else of the first, which the terminal may show
        every = self.output is not None and self.output.suffix != ".parquet"
        first = True
        for numbers, batch in batches:
            names = values.names(batch) if every else {}
            instances = explainer.instances(move_data_to_device(batch, model.device))
            for instance, found in explainer.explain_each(instances):
                number = numbers[instance.row]
                if isinstance(found, NotFinite):
                    if self.row is not None:
                        raise not_finite(f"row {number} of {self.source}", found) from found
                    self.left_out += 1
                    continue
                if first and not every:
                    names = values.names(instance.batch)
                words = values.words(found, names) if every or first else ({}, {})
                first = False
                yield explained_row(model, found, self.source, number, *words)
            advance(len(numbers))

    def _nothing(self) -> str:
        if self.left_out:
            return (
                f"the model gives NaN or infinite scores around each of the {self.left_out:,} rows "
                f"of {self.source}: are there NaN in its weights, in the rows, or in the means of "
                "the data?"
            )
        if self.position is not None:
            return f"position: no session of {self.source} has a track {self.position} to predict"
        return f"{self.source} has no row that can be explained"

    # What is shown and written

    def _file(self, model: ZooModule, checkpoint: Path, sessions: bool) -> Any:
        if self.output is None:
            return nullcontext()
        head = {
            "model": type(model).__name__,
            "checkpoint": str(checkpoint.resolve()),
            "source": self.source,
            "max_order": self.config.max_order,
            "min_gain": self.config.min_gain,
            "seed": self.seed,
        }
        return explanation_file(self.output, head, sessions)

    def _report(self, found: ExplainedRow | ExplainedRows) -> None:
        console = wide_console()
        console.print(found)
        if self.left_out:
            console.print(f"{self.left_out:,} rows left out: NaN or infinite scores around them")
        if self.output:
            console.print(str(self.output), soft_wrap=True)


def _numbered(batches: Iterable[Any]) -> Numbered:
    """The batches of a split, with the numbers of their rows in it."""
    start = 0
    for batch in batches:
        stop = start + len(batch.label)
        yield [*range(start, stop)], batch
        start = stop


@contextmanager
def _progress(shown: bool, total: int | None) -> Iterator[Callable[[int], None]]:
    """A bar in a terminal, which is told how many rows are done."""
    console = Console(stderr=True)
    hidden = not shown or not console.is_terminal
    with Progress(console=console, transient=True, disable=hidden) as bar:
        task = bar.add_task("explained", total=total)
        yield lambda count: bar.advance(task, count)
