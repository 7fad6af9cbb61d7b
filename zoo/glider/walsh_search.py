"""Which interactions of on/off features are kept: large ones that chance does not explain.

Shapes: N masks, M held-out masks, d features, C candidates.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from zoo.data.errors import ZooError
from zoo.glider.walsh_fit import Design, Fit, Set, products

WALSH = "walsh"


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


class Search:
    """What the search around all instances shares.

    Args:
        z: [N, d] masks that are fitted, -1 and 1.
        held_out: [M, d] masks that confirm larger sets.
        config: How coefficients are estimated; see `WalshConfig`.
    """

    def __init__(self, z: np.ndarray, held_out: np.ndarray, config: WalshConfig) -> None:
        self.config = config
        self.design = Design(z)
        self.held_out = held_out
        self.held_out_x = products(held_out, self.design.sets)


def search(shared: Search, y: np.ndarray, held_out: np.ndarray) -> tuple[Fit, list[Set]]:
    """The fit to the scores of an instance, and the interactions of it that are kept.

    Larger sets are looked for among those with one feature more than a set that is kept.

    Args:
        shared: Masks, and what they need.
        y: [N] scores of the masks.
        held_out: [M] scores of the held-out masks.
    """
    variance = float(y.var())
    fit = Fit.of(shared.design, y)
    kept, further = _kept(fit, variance, shared.config), []
    for order in range(3, shared.config.max_order + 1):
        candidates = _supersets([s for s in kept if len(s) == order - 1], shared.design.z.shape[1])
        added = _pursue(shared, y, fit, further, candidates)
        added = _confirmed(shared, Fit.of(shared.design, y, [*further, *added]), added, held_out)
        further = [*further, *added]
        fit = Fit.of(shared.design, y, further)
        kept = _kept(fit, variance, shared.config)
    return fit, kept


def share(value: float, error: float, variance: float) -> float:
    """c^2 / variance, without what the error of c adds to its square."""
    return max(value**2 - error**2, 0.0) / variance if variance else 0.0


def _kept(fit: Fit, variance: float, config: WalshConfig) -> list[Set]:
    tests = sum(len(s) > 1 for s in fit.sets)
    least = stats.t.isf(config.level / 2 / tests, fit.free)
    return [
        s
        for s, value, error in fit.rows()
        if len(s) > 1
        and abs(value) > least * error
        and share(value, error, variance) >= config.min_gain
    ]


def _supersets(sets: Sequence[Set], features: int) -> list[Set]:
    """All sets with one feature more than one of these."""
    return sorted({tuple(sorted((*s, i))) for s in sets for i in range(features) if i not in s})


def _pursue(
    shared: Search, y: np.ndarray, fit: Fit, further: Sequence[Set], candidates: Sequence[Set]
) -> list[Set]:
    """The candidates that explain more of the residual than chance would, one after another."""
    config, added = shared.config, []
    variance = float(y.var())
    x = products(shared.design.z, candidates)
    least = stats.t.isf(config.level / 2 / max(len(candidates), 1), fit.free)
    left = np.ones(len(candidates), bool)
    while left.any() and fit.deviation > 0:
        # the part of a product that the design does not explain has N - P of its N squares
        values = np.where(left, x.T @ fit.residual / fit.free, 0)
        best = int(np.abs(values).argmax())
        t = abs(values[best]) * math.sqrt(fit.free) / fit.deviation
        if t < least or values[best] ** 2 < config.min_gain * variance / 4:
            break
        left[best] = False
        added.append(candidates[best])
        fit = Fit.of(shared.design, y, [*further, *added])
    return added


def _confirmed(shared: Search, fit: Fit, added: Sequence[Set], y: np.ndarray) -> list[Set]:
    """Those of the added sets, the last ones of a fit, that held-out masks with scores y show."""
    count = len(fit.sets) - len(shared.design.sets)
    further = products(shared.held_out, fit.sets[len(fit.sets) - count :])
    split = len(shared.design.sets)
    rest = y - shared.held_out_x @ fit.values[:split] - further @ fit.values[split:]
    found = []
    for j, s in enumerate(added, count - len(added)):
        value, product = fit.values[split + j], further[:, j]
        own = (rest + product * value) * product
        error = own.std(ddof=1) / math.sqrt(len(own))
        least = stats.t.isf(shared.config.level / len(added), len(own) - 1)
        if own.mean() * math.copysign(1, value) > least * error:
            found.append(s)
    return found
