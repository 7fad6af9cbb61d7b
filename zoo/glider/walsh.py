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

Shapes: K instances, N masks, M held-out masks, d features, P coefficients of the empty set, of
features and of pairs, C candidates.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import torch
from scipy import stats

from zoo.data.batch import Batch
from zoo.data.errors import ZooError
from zoo.glider.perturb import OnOff, bernoulli_masks, generator, score

Set = tuple[int, ...]  # features, ascending
WALSH = "walsh"
SPARE = 1.25  # masks for each coefficient at least


@dataclass(frozen=True)
class WalshConfig:
    """How coefficients are estimated, and which are kept.

    Attributes:
        masks: Number of masks that coefficients are fitted on.
        held_out: Number of masks that confirm larger sets and measure the fit.
        max_order: Largest number of features of an interaction.
        min_gain: Share of the variance of the scores that an interaction must have.
        level: Probability of a false interaction among those of an instance (Bonferroni).
    """

    masks: int = 1500
    held_out: int = 500
    max_order: int = 4
    min_gain: float = 1e-3
    level: float = 0.01

    @property
    def detector(self) -> str:
        """Its name among the detectors."""
        return WALSH

    def __post_init__(self) -> None:
        for option, least in {"masks": 2, "held_out": 2, "max_order": 2}.items():
            if getattr(self, option) < least:
                raise ZooError(f"{option} must be at least {least}, got {getattr(self, option)}")
        if not 0 <= self.min_gain < 1 or not 0 < self.level < 1:
            raise ZooError("min_gain and level must be shares, less than 1")


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
    config: WalshConfig = WalshConfig(),
    seed: int = 0,
) -> list[WalshExplanation]:
    """The main effects and interactions of a black box around instances.

    Args:
        scores: The black box, a function from a `Batch` to logits.
        instances: Batches of one row each, of the same fields.
        neighbours: What on and off mean.
        config: How coefficients are estimated; see `WalshConfig`.
        seed: Seed of the masks.

    Raises:
        ZooError: Where there are too few masks for all pairs, or a score is not finite.
    """
    if not instances:
        return []
    masks = SharedMasks(len(neighbours.centre(instances[0])), config, seed)
    return [masks.explain(masks.scores(scores, instance, neighbours)) for instance in instances]


class SharedMasks:
    """The masks of all instances, and the factorised normal equations of their products.

    Args:
        features: Number of features, d.
        config: How coefficients are estimated; see `WalshConfig`.
        seed: Seed of the masks.

    Attributes:
        masks: [1 + N + M, d] of 0 and 1; the first is the instance itself.
        z: [N + M, d] the others, of -1 and 1.
        sets: The empty set, the features and their pairs, P.
        x: [N, P] their products.
        inverse: [P, P] inverse of the Gram matrix of x.

    Raises:
        ZooError: Where there are too few masks for all pairs.
    """

    def __init__(self, features: int, config: WalshConfig, seed: int) -> None:
        self.config = config
        pairs = combinations(range(features), 2)
        self.sets: list[Set] = [(), *((i,) for i in range(features)), *pairs]
        if config.masks < SPARE * len(self.sets):
            raise ZooError(
                f"masks: {config.masks:,} are too few for the {len(self.sets):,} coefficients of "
                f"{features} fields: take {math.ceil(SPARE * len(self.sets)):,} at least"
            )
        drawn = bernoulli_masks(config.masks + config.held_out, features, generator(seed))
        self.masks = torch.cat((torch.ones(1, features), drawn))
        self.z = 2 * drawn.double().numpy() - 1
        self.x = products(self.z[: config.masks], self.sets)
        self.inverse = np.linalg.inv(self.x.T @ self.x)

    def scores(
        self, scores: Callable[[Any], Any], instance: Batch, neighbours: OnOff
    ) -> np.ndarray:
        """[1 + N + M] the scores of an instance, and of the rows that the masks make of it."""
        return score(scores, neighbours.apply(instance, self.masks)).double().cpu().numpy()

    def explain(self, scores: np.ndarray) -> WalshExplanation:
        """The explanation of an instance with these scores."""
        return _explain(self, scores[1:], float(scores[0]))


def products(z: np.ndarray, sets: Sequence[Set]) -> np.ndarray:
    """[N, C] the product of the features of each set; 1 of the empty one.

    Args:
        z: [N, d] masks, -1 and 1.
        sets: The sets, C.
    """
    found = np.empty((len(z), len(sets)))
    for j, features in enumerate(sets):
        found[:, j] = z[:, list(features)].prod(1)
    return found


@dataclass(frozen=True)
class _Fit:
    """Least squares of the base and of further sets.

    Attributes:
        sets: The sets of all coefficients, those of the base first.
        values: Coefficients.
        errors: Their standard errors.
        residual: [N] what they leave.
        deviation: Standard deviation of that, by its degrees of freedom.
    """

    sets: list[Set]
    values: np.ndarray
    errors: np.ndarray
    residual: np.ndarray
    deviation: float

    @classmethod
    def of(cls, base: SharedMasks, y: np.ndarray, further: Sequence[Set]) -> "_Fit":
        """The fit to scores y [N], by the block inverse of the joint normal equations."""
        e = products(base.z[: len(y)], further)
        slopes = base.inverse @ (base.x.T @ e)  # of the further products on the base
        apart = e - base.x @ slopes
        joint = np.linalg.inv(apart.T @ e)
        extra = joint @ (apart.T @ y)
        values = base.inverse @ (base.x.T @ (y - e @ extra))
        residual = y - base.x @ values - e @ extra
        free = len(y) - len(values) - len(extra)
        deviation = math.sqrt(float(residual @ residual) / free)
        variances = base.inverse.diagonal() + ((slopes @ joint) * slopes).sum(1)
        errors = np.sqrt(np.concatenate((variances, joint.diagonal()))) * deviation
        sets = [*base.sets, *further]
        return cls(sets, np.concatenate((values, extra)), errors, residual, deviation)

    @property
    def free(self) -> int:
        """Degrees of freedom of the residual."""
        return len(self.residual) - len(self.values)


def _explain(base: SharedMasks, y: np.ndarray, own: float) -> WalshExplanation:
    config, z, n = base.config, base.z, base.config.masks
    variance = float(y[:n].var())
    fit = _Fit.of(base, y[:n], [])
    kept = _kept(fit, variance, config)
    further: list[Set] = []
    for order in range(3, config.max_order + 1):
        candidates = _supersets([s for s in kept if len(s) == order - 1], z.shape[1])
        fit, further = _pursue(base, y, fit, further, candidates, variance)
        kept = _kept(fit, variance, config)
    coefficients = {
        s: Coefficient(s, float(v), float(e), _share(v, e, variance))
        for s, v, e in zip(fit.sets, fit.values, fit.errors, strict=True)
    }
    found = sorted((coefficients[s] for s in kept), key=lambda c: (-c.share, c.features))
    mains = [coefficients[(i,)] for i in range(z.shape[1])]
    shown = [coefficients[()], *mains]
    every, linear, joined = (
        _r2(z[n:], y[n:], mine) for mine in (coefficients.values(), shown, [*shown, *found])
    )
    return WalshExplanation(
        coefficients[()], tuple(mains), tuple(found), own, (every, linear, joined)
    )


def _share(value: float, error: float, variance: float) -> float:
    """c^2 / variance, without what the error of c adds to its square."""
    return max(value**2 - error**2, 0.0) / variance if variance else 0.0


def _kept(fit: _Fit, variance: float, config: WalshConfig) -> list[Set]:
    """The interactions of a fit that are large enough, and that chance does not explain."""
    tests = sum(len(s) > 1 for s in fit.sets)
    least = stats.t.isf(config.level / 2 / tests, fit.free)
    rows = zip(fit.sets, fit.values, fit.errors, strict=True)
    return [
        s
        for s, value, error in rows
        if len(s) > 1
        and abs(value) > least * error
        and _share(value, error, variance) >= config.min_gain
    ]


def _supersets(sets: Sequence[Set], features: int) -> list[Set]:
    """All sets with one feature more than one of these."""
    return sorted({tuple(sorted((*s, i))) for s in sets for i in range(features) if i not in s})


def _pursue(
    base: SharedMasks,
    y: np.ndarray,
    fit: _Fit,
    further: list[Set],
    candidates: list[Set],
    variance: float,
) -> tuple[_Fit, list[Set]]:
    """Adds candidates to the fit while one explains more of the residual than chance would.

    What the held-out masks do not confirm goes again.
    """
    config, z, before = base.config, base.z, further
    n = config.masks
    design = products(z[:n], candidates)
    least = stats.t.isf(config.level / 2 / max(len(candidates), 1), fit.free)
    open_ = np.ones(len(candidates), bool)
    while open_.any() and fit.deviation > 0:
        # of a residual, the part of a product that the base does not explain has N - P of N
        t = np.abs(design.T @ fit.residual) / (fit.deviation * math.sqrt(fit.free))
        best = int(np.argmax(np.where(open_, t, -1)))
        value = t[best] * fit.deviation / math.sqrt(fit.free)
        if t[best] < least or value**2 < config.min_gain * variance / 4:
            break
        open_[best] = False
        further = [*further, candidates[best]]
        fit = _Fit.of(base, y[:n], further)
    added = further[len(before) :]
    confirmed = _confirmed(fit, added, z[n:], y[n:], config)
    if len(confirmed) < len(added):
        further = [*before, *confirmed]
        fit = _Fit.of(base, y[:n], further)
    return fit, further


def _confirmed(
    fit: _Fit, added: Sequence[Set], z: np.ndarray, y: np.ndarray, config: WalshConfig
) -> list[Set]:
    """Those of the added sets that masks [M, d] with scores y [M] show too."""
    predicted = products(z, fit.sets) @ fit.values
    values = dict(zip(fit.sets, fit.values, strict=True))
    found = []
    for s in added:
        product = products(z, [s])[:, 0]
        own = (y - predicted + product * values[s]) * product
        error = own.std(ddof=1) / math.sqrt(len(own))
        least = stats.t.isf(config.level / len(added), len(own) - 1)
        if own.mean() * math.copysign(1, values[s]) > least * error:
            found.append(s)
    return found


def _r2(z: np.ndarray, y: np.ndarray, coefficients: Iterable[Coefficient]) -> float:
    """1 - the mean squared error over the variance, on masks [M, d] with scores y [M]."""
    sets, values = zip(*((c.features, c.value) for c in coefficients), strict=True)
    rest = float(((y - products(z, sets) @ values) ** 2).mean())
    total = float(y.var())
    rounding = 1e-12 * float(np.square(y).mean())
    return 1 - rest / total if total > rounding else float(rest <= rounding)
