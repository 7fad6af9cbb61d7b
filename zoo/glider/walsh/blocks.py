"""The coefficients of sets around many rows, in blocks, with what tells their errors.

Shapes: R rows, C sets, n masks, d features.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, islice

import numpy as np

from zoo.glider.walsh import SharedMasks
from zoo.glider.walsh.detector import WalshRows
from zoo.glider.walsh.effects import Effects, Noise
from zoo.glider.walsh.fit import Set, products

BLOCK = 4096  # pairs whose effects are computed at once


@dataclass(frozen=True)
class Block:
    """Coefficients of sets; those of one call have the same residuals and degrees of freedom.

    Attributes:
        sets: The sets, C.
        values: [R, C] their coefficients.
        scale: [C] or one number, the entries of the inverse Gram matrix; see
            `zoo.glider.walsh.effects`.
        residuals: [R, n] what the fits leave of the scores.
        free: Degrees of freedom of the residuals.
    """

    sets: Sequence[Set]
    values: np.ndarray
    scale: np.ndarray | float
    residuals: np.ndarray
    free: float

    def __sub__(self, other: "Block") -> "Block":
        """The coefficients of the difference of the scores, of fits of the same sets."""
        values, residuals = self.values - other.values, self.residuals - other.residuals
        return replace(self, values=values, residuals=residuals)

    def at(self, columns: np.ndarray) -> "Block":
        """Some of the sets."""
        sets = [self.sets[j] for j in columns.tolist()]
        scale = self.scale[columns] if isinstance(self.scale, np.ndarray) else self.scale
        return replace(self, sets=sets, values=self.values[:, columns], scale=scale)

    def noise(self, variances: np.ndarray) -> Noise:
        """What chance adds to them, in units of variances [R]."""
        return Noise(self.residuals, variances, self.free)

    def effects(self, noise: Noise, least: float) -> Effects:
        """Their effects; see `Effects.of`."""
        return Effects.of(self.values, self.scale, noise, least)


def main_block(rows: WalshRows, masks: SharedMasks) -> Block:
    """The coefficients of all features."""
    end = 1 + masks.design.z.shape[1]
    return _of_design(rows, masks, slice(1, end))


def pair_blocks(rows: WalshRows, masks: SharedMasks) -> Iterator[Block]:
    """The coefficients of all pairs."""
    design = masks.design
    features = design.z.shape[1]
    if design.has_pairs:
        yield _of_design(rows, masks, slice(1 + features, None))
        return
    every, free = combinations(range(features), 2), _free(rows, masks)
    shown = free / design.gain(free)
    while some := [*islice(every, BLOCK)]:
        values = _on(rows.residuals, products(design.coarse, some), shown, rows, some)
        yield Block(some, values, 1 / free, rows.residuals, free)


def larger_block(rows: WalshRows, masks: SharedMasks, sets: Sequence[Set]) -> Block:
    """The coefficients of larger sets, on the held-out masks."""
    held_out = masks.design.held_out
    free = len(held_out)
    values = _on(rows.rests, products(held_out, sets), free, rows, sets)
    return Block(sets, values, 1 / free, rows.rests, free)


def larger_sets(rows: WalshRows) -> set[Set]:
    """The sets of more than two features that were found around a row."""
    return {tuple(s) for row in rows.sets for s, *_ in row["kept"] if len(s) > 2}


def tried_sets(rows: WalshRows) -> set[Set]:
    """Those that were tried around a row."""
    return {tuple(s) for row in rows.sets for s in row["tried"]}


def _of_design(rows: WalshRows, masks: SharedMasks, part: slice) -> Block:
    """The coefficients of sets that are fitted to all rows."""
    design = masks.design
    scale, free = design.inverse.diagonal()[part], _free(rows, masks)
    return Block(design.sets[part], rows.values[:, part], scale, rows.residuals, free)


def _free(rows: WalshRows, masks: SharedMasks) -> float:
    further = sum(len(row["further"]) for row in rows.sets) / len(rows.sets)
    return len(masks.design.z) - len(masks.design.sets) - further


def _on(
    residuals: np.ndarray, x: np.ndarray, free: float, rows: WalshRows, sets: Sequence[Set]
) -> np.ndarray:
    """[R, C] the coefficients of sets, of residuals [R, n] and their products x [n, C].

    The residuals of a row do not have what its own further sets explain, which is added.
    """
    values = (residuals @ x).astype(float) / free
    column = {s: j for j, s in enumerate(sets)}
    for r, row in enumerate(rows.sets):
        for s, value, _ in row["further"]:
            if tuple(s) in column:
                values[r, column[tuple(s)]] += value
    return values
