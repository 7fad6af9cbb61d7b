"""What all pairs that are not shown add to a score, together.

Each of them may be too weak to be told from noise, or to matter around the instance. At the
instance itself, where everything is on, they add up: least squares of all features and pairs on
what the shown coefficients leave of the scores predicts how much,

    w . r,    w = X (X^T X)^-1 1

with products X of the masks, and residuals r. Its variance is that of r beyond the fit, times
w . w.

Shapes: N masks, d features, P features and pairs with the empty set.
"""

import math
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from zoo.glider.walsh import WalshExplanation
from zoo.glider.walsh.fit import SPARE, Design, products

MOST = 6000  # features and pairs that are fitted, in some hundred megabytes


@dataclass(frozen=True)
class Weaker:
    """What the pairs that are not shown add to the score of an instance.

    Attributes:
        count: Number of them; 0 where there are too few masks to fit all pairs, or too many pairs.
        value: What they add.
        error: Standard error of that.
        share: Share of the variance of the scores around the instance.
    """

    count: int = 0
    value: float = 0.0
    error: float = 0.0
    share: float = 0.0


class AllPairs:
    """Least squares of all features and pairs, at the instance.

    Args:
        design: The masks.
    """

    def __init__(self, design: Design) -> None:
        self.z = design.z
        n, d = design.z.shape
        self.pairs = math.comb(d, 2)
        every = 1 + d + self.pairs
        self.fits = self.pairs > 0 and every <= min(n / SPARE, MOST)
        if self.fits:
            sets = [(), *((i,) for i in range(d)), *combinations(range(d), 2)]
            self._x = products(design.z, sets)
            self._inverse = np.linalg.inv(self._x.T @ self._x)
            self._weights = self._x @ self._inverse.sum(1)

    def weaker(self, y: np.ndarray, shown: WalshExplanation) -> Weaker:
        """What the pairs add that an explanation of scores y [N] does not show."""
        count = self.pairs - sum(len(c.features) == 2 for c in shown.interactions)
        if not self.fits or not count:
            return Weaker()
        found = (shown.intercept, *shown.mains, *shown.interactions)
        values = np.array([c.value for c in found])
        left = y - products(self.z, [c.features for c in found]) @ values
        beyond = left - self._x @ (self._inverse @ (self._x.T @ left))
        variance = float(beyond @ beyond) / (len(left) - len(self._inverse))
        error = math.sqrt(variance * float(self._weights @ self._weights))
        of_all, _, with_found = shown.r2
        share = max(of_all - with_found, 0.0)
        return Weaker(count, float(self._weights @ left), error, share)
