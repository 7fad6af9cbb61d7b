"""Interaction detection where the truth is known: means and standard deviations over seeds.

    python benchmarks/detection.py nid --seeds 5
    python benchmarks/detection.py archipelago --seeds 5
    python benchmarks/detection.py products --seeds 5
    python benchmarks/detection.py madex --trials 10 --instances 20
    python benchmarks/detection.py games --seeds 5

- nid: pairwise AUC on the functions F1..F10 of Tsang et al. (ICLR 2018, Table 1), of NID: x ~
  U(-1, 1), 10,000 samples to train and 10,000 to validate; and of mixed differences between two
  samples. A pair is true if it lies inside a true interaction.
- archipelago: the same on the four functions of Tsang et al. (NeurIPS 2020), of 40 features that
  are 1 or -1: of NID, of Walsh regression on random masks, and of mixed differences with all
  other features on, off, and both. The instance is drawn; the other end of each switch is -1 times
  it.
- products: the same on x1^2 x2 x3^2 x4 + x5^2 x6 x7^2 x8, x ~ U(-1, 1).
- madex: R-precision of MADEX on XGBoost, an MLP and an LSTM that have learned F1..F4 of Tsang et
  al. (ICLR 2020, Tables 9 and 10), beside the published figures. NID's neighbours stay in
  [-1, 1]^10, outside of which the black boxes have learned nothing; GradientNID's need not. The
  paper's figures are of `--sigmas 0.6 --region_points 0 --unbounded nid gradient_nid --pure
  false`. `walsh`: Walsh regression between the instance and 30 rows of the data; `CPU seconds`
  are those of an instance, scores of the black box included.
- games: sums of unanimity games v(S) = sum_i c_i [T_i subset of S], c_i ~ U(-1, 1), whose terms
  are their interactions (Moebius transform): recall of the true terms among as many detected at
  most.
"""

import argparse
from collections.abc import Sequence
from itertools import combinations

import numpy as np
import torch
from common import console, make_table, mean_and_deviation, print_machine
from detection_madex import BLACK_BOXES, DETECTORS, NEURAL, Settings, run_madex
from detection_pairs import run_archipelago, run_nid, run_products

from zoo.glider.perturb import bernoulli_masks, generator
from zoo.glider.surrogates.madex import MadexConfig, explain


def run_games(seeds: int, detectors: Sequence[str], pure: bool) -> None:
    """B4."""
    title = f"recall of unanimity games, {seeds} seeds"
    table = make_table(title, "features, games", *detectors)
    for features, games in ((10, 5), (20, 10), (39, 20)):
        recalls: dict[str, list[float]] = {detector: [] for detector in detectors}
        for seed in range(seeds):
            random = np.random.default_rng((features, seed))
            terms = {
                tuple(
                    sorted(random.choice(features, random.integers(2, 4), replace=False).tolist())
                )
                for _ in range(games)
            }
            pairs = {t for t in terms if len(t) == 2} | {
                pair for t in terms for pair in combinations(t, 2)
            }
            weights = dict(zip(sorted(terms), random.uniform(-1, 1, len(terms)), strict=True))
            x = bernoulli_masks(6000, features, generator(seed))
            y = sum(c * x[:, list(term)].prod(1) for term, c in weights.items())
            for detector in detectors:
                truth = terms if detector == "nid" else pairs
                config = MadexConfig(detector, patience=5, pure=pure)
                (found,) = explain(
                    x[None], y[None], torch.ones(1, features), config, [generator(seed, 1)]
                )
                detected = {i.features for i in found.interactions[: len(truth)]}
                recalls[detector].append(len(detected & truth) / len(truth))
        table.add_row(f"{features}, {games}", *(mean_and_deviation(r) for r in recalls.values()))
    console.print(table)


def main() -> None:
    """Runs one of the benchmarks."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("benchmark", choices=["nid", "archipelago", "products", "madex", "games"])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--black_boxes", nargs="+", choices=BLACK_BOXES, default=[*BLACK_BOXES])
    parser.add_argument("--detectors", nargs="+", choices=DETECTORS, default=DETECTORS)
    parser.add_argument("--trials", type=int, default=10)
    parser.add_argument("--first", type=int, default=0, help="number of the first trial")
    parser.add_argument("--instances", type=int, default=20)
    parser.add_argument("--sigmas", type=float, nargs="+", default=[2.0])
    parser.add_argument(
        "--unbounded",
        nargs="*",
        choices=NEURAL,
        default=["gradient_nid"],
        help="detectors whose neighbours may lie outside of the data",
    )
    parser.add_argument("--region_points", type=int, default=100, help="of GradientNID")
    parser.add_argument("--min_gain", type=float, default=0.02, help="of madex's k-threshold")
    parser.add_argument("--patience", type=int, default=2, help="of madex's k-threshold")
    parser.add_argument("--pure", choices=["true", "false"], default="true")
    options = parser.parse_args()
    print_machine("torch")
    pairs = {"nid": run_nid, "archipelago": run_archipelago, "products": run_products}
    if options.benchmark == "madex":
        config = MadexConfig(
            min_gain=options.min_gain,
            patience=options.patience,
            pure=options.pure == "true",
            prune_subsets=True,
            region_points=options.region_points,
        )
        sizes = (
            options.first,
            options.trials,
            options.instances,
            options.sigmas,
            options.unbounded,
        )
        run_madex(Settings(options.black_boxes, options.detectors, *sizes, config))
    elif options.benchmark == "games":
        neural = [detector for detector in options.detectors if detector in NEURAL]
        run_games(options.seeds, neural, options.pure == "true")
    else:
        pairs[options.benchmark](options.seeds)


if __name__ == "__main__":
    main()
