"""Walsh regression: the main effects and interactions of on/off features, by least squares.

Of features z_i = +1 (on) and -1 (off), every function is a sum of products,

    f(z) = sum_S c_S prod_{i in S} z_i,    c_S = E[f(z) prod_{i in S} z_i]    (z uniform)

its Walsh (Fourier) coefficients (O'Donnell, *Analysis of Boolean Functions*, 2014, chapter 1). The
products are orthonormal, so c_S^2 is what S adds to the variance of the scores, and c_S is pure: no
part of it belongs to a smaller set. At the instance itself all z_i are 1: its score is the sum of
all coefficients, which are thus signed contributions to it.

The coefficients of all fields and pairs are fitted by least squares on random masks, which are
shared by all instances: their normal equations are factorised once. Larger sets are looked for
among those that contain a set that was found, by what they explain of the residuals, and kept where
masks that the fit has not seen confirm them.

Shapes: N masks, M held-out masks, d features.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from zoo.data.batch import Batch
from zoo.glider.perturb import OnOff, bernoulli_masks, generator, score
from zoo.glider.walsh_fit import Fit, Set, products
from zoo.glider.walsh_search import Search, WalshConfig, search, share


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
    instances: Sequence[Batch],
    neighbours: OnOff,
    config: WalshConfig | None = None,
    seed: int = 0,
) -> list[WalshExplanation]:
    """The main effects and interactions of a black box around instances.

    Args:
        scores: The black box, a function from a `Batch` to logits.
        instances: Batches of one row each, of the same fields.
        neighbours: What on and off mean.
        config: How coefficients are estimated; None takes the defaults of `WalshConfig`.
        seed: Seed of the masks.

    Raises:
        ZooError: Where there are too few masks for all pairs, or a score is not finite.
    """
    if not instances:
        return []
    masks = SharedMasks(len(neighbours.centre(instances[0])), config or WalshConfig(), seed)
    return [masks.explain(masks.scores(scores, instance, neighbours)) for instance in instances]


class SharedMasks:
    """The masks of all instances, and what is fitted on them.

    Args:
        features: Number of features, d.
        config: How coefficients are estimated; see `WalshConfig`.
        seed: Seed of the masks.

    Attributes:
        masks: [1 + N + M, d] of 0 and 1; the first is the instance itself.

    Raises:
        ZooError: Where there are too few masks for all pairs.
    """

    def __init__(self, features: int, config: WalshConfig, seed: int) -> None:
        drawn = bernoulli_masks(config.masks + config.held_out, features, generator(seed))
        self.masks = torch.cat((torch.ones(1, features), drawn))
        z = 2 * drawn.double().numpy() - 1
        self.held_out = z[config.masks :]
        self.search = Search(z[: config.masks], self.held_out, config)

    def scores(
        self, scores: Callable[[Any], Any], instance: Batch, neighbours: OnOff
    ) -> np.ndarray:
        """[1 + N + M] the scores of an instance, and of the rows that the masks make of it."""
        return score(scores, neighbours.apply(instance, self.masks)).double().cpu().numpy()

    def explain(self, scores: np.ndarray) -> WalshExplanation:
        """The explanation of an instance with these scores."""
        own, y = float(scores[0]), scores[1:]
        count = len(y) - len(self.held_out)
        fit, kept = search(self.search, y[:count], y[count:])
        every = _coefficients(fit, float(y[:count].var()))
        found = sorted((every[s] for s in kept), key=lambda c: (-c.share, c.features))
        mains = [every[(i,)] for i in range(self.masks.shape[1])]
        shown = [every[()], *mains]
        of_all, of_mains, with_found = (
            _r2(self.held_out, y[count:], mine)
            for mine in (every.values(), shown, [*shown, *found])
        )
        r2 = of_all, of_mains, with_found
        return WalshExplanation(every[()], tuple(mains), tuple(found), own, r2)


def _coefficients(fit: Fit, variance: float) -> dict[Set, Coefficient]:
    return {
        s: Coefficient(s, float(value), float(error), share(value, error, variance))
        for s, value, error in fit.rows()
    }


def _r2(z: np.ndarray, y: np.ndarray, coefficients: Iterable[Coefficient]) -> float:
    """1 - the mean squared error over the variance, on masks [M, d] with scores y [M]."""
    sets, values = zip(*((c.features, c.value) for c in coefficients), strict=True)
    rest = float(((y - products(z, sets) @ values) ** 2).mean())
    total = float(y.var())
    rounding = 1e-12 * float(np.square(y).mean())
    return 1 - rest / total if total > rounding else float(rest <= rounding)
