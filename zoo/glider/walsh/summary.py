"""The effects of all pairs, and of the larger sets that were found, over many rows.

Shapes: R rows, d features, C sets.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from zoo.data.interactions import SIGNIFICANCE_LEVEL
from zoo.glider.contexts import in_contexts
from zoo.glider.detector import Result
from zoo.glider.surrogates.counts import Counts, adjust, counts_of, not_found, without_subsets
from zoo.glider.walsh import SharedMasks
from zoo.glider.walsh.blocks import (
    larger_block,
    larger_sets,
    main_block,
    pair_blocks,
    tried_sets,
)
from zoo.glider.walsh.detector import WalshRows
from zoo.glider.walsh.fit import Set

IN_MATRIX = 200  # fields, beyond which the matrix of all pairs is not written
STRONGEST = 3  # rows of each interaction that are named


def summarise_effects(
    rows: WalshRows,
    masks: SharedMasks,
    names: Sequence[str],
    positions: Sequence[int],
    top: int | None = None,
) -> dict[str, Any]:
    """Effects, counts and p-values of the interactions, the largest share first, as plain data.

    - `effect`: mean of the coefficient over the rows: what it adds to the score of a row; `size` is
      the root of the mean of its square.
    - `share`: mean share of the variance of the scores around a row.
    - `count`: number of rows in which the interaction was found.
    - `by`: `walsh`, `contexts` where a pair was found by its mixed differences with all other
      fields on and with all off alone, or `both`; `context_share` is its share in these contexts
      (see `zoo.glider.contexts`), and `count` the number of rows that have it there, where Walsh
      regression found it in none.
    - `p`: p-value of the hypothesis that the mean share is no larger than `min_gain`. `q` adjusts
      it by Benjamini & Hochberg (1995) over all pairs and all larger sets that were tried, and
      over all pairs in the contexts; of two tests of a pair, the one of the smaller `q` counts.

    Args:
        rows: What was found around each row.
        masks: The masks, which all rows share.
        names: Names of the fields, in the order of the features.
        positions: Number in the split of each row that was to be explained.
        top: Number of interactions to keep, those of the largest shares, none inside another; None
            keeps all.

    Returns:
        What `zoo.data.interactions.write_interactions` takes; the caller adds what it knows of
        model and options.
    """
    found = measured(rows, masks)
    listed = sorted(found.by, key=lambda s: (-found.rank(s), len(s), s))
    if top is not None:
        listed = without_subsets(listed, top)
    return plain(found, listed, rows, masks, names, positions)


class Measured(NamedTuple):
    """The interactions of a model over rows.

    Attributes:
        counts: In how many rows each was found.
        mains: Effects of the features, by set.
        of: Effects of all pairs, and of the larger sets that were found, with p- and q-values.
        by: How each interaction was found that was found around a row, or is significant.
        seen: What the contexts say of all pairs; empty where these were not looked at.
    """

    counts: Counts
    mains: dict[Set, dict[str, float]]
    of: dict[Set, dict[str, float]]
    by: dict[Set, str]
    seen: dict[Set, dict[str, float]]

    def count(self, s: Set) -> int:
        """Number of rows that have an interaction: in the contexts, where it was found by these."""
        if self.by.get(s) == "contexts":
            return int(self.seen[s]["count"])
        return self.counts.of[s]["count"] if s in self.counts.of else 0

    def rank(self, s: Set) -> float:
        """The share by which an interaction has its rank."""
        share = self.of[s]["share"]
        return share if self.by.get(s, "walsh") == "walsh" else max(share, self.seen[s]["share"])


def measured(rows: WalshRows, masks: SharedMasks, others: Sequence[WalshRows] = ()) -> Measured:
    """The interactions of a model.

    Args:
        rows: What was found around each row.
        masks: The masks, which all rows share.
        others: What was found around the same rows in other models, whose larger sets are measured
            in this one too.
    """
    every = (rows, *others)
    larger = sorted(set[Set]().union(*map(larger_sets, every)))
    tried = set[Set]().union(*map(tried_sets, every))
    counts = counts_of([*_results(rows)], masks.design.z.shape[1], masks.config.max_order)
    mains, pairs = _of_fit(rows, masks)
    of = pairs | _of_larger(rows, masks, larger)
    seen = in_contexts(rows.contexts, rows.variance, masks.design.z.shape[1], masks.config.min_gain)
    tests = [*of.values(), *seen.values()]
    scaled = [test["p"] * (len(pairs) + len(tried) + len(seen)) for test in tests]
    for test, q in zip(tests, adjust(scaled), strict=True):
        test["q"] = q
    by = {s: "walsh" for s in of if s in counts.of or of[s]["q"] < SIGNIFICANCE_LEVEL}
    for s, found in seen.items():
        of[s]["context_share"] = found["share"]
        if found["q"] < SIGNIFICANCE_LEVEL:
            by[s] = "both" if s in by else "contexts"
            p = min(of[s], found, key=lambda test: test["q"])
            of[s] |= {"p": p["p"], "q": p["q"]}
    return Measured(counts, mains, of, by, seen)


def plain(
    found: Measured,
    listed: Sequence[Set],
    rows: WalshRows,
    masks: SharedMasks,
    names: Sequence[str],
    positions: Sequence[int],
) -> dict[str, Any]:
    """Some of the interactions as plain data; see `summarise_effects`."""
    permutations, strongest = len(rows.sets[0]["null"]), _strongest(rows, positions)
    fidelity = rows.fidelity.mean(0).tolist()
    return {
        "fields": list(names),
        "instances": len(rows.instance),
        "masks": [len(masks.design.z), len(masks.design.held_out)],
        "min_gain": masks.config.min_gain,
        "permutations": permutations,
        "critical_count": found.counts.critical,
        "fidelity": dict(zip(("all", "linear", "with_interactions"), fidelity, strict=True)),
        "mains": [
            {"field": name, **{k: found.mains[(i,)][k] for k in ("effect", "share")}}
            for i, name in enumerate(names)
        ],
        "matrix": _matrix(found, len(names)),
        "interactions": [
            {
                "fields": [names[f] for f in s],
                "order": len(s),
                "by": found.by.get(s, "walsh"),
                **({"context_share": None} if found.seen else {}),
                **found.of[s],
                **(found.counts.of.get(s) or not_found(permutations)),
                "count": found.count(s),
                "strongest": strongest[s],
            }
            for s in listed
        ],
    }


def _results(rows: WalshRows) -> Iterator[Result]:
    """What was found in each row, as counts take it."""
    for i, sets, fidelity in zip(rows.instance, rows.sets, rows.fidelity.tolist(), strict=True):
        found = [tuple(s) for s, *_ in sets["kept"]]
        null = [[tuple(s) for s in turn] for turn in sets["null"]]
        yield Result(int(i), found, null, tuple(fidelity))


def _of_fit(
    rows: WalshRows, masks: SharedMasks
) -> tuple[dict[Set, dict[str, float]], dict[Set, dict[str, float]]]:
    """The effects of all features, and of all pairs."""
    mains, least = main_block(rows, masks), masks.config.min_gain
    noise, pairs = mains.noise(rows.variance), dict[Set, dict[str, float]]()
    for block in pair_blocks(rows, masks):
        pairs |= block.effects(noise, least).named(block.sets)
    return mains.effects(noise, least).named(mains.sets), pairs


def _of_larger(
    rows: WalshRows, masks: SharedMasks, larger: Sequence[Set]
) -> dict[Set, dict[str, float]]:
    """The effects of larger sets, on the held-out masks."""
    block = larger_block(rows, masks, larger)
    return block.effects(block.noise(rows.variance), masks.config.min_gain).named(block.sets)


def _strongest(rows: WalshRows, positions: Sequence[int]) -> dict[Set, list[dict[str, Any]]]:
    """The rows in which each interaction that was found is strongest."""
    found = defaultdict(list)
    for i, sets in zip(rows.instance, rows.sets, strict=True):
        for s, effect, error in sets["kept"]:
            found[tuple(s)].append({"row": int(positions[i]), "effect": effect, "error": error})
    for of in found.values():
        of.sort(key=lambda row: (-abs(row["effect"]), row["row"]))
        del of[STRONGEST:]
    return found


def _matrix(of: Measured, features: int) -> list[list[float]] | None:
    """[d][d] mean shares of the pairs, and on the diagonal of the features; of many fields none."""
    if features > IN_MATRIX:
        return None
    found = np.empty((features, features))
    for s, effects in (of.mains | of.of).items():
        if len(s) <= 2:
            one, two = min(s), max(s)
            found[one, two] = found[two, one] = float(f"{effects['share']:.6g}")
    return found.tolist()
