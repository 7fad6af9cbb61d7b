"""Effects over many rows: means of coefficients that were fitted on the same masks.

All rows share their masks, so that what chance adds to their coefficients is correlated: a mean
over many rows is not as certain as the errors of each row would say. The residuals e_r [n] of the
rows tell: with a the set's entry on the diagonal of the inverse Gram matrix (1/n of orthonormal
products) and f degrees of freedom, the coefficients c_r of a set have the covariances

    Cov(c_r, c_s) = a S_rs,    S_rs = e_r . e_s / f

An interval over rows holds this uncertainty, of the masks, and that of the choice of the rows.

Shapes: R rows, C sets, n masks.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from scipy import stats

CONFIDENCE = 0.95


class Noise:
    """What chance adds to the coefficients of rows, as the residuals of their fits tell.

    Args:
        residuals: [R, n] what the fits leave of the scores.
        variances: [R] variances of the scores; 0 of constant ones.
        free: Degrees of freedom of the residuals, f.

    Attributes:
        deviations: [R, 1] standard deviations of the scores.
        gram: [R, R] S_rs, in units of the variances; `squares` is the sum of their squares.
        own: [R, 1] S_rr.
        of_mean: Mean of all S_rs, in units of the scores; `mean_of_own` is that of the S_rr.
    """

    def __init__(self, residuals: np.ndarray, variances: np.ndarray, free: float) -> None:
        self.free = free
        self.deviations = np.sqrt(variances)[:, None]
        scaled = _over(residuals, self.deviations)
        self.gram = scaled @ scaled.T / free
        self.own = self.gram.diagonal()[:, None]
        self.squares = float(np.square(self.gram).sum())
        self.of_mean = float(np.square(residuals.mean(0)).sum()) / free
        self.mean_of_own = float(np.square(residuals).sum(1).mean()) / free


@dataclass(frozen=True)
class Effects:
    """Effects of C sets over rows, with intervals of 95 %.

    Attributes:
        effect: [C] mean of the coefficients.
        effect_range: [2, C] its interval.
        size: [C] root of the mean of c^2, without what chance adds to it.
        share: [C] mean of c^2 over the variance of the scores, without what chance adds to it.
        share_range: [2, C] its interval.
        p: [C] p-value of the hypothesis that the mean share is no larger than `least`.
    """

    effect: np.ndarray
    effect_range: np.ndarray
    size: np.ndarray
    share: np.ndarray
    share_range: np.ndarray
    p: np.ndarray

    @classmethod
    def of(
        cls, values: np.ndarray, scale: np.ndarray | float, noise: Noise, least: float
    ) -> "Effects":
        """The effects of coefficients.

        The share is tested by its root m, whose error hardly depends on its size: m^2 is the mean
        of c^2 over the variance, and t = (m - sqrt(least + what chance adds)) / error of m, with
        the degrees of freedom of Welch and Satterthwaite.

        Args:
            values: [R, C] coefficients c_r.
            scale: [C] or one number, a.
            noise: What chance adds to them.
            least: Share of the variance up to which an effect does not matter.
        """
        a = np.broadcast_to(scale, values.shape[1:])
        effect = values.mean(0)
        error, free = _error(values, a * noise.of_mean, a * noise.mean_of_own, noise.free)
        half = error * stats.t.isf((1 - CONFIDENCE) / 2, free)
        squares = np.square(_over(values, noise.deviations))
        shares = squares - a * noise.own
        of_mean, own = _of_squares(values, squares, a, noise)
        error_share, free = _error(shares, of_mean, own, noise.free)
        root = np.sqrt(squares.mean(0))
        line = np.sqrt(least + a * noise.own.mean())
        t = _over((root - line) * 2 * root, error_share)
        p = np.where(error_share > 0, stats.t.sf(t, free), root <= line)
        share = shares.mean(0)
        half_share = error_share * stats.t.isf((1 - CONFIDENCE) / 2, free)
        return cls(
            effect,
            np.stack((effect - half, effect + half)),
            np.sqrt((np.square(values).mean(0) - a * noise.mean_of_own).clip(0)),
            share.clip(0),
            np.stack((share - half_share, share + half_share)).clip(0),
            p,
        )

    def at(self, columns: np.ndarray) -> "Effects":
        """Those of some of the sets."""
        return Effects(*(getattr(self, field.name)[..., columns] for field in fields(self)))

    def named(self, sets: Sequence[tuple[int, ...]]) -> dict[tuple[int, ...], dict[str, float]]:
        """As plain numbers, by set."""
        columns = {
            "effect": self.effect,
            "effect_low": self.effect_range[0],
            "effect_high": self.effect_range[1],
            "size": self.size,
            "share": self.share,
            "share_low": self.share_range[0],
            "share_high": self.share_range[1],
            "p": self.p,
        }
        rows = zip(*(column.tolist() for column in columns.values()), strict=True)
        return {s: dict(zip(columns, row, strict=True)) for s, row in zip(sets, rows, strict=True)}


def _of_squares(
    values: np.ndarray, squares: np.ndarray, a: np.ndarray, noise: Noise
) -> tuple[np.ndarray, np.ndarray]:
    """[C] the variances that masks add to the mean share of the rows, and to that of one.

    With u_r = c_r over the deviation of the scores, Cov(u_r^2, u_s^2) = 4 u_r u_s a S_rs + 2 a^2
    S_rs^2 of the true u; those of the estimated ones hold 4 a^2 S_rs^2 more.
    """
    rows = len(values)
    u = _over(values, noise.deviations)
    together = ((noise.gram @ u) * u).sum(0)
    chance = 2 * np.square(a) * noise.squares / rows**2
    of_mean = np.maximum(4 * a * together / rows**2 - chance, chance)
    chance = 2 * np.square(a) * np.square(noise.own).mean()
    own = 4 * a * (squares * noise.own).mean(0) - chance
    return of_mean, np.maximum(own, chance)


def _error(
    values: np.ndarray, of_mean: np.ndarray, own: np.ndarray, free: float
) -> tuple[np.ndarray, np.ndarray]:
    """[C] the standard error of the mean of values over rows, and its degrees of freedom.

    Args:
        values: [R, C] values.
        of_mean: [C] variance that the masks add to the mean.
        own: [C] mean variance that they add to a row's value.
        free: Degrees of freedom of these.
    """
    rows = len(values)
    if rows == 1:
        return np.sqrt(of_mean), np.full(len(of_mean), free)
    # the masks make values of different rows vary too, in as far as they do not move them together
    between = values.var(0, ddof=1) - (own - of_mean) * rows / (rows - 1)
    between = between.clip(0) / rows
    total = between + of_mean
    return np.sqrt(total), _over(total**2, between**2 / (rows - 1) + of_mean**2 / free, free)


def _over(a: np.ndarray, b: np.ndarray, otherwise: float = 0.0) -> np.ndarray:
    """a / b, and another number where b is 0."""
    a, b = np.broadcast_arrays(a, b)
    return np.divide(a, b, out=np.full(a.shape, float(otherwise)), where=b > 0)
