"""Rows in which an expert of a mixture is sure, and heard.

Shapes: B rows or sessions, R scored labels of them, H experts.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from zoo.data.batch import AnyBatch, chunks
from zoo.inspect.chapters import ROWS
from zoo.inspect.page import Figure, Section
from zoo.inspect.table import TextTable, text_table
from zoo.inspect.with_data.prediction import (
    COLUMNS,
    Prediction,
    cells,
    predictions_of,
    shares_by_expert,
)
from zoo.inspect.with_data.sample import ROWS_PER_CHUNK, predict
from zoo.inspect.with_data.values import Values, values_of
from zoo.models.base import ZooModule

EXAMPLES = 3  # of each expert
VALUES_SHOWN = 8  # of an example


@dataclass(frozen=True)
class Example:
    """A row in which an expert is sure, and heard.

    Attributes:
        expert: Name of the expert.
        prediction: Prediction of the row.
        values: Values of the fields that the expert sees, by name: numbers as the model takes
            them, values of categorical fields by name; of a track, what is known of it.
    """

    expert: str
    prediction: Prediction
    values: Values


@torch.no_grad()
def examples_of(model: ZooModule, batch: AnyBatch, encoder: Path | None = None) -> list[Example]:
    """Of each expert the rows in which alpha times attribution is largest.

    By alpha it is sure, and none inside it is; by attribution, those around it have little to add.

    Args:
        model: A mixture of experts, in evaluation.
        batch: Rows of its schema.
        encoder: Folder of the encoder that names the values; None without one.
    """
    scored = batch.labelled
    logits, attribution = (part[scored] for part in predict(model, batch))
    alpha = torch.cat([model.selection(part) for part in chunks(batch, ROWS_PER_CHUNK)])[scored]
    heard = 2 * alpha - alpha.logsumexp(1, keepdim=True)
    most = heard.topk(min(EXAMPLES, len(heard)), 0).indices  # [., H]
    chosen = most.T.flatten()
    predictions = predictions_of(
        model.experts, logits[chosen], batch.label[scored][chosen], attribution[chosen]
    )
    inputs = {name: x[scored][chosen] for name, x in batch.inputs(model.schema).items()}
    values = values_of(inputs, encoder)
    owners = [expert for expert in model.description.experts for _ in range(len(most))]
    return [
        Example(owner.name, prediction, {f: row[f] for f in owner.fields if f in row})
        for owner, prediction, row in zip(owners, predictions, values, strict=True)
    ]


def sections(found: Sequence[Example]) -> Iterator[Section]:
    """The example rows of each expert."""
    if found:
        reading = (
            "Each bar is a row, named by the expert that is surest, and most heard, in it of all "
            "rows, and by its predicted probability; its parts are the experts' shares in that "
            "prediction."
        )
        content = [Figure(lambda: _draw(found), reading), _table(found)]
        yield Section("examples", content, ROWS)


def _table(found: Sequence[Example]) -> TextTable:
    rows = [
        (example.expert, _text(example.values), *cells(example.prediction, example.expert))
        for example in found
    ]
    title = "examples: rows in which each expert is surest, and most heard"
    return text_table(title, ("expert", "what it sees", *COLUMNS), rows, 3)


def _text(values: Values) -> str:
    shown = [
        f"{field}={value if isinstance(value, str) else f'{value:.4g}'}"
        for field, value in list(values.items())[:VALUES_SHOWN]
    ]
    more = len(values) - len(shown)
    return ", ".join([*shown, *([f"and {more} more"] if more else [])])


def _draw(found: Sequence[Example]) -> Any:
    """The attribution of the example rows, the first on top."""
    from zoo.inspect import plots

    labels = [f"{e.expert}: p = {e.prediction.probability:.2f}" for e in found]
    labels = plots.names(plots.short(label) for label in labels)
    places = list(range(len(found)))
    parts = shares_by_expert([example.prediction for example in found])
    plot = plots.stacked_bars(places, parts, horizontal=True)
    plot.update_yaxes(autorange="reversed", tickvals=places, ticktext=labels)
    plot.update_xaxes(title="attribution", range=[0, 1])
    plot.update_layout(height=180 + 22 * len(found))
    return plot
