"""Walsh regression: the main effects and interactions of on/off features, by least squares.

Of features z_i = +1 (on) and -1 (off), every function is a sum of products,

    f(z) = sum_S c_S prod_{i in S} z_i,    c_S = E[f(z) prod_{i in S} z_i]    (z uniform)

its Walsh (Fourier) coefficients (O'Donnell, *Analysis of Boolean Functions*, 2014, chapter 1). The
products are orthonormal, so c_S^2 is what S adds to the variance of the scores, and c_S is pure: no
part of it belongs to a smaller set. At the instance itself all z_i are 1: its score is the sum of
all coefficients, which are thus signed contributions to it.

The coefficients of all fields and pairs are fitted by least squares on random masks, which are
shared by all instances: their normal equations are factorised once. Where there are too few masks
for all pairs, a pursuit finds those that explain the residuals of the fields: the correlations of
all pairs with residuals e are Z^T diag(e) Z, [d, d]. Sets of three are looked for in the same way,
among all up to 64 features, and larger ones among those that contain a set that was found; they are
kept where masks that the fit has not seen confirm them.

Shapes: N masks, M held-out masks, d features, R instances.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch

from zoo.data.batch import Batch
from zoo.glider.perturb import bernoulli_masks, generator
from zoo.glider.scoring import NotFinite, score_each
from zoo.glider.switches import Switches
from zoo.glider.walsh.fit import Design, Fit, Set, products
from zoo.glider.walsh.search import WalshConfig, search, share

ROUNDING = 1e-12  # share of the mean square of scores that is none of their variance


@dataclass(frozen=True)
class Coefficient:
    """A coefficient of one instance.

    Attributes:
        features: Its features, ascending; none of the intercept.
        value: What it adds to the score of the instance.
        error: Standard error of that.
        share: Share of the variance of the scores around the instance.
    """

    features: Set
    value: float
    error: float
    share: float


@dataclass(frozen=True)
class WalshExplanation:
    """What was found around one instance.

    Attributes:
        intercept: Mean of the scores over all masks.
        mains: The coefficient of each feature.
        interactions: Those of the interactions that are kept, the largest share first.
        score: Score of the instance.
        r2: R^2 on the held-out masks of all coefficients that were fitted, of the main effects, and
            of these with the interactions.
    """

    intercept: Coefficient
    mains: tuple[Coefficient, ...]
    interactions: tuple[Coefficient, ...]
    score: float
    r2: tuple[float, float, float]

    @property
    def rest(self) -> float:
        """What the score of the instance is beyond the sum of all coefficients here."""
        found = (self.intercept, *self.mains, *self.interactions)
        return self.score - sum(coefficient.value for coefficient in found)


def walsh(
    scores: Callable[[Any], Any],
    instances: Sequence[Batch | Any],
    neighbours: Switches,
    config: WalshConfig | None = None,
    seed: int = 0,
) -> list[WalshExplanation]:
    """The main effects and interactions of a black box around instances.

    Args:
        scores: The black box, a function from rows to logits.
        instances: Batches of one row each, of the same fields; or points of [d] numbers.
        neighbours: What on and off mean.
        config: How coefficients are estimated; None takes the defaults of `WalshConfig`.
        seed: Seed of the masks.

    Raises:
        ZooError: Where there are too few masks for the features, or a score is not finite.
    """
    if not instances:
        return []
    masks = SharedMasks(len(neighbours.centre(instances[0])), config or WalshConfig(), seed)
    found = []
    for y in masks.scores_each(scores, instances, neighbours):
        if isinstance(y, NotFinite):
            raise y
        found.append(masks.explain(y))
    return found


@dataclass(frozen=True)
class WalshFit:
    """What was found around one instance, with all that was fitted.

    Attributes:
        score: Score of the instance.
        variance: Variance of the scores of the masks; 0 where that is rounding.
        fit: The coefficients, of kept sets and others.
        kept: The interactions that are kept.
        tried: All larger sets that held-out masks had to confirm.
        held_out: [M] scores of the held-out masks.
    """

    score: float
    variance: float
    fit: Fit
    kept: list[Set]
    tried: list[Set]
    held_out: np.ndarray

    @cached_property
    def shown(self) -> WalshExplanation:
        """The coefficients of the features and of the interactions that are kept."""
        every = {
            s: Coefficient(s, float(value), float(error), share(value, error, self.variance))
            for s, value, error in self.fit.rows()
        }
        found = sorted((every[s] for s in self.kept), key=lambda c: (-c.share, c.features))
        mains = [every[(i,)] for i in range(self.fit.design.z.shape[1])]
        shown = [every[()], *mains]
        rests = self.fit.rest, self._rest(shown), self._rest([*shown, *found])
        of_all, of_mains, with_found = (_r2(rest, self.held_out) for rest in rests)
        r2 = of_all, of_mains, with_found
        return WalshExplanation(every[()], tuple(mains), tuple(found), self.score, r2)

    def _rest(self, coefficients: Sequence[Coefficient]) -> np.ndarray:
        """[M] what some coefficients leave of the scores of the held-out masks."""
        sets, values = zip(*((c.features, c.value) for c in coefficients), strict=True)
        return self.held_out - products(self.fit.design.held_out, sets) @ values


class SharedMasks:
    """The masks of all instances, and what is fitted on them.

    Args:
        features: Number of features, d.
        config: How coefficients are estimated; see `WalshConfig`.
        seed: Seed of the masks.

    Attributes:
        masks: [1 + N + M, d] of 0 and 1; the first is the instance itself.
        config: How coefficients are estimated.
        design: What is fitted to the scores of all instances.

    Raises:
        ZooError: Where there are too few masks for the features.
    """

    def __init__(self, features: int, config: WalshConfig, seed: int) -> None:
        count = config.masks_for(features)
        drawn = bernoulli_masks(count + config.held_out, features, generator(seed))
        self.masks = torch.cat((torch.ones(1, features), drawn))
        self.config = config
        z = 2 * drawn.double().numpy() - 1
        self.design = Design(z[:count], z[count:])

    def scores(
        self, scores: Callable[[Any], Any], instance: Batch | Any, neighbours: Switches
    ) -> np.ndarray:
        """[1 + N + M] the scores of an instance, and of the rows that the masks make of it."""
        (found,) = self.scores_each(scores, [instance], neighbours)
        if isinstance(found, NotFinite):
            raise found
        return found

    def scores_each(
        self,
        scores: Callable[[Any], Any],
        instances: Iterable[Batch | Any],
        neighbours: Switches,
    ) -> Iterator[np.ndarray | NotFinite]:
        """What `scores` gives for each instance, or the error of one without finite scores."""
        rows = (neighbours.apply(instance, self.masks) for instance in instances)
        for found in score_each(scores, rows):
            yield found if isinstance(found, NotFinite) else found.double().numpy()

    def explain(self, scores: np.ndarray) -> WalshExplanation:
        """The explanation of an instance with these scores [1 + N + M]."""
        return self.fits(scores[None])[0].shown

    def fits(self, scores: np.ndarray) -> list[WalshFit]:
        """What is found around instances with these scores [R, 1 + N + M]."""
        count = len(self.design.z)
        y, held_out = scores[:, 1 : count + 1], scores[:, count + 1 :]
        variances = np.where(_only_rounding(y), 0, y.var(1)).tolist()
        found = [
            search(fit, variance, self.config)
            for fit, variance in zip(self.design.fits(y, held_out), variances, strict=True)
        ]
        own = scores[:, 0].tolist()
        parts = zip(own, variances, found, held_out, strict=True)
        return [WalshFit(score, v, *of, rest) for score, v, of, rest in parts]


def _only_rounding(y: np.ndarray) -> np.ndarray:
    """Whether scores [.., N] are constant but for rounding."""
    return y.var(-1) <= ROUNDING * np.square(y).mean(-1)


def _r2(rest: np.ndarray, y: np.ndarray) -> float:
    """1 - the mean squared rest over the variance of scores y."""
    if not _only_rounding(y):
        return 1 - float(np.square(rest).mean() / y.var())
    return float(np.square(rest).mean() <= ROUNDING * np.square(y).mean())
