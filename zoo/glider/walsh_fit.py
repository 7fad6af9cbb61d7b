"""Least squares of products of on/off features, for many instances on the same masks.

Shapes: N masks, M held-out masks, d features, P sets that are fitted to all instances, K further
sets of one, R instances.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations

import numpy as np

from zoo.data.errors import ZooError

Set = tuple[int, ...]  # features, ascending
SPARE = 1.25  # masks for each coefficient at least
REMEMBERED = 10_000  # further sets whose columns are kept


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
class Column:
    """A further set beside a design.

    Attributes:
        slopes: [P] of its product on the products of the design.
        apart: [N] what these leave of it.
        held_out: [M] its product on the held-out masks.
        apart_held_out: [M] what the slopes leave of that.
    """

    slopes: np.ndarray
    apart: np.ndarray
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
        x: [N, P] their products.
        x_held_out: [M, P] those on the held-out masks.
        inverse: [P, P] inverse of the Gram matrix of x.

    Raises:
        ZooError: Where there are too few masks for the features alone.
    """

    def __init__(self, z: np.ndarray, held_out: np.ndarray) -> None:
        n, d = z.shape
        self.z, self.held_out = z, held_out
        self.sets: list[Set] = [(), *((i,) for i in range(d))]
        if n < SPARE * len(self.sets):
            raise ZooError(
                f"masks: {n:,} are too few for {d:,} fields: take "
                f"{math.ceil(SPARE * len(self.sets)):,} at least"
            )
        pairs = [*combinations(range(d), 2)] if n >= SPARE * (1 + d + math.comb(d, 2)) else []
        self.has_pairs = bool(pairs)
        self.sets += pairs
        self.x, self.x_held_out = (products(masks, self.sets) for masks in (z, held_out))
        self.inverse = np.linalg.inv(self.x.T @ self.x)
        self._columns: dict[Set, Column] = {}

    def column(self, features: Set) -> Column:
        """A set beside the design; instances tend to share theirs."""
        if features not in self._columns:
            if len(self._columns) == REMEMBERED:
                self._columns.clear()
            product = products(self.z, [features])[:, 0]
            slopes = self.inverse @ (self.x.T @ product)
            other = products(self.held_out, [features])[:, 0]
            parts = product - self.x @ slopes, other, other - self.x_held_out @ slopes
            self._columns[features] = Column(slopes, *parts)
        return self._columns[features]

    def fits(self, y: np.ndarray, held_out: np.ndarray) -> "list[Fit]":
        """The fits to the scores of instances, without further sets.

        Args:
            y: [R, N] scores of the masks.
            held_out: [R, M] scores of the held-out masks.
        """
        values = (y @ self.x) @ self.inverse
        left, aside = y - values @ self.x.T, held_out - values @ self.x_held_out.T
        return [Fit(self, *row) for row in zip(values, left, aside, strict=True)]


@dataclass(frozen=True)
class Fit:
    """Coefficients of the sets of a design and of further ones.

    Attributes:
        design: The design.
        base: [P] coefficients of its sets, without the further ones.
        left: [N] what these leave of the scores.
        left_held_out: [M] what these leave of the scores of the held-out masks.
        further: Further sets, K.
    """

    design: Design
    base: np.ndarray
    left: np.ndarray
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
        """[P, K] slopes, [N, K] columns apart, and [K, K] inverse of their Gram matrix."""
        if not self.further:
            none = np.zeros((len(self.base), 0)), np.zeros((len(self.left), 0))
            return *none, np.zeros((0, 0))
        columns = [self.design.column(s) for s in self.further]
        slopes = np.stack([column.slopes for column in columns], 1)
        apart = np.stack([column.apart for column in columns], 1)
        return slopes, apart, np.linalg.inv(apart.T @ apart)

    @cached_property
    def values(self) -> np.ndarray:
        """[P + K] coefficients, by the block inverse of the joint normal equations."""
        slopes, apart, joint = self._columns
        extra = joint @ (apart.T @ self.left)
        return np.concatenate((self.base - slopes @ extra, extra))

    @cached_property
    def residual(self) -> np.ndarray:
        """[N] what they leave of the scores."""
        return self.left - self._columns[1] @ self.values[len(self.base) :]

    @cached_property
    def rest(self) -> np.ndarray:
        """[M] what they leave of the scores of the held-out masks."""
        if not self.further:
            return self.left_held_out
        apart = [self.design.column(s).apart_held_out for s in self.further]
        return self.left_held_out - np.stack(apart, 1) @ self.values[len(self.base) :]

    @cached_property
    def errors(self) -> np.ndarray:
        """[P + K] standard errors of the coefficients."""
        slopes, _, joint = self._columns
        variances = self.design.inverse.diagonal() + ((slopes @ joint) * slopes).sum(1)
        return np.sqrt(np.concatenate((variances, joint.diagonal()))) * self.deviation

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
