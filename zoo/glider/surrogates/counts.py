"""Interactions over many rows: how often each was found, and how likely that is by chance.

Tsang et al., ICLR 2020, section 4.1 and Algorithm 1.

Shapes: d features.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from math import comb
from typing import Any, NamedTuple

import numpy as np
from scipy.stats import hypergeom, poisson_binom

from zoo.data.interactions import SIGNIFICANCE_LEVEL
from zoo.glider.detector import Result


def summarise(
    results: Sequence[Result],
    names: Sequence[str],
    max_order: int | None = None,
    top: int | None = None,
) -> dict[str, Any]:
    """Counts and p-values of all interactions, most frequent first, as plain data.

    Args:
        results: What was found at each instance.
        names: Names of the fields, in the order of the features.
        max_order: Largest number of fields of the interactions that were looked for; None is any
            number.
        top: Number of interactions to keep, the most frequent, none inside another (Algorithm 1,
            line 6); None keeps all.

    Returns:
        What `zoo.data.interactions.write_interactions` takes; the caller adds what it knows of
        model and options.
    """
    found = counts_of(results, len(names), max_order)
    ranking = sorted(found.of, key=lambda i: (-found.of[i]["count"], len(i), i))
    if top is not None:
        ranking = without_subsets(ranking, top)
    fidelity = np.mean([result.fidelity for result in results], 0)
    return {
        "fields": list(names),
        "instances": len(results),
        "permutations": len(results[0].null),
        "critical_count": found.critical,
        "fidelity": dict(zip(("network", "linear", "with_interactions"), fidelity, strict=True)),
        "interactions": [
            {"fields": [names[f] for f in i], "order": len(i), **found.of[i]} for i in ranking
        ],
    }


class Counts(NamedTuple):
    """How often interactions were found.

    Attributes:
        of: Of each that was found at all: `count`, `null_count`, `p_uniform`, `p_permutation`,
            `q_permutation`.
        critical: The smallest count that is significant under the uniform null.
    """

    of: dict[tuple[int, ...], dict[str, Any]]
    critical: int


def counts_of(results: Sequence[Result], features: int, max_order: int | None = None) -> Counts:
    """How often each interaction was found, and how likely that is by chance.

    - `p_uniform`: p-value of the largest count, if every instance drew its interactions uniformly
      from all of their order (the paper's null).
    - `p_permutation`: p-value of Fisher's exact test that the interaction is detected more often in
      the scores than in permuted ones. `q_permutation` adjusts it by Benjamini & Hochberg (1995)
      over all possible interactions of all orders, so that at most 5 % of those with q < 0.05 are
      expected to be false. As there are many more of the larger orders, each order has half the
      weight of the one below it (Genovese, Roeder & Wasserman, Biometrika 2006). Both are 1
      without permutations.

    Args:
        results: What was found at each instance.
        features: Number of features.
        max_order: Largest number of features of the interactions that were looked for; None is any
            number.
    """
    n, replicates = len(results), len(results[0].null)
    counts = Counter(i for result in results for i in result.found)
    nulls = Counter(i for result in results for null in result.null for i in null)
    p_uniform = uniform_p_values(results, features)
    found = {
        i: not_found(replicates)
        | {
            "count": count,
            "null_count": nulls[i] / replicates if replicates else None,
            "p_uniform": p_uniform(count),
            "p_permutation": permutation_p_value(count, n, nulls[i], n * replicates),
        }
        for i, count in counts.items()
    }
    weights = order_weights(max_order or features)
    tests = {order: comb(features, order) / weight for order, weight in weights.items()}
    adjusted = adjust([of["p_permutation"] * tests[len(i)] for i, of in found.items()])
    for of, q in zip(found.values(), adjusted, strict=True):
        of["q_permutation"] = q
    return Counts(found, critical_count(p_uniform))


def not_found(permutations: int) -> dict[str, Any]:
    """The counts and p-values of an interaction that was found nowhere."""
    null = 0.0 if permutations else None
    ones = dict.fromkeys(("p_uniform", "p_permutation", "q_permutation"), 1.0)
    return {"count": 0, "null_count": null, **ones}


def order_weights(max_order: int) -> dict[int, float]:
    """The weight of each order from 2 on: half that of the order below, one in all."""
    weights = {order: 0.5**order for order in range(2, max_order + 1)}
    return {order: weight / sum(weights.values()) for order, weight in weights.items()}


def without_subsets(ranking: Sequence[tuple[int, ...]], top: int) -> list[tuple[int, ...]]:
    """The first `top` sets of a ranking, where a set takes the place of those inside it."""
    kept: list[tuple[int, ...]] = []
    for features in ranking:
        if len(kept) == top:
            break
        mine = set(features)
        if not any(mine < set(other) for other in kept):
            kept = [other for other in kept if not set(other) < mine] + [features]
    return kept


def uniform_p_values(results: Sequence[Result], features: int) -> Callable[[int], float]:
    """P(the largest count of any interaction >= c) under the uniform null, as a function of c.

    Each instance has k_o interactions of order o; drawn uniformly, a given one is among them with
    probability k_o / C(d, o), so its count is Poisson-binomial, with distribution function F_o.
    Over all interactions, taken as independent, the largest count is less than c with
    probability prod_o F_o(c - 1)^C(d, o).
    """
    found = [Counter(len(i) for i in result.found) for result in results]
    tails = []
    for order in sorted({order for orders in found for order in orders}):
        possible = comb(features, order)
        chances = np.array([orders[order] / possible for orders in found])
        chances = chances[chances > 0]
        # P(count >= c) for c = 0 ..; summed from the smallest, as 1 - F would round it away
        tail = poisson_binom(chances).pmf(np.arange(len(chances) + 1))[::-1].cumsum()[::-1]
        tails.append((possible, np.clip(tail, 0, 1 - 1e-16)))

    def p_value(count: int) -> float:
        log_none = 0.0
        for possible, tail in tails:
            if count < len(tail):
                log_none += possible * np.log1p(-tail[count])
        return float(abs(np.expm1(log_none)))

    return p_value


def critical_count(p_value: Callable[[int], float]) -> int:
    """The smallest count whose p-value is below the level."""
    count = 1
    while p_value(count) >= SIGNIFICANCE_LEVEL:
        count += 1
    return count


def permutation_p_value(count: int, n: int, null_count: int, null_n: int) -> float:
    """P(at least `count` of n), given both counts, if both samples had the same rate.

    Args:
        count: Number of instances in whose scores the interaction was found.
        n: Number of instances.
        null_count: Number of permuted scores in which it was found.
        null_n: Number of permuted scores; without any, the p-value is 1.
    """
    if null_n == 0:
        return 1.0
    return float(hypergeom.sf(count - 1, n + null_n, count + null_count, n))


def adjust(p_values: Sequence[float]) -> list[float]:
    """Benjamini & Hochberg's adjusted p-values, of p-values times the number of tests.

    The tests that are not given have p = 1. With weights that sum to one over all tests, each
    p-value is given divided by its own weight.
    """
    p = np.asarray(p_values, float)
    order = np.argsort(p, kind="stable")
    scaled = p[order] / np.arange(1, len(p) + 1)
    adjusted = np.minimum(np.minimum.accumulate(scaled[::-1])[::-1], 1)
    out = np.empty_like(adjusted)
    out[order] = adjusted
    return out.tolist()
