"""An explained prediction as it is shown, from what was found and the row itself."""

import math

import torch

from zoo.glider.explained import Explained, Instance
from zoo.glider.walsh import Coefficient
from zoo.inspect.explained_row import Contribution, ExplainedRow, RSquared, Weaker
from zoo.inspect.with_data.gates import gates_of_row
from zoo.models.base import ZooModule
from zoo.run.explaining.exact import ExactInstance
from zoo.run.explaining.values import Words


def explained_row(
    model: ZooModule,
    found: Explained | ExactInstance,
    source: str,
    number: int,
    on: Words,
    off: Words,
) -> ExplainedRow:
    """An explained prediction as it is shown.

    Args:
        model: The model.
        found: What was found.
        source: Where the row is from, in words.
        number: Its number there.
        on: What each feature is in the row.
        off: What it is where it is off.
    """
    if isinstance(found, ExactInstance):
        return _exact_row(model, found, source, number, on)
    walsh, weaker = found.found, found.weaker
    return ExplainedRow(
        model=type(model).__name__,
        source=source,
        row=number,
        position=found.instance.position,
        label=_label(found.instance),
        logit=walsh.score,
        intercept=_contribution(found, walsh.intercept),
        contributions=tuple(_contribution(found, c) for c in found.largest_first),
        weaker=Weaker(weaker.count, weaker.value, weaker.error, weaker.share),
        rest=found.rest,
        r2=RSquared(*walsh.r2),
        masks=found.masks,
        on=on,
        off=off,
        attribution=_attribution(model, found.instance),
        gates=gates_of_row(model, found.instance.batch),
    )


def _exact_row(
    model: ZooModule, found: ExactInstance, source: str, number: int, on: Words
) -> ExplainedRow:
    return ExplainedRow(
        model=type(model).__name__,
        source=source,
        row=number,
        position=None,
        label=_label(found),
        logit=found.logit,
        intercept=Contribution((), found.intercept, 0.0, None),
        contributions=tuple(Contribution(f, x, 0.0, None) for f, x in found.contributions),
        weaker=Weaker(0, 0.0, 0.0, 0.0),
        rest=0.0,
        r2=RSquared(1.0, 1.0, 1.0),
        masks=(0, 0),
        on=on,
        off={},
        attribution=_attribution(model, found),
        gates=gates_of_row(model, found.batch),
        exact=True,
    )


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
