"""The second look at pairs: mixed differences with all other fields on, and with all off.

A pair's share in the contexts is the mean over both of the square of a quarter of its mixed
difference, over the variance of the scores of random masks: the strength of ArchDetect (Tsang et
al., NeurIPS 2020), in the units of a Walsh coefficient. Over random contexts in place of these two
it would be the share of all terms that have both fields (see `zoo.glider.mixed`). A pair that shows
in one of the two contexts alone must be twice as strong there.

Shapes: R rows, d features, C pairs.
"""

from collections.abc import Callable
from itertools import combinations
from typing import Any

import numpy as np
from scipy import stats

from zoo.data.batch import Batch
from zoo.glider.mixed import mixed_differences
from zoo.glider.perturb import OnOff

ROUNDING = 1e-12  # of a mean square of scores: what float32 makes of no difference at all


def strengths(
    scores: Callable[[Any], Any], instance: Batch, switches: OnOff, y: np.ndarray
) -> np.ndarray:
    """[C] the mean squares of a quarter of the mixed differences of all pairs, 0 for rounding.

    Args:
        scores: The black box.
        instance: A batch of one row.
        switches: What on and off mean.
        y: Scores of masks, which tell how large scores are.
    """
    found = mixed_differences(scores, instance, switches)
    squares = np.square(found[:, *np.triu_indices(found.shape[1], 1)] / 4).mean(0)
    return np.where(squares > ROUNDING * np.square(y).mean(), squares, 0)


def in_contexts(
    squares: np.ndarray, variances: np.ndarray, features: int, least: float
) -> dict[tuple[int, ...], dict[str, float]]:
    """Of each pair the mean share in the contexts, its p-value, and the rows that have it.

    The p-value is of the hypothesis that the mean share of all rows is no larger than `least`: a
    t-test of its root, over rows, as mixed differences have no error of their own. A single row
    has all of it or nothing.

    Args:
        squares: [R, C] strengths; no columns where the contexts were not looked at.
        variances: [R] variances of the scores of random masks.
        features: Number of features, d.
        least: Share up to which a pair does not matter.
    """
    if not squares.shape[1]:
        return {}
    shares = squares / np.where(variances > 0, variances, 1)[:, None]
    # the scores of random masks are constant, and those of the contexts are not
    shares = np.where((variances > 0)[:, None], shares, squares > 0)
    mean, rows = shares.mean(0), len(shares)
    error = shares.std(0, ddof=1) / np.sqrt(rows) if rows > 1 else np.zeros_like(mean)
    root, line = np.sqrt(mean), np.sqrt(least)
    varied = error > 0
    t = (root - line) * 2 * root / np.where(varied, error, 1)
    p = np.where(varied, stats.t.sf(t, max(rows - 1, 1)), mean <= least)
    counts = (shares >= least) & (shares > 0)
    named = zip(mean.tolist(), p.tolist(), counts.sum(0).tolist(), strict=True)
    keys = ("share", "p", "count")
    return {
        pair: dict(zip(keys, values, strict=True))
        for pair, values in zip(combinations(range(features), 2), named, strict=True)
    }
