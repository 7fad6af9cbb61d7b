"""Which interactions of two black boxes differ, around the same rows and on the same masks.

Coefficients are linear in the scores: those of the difference of two black boxes are the
differences of their coefficients, with the errors of one more regression. Of an interaction with
coefficients a_r and b_r around row r, the difference is tested by the mean of (b_r - a_r)^2 over
the rows; the means of b_r^2 - a_r^2 and of a_r b_r tell whether it grew or changed its sign.

Shapes: R rows, C sets, N masks, M held-out masks, n of either.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import stats

from zoo.data.interaction import (
    SIGNIFICANCE_LEVEL,
    ChangedRow,
    Interaction,
    InteractionChange,
)
from zoo.glider.surrogates.counts import adjust
from zoo.glider.walsh import SharedMasks
from zoo.glider.walsh.blocks import Block, larger_block, larger_sets, pair_blocks, tried_sets
from zoo.glider.walsh.detector import WalshRows
from zoo.glider.walsh.effects import CONFIDENCE, Effects

ROWS_NAMED = 3  # of each interaction, those that differ most
SAME, APPEARED, VANISHED, SIGN = "same", "appeared", "vanished", "changed sign"
GREW, SHRANK, MOVED = "grew", "shrank", "moved"


def changes(
    masks: SharedMasks, first: np.ndarray, second: np.ndarray, names: Sequence[str]
) -> list[InteractionChange]:
    """The interactions of two black boxes, those of the largest difference first.

    They are those that are significant in one of them, or in their difference: false discoveries
    are controlled in each over all pairs and all larger sets that were tried. A difference of less
    than `min_gain` of the variance around a row does not matter.

    Args:
        masks: The masks, which all rows and both black boxes share.
        first: [R, 1 + N + M] scores of the first black box.
        second: Those of the second.
        names: Names of the features.
    """
    one, two = _rows(masks, first, second)
    variance = (one.variance + two.variance) / 2
    larger = sorted(larger_sets(one) | larger_sets(two))
    pairs = zip(pair_blocks(one, masks), pair_blocks(two, masks), strict=True)
    found = [*_measured(pairs, variance, masks.config.min_gain)]
    if larger:
        blocks = larger_block(one, masks, larger), larger_block(two, masks, larger)
        found += _measured([blocks], variance, masks.config.min_gain)
    tests = math.comb(len(names), 2) + len(tried_sets(one) | tried_sets(two))
    p = np.concatenate([both.p for both in found], 1)
    q = np.array([adjust(row) for row in p * tests])
    listed, start = list[InteractionChange](), 0
    for both in found:
        mine = q[:, start + both.some]
        start += both.p.shape[1]
        for j in np.flatnonzero((mine < SIGNIFICANCE_LEVEL).any(0)).tolist():
            listed.append(both.change(j, names, mine[:, j].tolist()))
    return sorted(listed, key=lambda c: (c.what == SAME, -(c.difference.share or 0), c.fields))


def _rows(masks: SharedMasks, first: np.ndarray, second: np.ndarray) -> tuple[WalshRows, WalshRows]:
    """What is found around the rows of both black boxes, in fits of the same sets."""
    one, two = masks.fits(first), masks.fits(second)
    for r, (a, b) in enumerate(zip(one, two, strict=True)):
        further = sorted({*a.fit.further, *b.fit.further})
        one[r], two[r] = (replace(x, fit=x.fit.with_sets(further)) for x in (a, b))
    none = [[]] * len(one)
    return WalshRows.of(range(len(one)), one, none), WalshRows.of(range(len(two)), two, none)


@dataclass(frozen=True)
class _Interval:
    """A number between the ends of its interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class _Both:
    """The same sets in two black boxes.

    Attributes:
        p: [3, C] p-values of all sets, in the first, in the second and in the difference.
        some: Columns of those that may be significant; the others are not kept.
        blocks: Coefficients of these in the first and in the second.
        effects: Their effects in the first, in the second and in the difference.
        variance: [R] mean variance of the scores.
    """

    p: np.ndarray
    some: np.ndarray
    blocks: tuple[Block, Block]
    effects: tuple[Effects, Effects, Effects]
    variance: np.ndarray

    def change(self, column: int, names: Sequence[str], q: Sequence[float]) -> InteractionChange:
        """What became of a set.

        Args:
            column: Its column among those that are kept.
            names: Names of the features.
            q: [3] its q-values.
        """
        fields = tuple(names[i] for i in self.blocks[0].sets[column])
        first, second, difference = (
            _interaction(fields, effects, column, mine)
            for effects, mine in zip(self.effects, q, strict=True)
        )
        values = _Values(self, column)
        growth = values.growth()
        what = SAME
        if difference.significant and first.significant != second.significant:
            what = APPEARED if second.significant else VANISHED
        elif difference.significant:
            shape = GREW if growth.low > 0 else SHRANK if growth.high < 0 else MOVED
            what = SIGN if values.product().high < 0 else shape
        ends = growth.value, growth.low, growth.high
        return InteractionChange(
            fields, what, first, second, difference, *ends, tuple(values.rows())
        )


class _Values:
    """The coefficients of one set in two black boxes.

    Args:
        both: The sets.
        column: Column of the set.
    """

    def __init__(self, both: _Both, column: int) -> None:
        first, second = both.blocks
        scale = first.scale
        self.a, self.b = first.values[:, column], second.values[:, column]
        self.e, self.f = first.residuals, second.residuals
        self.free, self.variance = first.free, both.variance
        self.scale = float(scale[column]) if isinstance(scale, np.ndarray) else scale

    def growth(self) -> _Interval:
        """The mean of b^2 - a^2 over the variance, without what chance adds to it."""
        chance = np.square(self.f).sum(1) - np.square(self.e).sum(1)
        b, a = self._over(self.b), self._over(self.a)
        return self._mean(self.b**2 - self.a**2, chance, 2 * (b @ self.f - a @ self.e))

    def product(self) -> _Interval:
        """The mean of a b over the variance, without what chance adds to it."""
        chance = (self.e * self.f).sum(1)
        slope = self._over(self.a) @ self.f + self._over(self.b) @ self.e
        return self._mean(self.a * self.b, chance, slope)

    def rows(self) -> Iterator[ChangedRow]:
        """The rows in which the coefficients differ most."""
        order = np.argsort(-np.abs(self.b - self.a), kind="stable")
        for r in order[:ROWS_NAMED].tolist():
            squares = float(np.square(self.f[r] - self.e[r]).sum())
            error = math.sqrt(self.scale * squares / self.free)
            yield ChangedRow(r, float(self.a[r]), float(self.b[r]), error)

    def _mean(self, products: np.ndarray, chance: np.ndarray, slope: np.ndarray) -> _Interval:
        """The mean over the rows of products of coefficients over the variance.

        Args:
            products: [R] the products.
            chance: [R] the sums of the same products of their residuals.
            slope: [n] the residuals, each times what the sum changes with its coefficient.
        """
        rows = len(products)
        scaled = self._over(products - self.scale * chance / self.free)
        of_masks = self.scale * float(slope @ slope) / self.free / rows**2
        of_rows = float(scaled.var(ddof=1)) / rows if rows > 1 else 0.0
        t = stats.t.isf((1 - CONFIDENCE) / 2, rows - 1 if rows > 1 else self.free)
        half, mean = math.sqrt(of_masks + of_rows) * float(t), float(scaled.mean())
        return _Interval(mean, mean - half, mean + half)

    def _over(self, values: np.ndarray) -> np.ndarray:
        """[R] over the variance of each row; 0 where there is none."""
        none = np.zeros_like(values)
        return np.divide(values, self.variance, out=none, where=self.variance > 0)


def _measured(
    blocks: Iterable[tuple[Block, Block]], variance: np.ndarray, least: float
) -> Iterator[_Both]:
    """The effects of blocks, which have the same residuals."""
    noises = None
    for one, two in blocks:
        three = one, two, two - one
        noises = noises or [block.noise(variance) for block in three]
        effects = [x.effects(noise, least) for x, noise in zip(three, noises, strict=True)]
        p = np.stack([of.p for of in effects])
        some = np.flatnonzero((p < SIGNIFICANCE_LEVEL).any(0))
        first, second, difference = (of.at(some) for of in effects)
        yield _Both(p, some, (one.at(some), two.at(some)), (first, second, difference), variance)


def _interaction(fields: tuple[str, ...], of: Effects, column: int, q: float) -> Interaction:
    (low, high), (share_low, share_high) = of.effect_range[:, column], of.share_range[:, column]
    return Interaction(
        fields,
        effect=float(of.effect[column]),
        effect_low=float(low),
        effect_high=float(high),
        size=float(of.size[column]),
        share=float(of.share[column]),
        share_low=float(share_low),
        share_high=float(share_high),
        p=float(of.p[column]),
        q=q,
    )
