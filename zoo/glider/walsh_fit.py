"""Least squares of products of on/off features.

Shapes: N masks, d features, P sets that are fitted to all instances, C further sets.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from zoo.data.errors import ZooError

Set = tuple[int, ...]  # features, ascending
SPARE = 1.25  # masks for each coefficient at least


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


class Design:
    """The products of all features and pairs, with their normal equations factorised.

    Args:
        z: [N, d] masks, -1 and 1.

    Attributes:
        sets: The empty set, the features and their pairs, P.
        x: [N, P] their products.
        inverse: [P, P] inverse of the Gram matrix of x.

    Raises:
        ZooError: Where there are too few masks.
    """

    def __init__(self, z: np.ndarray) -> None:
        n, d = z.shape
        self.z = z
        self.sets: list[Set] = [(), *((i,) for i in range(d)), *combinations(range(d), 2)]
        if n < SPARE * len(self.sets):
            raise ZooError(
                f"masks: {n:,} are too few for the {len(self.sets):,} coefficients of {d} fields: "
                f"take {math.ceil(SPARE * len(self.sets)):,} at least"
            )
        self.x = products(z, self.sets)
        self.inverse = np.linalg.inv(self.x.T @ self.x)


@dataclass(frozen=True)
class Fit:
    """Coefficients of the sets of a design and of further ones.

    Attributes:
        sets: The sets, those of the design first.
        values: Coefficients.
        errors: Their standard errors.
        residual: [N] what they leave of the scores.
    """

    sets: list[Set]
    values: np.ndarray
    errors: np.ndarray
    residual: np.ndarray

    @classmethod
    def of(cls, design: Design, y: np.ndarray, further: Sequence[Set] = ()) -> "Fit":
        """The fit to scores y [N], by the block inverse of the joint normal equations."""
        e = products(design.z, further)
        slopes = design.inverse @ (design.x.T @ e)  # of the further products on those of the design
        apart = e - design.x @ slopes
        joint = np.linalg.inv(apart.T @ e)
        extra = joint @ (apart.T @ y)
        values = design.inverse @ (design.x.T @ (y - e @ extra))
        residual = y - design.x @ values - e @ extra
        free = len(y) - len(values) - len(extra)
        variances = design.inverse.diagonal() + ((slopes @ joint) * slopes).sum(1)
        squares = np.concatenate((variances, joint.diagonal())) * float(residual @ residual) / free
        sets = [*design.sets, *further]
        return cls(sets, np.concatenate((values, extra)), np.sqrt(squares), residual)

    @property
    def free(self) -> int:
        """Degrees of freedom of the residual."""
        return len(self.residual) - len(self.values)

    @property
    def deviation(self) -> float:
        """Standard deviation of the residual."""
        return math.sqrt(float(self.residual @ self.residual) / self.free)

    def rows(self) -> Iterator[tuple[Set, float, float]]:
        """Each set, its coefficient and its standard error."""
        return zip(self.sets, self.values, self.errors, strict=True)
