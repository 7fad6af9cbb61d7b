"""Scores: how well a checkpoint predicts a split, and why."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from zoo.data.encoder import check_encoder
from zoo.data.errors import ZooError
from zoo.data.module import ZooDataModule
from zoo.inspect.inspection import ROWS_EXPLAINED, Inspection
from zoo.inspect.page import Section
from zoo.inspect.shown import Shown
from zoo.inspect.with_data import quality, shares, slices, sufficient
from zoo.inspect.with_data.chosen import Chosen, choose
from zoo.inspect.with_data.dead_units import Layer, dead_unit_warnings, layers_of, watched
from zoo.inspect.with_data.explanation import Explanation, explain
from zoo.inspect.with_data.quality import Quality
from zoo.inspect.with_data.shares import ExpertShare
from zoo.inspect.with_data.source import batches_of, categorical_fields, encoder_of
from zoo.inspect.with_data.sufficient import Sufficiency, sufficiency_of
from zoo.models.base import ZooModule
from zoo.models.installed import folders_of
from zoo.models.registry import model_class


@dataclass(frozen=True)
class Scores(Shown):
    """The quality of a model on a split; in a notebook and in `rich.print` it shows as tables.

    Attributes:
        split: Name of the split.
        overall: Quality of all rows.
        calibration: Quality of rows of rising probability, in bins of equal size.
        by: The one field that was asked for.
        slices: Quality of the most frequent values of that field, or of every categorical field.
        experts: Shares of the experts of a mixture.
        layers: Hidden layers with ReLU.
        explanation: What the model does with a sample of the rows.
        not_finite: Number of predictions that are NaN or infinite.
        chosen: Rows, or tracks of sessions, to be explained one by one, where they were asked for.
        sufficiency: Whether the experts that speak are the right ones; None without such.
    """

    split: str
    overall: Quality
    calibration: tuple[Quality, ...]
    by: str | None
    slices: dict[str, tuple[Quality, ...]]
    experts: tuple[ExpertShare, ...]
    layers: tuple[Layer, ...] = ()
    explanation: Explanation | None = None
    not_finite: int = 0
    chosen: tuple[Chosen, ...] = ()
    sufficiency: Sufficiency | None = None

    @property
    def warnings(self) -> tuple[str, ...]:
        """Warnings, each one sentence."""
        broken = f"{self.not_finite:,} of {self.overall.rows:,} predictions are NaN or infinite"
        unheard, dead = shares.unheard_warnings(self.experts), dead_unit_warnings(self.layers)
        wrong = sufficient.warnings_of(self.sufficiency, self.split)
        return (*([broken] if self.not_finite else []), *unheard, *wrong, *dead)

    def sections(self) -> Iterator[Section]:
        """One or more of each fact."""
        yield from quality.sections(self.split, self.overall, self.calibration)
        yield from slices.sections(self.by, self.slices)
        yield from shares.sections(self.experts)
        yield from sufficient.sections(self.sufficiency)
        if self.explanation:
            yield from self.explanation.sections()

    def labelled_warnings(self) -> Iterator[tuple[str, str]]:
        """The warnings, without a label."""
        return (("", warning) for warning in self.warnings)

    def to_dict(self) -> dict[str, Any]:
        """As plain data."""
        return {**asdict(self), "warnings": self.warnings}


def score(
    found: Inspection,
    data: ZooDataModule,
    split: str = "val",
    by: str | None = None,
    sample: int = ROWS_EXPLAINED,
    chosen: int = 0,
) -> Scores:
    """Scores a split of the data with an inspected checkpoint, on the CPU.

    Args:
        found: The checkpoint's inspection.
        data: Data of the checkpoint's schema.
        split: `val`, `test`, or `predict`: the labelled rows of the data's `predict_path`.
        by: Categorical field whose values are scored one by one; None scores those of all.
        sample: Number of rows to explain at most; 0 explains none.
        chosen: Number of single rows to choose, as `choose` does.

    Raises:
        ZooError: where the checkpoint is another project's, its schema is not that of the data,
            the data have no such split, or `by` is not a categorical field.
    """
    model = model_of(found)
    batches = batches_of(data, split)
    check_schema(found, data)
    fields = categorical_fields(data.schema, by)
    encoder = encoder_of(found.run, data)
    with watched(model) as fired:
        scored = quality.score_rows(model, batches, fields)
    return Scores(
        split,
        scored.overall(),
        scored.calibration(),
        by,
        slices.slices_of(scored, fields, encoder),
        shares.shares_of(scored),
        layers_of(fired),
        explain(model, batches, sample, encoder),
        int((~scored.logits.isfinite()).sum()),
        choose(scored, chosen) if chosen else (),
        sufficiency_of(scored, model),
    )


def model_of(found: Inspection) -> ZooModule:
    """The model of a checkpoint, in evaluation, on the CPU.

    Raises:
        ZooError: where it is another project's, or its class is not installed.
    """
    if found.architecture is None:
        raise ZooError(f"{found.file} holds no model of this project: it cannot be scored")
    try:
        named = model_class(found.architecture.model, folders_of(Path(found.file)))
    except ZooError as error:
        raise ZooError(f"{found.file}: {error}") from error
    model = named.load_from_checkpoint(found.file, map_location="cpu", weights_only=True)
    return model.eval()


def check_schema(found: Inspection, data: ZooDataModule) -> None:
    """Raises `ZooError` where the fields or ids of the data are not those of a checkpoint."""
    mine, theirs = found.schema, data.schema
    difference = mine.difference(theirs) if mine else None
    if mine and difference:
        same = [f.name for f in mine.fields] == [f.name for f in theirs.fields]
        hint = "; --split predict --data.predict_path FILE encodes other rows as its run did"
        raise ZooError(
            f"{found.file} was trained on another schema than these data: "
            f"{difference}{hint if same else ''}"
        )
    check_ids(found, data)


def check_ids(found: Inspection, data: ZooDataModule) -> None:
    """Raises `ZooError` where the ids of the data are not those that a checkpoint knows."""
    try:
        check_encoder(found.data, data.checksums())
    except ZooError as error:
        raise ZooError(f"{found.file}: {error}") from error
