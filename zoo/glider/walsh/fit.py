"""Least squares of products of on/off features, for many instances on the same masks.

Pairs are fitted where there are two masks for each at least. With fewer, they are taken for random:
as large together as all that is no sum of features and pairs. Then the scores have the covariance

    V = s (I + K / pairs),    K_mn = sum_{i<j} z_mi z_mj z_ni z_nj = ((z_m . z_n)^2 - d) / 2

(s makes the trace of V^-1 that of I), and least squares of scores and products that are multiplied
by L^-1, V = L L^T, is the best estimate of what is fitted (generalised least squares, as of mixed
models: Henderson, Biometrics 1975), which also predicts what all other pairs add to a mask. It is
unbiased whatever the sizes of the pairs.

Shapes: N masks, M held-out masks, d features, P sets that are fitted to all instances, K further
sets of one, R instances.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations

import numpy as np
from scipy import linalg

from zoo.data.errors import ZooError

Set = tuple[int, ...]  # features, ascending
SPARE = 1.25  # masks for each feature at least
FOR_PAIRS = 2  # masks for each coefficient from which on pairs are fitted
MOST_PAIRS = 32  # pairs for each mask beyond which they are like noise
REMEMBERED = 10_000  # further sets whose columns are kept


def products(z: np.ndarray, sets: Sequence[Set]) -> np.ndarray:
    """[N, C] the product of the features of each set; 1 of the empty one.

    Args:
        z: [N, d] masks, -1 and 1.
        sets: The sets, C.
    """
    longest = max(map(len, sets), default=0)
    one = z.shape[1]  # a column of ones, with which shorter sets are filled
    columns = np.array([[*s, *[one] * (longest - len(s))] for s in sets], int)
    filled = np.hstack((z, np.ones((len(z), 1), z.dtype)))
    found = np.ones((len(z), len(sets)), z.dtype)
    for column in columns.reshape(len(sets), longest).T:
        found *= filled[:, column]
    return found


@dataclass(frozen=True)
class Column:
    """A further set beside a design.

    Attributes:
        slopes: [P] of its product on the products of the design.
        apart: [N] what these leave of it; all whitened.
        seen: [N] the same as products see it (see `Design.back`).
        held_out: [M] its product on the held-out masks.
        apart_held_out: [M] what the slopes, and the random pairs, leave of that.
    """

    slopes: np.ndarray
    apart: np.ndarray
    seen: np.ndarray
    held_out: np.ndarray
    apart_held_out: np.ndarray


class Design:
    """The products of all features, and of all pairs where there are masks enough.

    Their normal equations are factorised once.

    Args:
        z: [N, d] masks, -1 and 1.
        held_out: [M, d] masks that are not fitted.

    Attributes:
        sets: The empty set, the features and, if `has_pairs`, their pairs, P.
        has_pairs: Whether the pairs are among the sets.
        x: [N, P] their products, whitened.
        coarse: [N, d] masks in float32, enough to look for sets.
        x_held_out: [M, P] those on the held-out masks, as they are.
        inverse: [P, P] inverse of the Gram matrix of x.
        random: Variance of a random pair, in units of that of the residual; 0 without any.

    Raises:
        ZooError: Where there are too few masks for the features alone.
    """

    def __init__(self, z: np.ndarray, held_out: np.ndarray) -> None:
        n, d = z.shape
        self.z, self.held_out = z, held_out
        self.coarse = z.astype(np.float32)
        self.sets: list[Set] = [(), *((i,) for i in range(d))]
        if n < SPARE * len(self.sets):
            raise ZooError(
                f"masks: {n:,} are too few for {d:,} fields: take "
                f"{math.ceil(SPARE * len(self.sets)):,} at least"
            )
        pairs = math.comb(d, 2)
        self.has_pairs = n >= FOR_PAIRS * (1 + d + pairs)
        self.sets += [*combinations(range(d), 2)] if self.has_pairs else []
        self.random, self._half, self._others = 0.0, None, None
        if not self.has_pairs and 0 < pairs <= MOST_PAIRS * n:
            self._take_pairs_for_random(pairs)
        self.x_held_out = products(held_out, self.sets)
        self.x = self.white(products(z, self.sets).T).T
        self.inverse = np.linalg.inv(self.x.T @ self.x)
        self._columns: dict[Set, Column] = {}

    def _take_pairs_for_random(self, pairs: int) -> None:
        """Finds s, L^-1 and the [M, N] covariances of the held-out scores, times L^-T."""
        n, d = self.z.shape
        lower = np.linalg.cholesky(np.eye(n) + (np.square(self.z @ self.z.T) - d) / 2 / pairs)
        half = linalg.solve_triangular(lower, np.eye(n), lower=True)
        scale = float(np.square(half).sum()) / n
        self.random, self._half = scale / pairs, half / math.sqrt(scale)
        shared = (np.square(self.held_out @ self.z.T) - d) / 2
        self._others = self.random * shared @ self._half.T

    def white(self, y: np.ndarray) -> np.ndarray:
        """[.., N] values on the masks, times L^-1."""
        return y if self._half is None else y @ self._half.T

    def back(self, white: np.ndarray) -> np.ndarray:
        """[.., N] whitened residuals, times L^-T: what is left of scores, as products see it."""
        return white if self._half is None else white @ self._half

    def predicted(self, white: np.ndarray) -> np.ndarray | float:
        """[.., M] what the random pairs add to the held-out scores, by whitened residuals."""
        return 0.0 if self._others is None else white @ self._others.T

    def gain(self, free: float) -> float:
        """What a pair that is not fitted has, over what the residual shows of it."""
        return 1 + self.random * free

    def column(self, features: Set) -> Column:
        """A set beside the design; instances tend to share theirs."""
        if features not in self._columns:
            if len(self._columns) == REMEMBERED:
                self._columns.clear()
            product = self.white(products(self.z, [features])[:, 0])
            slopes = self.inverse @ (self.x.T @ product)
            apart = product - self.x @ slopes
            other = products(self.held_out, [features])[:, 0]
            left = other - self.x_held_out @ slopes - self.predicted(apart)
            self._columns[features] = Column(slopes, apart, self.back(apart), other, left)
        return self._columns[features]

    def fits(self, y: np.ndarray, held_out: np.ndarray) -> "list[Fit]":
        """The fits to the scores of instances, without further sets.

        Args:
            y: [R, N] scores of the masks.
            held_out: [R, M] scores of the held-out masks.
        """
        white = self.white(y)
        values = (white @ self.x) @ self.inverse
        left = white - values @ self.x.T
        aside = held_out - values @ self.x_held_out.T - self.predicted(left)
        parts = values, left, self.back(left), aside
        return [Fit(self, *row) for row in zip(*parts, strict=True)]


@dataclass(frozen=True)
class Fit:
    """Coefficients of the sets of a design and of further ones.

    Attributes:
        design: The design.
        base: [P] coefficients of its sets, without the further ones.
        left: [N] what these leave of the scores, whitened.
        seen: [N] the same as products see it (see `Design.back`).
        left_held_out: [M] what these, and the random pairs, leave of those of the held-out masks.
        further: Further sets, K.
    """

    design: Design
    base: np.ndarray
    left: np.ndarray
    seen: np.ndarray
    left_held_out: np.ndarray
    further: tuple[Set, ...] = ()

    def with_sets(self, further: Sequence[Set]) -> "Fit":
        """The same with other further sets."""
        return replace(self, further=tuple(further))

    @property
    def sets(self) -> list[Set]:
        """The sets, those of the design first."""
        return [*self.design.sets, *self.further]

    @cached_property
    def _columns(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """[K, P] slopes, [K, N] columns apart, and [K, K] inverse of their Gram matrix."""
        slopes = self._of_columns("slopes", len(self.base))
        apart = self._of_columns("apart", len(self.left))
        return slopes, apart, np.linalg.inv(apart @ apart.T)

    def _of_columns(self, part: str, length: int) -> np.ndarray:
        """[K, length] a part of the columns of the further sets."""
        parts = [getattr(self.design.column(s), part) for s in self.further]
        return np.array(parts).reshape(len(parts), length)

    @cached_property
    def values(self) -> np.ndarray:
        """[P + K] coefficients, by the block inverse of the joint normal equations."""
        slopes, apart, joint = self._columns
        extra = joint @ (apart @ self.left)
        return np.concatenate((self.base - extra @ slopes, extra))

    @cached_property
    def residual(self) -> np.ndarray:
        """[N] what they leave of the scores, times V^-1."""
        seen = self._of_columns("seen", len(self.seen))
        return self.seen - self.values[len(self.base) :] @ seen

    @cached_property
    def rest(self) -> np.ndarray:
        """[M] what they, and the random pairs, leave of the scores of the held-out masks."""
        apart = self._of_columns("apart_held_out", len(self.left_held_out))
        return self.left_held_out - self.values[len(self.base) :] @ apart

    @cached_property
    def errors(self) -> np.ndarray:
        """[P + K] standard errors of the coefficients, without what V has a fitted pair vary."""
        slopes, _, joint = self._columns
        variances = self.design.inverse.diagonal() + ((joint @ slopes) * slopes).sum(0)
        random = [self.design.random if len(s) == 2 else 0.0 for s in self.further]
        squares = np.concatenate((variances, joint.diagonal() - random))
        return np.sqrt(squares.clip(0)) * self.deviation

    @property
    def free(self) -> int:
        """Degrees of freedom of the residual."""
        return len(self.left) - len(self.base) - len(self.further)

    @property
    def deviation(self) -> float:
        """Standard deviation of the residual."""
        return math.sqrt(float(self.residual @ self.residual) / self.free)

    def rows(self) -> Iterator[tuple[Set, float, float]]:
        """Each set, its coefficient and its standard error."""
        return zip(self.sets, self.values, self.errors, strict=True)
