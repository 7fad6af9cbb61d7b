"""Which configs differ by more than noise: of the rows that they are scored on, and of their seeds.

Two kinds of noise move a metric: other rows would give another value, and so would another seed of
the same config. Of configs a and b, of n_a and n_b runs,

    d = mean_a - mean_b,   v = c' S c + s^2 (1 / n_a + 1 / n_b)

with c the weights of the runs in d, S the covariance of their metrics over rows, and s^2 the
variance between seeds, pooled over all configs of several seeds; without such, s is unknown and
left out. d / sqrt v is compared with a normal distribution, or, as s comes of few runs, with
Student's t of the degrees of freedom of Satterthwaite (Biometrics Bulletin 1946).

Shapes: K models.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
from scipy import stats

from zoo.inspect.runs.measured import Measured

POWER = 0.8  # by which a difference that is called detectable would be found


@dataclass(frozen=True)
class Contrast:
    """The difference of a metric between two configs, or two runs.

    Attributes:
        metric: Name of the metric.
        first: Number of the one.
        second: Number of the other.
        difference: That of the first less that of the second.
        low: Lower end of its confidence interval.
        high: Upper end.
        p: Probability of a difference as large where there is none.
        adjusted: The same, as so many pairs are compared (Holm, *A simple sequentially rejective
            multiple test procedure*, Scandinavian Journal of Statistics 1979).
        detectable: Difference that would be found with a probability of 80 %, were this the only
            pair.
        with_seeds: Whether the noise of seeds is in it.
        level: Level of the interval.
    """

    metric: str
    first: int
    second: int
    difference: float
    low: float
    high: float
    p: float
    adjusted: float
    detectable: float
    with_seeds: bool
    level: float

    @property
    def is_noise(self) -> bool:
        """Whether the difference may be one of noise."""
        return not self.adjusted < 1 - self.level


@dataclass(frozen=True)
class Spread:
    """A metric over the seeds of a config.

    Attributes:
        mean: Mean of the runs.
        deviation: Standard deviation between runs; None of a single one.
        lowest: Lowest value.
        highest: Highest value.
    """

    mean: float
    deviation: float | None
    lowest: float
    highest: float


def spread(measured: Measured, runs: Sequence[int]) -> Spread:
    """A metric over the runs of a config."""
    of = measured.values[[*runs]]
    deviation = float(of.std(ddof=1)) if len(of) > 1 else None
    return Spread(float(of.mean()), deviation, float(of.min()), float(of.max()))


def between_configs(
    measured: Measured, configs: Sequence[Sequence[int]], level: float
) -> list[Contrast]:
    """All pairs of configs.

    Args:
        measured: A metric of K runs.
        configs: Numbers of the runs of each config.
        level: Level of the intervals and tests.
    """
    several = [measured.values[[*runs]] for runs in configs if len(runs) > 1]
    freedom = sum(len(of) - 1 for of in several)
    squares = sum(((of - of.mean()) ** 2).sum() for of in several)
    seeds = (squares / freedom, freedom) if freedom else None
    return _contrasts(measured, configs, seeds, level)


def between_seeds(measured: Measured, runs: Sequence[int], level: float) -> list[Contrast]:
    """All pairs of the runs of one config, by the noise of the rows alone."""
    return _contrasts(measured, [[run] for run in runs], None, level)


def _contrasts(
    measured: Measured,
    configs: Sequence[Sequence[int]],
    seeds: tuple[float, int] | None,
    level: float,
) -> list[Contrast]:
    """All pairs, adjusted for their number.

    Args:
        measured: A metric.
        configs: Numbers of the runs of each config.
        seeds: Variance between seeds, and its degrees of freedom.
        level: Level of the intervals and tests.
    """
    weights = np.zeros((len(configs), len(measured.values)))
    for weight, runs in zip(weights, configs, strict=True):
        weight[[*runs]] = 1 / len(runs)
    found = []
    for a, b in combinations(range(len(configs)), 2):
        found.append(_contrast(measured, (a, b), weights[a] - weights[b], seeds, level))
    adjusted = holm([of.p for of in found])
    return [replace(of, adjusted=p) for of, p in zip(found, adjusted, strict=True)]


def _contrast(
    measured: Measured,
    pair: tuple[int, int],
    weights: np.ndarray,
    seeds: tuple[float, int] | None,
    level: float,
) -> Contrast:
    """One pair, not adjusted; `weights` [K] are those of the runs in the difference."""
    kept = weights != 0  # else a metric that is NaN would spoil the others
    c = weights[kept]
    rows = max(float(c @ measured.covariance[np.ix_(kept, kept)] @ c), 0.0)
    of_seeds = seeds[0] * float(c @ c) if seeds else 0.0
    error = math.sqrt(rows + of_seeds)
    t = stats.norm()
    if seeds and of_seeds > 0:
        t = stats.t(seeds[1] * ((rows + of_seeds) / of_seeds) ** 2)
    d = float(c @ measured.values[kept])
    half = float(t.ppf((1 + level) / 2)) * error
    p = math.nan
    if math.isfinite(d) and math.isfinite(error):
        p = float(2 * t.sf(abs(d) / error)) if error > 0 else float(d == 0)
    return Contrast(
        metric=measured.name,
        first=pair[0],
        second=pair[1],
        difference=d,
        low=d - half,
        high=d + half,
        p=p,
        adjusted=p,
        detectable=half + float(t.ppf(POWER)) * error,
        with_seeds=seeds is not None,
        level=level,
    )


def holm(p: Sequence[float]) -> list[float]:
    """Adjusted values of probabilities p_(1) <= p_(2) <= ..: max_{j <= i} (n - j + 1) p_(j), at
    most 1; NaN stays NaN, and counts as a test."""
    order = sorted(range(len(p)), key=lambda i: (math.isnan(p[i]), p[i]))
    found, largest = [math.nan] * len(p), 0.0
    for place, i in enumerate(order):
        if not math.isnan(p[i]):
            largest = max(largest, min(1.0, (len(p) - place) * p[i]))
            found[i] = largest
    return found
