"""What fields and interactions add to the logits of rows, or of the tracks of sessions."""

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from zoo.data.batch import AnyBatch, Batch, SessionBatch, take
from zoo.data.errors import ZooError
from zoo.data.schema import JOINER
from zoo.glider.perturb import OnOff, features_of
from zoo.glider.scoring import NotFinite, score_each
from zoo.glider.session_switches import Features, SessionMeans, SessionOnOff
from zoo.glider.walsh import Coefficient, SharedMasks, WalshExplanation
from zoo.glider.walsh.search import WalshConfig
from zoo.glider.walsh.weaker import AllPairs, Weaker

INTERCEPT, WEAKER, REST = "(intercept)", "(weaker interactions)", "(rest)"
Line = tuple[str, float, float, float]  # fields, contribution, error, share


@dataclass(frozen=True)
class Instance:
    """What has one logit.

    Attributes:
        row: Number of the row, or of the session, in its batch.
        batch: The row, or the session, as a batch of one.
        position: Number of the track in a session, from 1; None of a row.
    """

    row: int
    batch: Batch | SessionBatch
    position: int | None = None


@dataclass(frozen=True)
class Explained:
    """The explanation of a logit.

    Attributes:
        instance: What has the logit.
        names: Names of the features.
        found: What they add to it.
        weaker: What the interactions add that are not among these.
        masks: Number of copies that were fitted, and of those that R^2 is of.
    """

    instance: Instance
    names: list[str]
    found: WalshExplanation
    weaker: Weaker
    masks: tuple[int, int]

    @property
    def rest(self) -> float:
        """What all that was fitted leaves open of the logit."""
        return self.found.rest - self.weaker.value

    def members(self, coefficient: Coefficient) -> tuple[str, ...]:
        """The names of the features of a coefficient."""
        return tuple(self.names[i] for i in coefficient.features)

    @property
    def largest_first(self) -> list[Coefficient]:
        """Those of fields and interactions, by the size of what they add."""
        return sorted((*self.found.mains, *self.found.interactions), key=lambda c: -abs(c.value))

    def lines(self) -> Iterator[Line]:
        """Lines of a table, which add up to the logit; the share of the rest is 1 - R^2 of all."""
        for c in (self.found.intercept, *self.largest_first):
            name = JOINER.join(self.members(c)) or INTERCEPT
            yield name, c.value, c.error, c.share if c.features else math.nan
        weaker = self.weaker
        if weaker.count:
            yield WEAKER, weaker.value, weaker.error, weaker.share
        yield REST, self.rest, math.nan, 1 - self.found.r2[0]


class Explainer:
    """Explains the logits of a model, on masks that all rows share.

    Args:
        model: A model of rows or of sessions, in evaluation.
        means: Of rows, [number of numerical fields] means over the training rows.
        config: How coefficients are estimated.
        seed: Seed of the masks.
        features: What is switched on and off in sessions; see `SessionOnOff.of`.
        position: Number of the one track that is explained in each session, from 1; None is all.
    """

    def __init__(
        self,
        model: Any,
        means: Tensor | SessionMeans,
        config: WalshConfig,
        seed: int = 0,
        features: Features = "groups",
        position: int | None = None,
    ) -> None:
        self.model, self.means = model, means
        self.config, self.seed = config, seed
        self.features: Features = features
        self.position = position
        self._masks: dict[int, tuple[SharedMasks, AllPairs]] = {}

    def instances(self, batch: AnyBatch) -> Iterator[Instance]:
        """The rows of a batch, or the tracks of its sessions."""
        for row in range(len(batch.label)):
            one = take(batch, slice(row, row + 1))
            if isinstance(one, Batch):
                yield Instance(row, one)
                continue
            for position in (one.future_mask[0].nonzero().flatten() + 1).tolist():
                if self.position in (None, position):
                    yield Instance(row, one, position)

    def explain(self, instance: Instance) -> Explained:
        """The explanation of a logit.

        Raises:
            NotFinite: Where a score around it is NaN or infinite.
            ZooError: Where there are too few features, or too many for the masks.
        """
        ((_, found),) = self.explain_each([instance])
        if isinstance(found, NotFinite):
            raise found
        return found

    @torch.inference_mode()
    def explain_each(
        self, instances: Iterable[Instance]
    ) -> Iterator[tuple[Instance, Explained | NotFinite]]:
        """Each with its explanation, or the error of one around which a score is not finite.

        On a GPU the copies of several rows are scored at once; those of a session by themselves, as
        the logits of another track may be wanted.

        Raises:
            ZooError: Where there are too few features, or too many for the masks.
        """
        if isinstance(self.means, Tensor):
            yield from self._scored(instances, self.model)
            return
        for instance in instances:
            assert instance.position is not None
            track = instance.position - 1
            yield from self._scored([instance], lambda rows, t=track: self.model(rows)[:, t])

    def _scored(
        self, instances: Iterable[Instance], scores: Callable[[Any], Tensor]
    ) -> Iterator[tuple[Instance, Explained | NotFinite]]:
        """`explain_each` of instances whose copies have the same scores."""
        waiting: deque[tuple[Instance, list[str]]] = deque()

        def copies() -> Iterator[Any]:
            for instance in instances:
                names, switches = self._switches(instance)
                waiting.append((instance, names))
                masks, _ = self._masks_of(len(names))
                yield switches.apply(instance.batch, masks.masks)

        for y in score_each(scores, copies()):
            instance, names = waiting.popleft()
            yield instance, y if isinstance(y, NotFinite) else self._explained(instance, names, y)

    def _switches(self, instance: Instance) -> tuple[list[str], Any]:
        """The names of the features, and what switches them."""
        one, schema = instance.batch, self.model.schema
        if isinstance(one, Batch):
            assert isinstance(self.means, Tensor)
            return features_of(schema), OnOff.of(schema, self.means)
        assert isinstance(self.means, SessionMeans)
        assert instance.position is not None
        switches = SessionOnOff.of(schema, self.means, instance.position - 1, self.features)
        return switches.names(one), switches

    def _explained(self, instance: Instance, names: list[str], scores: Tensor) -> Explained:
        masks, pairs = self._masks_of(len(names))
        y = scores.double().numpy()
        counts = len(masks.design.z), len(masks.design.held_out)
        found = masks.explain(y)
        return Explained(instance, names, found, pairs.weaker(y[1 : counts[0] + 1], found), counts)

    def _masks_of(self, features: int) -> tuple[SharedMasks, AllPairs]:
        if features < 2:
            raise ZooError(
                f"an explanation shares a prediction among fields: {features} are too few"
            )
        if features not in self._masks:
            masks = SharedMasks(features, self.config, self.seed)
            self._masks[features] = masks, AllPairs(masks.design)
        return self._masks[features]


def not_finite(what: str, error: NotFinite) -> NotFinite:
    """What is said of a row around which a model gives no scores."""
    return NotFinite(
        f"{what}: the model gives NaN or infinite scores around it ({error}): are there NaN in its "
        "weights, in the row, or in the means of the data?"
    )
