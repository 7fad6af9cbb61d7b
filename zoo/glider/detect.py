"""Global interaction detection: MADEX over a sample of rows, counted and tested.

Tsang et al., ICLR 2020, section 4.1 and Algorithm 1.

Shapes: K instances, N samples, d features.
"""

import json
import os
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from math import comb
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pytorch_lightning import LightningModule
from scipy.stats import hypergeom, poisson_binom
from torch import Tensor

from zoo.data.batch import Batch
from zoo.data.errors import ZooError
from zoo.glider.madex import Explanation, MadexConfig, explain
from zoo.glider.perturb import OnOff, generator, score

FORMAT = 1
LEVEL = 0.05  # of significance
CHUNK = 32  # instances explained at once
NEIGHBOURS, EXPLAINERS, PERMUTATIONS = range(1, 4)  # what a generator is for


@dataclass(frozen=True)
class Result:
    """What was found at one instance: interactions in the scores and in the permuted ones."""

    instance: int
    found: list[tuple[int, ...]]
    null: list[list[tuple[int, ...]]]
    fidelity: tuple[float, float, float]


def permuted(x: Tensor, y: Tensor, random: torch.Generator) -> Tensor:
    """[N] scores without interactions: the additive part of y, and its residuals shuffled.

    Of on/off features x [N, d], every additive function is linear, so least squares finds it.
    What is detected in these scores is what noise of that size around these main effects yields.
    """
    design = torch.cat((torch.ones(len(x), 1), x), 1).double()
    additive = design @ torch.linalg.lstsq(design, y.double().unsqueeze(1), driver="gelsd").solution
    residual = y - additive.squeeze(1)
    return (additive.squeeze(1) + residual[torch.randperm(len(y), generator=random)]).float()


class Detector(LightningModule):
    """Explains chunks of instances, on as many processes as the trainer has.

    Every chunk's results go to a file of its own in `folder`, so that an interrupted detection
    goes on where it stopped.

    Args:
        scores: the black box, from a `Batch` to logits.
        instances: rows to explain.
        neighbours: how to draw rows around them.
        settings: of MADEX.
        folder: of the results.
        permutations: explanations of permuted scores for each instance.
        seed: of all that is random.
    """

    def __init__(
        self,
        scores: Callable[[Batch], Tensor],
        instances: Batch,
        neighbours: OnOff,
        settings: MadexConfig,
        folder: Path,
        permutations: int = 1,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.scores = scores
        self.instances = instances
        self.neighbours = neighbours
        self.settings = settings
        self.folder = folder
        self.permutations = permutations
        self.seed = seed

    def chunks(self) -> list[int]:
        """The first instance of every chunk."""
        return list(range(0, len(self.instances.label), CHUNK))

    def predict_step(self, first: Tensor) -> None:
        """Explains the chunk that begins at an instance, unless that has been done."""
        start = int(first)
        file = self.folder / f"{start:08d}.json"
        if file.exists():
            return
        indices = range(start, min(start + CHUNK, len(self.instances.label)))
        results = self.explain(indices)
        partial = file.with_suffix(f".{os.getpid()}")
        partial.write_text(json.dumps([asdict(result) for result in results]))
        partial.rename(file)

    def explain(self, indices: Sequence[int]) -> list[Result]:
        """The results of some instances."""
        xs, ys = [], []
        for i in indices:
            instance = Batch(*(part[i : i + 1].to(self.device) for part in self.instances[:3]))
            count = sum(self.settings.samples)
            x, rows = self.neighbours.draw(instance, count, generator(NEIGHBOURS, self.seed, i))
            xs.append(x)
            try:
                ys.append(score(self.scores, rows))
            except ZooError as error:
                raise ZooError(f"around instance {i}, {error}") from error
        found = self._explain(indices, xs, ys, 0)
        nulls = []
        for k in range(1, self.permutations + 1):
            shuffled = [
                permuted(x, y, generator(PERMUTATIONS, self.seed, i, k))
                for i, x, y in zip(indices, xs, ys, strict=True)
            ]
            nulls.append(self._explain(indices, xs, shuffled, k))
        return [
            Result(
                i, _features(found[j]), [_features(null[j]) for null in nulls], found[j].fidelity
            )
            for j, i in enumerate(indices)
        ]

    def _explain(
        self, indices: Sequence[int], xs: list[Tensor], ys: list[Tensor], turn: int
    ) -> list[Explanation]:
        x, y = torch.stack(xs).to(self.device), torch.stack(ys).to(self.device)
        generators = [generator(EXPLAINERS, self.seed, i, turn) for i in indices]
        return explain(x, y, torch.ones_like(x[:, 0]), self.settings, generators)


def _features(explanation: Explanation) -> list[tuple[int, ...]]:
    return [interaction.features for interaction in explanation.interactions]


def read_results(folder: Path) -> list[Result]:
    """All results of a detection."""
    rows = [row for file in sorted(folder.glob("*.json")) for row in json.loads(file.read_text())]
    return [
        Result(
            row["instance"],
            [tuple(features) for features in row["found"]],
            [[tuple(features) for features in null] for null in row["null"]],
            tuple(row["fidelity"]),
        )
        for row in rows
    ]


def summarise(
    results: Sequence[Result],
    names: Sequence[str],
    max_order: int | None = None,
    top: int | None = None,
) -> dict[str, Any]:
    """Counts and p-values of all interactions, most frequent first, as plain data.

    - `p_uniform`: of the largest count, if every instance drew its interactions uniformly from
      all of their order (the paper's null).
    - `p_permutation`: of Fisher's exact test that the interaction is detected more often in the
      scores than in permuted ones. `q_permutation` adjusts it by Benjamini & Hochberg (1995) over
      all possible interactions of all orders, so that at most 5 % of those with q < 0.05 are
      expected to be false. As there are many more of the larger orders, each order has half the
      weight of the one below it (Genovese, Roeder & Wasserman, Biometrika 2006).

    Args:
        results: of the instances.
        names: of the fields, in the order of the features.
        max_order: of the interactions that were looked for; None is any.
        top: only so many of the most frequent, none inside another (Algorithm 1, line 6).
    """
    features, n = len(names), len(results)
    counts = Counter(i for result in results for i in result.found)
    replicates = len(results[0].null)
    nulls = Counter(i for result in results for null in result.null for i in null)
    ranking = sorted(counts, key=lambda i: (-counts[i], len(i), i))
    p_uniform = uniform_p_values(results, features)
    p = {i: permutation_p_value(counts[i], n, nulls[i], n * replicates) for i in ranking}
    tests = {o: comb(features, o) / w for o, w in order_weights(max_order or features).items()}
    q = dict(zip(ranking, adjust([p[i] * tests[len(i)] for i in ranking]), strict=True))
    if top is not None:
        ranking = without_subsets(ranking, top)
    fidelity = np.mean([result.fidelity for result in results], 0)
    return {
        "fields": list(names),
        "instances": n,
        "permutations": replicates,
        "critical_count": critical_count(p_uniform),
        "fidelity": dict(zip(("network", "linear", "with_interactions"), fidelity, strict=True)),
        "interactions": [
            {
                "fields": [names[f] for f in i],
                "order": len(i),
                "count": counts[i],
                "null_count": nulls[i] / replicates if replicates else None,
                "p_uniform": p_uniform(counts[i]),
                "p_permutation": p[i],
                "q_permutation": q[i],
            }
            for i in ranking
        ],
    }


def order_weights(max_order: int) -> dict[int, float]:
    """Of each order from 2 on: half that of the order below, one in all."""
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
    """P(the largest count of any interaction >= c), as a function of c.

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
    while p_value(count) >= LEVEL:
        count += 1
    return count


def permutation_p_value(count: int, n: int, null_count: int, null_n: int) -> float:
    """P(at least `count` of n), given both counts, if both samples had the same rate.

    Without permutations it is 1: nothing is known.
    """
    if null_n == 0:
        return 1.0
    return float(hypergeom.sf(count - 1, n + null_n, count + null_count, n))


def adjust(p_values: Sequence[float]) -> list[float]:
    """Benjamini & Hochberg's adjusted p-values, of p-values times the number of tests.

    The tests that are not given have p = 1. With weights, each is divided by its own, where all
    weights sum to one.
    """
    p = np.asarray(p_values, float)
    order = np.argsort(p, kind="stable")
    scaled = p[order] / np.arange(1, len(p) + 1)
    adjusted = np.minimum(np.minimum.accumulate(scaled[::-1])[::-1], 1)
    out = np.empty_like(adjusted)
    out[order] = adjusted
    return out.tolist()


def check_instances(instances: int, rows: int, fields: int) -> None:
    """Refuses what cannot be detected."""
    if instances < 1:
        raise ZooError(f"instances must be at least 1, got {instances}")
    if instances > rows:
        raise ZooError(
            f"instances: {instances} rows are asked for, the validation split has {rows}"
        )
    if fields < 2:
        raise ZooError("an interaction needs two fields, these data have one")


def sample_rows(batches: Iterable[Batch], rows: int, count: int, seed: int) -> Batch:
    """Some of the rows of all batches, drawn without replacement, in their order."""
    chosen = np.sort(np.random.default_rng(seed).choice(rows, count, replace=False))
    parts, first = [], 0
    for batch in batches:
        last = first + len(batch.label)
        index = torch.from_numpy(chosen[(chosen >= first) & (chosen < last)] - first)
        index = index.to(batch.label.device)
        parts.append([part[index] for part in batch[:3]])
        first = last
    return Batch(*(torch.cat(part) for part in zip(*parts, strict=True)))
