"""Which interactions of on/off features are kept: large ones that chance does not explain.

Shapes: N masks, M held-out masks, d features, K sets.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy import stats

from zoo.data.errors import ZooError
from zoo.glider.walsh.fit import Fit, Set, products

WALSH = "walsh"
ALL_TRIPLES = 64  # features up to which all sets of three are looked at
TOGETHER = 0.5  # candidates this close to the strongest one join the fit with it


@dataclass(frozen=True)
class WalshConfig:
    """How coefficients are estimated, and which are kept.

    Attributes:
        masks: Number of masks that coefficients are fitted on; None is 1,500, or four for each
            field where that is more. From two for each field and pair on, all pairs are fitted;
            with fewer, those that a pursuit finds, and the others are taken for random.
        held_out: Number of masks that confirm larger sets and measure the fit.
        max_order: Largest number of features of an interaction.
        min_gain: Share of the variance of the scores that an interaction must have.
        level: Probability of a false interaction among those of an instance (Bonferroni).
    """

    masks: int | None = None
    held_out: int = 499  # with the instance itself and its 1,500 masks 2,000 scores
    max_order: int = 4
    min_gain: float = 1e-3
    level: float = 0.01

    @property
    def detector(self) -> str:
        """Its name among the detectors."""
        return WALSH

    def __post_init__(self) -> None:
        for option, least in {"masks": 2, "held_out": 2, "max_order": 2}.items():
            value = getattr(self, option)
            if value is not None and value < least:
                raise ZooError(f"{option} must be at least {least}, got {value}")
        if not 0 <= self.min_gain < 1 or not 0 < self.level < 1:
            raise ZooError("min_gain and level must be shares, less than 1")

    def masks_for(self, features: int) -> int:
        """Number of masks that the coefficients of some features are fitted on."""
        return self.masks or max(1500, 4 * features)


class Found(NamedTuple):
    """What the search found around an instance.

    Attributes:
        fit: The fit.
        kept: The interactions that are kept.
        tried: All larger sets that held-out masks had to confirm.
    """

    fit: Fit
    kept: list[Set]
    tried: list[Set]


def search(fit: Fit, variance: float, config: WalshConfig) -> Found:
    """The interactions of an instance, from the fit of its features (and pairs).

    Larger sets are looked for among those with one feature more than a set that is kept; of three
    features, where these are not too many, among all.

    Args:
        fit: The fit, without further sets.
        variance: Variance of the scores; without any, nothing is found.
        config: How coefficients are estimated.
    """
    if not variance:
        return Found(fit, [], [])
    tried: list[Set] = []
    parents: list[Set] = [(i,) for i in range(fit.design.z.shape[1])]
    kept = _kept(fit, variance, config)
    for order in range(2, config.max_order + 1):
        if order == 2 and fit.design.has_pairs:
            continue
        if order > 2:
            parents = [s for s in kept if len(s) == order - 1]
        if order == 3:
            parents = sorted({*parents, *_pairs_of_triples(fit, variance, config)})
        wider = _pursued(fit, parents, variance, config)
        added = wider.further[len(fit.further) :]
        if order > 2:
            tried += added
            added = _confirmed(wider, added, config.level)
        fit = fit.with_sets([*fit.further, *added])
        kept = _kept(fit, variance, config)
    return Found(fit, kept, tried)


def share(value: float, error: float, variance: float) -> float:
    """c^2 / variance, without what the error of c adds to its square."""
    return max(value**2 - error**2, 0.0) / variance if variance else 0.0


def _kept(fit: Fit, variance: float, config: WalshConfig) -> list[Set]:
    pairs = math.comb(fit.design.z.shape[1], 2)
    least = stats.t.isf(config.level / 2 / max(pairs, 1), fit.free)
    enough = (np.abs(fit.values) > least * fit.errors) & (
        fit.values**2 - fit.errors**2 >= config.min_gain * variance
    )
    return [fit.sets[i] for i in np.flatnonzero(enough) if len(fit.sets[i]) > 1]


def _pursued(fit: Fit, parents: Sequence[Set], variance: float, config: WalshConfig) -> Fit:
    """The fit with those supersets of the parents that explain more of the residual than chance.

    A superset has one feature more. The strongest join first, with all that are nearly as strong.
    """
    z, further = fit.design.coarse, list(fit.further)
    pairs = any(len(parent) == 1 for parent in parents)
    inside = _inside(parents, z.shape[1])
    if inside.all():  # there is no superset
        return fit
    joined = products(z, parents)
    tests = int((~inside).sum())
    while fit.free > 1:
        sizes = _sizes(fit, joined, inside) * (fit.design.gain(fit.free) if pairs else 1.0)
        enough = max(_enough(fit, tests, variance, config), TOGETHER * sizes.max())
        chosen = zip(*np.nonzero(sizes > enough), strict=True)
        new = {tuple(sorted((*parents[j], int(i)))) for i, j in chosen} - {*further}
        if not new:
            break
        further += sorted(new)
        fit = fit.with_sets(further)
    return fit


def _pairs_of_triples(fit: Fit, variance: float, config: WalshConfig) -> list[Set]:
    """The pairs of those sets of three that explain more of the residual than chance, of all."""
    features = fit.design.z.shape[1]
    if features < 3 or features > ALL_TRIPLES:
        return []
    enough = _enough(fit, math.comb(features, 3), variance, config)
    z = fit.design.coarse
    residual = fit.residual.astype(z.dtype)
    found = set()
    for i in range(features - 2):
        others = z[:, i + 1 :]
        sizes = np.abs(others.T @ (others * (residual * z[:, i])[:, None])) / fit.free
        found |= {(i, i + 1 + int(j)) for j, _ in np.argwhere(sizes > enough)}
    return sorted(found)


def _inside(parents: Sequence[Set], features: int) -> np.ndarray:
    """[d, K] whether a feature is inside a parent."""
    inside = np.zeros((features, len(parents)), bool)
    for j, parent in enumerate(parents):
        inside[list(parent), j] = True
    return inside


def _sizes(fit: Fit, joined: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """[d, K] sizes of the coefficients of a feature with parents, whose products are [N, K]."""
    # the part of a product that the design does not explain has N - P of its N squares
    residual = fit.residual.astype(joined.dtype)
    sizes = np.abs(fit.design.coarse.T @ (joined * residual[:, None])) / fit.free
    sizes[inside] = 0
    return sizes


def _enough(fit: Fit, tests: int, variance: float, config: WalshConfig) -> float:
    """The size from which on one of so many coefficients is no chance, and worth a test."""
    chance = stats.t.isf(config.level / 2 / tests, fit.free) * fit.deviation / math.sqrt(fit.free)
    return max(float(chance), math.sqrt(config.min_gain * variance) / 2)


def _confirmed(fit: Fit, added: Sequence[Set], level: float) -> list[Set]:
    """Those of the added sets, the last ones of a fit, that the held-out masks show."""
    found = []
    for s, value in zip(added, fit.values[len(fit.values) - len(added) :], strict=True):
        own = fit.rest * fit.design.column(s).held_out + value
        error = own.std(ddof=1) / math.sqrt(len(own))
        least = stats.t.isf(level / len(added), len(own) - 1)
        if own.mean() * math.copysign(1, value) > least * error:
            found.append(s)
    return found
