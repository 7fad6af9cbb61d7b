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
runs (`--runs`) R^2 alone, also with the interactions that `explain` shows, those of 0.02 %.

unions: C1 x C2 and C2 x C3 are planted, the second with a share of the strength of the first, in a
black box of 39 fields whose effects and signs depend on the ids; 40 rows, five seeds. In how many
seeds each is significant (q < 0.05); the union C1 x C2 x C3 never should be.

nulls: 100 runs of 40 rows in which nothing interacts: additive with noise (30), with noise of
heavy tails (30), with fields that are copies of others, or nearly so (30), and a DeepFM trained on
clicks without interactions (10). In how many something false is significant: in the DeepFM, what
has a true mean share below 0.1 % in the model (by contexts); `not in the data` has been invented by
the model.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import black_boxes
import numpy as np
import planted_boxes
import torch
from black_boxes import LINE, Explained, Screen, Truth
from common import console, make_table, print_machine
from rich.progress import track
from rich.table import Table

from datamodules.synthetic.clicks import CROSSES
from zoo.glider.surrogates.detector import MadexDetector
from zoo.glider.surrogates.madex import MadexConfig
from zoo.glider.walsh import SharedMasks
from zoo.glider.walsh.fit import Set
from zoo.glider.walsh.search import WalshConfig

EXPLAIN = 2e-4  # share of the variance of what `explain` shows
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
        every, mains, joined = np.mean(self.r2, 0)
        return [
            f"{self.right / max(self.found, 1):.3f}",
            f"{self.caught / max(self.true, 1):.3f}",
            f"{np.mean(self.top or [0]):.2f}",
            f"{self.unions} of {self.larger}",
            f"{self.planted_found} of {self.planted}",
            f"{mains:.3f}",
            f"{joined:.3f}",
            f"{every:.3f}",
            f"{self.calls:,}",
            f"{self.seconds / len(self.r2):.3f}",
        ]


COLUMNS = ("P", "R", "top-1", "false larger", "planted", "R^2 mains", "with", "all", "calls", "s")


def by_walsh(
    explained: Explained, seed: int, config: WalshConfig | None = None
) -> tuple[list[list[Set]], Tally]:
    """The interactions of each row by Walsh regression."""
    tally, found = Tally(), []
    shared = SharedMasks(len(explained.names), config or WalshConfig(), seed)
    tally.calls = len(shared.masks)
    for i in range(len(explained.rows.label)):
        instance = explained.instance(i)
        start = time.process_time()
        with torch.inference_mode():
            y = shared.scores(instance.model, instance.row, instance.neighbours)
            explanation = shared.explain(y)
        tally.seconds += time.process_time() - start
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
    start = time.process_time()
    with torch.inference_mode():
        score_all = detector.explain(range(len(rows.label)))
    seconds = time.process_time() - start
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
            true = black_boxes.truth(explained.instance(i), screen, sets, seed + i)
            for found, tally in results.values():
                tally.add(found[i], true, planted)
        for name, (_, tally) in results.items():
            table.add_row(f"{model}, {name}", *tally.cells())
    return table


def run_fidelity(runs: list[Path], count: int, seed: int) -> Table:
    """R^2 of the explanations of rows of any run."""
    columns = ("R^2 mains", "interactions", "with", "of explain", "with", "all")
    table = make_table(f"{count} rows of each run", "", *columns)
    for run in runs:
        explained = Explained.of(run, count, seed)
        found, tally = by_walsh(explained, seed)
        shown, more = by_walsh(explained, seed, WalshConfig(min_gain=EXPLAIN))
        counts = [f"{np.mean([len(sets) for sets in each]):.1f}" for each in (found, shown)]
        mains, joined, every = tally.cells()[5:8]
        table.add_row(str(run), mains, counts[0], joined, counts[1], more.cells()[6], every)
    return table


def run_unions(seeds: int) -> Table:
    """The table of planted unions."""
    columns = ("noise", "C1 x C2", "C2 x C3", "union", "other", "rows with C2 x C3")
    table = make_table(f"significant in how many of {seeds} seeds", "ratio", *columns)
    for ratio in (1.0, 0.5, 0.25):
        for noise in (False, True):
            found = [planted_boxes.union_case(ratio, noise, seed) for seed in range(seeds)]
            sets = [set(planted_boxes.significant(each)) for each in found]
            wanted = [(0, 1), (1, 2), (0, 1, 2)]
            counts = [str(sum(s in each for each in sets)) for s in wanted]
            others = sum(len(each - {*wanted}) for each in sets)
            rows = np.mean([each[1, 2]["count"] if (1, 2) in each else 0 for each in found])
            of_rows = f"{rows:.1f} of {planted_boxes.ROWS}"
            table.add_row(f"{ratio:g}", "yes" if noise else "no", *counts, str(others), of_rows)
    return table


def run_nulls(runs: int, trained: int, rows: int, folder: Path) -> Table:
    """The table of what is found where there is nothing."""
    columns = ("runs", "with false discoveries", "false", "not in the data", "gap to the ceiling")
    table = make_table("nothing interacts", "", *columns)
    for name in planted_boxes.NULLS:
        seeds = track(range(runs), name, console=console)
        false = [len(planted_boxes.null_case(name, seed)) for seed in seeds]
        table.add_row(name, str(runs), str(np.count_nonzero(false)), str(sum(false)), "", "")
    false, invented, gaps = [], [], []
    for seed in track(range(trained), "DeepFM", console=console):
        explained, metrics = planted_boxes.additive_model(rows, seed, folder)
        gaps.append(metrics["test/logloss"] - metrics["ceiling/logloss"])
        of = (explained.model, explained.rows, explained.neighbours)
        sets = planted_boxes.significant(planted_boxes.detected(*of, seed))
        shares = planted_boxes.mean_shares(explained, sets, seed)
        false.append(sum(share < LINE for share in shares.values()))
        invented.append(len(sets))
    name, gap = "DeepFM of additive clicks", f"{np.mean(gaps or [0]):.4f}"
    cells = (str(trained), str(np.count_nonzero(false)), str(sum(false)), str(sum(invented)), gap)
    table.add_row(name, *cells)
    return table


def main() -> None:
    """Runs one of the benchmarks."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("benchmark", choices=["models", "unions", "nulls"])
    parser.add_argument("--models", nargs="*", choices=black_boxes.DEMO_MODELS)
    parser.add_argument("--detectors", nargs="+", choices=DETECTORS, default=[*DETECTORS])
    parser.add_argument("--instances", type=int, default=24, help="rows of each model")
    parser.add_argument("--rows", type=int, default=200_000, help="generated rows")
    parser.add_argument("--seed", type=int, default=31, help="of truth, rows, weights and masks")
    parser.add_argument("--seeds", type=int, default=5, help="of unions")
    parser.add_argument("--null_runs", type=int, default=30, help="of each null by formula")
    parser.add_argument("--trained", type=int, default=10, help="DeepFMs of additive clicks")
    parser.add_argument("--runs", nargs="*", type=Path, default=[], help="other runs")
    parser.add_argument("--folder", type=Path, help="of data and runs, kept; without it, a new one")
    options = parser.parse_args()
    print_machine("torch", "pytorch-lightning")
    models = black_boxes.DEMO_MODELS if options.models is None else options.models
    count, rows, seed = options.instances, options.rows, options.seed
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        if options.benchmark == "unions":
            console.print(run_unions(options.seeds))
        elif options.benchmark == "nulls":
            console.print(run_nulls(options.null_runs, options.trained, rows, folder))
        elif models:
            console.print(run_models([*models], options.detectors, count, rows, seed, folder))
    if options.runs:
        console.print(run_fidelity(options.runs, count, seed))


if __name__ == "__main__":
    main()
