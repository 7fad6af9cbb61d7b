"""The session whose attribution to the experts changes most along its tracks.

Shapes: B sessions, T past events, T' tracks to predict, H experts.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from zoo.data.batch import SessionBatch
from zoo.data.schema import SKIP
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
from zoo.inspect.with_data.sample import predict
from zoo.models.base import ZooModule


@dataclass(frozen=True)
class Session:
    """A session and its predictions.

    Attributes:
        past: Of each track of the first part, whether it was skipped; empty where no field says.
        tracks: Prediction of each track of the second part.
    """

    past: tuple[bool, ...]
    tracks: tuple[Prediction, ...]


def session_of(model: ZooModule, batch: SessionBatch) -> Session:
    """The session whose attribution changes most from track to track."""
    logits, attribution = predict(model, batch)  # [B, T'], [B, T', H]
    real = batch.future_mask
    steps = (attribution[:, 1:] - attribution[:, :-1]).abs().sum(2) * real[:, 1:]
    i = int(steps.sum(1).argmax())
    return _session(model, batch, i, logits, attribution)


def first_session(model: ZooModule, batch: SessionBatch) -> Session:
    """The first session of a batch."""
    return _session(model, batch, 0, *predict(model, batch))


def _session(
    model: ZooModule, batch: SessionBatch, i: int, logits: Tensor, attribution: Tensor
) -> Session:
    here = batch.future_mask[i]
    names = [field.name for field in model.schema.numerical]
    past = batch.past[i][batch.past_mask[i]]
    skipped = past[:, names.index(SKIP)] > 0.5 if SKIP in names else past.new_zeros(0).bool()
    tracks = predictions_of(
        model.experts, logits[i][here], batch.label[i][here], attribution[i][here]
    )
    return Session(tuple(skipped.tolist()), tuple(tracks))


def sections(found: Session | None) -> Iterator[Section]:
    """The predictions of a session."""
    if found:
        yield Section("a session", [figure(found), _table(found)], ROWS)


def figure(found: Session) -> Figure:
    """The attribution along a session (Afchar & Hennequin 2020, figure 11)."""
    return Figure(
        lambda: _draw(found),
        "Each bar is a track of the second part (B) of one session, its parts the experts' shares "
        "in the prediction; the white points are the predicted probability of a skip, and the "
        "crosses on top are the tracks that were skipped, in the first part (A) too.",
    )


def _table(found: Session) -> TextTable:
    rows = [(str(i), *cells(track)) for i, track in enumerate(found.tracks, 1)]
    past = "".join("x" if skipped else "o" for skipped in found.past)
    title = "a session: attribution of the tracks of its second part"
    title += f", after {past} (x skipped, o not)" if past else ""
    return text_table(title, ("track", *COLUMNS), rows, 2)


def _draw(found: Session) -> Any:
    from zoo.inspect import plots

    tracks = [f"B{i}" for i in range(1, len(found.tracks) + 1)]
    past = [f"A{i}" for i in range(1, len(found.past) + 1)]
    plot = plots.stacked_bars(tracks, shares_by_expert(found.tracks))
    labels = [(x, float(skipped)) for x, skipped in zip(past, found.past, strict=True)]
    labels += [(x, track.label) for x, track in zip(tracks, found.tracks, strict=True)]
    for name, symbol, value in (("skipped", "x", 1), ("not skipped", "circle-open", 0)):
        here = [x for x, label in labels if label == value]
        marker = {"symbol": symbol, "color": plots.GREY, "size": 9}
        plot.add_scatter(x=here, y=[1.08] * len(here), name=name, mode="markers", marker=marker)
    plot.add_scatter(
        x=tracks,
        y=[track.probability for track in found.tracks],
        name="probability",
        mode="lines+markers",
        line_color=plots.GREY,
        marker={"color": "white", "line": {"color": "black", "width": 1}},
    )
    plot.update_xaxes(type="category", categoryorder="array", categoryarray=[*past, *tracks])
    plot.update_yaxes(title="attribution", range=[0, 1.15], tickvals=[0, 0.25, 0.5, 0.75, 1])
    plot.update_layout(height=420)
    return plot
