"""Explanations that need no perturbation: the terms of a glass box, which add up to its logit.

Shapes: B rows, P terms.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch

from zoo.data.batch import AnyBatch, Batch, take
from zoo.data.errors import ZooError
from zoo.data.schema import JOINER
from zoo.glider.explained import INTERCEPT, Explainer, Instance, Line
from zoo.glider.scoring import NotFinite
from zoo.models.base import ZooModule


@dataclass(frozen=True)
class ExactInstance(Instance):
    """A row with what the terms add to its logit.

    Attributes:
        logit: Its logit.
        contributions: Fields of each term that is on, and what it adds, the largest first.
    """

    logit: float = 0.0
    contributions: tuple[tuple[tuple[str, ...], float], ...] = ()

    @property
    def names(self) -> list[str]:
        """The fields of the terms."""
        return [*dict.fromkeys(name for fields, _ in self.contributions for name in fields)]

    @property
    def instance(self) -> "ExactInstance":
        """The row, as `zoo.glider.explained.Explained` has it."""
        return self

    @property
    def intercept(self) -> float:
        """The constant, which is what no term adds."""
        return self.logit - sum(value for _, value in self.contributions)

    def lines(self) -> Iterator[Line]:
        """Lines of a table, which add up to the logit; there is no error, and no share."""
        yield INTERCEPT, self.intercept, 0.0, math.nan
        for fields, value in self.contributions:
            yield JOINER.join(fields), value, 0.0, math.nan


class ExactExplainer:
    """Explains the logits of a model of terms, in place of `zoo.glider.explained.Explainer`.

    Args:
        model: A model of rows with `terms`, in evaluation.
    """

    def __init__(self, model: ZooModule) -> None:
        self.model = model

    @torch.inference_mode()
    def instances(self, batch: AnyBatch) -> Iterator[ExactInstance]:
        """The rows of a batch, explained.

        Raises:
            ZooError: where the batch is of sessions.
        """
        if not isinstance(batch, Batch):
            raise ZooError("the terms of a model are of rows, and these are sessions")
        logits = self.model(batch).double().tolist()
        added = self.model.contributions(batch).double().tolist()
        terms = self.model.terms
        for row, (logit, values) in enumerate(zip(logits, added, strict=True)):
            on = [(t.fields, x) for t, x in zip(terms, values, strict=True) if t.on]
            largest = tuple(sorted(on, key=lambda term: -abs(term[1])))
            yield ExactInstance(row, take(batch, slice(row, row + 1)), None, logit, largest)

    def explain_each(
        self, instances: Iterable[Instance]
    ) -> Iterator[tuple[Instance, ExactInstance | NotFinite]]:
        """Each with itself, or the error of one whose logit is not finite."""
        for instance in instances:
            assert isinstance(instance, ExactInstance)
            finite = math.isfinite(instance.logit)
            yield instance, instance if finite else NotFinite(f"its logit is {instance.logit}")


AnyExplainer = Explainer | ExactExplainer
