"""Which interactions several checkpoints of one config have learned, and which are luck of a seed.

All are explained around the same rows, on the same masks.

Shapes: R rows, C sets, K checkpoints.
"""

from collections.abc import Sequence
from dataclasses import fields, replace
from itertools import combinations
from typing import Any

import numpy as np

from zoo.data.interactions import SIGNIFICANCE_LEVEL
from zoo.glider.surrogates.counts import without_subsets
from zoo.glider.walsh import SharedMasks
from zoo.glider.walsh.blocks import Block, larger_block, pair_blocks
from zoo.glider.walsh.detector import WalshRows
from zoo.glider.walsh.fit import Set
from zoo.glider.walsh.summary import Measured, measured, plain

IN_EACH = ("effect", "size", "share", "share_low", "share_high", "q")


def summarise_checkpoints(
    found: Sequence[WalshRows],
    masks: SharedMasks,
    names: Sequence[str],
    positions: Sequence[int],
    top: int | None = None,
) -> dict[str, Any]:
    """The interactions of several checkpoints, those that most have learned first, as plain data.

    It is what `summarise_effects` says of the first, and of each interaction further:

    - `checkpoints`: of each checkpoint count, effect, size, share with interval and q.
    - `significant_in`: number of the checkpoints in which it is significant.
    - `spread`: standard deviation of its share between the checkpoints.
    - `agreement`: whether it says the same of the same rows: the cosine of the coefficients of two
      checkpoints, without what chance adds, mean over the pairs of checkpoints.

    Rows that one of them could not be explained around are left out.

    Args:
        found: What was found around the rows, by checkpoint; two at least.
        masks: The masks, which all share.
        names: Names of the fields, in the order of the features.
        positions: Number in the split of each row that was to be explained.
        top: Number of interactions to keep, none inside another; None keeps all.
    """
    rows = common(found)
    models = [measured(of, masks, rows) for of in rows]
    listed = [*{s: None for model in models for s in model.by}]
    numbers = {s: _numbers(s, models) for s in listed}
    listed.sort(key=lambda s: (-numbers[s]["significant_in"], -_mean_share(s, models), len(s), s))
    if top is not None:
        listed = without_subsets(listed, top)
    agreement = agreements([_blocks(of, masks, listed) for of in rows])
    content = plain(models[0], listed, rows[0], masks, names, positions)
    for entry, s in zip(content["interactions"], listed, strict=True):
        entry |= {**numbers[s], "agreement": agreement.get(s)}
    return content


def common(found: Sequence[WalshRows]) -> list[WalshRows]:
    """What was found around the rows that are in all."""
    kept = set.intersection(*({*of.instance.tolist()} for of in found))
    return [
        _some(of, [i for i, row in enumerate(of.instance.tolist()) if row in kept]) for of in found
    ]


def _some(of: WalshRows, index: list[int]) -> WalshRows:
    arrays = {f.name: getattr(of, f.name)[index] for f in fields(of) if f.name != "sets"}
    return replace(of, **arrays, sets=[of.sets[i] for i in index])


def _numbers(s: Set, models: Sequence[Measured]) -> dict[str, Any]:
    each = [
        {"count": model.count(s)} | {name: model.of[s][name] for name in IN_EACH}
        for model in models
    ]
    return {
        "checkpoints": each,
        "significant_in": sum(of["q"] < SIGNIFICANCE_LEVEL for of in each),
        "spread": float(np.std([of["share"] for of in each], ddof=1)),
    }


def _mean_share(s: Set, models: Sequence[Measured]) -> float:
    return sum(model.of[s]["share"] for model in models) / len(models)


def _blocks(rows: WalshRows, masks: SharedMasks, sets: Sequence[Set]) -> list[Block]:
    """The coefficients of some sets."""
    wanted, larger = {*sets}, [s for s in sets if len(s) > 2]
    pairs = [
        block.at(np.array([j for j, s in enumerate(block.sets) if s in wanted], int))
        for block in pair_blocks(rows, masks)
    ]
    return [block for block in (*pairs, larger_block(rows, masks, larger)) if block.sets]


def agreements(found: Sequence[Sequence[Block]]) -> dict[Set, float]:
    """The mean cosine of the coefficients of two checkpoints, by set.

    Without a set in which one of them has nothing but what chance adds.

    Args:
        found: The coefficients of the same sets in the same blocks, by checkpoint.
    """
    means = {}
    for blocks in zip(*found, strict=True):
        cosines = [_cosine(one, two) for one, two in combinations(blocks, 2)]
        mean = np.mean(cosines, 0)
        means |= {s: float(x) for s, x in zip(blocks[0].sets, mean, strict=True) if x == x}
    return means


def _cosine(one: Block, two: Block) -> np.ndarray:
    """[C] cosines of coefficients over the rows; NaN where one is 0."""
    products = [_product(a, b) for a, b in ((one, two), (one, one), (two, two))]
    squares = products[1].clip(0) * products[2].clip(0)
    found = np.full(len(squares), np.nan)
    np.divide(products[0], np.sqrt(squares), out=found, where=squares > 0)
    return found.clip(-1, 1)


def _product(one: Block, two: Block) -> np.ndarray:
    """[C] sums over the rows of the products of coefficients, without what chance adds."""
    chance = float((one.residuals * two.residuals).sum()) / one.free
    return (one.values * two.values).sum(0) - one.scale * chance
