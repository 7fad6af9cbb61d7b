"""What `detect` finds, against truth: inside trained models, with planted unions, without any.

    python benchmarks/detection_truth.py models --runs runs/flights/version_0
    python benchmarks/detection_truth.py unions
    python benchmarks/detection_truth.py nulls

models: demo models of 200,000 generated rows (a fresh seed), 24 validation rows of each. True is an
interaction whose coefficient takes 0.1 % of the variance around the row (`black_boxes.py` says how
that is found: by contexts, in which no regression has a part); within a fifth of that line a pair
counts as either. P and R are precision and recall of the pairs of a row, top-1 how often the
strongest one is the truly strongest; `false larger` the share of reported larger sets whose own
coefficient takes less than 0.05 %; `planted` in how many of the rows where they are above the line
the planted ones are found. R^2 on fresh masks is that of main effects, of these with the reported
interactions, and of all coefficients. `nid` is the other explainer, surrogate networks. Of other
runs (`--runs`) R^2 alone.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import black_boxes
import numpy as np
import torch
from black_boxes import LINE, Explained, Screen, Truth
from common import console, make_table, print_machine
from rich.progress import track
from rich.table import Table

from datamodules.synthetic.clicks import CROSSES
from zoo.glider.madex import MadexConfig
from zoo.glider.madex_detector import MadexDetector
from zoo.glider.walsh import SharedMasks
from zoo.glider.walsh_fit import Set
from zoo.glider.walsh_search import WalshConfig

PURE = 5e-4  # share of a larger set that is no union of smaller ones


@dataclass
class Tally:
    """What a detector found in the rows of a model."""

    right: int = 0
    found: int = 0
    caught: int = 0
    true: int = 0
    top: list[bool] = field(default_factory=list)
    larger: int = 0
    unions: int = 0
    planted: int = 0
    planted_found: int = 0
    r2: list[tuple[float, float, float]] = field(default_factory=list)
    seconds: float = 0.0
    calls: int = 0

    def add(self, found: list[Set], truth: Truth, planted: set[Set]) -> None:
        """One more row, whose interactions are given strongest first."""
        pairs = [s for s in found if len(s) == 2]
        true, either = truth.above(2), truth.either(2)
        self.found += len(set(pairs) - either)
        self.right += len(set(pairs) & true - either)
        self.true += len(true - either)
        self.caught += len((true - either) & set(pairs))
        strongest = max(true, key=truth.share, default=None)
        if strongest:
            self.top.append(bool(pairs) and pairs[0] == strongest)
        larger = [s for s in found if len(s) > 2]
        self.larger += len(larger)
        self.unions += sum(truth.share(s) < PURE for s in larger)
        there = {s for s in planted if truth.share(s) >= LINE}
        self.planted += len(there)
        self.planted_found += len(there & set(found))

    def cells(self) -> list[str]:
        """Its row of the table."""
        mains, joined, every = np.mean([(m, j, a) for a, m, j in self.r2], 0)
        return [
            f"{self.right / max(self.found, 1):.3f}",
            f"{self.caught / max(self.true, 1):.3f}",
            f"{np.mean(self.top):.2f}",
            f"{self.unions} of {self.larger}",
            f"{self.planted_found} of {self.planted}",
            f"{mains:.3f}",
            f"{joined:.3f}",
            f"{every:.3f}",
            f"{self.calls:,}",
            f"{self.seconds / len(self.r2):.3f}",
        ]


COLUMNS = ("P", "R", "top-1", "false larger", "planted", "R^2 mains", "with", "all", "calls", "s")


def by_walsh(explained: Explained, seed: int) -> tuple[list[list[Set]], Tally]:
    """The interactions of each row by Walsh regression."""
    config, tally, found = WalshConfig(), Tally(calls=0), []
    shared = SharedMasks(len(explained.names), config, seed)
    tally.calls = len(shared.masks)
    for i in range(len(explained.rows.label)):
        instance = explained.instance(i)
        start = time.perf_counter()
        with torch.inference_mode():
            y = shared.scores(instance.model, instance.row, instance.neighbours)
            explanation = shared.explain(y)
        tally.seconds += time.perf_counter() - start
        found.append([c.features for c in explanation.interactions])
        tally.r2.append(explanation.r2)
    return found, tally


def by_nid(explained: Explained, seed: int) -> tuple[list[list[Set]], Tally]:
    """The same by the explainer of before."""
    config = MadexConfig()
    rows = explained.rows
    detector = MadexDetector(
        explained.model, rows, explained.neighbours, config, Path(), permutations=0, seed=seed
    )
    start = time.perf_counter()
    with torch.inference_mode():
        score_all = detector.explain(range(len(rows.label)))
    seconds = time.perf_counter() - start
    tally = Tally(seconds=seconds, calls=sum(config.samples))
    tally.r2 = [result.fidelity for result in score_all]
    return [result.found for result in score_all], tally


DETECTORS: dict[str, Callable[[Explained, int], tuple[list[list[Set]], Tally]]] = {
    "walsh": by_walsh,
    "nid": by_nid,
}


def run_models(
    models: list[str], detectors: list[str], count: int, rows: int, seed: int, folder: Path
) -> Table:
    """The table of trained models."""
    table = make_table(f"{count} rows of each model, {rows:,} training rows", "", *COLUMNS)
    for model in models:
        explained = Explained.of(black_boxes.demo_run(model, rows, seed, folder), count, seed)
        results = {name: DETECTORS[name](explained, seed) for name in detectors}
        screen = Screen(len(explained.names), seed)
        planted = {tuple(sorted(map(explained.names.index, cross))) for cross in CROSSES}
        for i in track(range(count), model, console=console):
            sets = {s for found, _ in results.values() for s in found[i]} | planted
            true = black_boxes.truth(explained.instance(i), screen, sets, seed + i, PURE)
            for found, tally in results.values():
                tally.add(found[i], true, planted)
        for name, (_, tally) in results.items():
            table.add_row(f"{model}, {name}", *tally.cells())
    return table


def run_fidelity(runs: list[Path], count: int, seed: int) -> Table:
    """R^2 of the explanations of rows of any run."""
    table = make_table(f"{count} rows of each run", "", "interactions", *COLUMNS[5:8])
    for run in runs:
        found, tally = by_walsh(Explained.of(run, count, seed), seed)
        mean = np.mean([len(sets) for sets in found])
        table.add_row(str(run), f"{mean:.1f}", *tally.cells()[5:8])
    return table


def main() -> None:
    """Runs one of the benchmarks."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("benchmark", choices=["models"])
    parser.add_argument("--models", nargs="*", choices=black_boxes.DEMO_MODELS)
    parser.add_argument("--detectors", nargs="+", choices=DETECTORS, default=[*DETECTORS])
    parser.add_argument("--instances", type=int, default=24, help="rows of each model")
    parser.add_argument("--rows", type=int, default=200_000, help="generated rows")
    parser.add_argument("--seed", type=int, default=31, help="of truth, rows, weights and masks")
    parser.add_argument("--runs", nargs="*", type=Path, default=[], help="other runs")
    parser.add_argument("--folder", type=Path, help="of data and runs, kept; without it, a new one")
    options = parser.parse_args()
    print_machine("torch", "pytorch-lightning")
    models = black_boxes.DEMO_MODELS if options.models is None else options.models
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        count, seed = options.instances, options.seed
        console.print(run_models([*models], options.detectors, count, options.rows, seed, folder))
    if options.runs:
        console.print(run_fidelity(options.runs, count, seed))


if __name__ == "__main__":
    main()
