"""The first screen of a report: what is this, is it good, what does it use, can I trust it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from zoo.data.schema import JOINER
from zoo.inspect.explained_row import DOUBTFUL
from zoo.inspect.figures_of_run import Z_95, key_figures, row_name
from zoo.inspect.inspection import Inspection
from zoo.inspect.interactions import DetectedInteractions
from zoo.inspect.page import Card, Head
from zoo.inspect.page.parts import Bar, Bars, Check, Checks, Diagonal
from zoo.inspect.picked_rows import TITLE, PickedRows
from zoo.inspect.scores import Scores
from zoo.inspect.shown import Shown
from zoo.inspect.weights_only.effects import LinearWeight
from zoo.inspect.with_data.quality import Quality
from zoo.inspect.with_data.slices import BY_VALUE, far_slices
from zoo.inspect.with_data.terms import TermOfSample

FIELDS, FEW = 8, 5  # bars of fields, and of what stands below them
CALIBRATED = 0.02  # mean gap of predicted and observed shares up to which they agree
SPLITS = {"val": "validation", "test": "test", "predict": "other"}
WITHOUT_DATA = "not scored on data: --config RUN/config.yaml does it"


@dataclass(frozen=True)
class Overview:
    """What the first screen is made of.

    Attributes:
        found: The inspection.
        scores: The scores, where there were data.
        interactions: The interactions, where there is a file of them.
        rows: Explained rows, where there are such.
        warnings: All warnings, each one sentence.
    """

    found: Inspection
    scores: Scores | None
    interactions: DetectedInteractions | None
    rows: PickedRows | None
    warnings: tuple[str, ...]

    def head(self) -> Head:
        """The first screen."""
        model = self.found.architecture
        heading = model.model.rpartition(".")[2] if model else "model"
        cards = [
            *_card("Is it good?", key_figures(self.found, self.scores), wide=True),
            *_card("What does it use?", [*self._uses()]),
            *_card("Can I trust it?", [*self._trust()]),
        ]
        return Head(heading, self._lead(), [*self._facts()], cards)

    # What is this

    def _lead(self) -> str:
        model, scores = self.found.architecture, self.scores
        first = model.description.partition("\n\n")[0] if model else ""
        if scores is None:
            return first
        data = _data_class(self.found)
        share = f"{scores.overall.observed:.1%} of them positive"
        rows = SPLITS.get(scores.split, scores.split)
        scored = f"{scores.overall.rows:,} {rows} {row_name(self.found)}"
        return f"{first} Scored on {scored}{f' of {data}' if data else ''}, {share}."

    def _facts(self) -> Iterator[str]:
        found = self.found
        yield f"{found.file} ({found.bytes / 1e6:,.1f} MB)"
        if found.fields:
            kinds: dict[str, int] = {}
            for each in found.fields:
                kind = "cross" if each.crosses else each.field.kind
                kinds[kind] = kinds.get(kind, 0) + 1
            counts = ", ".join(f"{count} {kind}" for kind, count in kinds.items())
            yield f"{len(found.fields)} fields: {counts}"
        yield f"{found.parameters:,} parameters"
        if found.training.epochs is not None and found.training.steps is not None:
            yield f"epoch {found.training.epochs}, step {found.training.steps:,}"

    # What does it use

    def _uses(self) -> Iterator[Bars | str]:
        scores = self.scores
        if scores and scores.experts:
            ranked = sorted(scores.experts, key=lambda expert: -expert.mean)[:FEW]
            bars = [Bar(e.name, e.mean, f"{e.mean:.1%}") for e in ranked]
            yield Bars(bars, title="Experts, by their mean share in a prediction")
        if scores and scores.explanation:
            ranked = scores.explanation.importance[: FEW if scores.experts else FIELDS]
            bars = [Bar(i.field, i.logloss, f"{i.logloss:+.4f}", Z_95 * i.error) for i in ranked]
            title = "Fields, by what the logloss rises where they are shuffled"
            yield Bars(bars, "Thin lines are 95 % intervals.", title)
            yield from _terms(scores.explanation.terms)
        yield from self._interactions()
        if not scores and self.found.effects.linear:
            bars = [*map(_linear_bar, self.found.effects.linear[:FIELDS])]
            yield Bars(bars, title="Values, by what they add to the logit by themselves")
        if not scores:
            yield f"{WITHOUT_DATA}, and shows the fields that count."

    def _interactions(self) -> Iterator[Bars]:
        found = self.interactions.found if self.interactions else ()
        measured = [item for item in found if item.share is not None and item.significant][:FEW]
        if measured:
            bars = [
                Bar(JOINER.join(item.fields), item.share or 0.0, f"{item.share or 0.0:.1%}")
                for item in measured
            ]
            yield Bars(bars, title="Interactions, by their share of the variance around a row")
        elif self.rows and self.rows.rows and not self.rows.exact:
            means = self.rows.means()
            largest = sorted(means.means(True), key=lambda line: -line[-1])[:FEW]
            bars = [Bar(name, share, f"{share:.1%}") for name, *_, share in largest]
            title = f"Interactions, by their mean share of the variance around {means.count} rows"
            yield from [Bars(bars, title=title)] * bool(bars)

    # Can I trust it

    def _trust(self) -> Iterator[Checks | Diagonal]:
        if self.scores and len(self.scores.calibration) > 1:
            points = [(part.predicted, part.observed) for part in self.scores.calibration]
            yield Diagonal(points, "observed against predicted shares in bins of equal size")
        yield Checks([*self._checks()])

    def _checks(self) -> Iterator[Check]:
        if self.scores is None:
            yield Check(WITHOUT_DATA)
        else:
            yield from _calibration(self.scores)
            yield from _slices(self.scores)
            yield from _other_rows(self.found, self.scores)
        if self.rows and self.rows.exact:
            yield Check("each prediction is the sum of the terms: explanations are exact", True)
        elif self.rows and self.rows.rows:
            share = self.rows.explained
            said = f"fields and interactions explain {share:.1%} of what the model does around a"
            count = f"the median of {len(self.rows.rows)} rows"
            yield Check(f"{said} row ({count})", share >= DOUBTFUL, TITLE)
        for warning in self.warnings:
            yield Check(warning, False)
        if not self.warnings:
            yield Check("no warnings: all weights are finite, and trained", True)


def _card(title: str, parts: list[Any], wide: bool = False) -> list[Card]:
    return [Card(title, parts, wide)] if parts else []


def overview(found: Inspection, others: list[Shown], warnings: tuple[str, ...]) -> Head:
    """The first screen of what was found.

    Args:
        found: The inspection.
        others: What else was found, such as scores.
        warnings: All warnings, each one sentence.
    """
    scores = next((part for part in others if isinstance(part, Scores)), None)
    rows = next((part for part in others if isinstance(part, PickedRows)), None)
    detected = next((part for part in others if isinstance(part, DetectedInteractions)), None)
    return Overview(found, scores, detected, rows, warnings).head()


def _data_class(found: Inspection) -> str:
    data = found.run.config.get("data") if found.run else None
    path = data.get("class_path") if isinstance(data, dict) else None
    return path.rpartition(".")[2] if isinstance(path, str) else ""


def _linear_bar(weight: LinearWeight) -> Bar:
    value = "each unit" if weight.value is None else weight.value
    return Bar(weight.field, weight.weight, f"{weight.weight:+.3f}", value_of=value)


def _terms(terms: Sequence[TermOfSample]) -> Iterator[Bars]:
    on = [term for term in terms if term.on][:FIELDS]
    bars = [Bar(term.name, term.spread, f"{term.spread:.3f}") for term in on]
    title = "Terms, by how much what they add to the logit differs between rows"
    yield from [Bars(bars, title=title)] * bool(bars)


def _gap(part: Quality) -> float:
    return abs(part.predicted - part.observed)


def _calibration(scores: Scores) -> Iterator[Check]:
    bins = scores.calibration
    if len(bins) > 1:
        mean = sum(_gap(part) * part.rows for part in bins) / sum(part.rows for part in bins)
        worst = max(bins, key=_gap)
        text = (
            f"predicted and observed shares differ by {100 * mean:.1f} points on average over "
            f"{len(bins)} bins; most, where {worst.predicted:.1%} are predicted, and "
            f"{worst.observed:.1%} observed"
        )
        yield Check(text, mean <= CALIBRATED, "calibration")


def _slices(scores: Scores) -> Iterator[Check]:
    far, every = far_slices(scores.slices)
    if every:
        said = f"{far:,} of {every:,} slices by field and value are off by 4 standard errors"
        about = f"by {scores.by}" if scores.by else BY_VALUE
        yield Check(f"{said} or more", far == 0, about)


def _other_rows(found: Inspection, scores: Scores) -> Iterator[Check]:
    """Whether the AUC of the test rows is that of the validation rows, as far as chance goes."""
    metrics = (found.run and found.run.metrics) or {}
    test, error = metrics.get("test/auc"), scores.overall.auc_error
    auc = scores.overall.auc
    if scores.split == "val" and isinstance(test, float) and auc is not None and error:
        apart = abs(test - auc) / error / 2**0.5  # both have such an error
        said = "as chance would have it" if apart <= 3 else "which is more than chance"
        yield Check(f"AUC {test:.4f} on the test rows, {auc:.4f} on these: {said}", apart <= 3)
