"""The bootstrap of metrics that are ratios of sums, such as means, on the same rows for all models.

    metric = sum_u a_u / sum_u b_u

over units u that are independent of each other: rows, ranked lists, sessions, groups. A draw takes
as many units as there are, with replacement, for all metrics and models the same (Efron &
Tibshirani, *An introduction to the bootstrap*, 1993).

Shapes: U units, M metrics, K models, S draws.
"""

import numpy as np

UNITS = 20_000  # that are drawn; more are joined to blocks at random, which changes no variance
NUMBERS_AT_ONCE = 2_000_000


def draws(above: np.ndarray, below: np.ndarray, count: int, seed: int) -> np.ndarray:
    """[S, M, K] the metrics of each draw; NaN where a draw has no units that count.

    Args:
        above: [M, K, U] parts a of the sums above.
        below: [M, U] parts b of the sums below.
        count: Number of draws, S.
        seed: Seed of the draws.
    """
    random = np.random.default_rng(seed)
    metrics, models, units = above.shape
    columns = np.concatenate((above.reshape(-1, units), below)).T
    if units > UNITS:
        order, starts = random.permutation(units), np.arange(UNITS) * units // UNITS
        columns = np.add.reduceat(columns[order], starts)
        units = UNITS
    found = np.empty((count, columns.shape[1]))
    step = max(1, NUMBERS_AT_ONCE // units)
    for first in range(0, count, step):
        part = min(step, count - first)
        chosen = random.integers(units, size=(part, units)) + units * np.arange(part)[:, None]
        times = np.bincount(chosen.ravel(), minlength=part * units).reshape(part, units)
        with np.errstate(invalid="ignore"):  # of an infinite loss
            found[first : first + part] = times.astype(np.float64) @ columns
    sums, counts = np.split(found, [metrics * models], axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return sums.reshape(count, metrics, models) / counts[..., None]


def interval(drawn: np.ndarray, level: float) -> tuple[np.ndarray, np.ndarray]:
    """The percentile interval of draws [S, ..]; NaN where a draw is NaN or infinite.

    Args:
        drawn: The draws.
        level: Share of the draws within it, such as 0.95.
    """
    known = np.where(np.isfinite(drawn).all(0), drawn, np.nan)
    low, high = np.quantile(known, ((1 - level) / 2, (1 + level) / 2), axis=0)
    return low, high
