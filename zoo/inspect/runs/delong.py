"""Areas under the ROC curves of several models on the same rows, and their covariance.

Of the area of a model, each positive i and each negative j have a part (DeLong, DeLong &
Clarke-Pearson, *Comparing the areas under two or more correlated receiver operating characteristic
curves*, Biometrics 1988),

    V_i = sum_j q_j psi(x_i, y_j),   V_j = sum_i p_i psi(x_i, y_j),   theta = sum_i p_i V_i

with psi 1, 1/2 or 0 where the positive's score is higher, equal or lower, and p and q the shares
that the rows have in the weights of their class. All of them come from one sort of the scores (Sun
& Xu, *Fast implementation of DeLong's algorithm*, IEEE Signal Processing Letters 2014).

Shapes: K models, R rows, U units.
"""

import numpy as np


def areas(
    scores: np.ndarray,
    positive: np.ndarray,
    weight: np.ndarray | None = None,
    unit: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """[K] areas, and [K, K] the covariance of their sampling errors.

        S = sum_i p_i^2 (V_i - theta)(V_i - theta)' / (1 - sum_i p_i^2)  + the same of negatives

    which without weights is DeLong's S_10 / m + S_01 / n. A row is one row whatever its weight.
    Rows that come in units, such as all rows of a user, are not independent: their parts are added
    up before they are squared (Obuchowski, *Nonparametric analysis of clustered ROC curve data*,
    Biometrics 1997).

    Args:
        scores: [K, R] scores.
        positive: bool [R], true for the positives.
        weight: [R] weights, more than zero; None weighs all alike.
        unit: [R] number of each row's unit, 0 .. U - 1; None has independent rows.

    Returns:
        NaN where a score is NaN or there is a single class, and a covariance of NaN where a class
        has a single row, or all rows are of one unit.
    """
    share = np.ones(len(positive)) if weight is None else weight.astype(np.float64)
    classes = np.stack((share * positive, share * ~positive))
    sums = classes.sum(1, keepdims=True)
    if not sums.all():
        return np.full(len(scores), np.nan), np.full((len(scores),) * 2, np.nan)
    classes /= sums  # p and q
    parts = np.stack([_parts(of, classes) for of in scores])
    theta = parts @ classes[0]
    theta[np.isnan(scores).any(1)] = np.nan
    apart = (parts - theta[:, None]) * classes.sum(0)  # p_i (V_i - theta), q_j (V_j - theta)
    with np.errstate(divide="ignore", invalid="ignore"):
        if unit is not None:
            units = int(unit.max()) + 1
            apart = np.stack([np.bincount(unit, of, units) for of in apart])
            return theta, (apart @ apart.T) * (np.float64(units) / (units - 1))
        single = 1 - (classes**2).sum(1)
        found = ((apart * of) @ apart.T / n for of, n in zip(classes > 0, single, strict=True))
        return theta, np.sum([*found], axis=0)


def _parts(scores: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """[R] V_i of each positive and V_j of each negative, from one model's scores [R]."""
    values, place = np.unique(scores, return_inverse=True)
    up, down = (np.bincount(place, share, len(values)) for share in classes)
    of_positives = np.cumsum(down) - down / 2
    of_negatives = 1 - np.cumsum(up) + up / 2
    return np.where(classes[0] > 0, of_positives[place], of_negatives[place])
