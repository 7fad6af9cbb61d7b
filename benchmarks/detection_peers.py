"""Walsh regression against shapiq at equal numbers of calls of the black box, on the same rows.

    pip install -c constraints.txt -e ".[bench]"
    python benchmarks/detection_peers.py

Rows of trained demo models (200,000 generated rows, a fresh seed). Truth is that of
`black_boxes.py`: coefficients of 0.1 % of the variance around the row, by contexts; within a fifth
of that line a set counts as either. F1 of the pairs and of the triples of all rows together; R^2 on
1,500 fresh masks of all that was estimated (the intercept free), and of main effects with what is
reported; seconds of the processor a row, black box included.

Peers estimate a polynomial of on/off features, or Banzhaf indices, which are Walsh coefficients
but for a power of two; what they report are coefficients of at least 0.1 % of the variance. Their
masks are drawn as they would for the Banzhaf index, with probability 1/2. KernelSHAP-IQ estimates
Shapley interactions, which weigh masks differently: it is there since it is recommended for pairs.
ProxySHAP needs shapiq 1.8, which needs Python 3.12.
"""

import argparse
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from math import comb
from pathlib import Path
from typing import Any

import black_boxes
import numpy as np
import shapiq
from black_boxes import LINE, Explained, Instance, Screen, Truth, subsets
from common import console, make_table, print_machine
from rich.progress import track

from zoo.glider.walsh import SharedMasks
from zoo.glider.walsh.fit import Set, products
from zoo.glider.walsh.search import WalshConfig

BUDGETS = (500, 1000, 1500, 2000, 3000, 5000)
FRESH = 1500
ORDER = 3  # of the peers that give triples


@dataclass(frozen=True)
class Estimate:
    """What a method says of a row.

    Attributes:
        coefficients: Walsh coefficients.
        reported: Interactions that it reports; None of those of 0.1 % of the variance.
        others: [FRESH] what else it predicts of the fresh masks.
    """

    coefficients: dict[Set, float]
    reported: set[Set] | None = None
    others: np.ndarray | float = 0.0


Method = Callable[[Instance, np.ndarray], Estimate]


class Walsh:
    """Ours, one mask of eight held out.

    Args:
        fields: Number of switches.
        budget: Number of calls for each row.
        seed: Seed of the masks.
    """

    def __init__(self, fields: int, budget: int, seed: int) -> None:
        held_out = budget // 8
        config = WalshConfig(masks=budget - held_out - 1, held_out=held_out)
        self.shared = SharedMasks(fields, config, seed)

    def __call__(self, instance: Instance, fresh: np.ndarray) -> Estimate:
        """The estimate of a row."""
        (found,) = self.shared.fits(instance(2 * self.shared.masks.numpy() - 1)[None])
        fit, design = found.fit, self.shared.design
        # pairs that are not fitted, together
        joint = (np.square(fresh @ design.z.T) - fresh.shape[1]) / 2
        others = design.random * joint @ fit.residual
        values = dict(zip(fit.sets, fit.values.tolist(), strict=True))
        return Estimate(values, set(found.kept), others)


def by_shapiq(
    make: Callable[[], Any], budget: int, banzhaf: bool, instance: Instance, fresh: np.ndarray
) -> Estimate:
    """The estimate of a peer.

    Args:
        make: Its constructor.
        budget: Number of calls.
        banzhaf: Whether it gives Banzhaf indices, and not a polynomial.
        instance: The row.
        fresh: Not looked at.
    """
    del fresh
    called = 0

    def game(masks: np.ndarray) -> np.ndarray:
        nonlocal called
        called += len(masks)
        return instance(2.0 * masks - 1)

    found = make().approximate(budget, game)
    assert called <= budget + 2  # the empty set and the full one may come on top
    values = {tuple(sorted(s)): float(found[s]) for s in found.interaction_lookup}
    if banzhaf:
        return Estimate({s: value / 2 ** len(s) for s, value in values.items() if s})
    walsh: dict[Set, float] = {}
    for s, value in values.items():
        for part in subsets(s):
            walsh[part] = walsh.get(part, 0.0) + value / 2 ** len(s)
    return Estimate(walsh)


def methods(fields: int, budget: int, seed: int) -> dict[str, Method]:
    """All methods, with so many calls for each row."""
    of = {"n": fields, "random_state": seed}
    half = {"sampling_weights": np.array([comb(fields, k) for k in range(fields + 1)], float)}
    proxies = {"ProxySPEX": {}, "ProxySHAP": half}  # ProxySPEX takes these masks by itself
    makers = {
        name: partial(
            getattr(shapiq.approximator, name), index="FBII", max_order=ORDER, **of, **own
        )
        for name, own in proxies.items()
        if hasattr(shapiq.approximator, name)
    }
    pairs = {"max_order": 2, **of}
    makers["RegressionFBII"] = partial(shapiq.approximator.RegressionFBII, **pairs, **half)
    makers["SVARMIQ"] = partial(shapiq.approximator.SVARMIQ, index="BII", **pairs, **half)
    makers["KernelSHAPIQ"] = partial(shapiq.approximator.KernelSHAPIQ, index="k-SII", **pairs)
    peers: dict[str, Method] = {
        name: partial(by_shapiq, make, budget, name == "SVARMIQ") for name, make in makers.items()
    }
    return {"walsh": Walsh(fields, budget, seed), **peers}


@dataclass
class Score:
    """How well a method does on all rows."""

    hits: list[list[int]] = field(default_factory=lambda: [[0, 0, 0], [0, 0, 0]])
    r2: list[tuple[float, float]] = field(default_factory=list)
    seconds: float = 0.0

    def add(self, found: Estimate, truth: Truth, fresh: np.ndarray, y: np.ndarray) -> None:
        """One more row, whose fresh masks have the scores y."""
        reported = found.reported
        if reported is None:
            least = LINE * truth.variance
            reported = {s for s, c in found.coefficients.items() if len(s) > 1 and c**2 >= least}
        for order, hits in enumerate(self.hits, 2):
            either = truth.either(order)
            mine = {s for s in reported if len(s) == order} - either
            true = truth.above(order) - either
            for i, more in enumerate((mine & true, mine, true)):
                hits[i] += len(more)
        shown = {s: c for s, c in found.coefficients.items() if len(s) < 2 or s in reported}
        rests = y - found.others, y
        parts = found.coefficients, shown
        self.r2.append(
            tuple(
                1 - float((rest - products(fresh, [*part]) @ [*part.values()]).var() / y.var())
                for rest, part in zip(rests, parts, strict=True)
            )
        )

    def cells(self) -> list[str]:
        """Its row of the table."""
        of_pairs, of_triples = (
            f"{2 * hits / max(found + true, 1):.3f}" for hits, found, true in self.hits
        )
        every, shown = np.mean(self.r2, 0)
        seconds = f"{self.seconds / len(self.r2):.2f}"
        return [of_pairs, of_triples, f"{every:.4f}", f"{shown:.4f}", seconds]


def run_model(
    explained: Explained, budgets: list[int], wanted: list[str] | None, seed: int
) -> dict[tuple[int, str], Score]:
    """The scores of all methods, by budget and name."""
    fields, count = len(explained.names), len(explained.rows.label)
    screen = Screen(fields, seed)
    instances = [explained.instance(i) for i in range(count)]
    truths = [
        black_boxes.truth(instance, screen, [], seed + i) for i, instance in enumerate(instances)
    ]
    fresh = np.random.default_rng((seed, 3)).choice([-1.0, 1.0], (FRESH, fields))
    scores: dict[tuple[int, str], Score] = {}
    for budget in track(budgets, "budgets", console=console):
        for name, method in methods(fields, budget, seed).items():
            if wanted and name not in wanted:
                continue
            score = scores[budget, name] = Score()
            for instance, truth in zip(instances, truths, strict=True):
                start = time.process_time()
                found = method(instance, fresh)
                score.seconds += time.process_time() - start
                score.add(found, truth, fresh, instance(fresh))
            console.print(budget, name, *score.cells(), highlight=False, soft_wrap=True)
    return scores


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    models = black_boxes.DEMO_MODELS
    parser.add_argument("--models", nargs="+", choices=models, default=["deepfm", "autoint"])
    parser.add_argument("--instances", type=int, default=6, help="rows of each model")
    parser.add_argument("--budgets", nargs="+", type=int, default=[*BUDGETS])
    parser.add_argument("--methods", nargs="+", help="names of some methods; without it, all")
    parser.add_argument("--rows", type=int, default=200_000, help="generated rows")
    parser.add_argument("--seed", type=int, default=31, help="of truth, rows, weights and masks")
    parser.add_argument("--folder", type=Path, help="of data and runs, kept; without it, a new one")
    options = parser.parse_args()
    print_machine("torch", "shapiq", "lightgbm")
    warnings.filterwarnings("ignore")
    columns = ("calls", "F1 pairs", "F1 triples", "R^2", "reported", "s")
    with tempfile.TemporaryDirectory() as temporary:
        for model in options.models:
            folder = options.folder or Path(temporary)
            run = black_boxes.demo_run(model, options.rows, options.seed, folder)
            explained = Explained.of(run, options.instances, options.seed)
            scores = run_model(explained, options.budgets, options.methods, options.seed)
            table = make_table(f"{model}, {options.instances} rows", "", *columns)
            for (budget, name), score in scores.items():
                table.add_row(name, f"{budget:,}", *score.cells())
            console.print(table)


if __name__ == "__main__":
    main()
