"""Interaction detection where the truth is known: means and standard deviations over seeds.

    python benchmarks/detection.py nid --seeds 5
    python benchmarks/detection.py madex --trials 10 --instances 20
    python benchmarks/detection.py games --seeds 5

- nid: pairwise AUC of NID on the functions F1..F10 of Tsang et al. (ICLR 2018, Table 1): x ~
  U(-1, 1), 10,000 samples to train and 10,000 to validate; a pair is true if it lies inside a true
  interaction.
- madex: R-precision of MADEX on XGBoost, an MLP and an LSTM that have learned F1..F4 of Tsang et
  al. (ICLR 2020, Tables 9 and 10), beside the published figures. NID's neighbours stay in
  [-1, 1]^10, outside of which the black boxes have learned nothing; GradientNID's need not. The
  paper's figures are of `--sigmas 0.6 --region_points 0 --unbounded nid gradient_nid`.
- games: sums of unanimity games v(S) = sum_i c_i [T_i subset of S], c_i ~ U(-1, 1), whose terms
  are their interactions (Moebius transform): recall of the true terms among as many detected at
  most.
"""

import argparse
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import combinations

import numpy as np
import torch
from common import console, make_table, mean_and_deviation, print_machine
from rich.progress import track
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn

from zoo.glider.madex import Explanation, MadexConfig, explain
from zoo.glider.nid import nid_pairs
from zoo.glider.perturb import TruncatedNormal, bernoulli_masks, generator, score
from zoo.glider.surrogate import GRADIENT_NID, NID, SurrogateConfig
from zoo.glider.surrogate_training import Samples, fit, standardise

FEATURES = 10


def f1(x: Tensor) -> Tensor:
    """F1 of Tsang et al. 2018; the others follow."""
    x1, x2, x3, x4, x5, _, x7, x8, x9, x10 = x.unbind(1)
    out = math.pi ** (x1 * x2) * (2 * x3).sqrt() - x4.asin() + (x3 + x5).log()
    return out - x9 / x10 * (x7 / x8).sqrt() - x2 * x7


def f2(x: Tensor) -> Tensor:
    """F2."""
    x1, x2, x3, x4, x5, _, x7, x8, x9, x10 = x.unbind(1)
    out = math.pi ** (x1 * x2) * (2 * x3.abs()).sqrt() - (0.5 * x4).asin()
    out = out + ((x3 + x5).abs() + 1).log()
    return out + x9 / (1 + x10.abs()) * (x7.abs() / (1 + x8.abs())).sqrt() - x2 * x7


def f3(x: Tensor) -> Tensor:
    """F3."""
    x1, x2, x3, x4, x5, _, x7, x8, x9, x10 = x.unbind(1)
    out = (x1 - x2).abs().exp() + (x2 * x3).abs() - (x3**2) ** x4.abs()
    return out + (x4**2 + x5**2 + x7**2 + x8**2).log() + x9 + 1 / (1 + x10**2)


def f4(x: Tensor) -> Tensor:
    """F4."""
    return f3(x) + (x[:, 0] * x[:, 3]) ** 2


def f5(x: Tensor) -> Tensor:
    """F5."""
    x1, x2, x3, x4, x5, x6, x7, x8, x9, x10 = x.unbind(1)
    out = 1 / (1 + x1**2 + x2**2 + x3**2) + (x4 + x5).exp().sqrt()
    return out + (x6 + x7).abs() + x8 * x9 * x10


def f6(x: Tensor) -> Tensor:
    """F6."""
    x1, x2, x3, x4, x5, x6, _, x8, x9, x10 = x.unbind(1)
    out = ((x1 * x2).abs() + 1).exp() - ((x3 + x4).abs() + 1).exp()
    return out + (x5 + x6 - x8).cos() + (x8**2 + x9**2 + x10**2).sqrt()


def f7(x: Tensor) -> Tensor:
    """F7."""
    x1, x2, x3, x4, x5, x6, x7, x8, x9, _ = x.unbind(1)
    out = (x1.atan() + x2.atan()) ** 2 + (x3 * x4 + x6).clamp_min(0)
    out = out - 1 / (1 + (x4 * x5 * x6 * x7 * x8) ** 2)
    return out + (x7.abs() / (1 + x9.abs())) ** 5 + x.sum(1)


def f8(x: Tensor) -> Tensor:
    """F8."""
    x1, x2, x3, x4, x5, x6, x7, x8, x9, x10 = x.unbind(1)
    out = x1 * x2 + 2 ** (x3 + x5 + x6) + 2 ** (x3 + x4 + x5 + x7)
    return out + (x7 * (x8 + x9).sin()).sin() + (0.9 * x10).acos()


def f9(x: Tensor) -> Tensor:
    """F9."""
    x1, x2, x3, x4, x5, x6, x7, x8, x9, x10 = x.unbind(1)
    out = (x1 * x2 + x3 * x4).tanh() * x5.abs().sqrt() + (x5 + x6).exp()
    return out + ((x6 * x7 * x8) ** 2 + 1).log() + x9 * x10 + 1 / (1 + x10.abs())


def f10(x: Tensor) -> Tensor:
    """F10."""
    x1, x2, x3, x4, x5, _, x7, _, x9, _ = x.unbind(1)
    return (x1 + x2).sinh() + (x3 + x5 + x7).tanh().acos() + (x4 + x5).cos() + 1 / (x7 * x9).cos()


# Functions with their interactions, counted from 1 as in the paper
FUNCTIONS: list[tuple[Callable[[Tensor], Tensor], list[tuple[int, ...]]]] = [
    (f1, [(1, 2, 3), (3, 5), (7, 8, 9, 10), (2, 7)]),
    (f2, [(1, 2, 3), (3, 5), (7, 8, 9, 10), (2, 7)]),
    (f3, [(1, 2), (2, 3), (3, 4), (4, 5, 7, 8)]),
    (f4, [(1, 2), (2, 3), (3, 4), (4, 5, 7, 8), (1, 4)]),
    (f5, [(1, 2, 3), (4, 5), (6, 7), (8, 9, 10)]),
    (f6, [(1, 2), (3, 4), (5, 6, 8), (8, 9, 10)]),
    (f7, [(1, 2), (3, 4, 6), (4, 5, 6, 7, 8), (7, 9)]),
    (f8, [(1, 2), (3, 5, 6), (3, 4, 5, 7), (7, 8, 9)]),
    (f9, [(1, 2, 3, 4, 5), (5, 6), (6, 7, 8), (9, 10)]),
    (f10, [(1, 2), (3, 5, 7), (4, 5), (7, 9)]),
]
PAIRS = [*combinations(range(FEATURES), 2)]


def true_pairs(interactions: Sequence[tuple[int, ...]]) -> set[tuple[int, int]]:
    """All pairs inside the interactions, counted from 0."""
    return {(a - 1, b - 1) for interaction in interactions for a, b in combinations(interaction, 2)}


def draw(function: Callable[[Tensor], Tensor], count: int, random: torch.Generator) -> Tensor:
    """Samples of a function's domain."""
    x = torch.rand(count, FEATURES, generator=random)
    if function is not f1:
        return 2 * x - 1
    x[:, [3, 4, 7, 9]] = 0.6 + 0.4 * x[:, [3, 4, 7, 9]]
    return x


def run_nid(seeds: int) -> None:
    """B1, with networks of that paper's size."""
    config = SurrogateConfig((140, 100, 60, 20), l1=2e-4, learning_rate=1e-3, patience=10)
    table = make_table(f"pairwise AUC of NID, {seeds} seeds", "", "AUC")
    averages = np.zeros((len(FUNCTIONS), seeds))
    for i, (function, interactions) in enumerate(FUNCTIONS):
        random = generator(0, i)
        x = torch.stack([draw(function, 20_000, random) for _ in range(seeds)])
        y = torch.stack([function(part) for part in x])
        x = (x - x.mean(1, keepdim=True)) / x.std(1, keepdim=True)
        train, val = standardise(
            Samples(x[:, :10_000], y[:, :10_000]), Samples(x[:, 10_000:], y[:, 10_000:])
        )
        networks, _ = fit(train, val, config, [generator(i, seed) for seed in range(seeds)])
        truth = [pair in true_pairs(interactions) for pair in PAIRS]
        for seed, strengths in enumerate(nid_pairs(networks)):
            averages[i, seed] = roc_auc_score(truth, [float(strengths[pair]) for pair in PAIRS])
        table.add_row(f"F{i + 1}", mean_and_deviation(averages[i]))
    table.add_row("average", mean_and_deviation(averages.mean(0)))
    console.print(table)


# B2: functions of Tsang et al. 2020, their interaction, and Table 10

LOCAL: list[tuple[Callable[[Tensor], Tensor], tuple[int, ...]]] = [
    (lambda x: 10 * x[:, 0] * x[:, 1] + x[:, 2:].sum(1), (0, 1)),
    (lambda x: x[:, 0] * x[:, 1] + x[:, 2:].sum(1), (0, 1)),
    (lambda x: (x[:, 0] + x[:, 1]).abs().exp() + x[:, 2:].sum(1), (0, 1)),
    (lambda x: 10 * x[:, 0] * x[:, 1] * x[:, 2] + x[:, 3:].sum(1), (0, 1, 2)),
]
DETECTORS = ["nid", "gradient_nid"]
PUBLISHED = {
    ("XGBoost", "nid"): ("1 ± 0", "0.3 ± 0.4", "1 ± 0", "1 ± 0"),
    ("XGBoost", "gradient_nid"): ("0.96 ± 0.04", "0.6 ± 0.4", "1 ± 0", "-"),
    ("MLP", "nid"): ("1 ± 0", "1 ± 0", "1 ± 0", "1 ± 0"),
    ("MLP", "gradient_nid"): ("1 ± 0", "0.95 ± 0.04", "1 ± 0", "-"),
    ("LSTM", "nid"): ("1 ± 0", "0.99 ± 0.02", "1 ± 0", "1 ± 0"),
    ("LSTM", "gradient_nid"): ("1 ± 0", "0.95 ± 0.04", "1 ± 0", "-"),
}


def fit_xgboost(x: Tensor, y: Tensor, seed: int) -> Callable[[Tensor], np.ndarray]:
    """XGBoost of 1,000 trees, which it takes to learn F4; each on other rows so seeds differ."""
    from xgboost import XGBRegressor

    model = XGBRegressor(
        n_estimators=1000, learning_rate=0.05, max_depth=6, subsample=0.8, random_state=seed
    )
    model.fit(x.numpy(), y.numpy())
    return lambda rows: model.predict(rows.numpy())


class LSTM(nn.Module):
    """A long short-term memory network that reads one feature at a time."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(1, 64, batch_first=True)
        self.head = nn.Linear(64, 1)

    def forward(self, x: Tensor) -> Tensor:
        """[N, d] -> [N, 1]."""
        return self.head(self.lstm(x.unsqueeze(2))[0][:, -1])


def fit_network(x: Tensor, y: Tensor, seed: int, network: str) -> Callable[[Tensor], Tensor]:
    """An MLP of 64-64 or an LSTM, trained with Adam for 60 epochs."""
    torch.manual_seed(seed)
    model = LSTM()
    if network == "MLP":
        hidden = [nn.Linear(FEATURES, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU()]
        model = nn.Sequential(*hidden, nn.Linear(64, 1))
    epochs = 60
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
    scale = y.std()
    for _ in range(epochs):
        for rows in torch.randperm(len(x)).split(200):
            loss = (model(x[rows]).squeeze(1) - y[rows] / scale).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        schedule.step()
    model.eval()
    return lambda rows: model(rows).squeeze(1) * scale


BLACK_BOXES = {
    "XGBoost": fit_xgboost,
    "MLP": lambda x, y, seed: fit_network(x, y, seed, "MLP"),
    "LSTM": lambda x, y, seed: fit_network(x, y, seed, "LSTM"),
}


def hits(explanations: Sequence[Explanation], truth: tuple[int, ...]) -> float:
    """Mean R-precision, R is one: of the k found, or of the ranking where none was."""
    first = [(e.interactions or e.ranking)[0] for e in explanations]
    return float(np.mean([interaction.features == truth for interaction in first]))


def run_madex(
    black_boxes: Sequence[str],
    detectors: Sequence[str],
    trials: int,
    instances: int,
    sigmas: Sequence[float],
    unbounded: Sequence[str],
    config: MadexConfig,
) -> None:
    """B2: the k interactions of each instance without those inside others (Algorithm 1).

    NID's networks have a linear part, so that main effects need no hidden units. A pair of F4's
    three may come first and explain nothing by itself, hence a patience of two; a superset of the
    truth gains up to 0.003 by chance, and 0.013 where the black box has learned a bit of it.
    """
    surrogates = {"nid": replace(NID, linear=True), "gradient_nid": GRADIENT_NID}
    columns = [column for f in range(1, 5) for column in (f"F{f}", "published")]
    for name in black_boxes:
        table = make_table(f"R-precision, {trials} trials x {instances} instances", "", *columns)
        found: dict[tuple[str, float], list[list[float]]] = {
            (detector, sigma): [[] for _ in LOCAL] for sigma in sigmas for detector in detectors
        }
        for f, (function, truth) in enumerate(track(LOCAL, name, console=console)):
            for trial in range(trials):
                random = generator(f, trial)
                x = 2 * torch.rand(10_000, FEATURES, generator=random) - 1
                scores = BLACK_BOXES[name](x, function(x), trial)
                points = 2 * torch.rand(instances, FEATURES, generator=random) - 1
                for (detector, sigma), results in found.items():
                    if detector == "nid" or len(truth) == 2:
                        surrogate = surrogates[detector]
                        mine = replace(config, detector=detector, surrogate=surrogate)
                        limit = math.inf if detector in unbounded else 1.0
                        neighbours = TruncatedNormal(sigma, low=-limit, high=limit)
                        explanations = explain_many(scores, points, neighbours, mine, trial)
                        results[f].append(hits(explanations, truth))
        for (detector, sigma), results in found.items():
            cells = [mean_and_deviation(r) if r else "-" for r in results]
            pairs = zip(cells, PUBLISHED[name, detector], strict=True)
            table.add_row(
                f"{name}, {detector}, sigma {sigma}", *(c for pair in pairs for c in pair)
            )
        console.print(table)


def explain_many(
    scores: Callable[[Tensor], Tensor],
    points: Tensor,
    neighbours: TruncatedNormal,
    config: MadexConfig,
    seed: int,
) -> list[Explanation]:
    """MADEX at several points at once."""
    xs, ys = [], []
    for i, point in enumerate(points):
        x, rows = neighbours.draw(point, sum(config.samples), generator(seed, i))
        xs.append(x)
        ys.append(score(scores, rows))
    generators = [generator(seed, i, 1) for i in range(len(points))]
    centres = torch.zeros_like(points)
    return explain(torch.stack(xs), torch.stack(ys), centres, config, generators)


def run_games(seeds: int) -> None:
    """B4."""
    table = make_table(
        f"recall of unanimity games, {seeds} seeds", "features, games", "nid", "gradient_nid"
    )
    for features, games in ((10, 5), (20, 10), (39, 20)):
        recalls: dict[str, list[float]] = {"nid": [], "gradient_nid": []}
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
            for detector, truth in (("nid", terms), ("gradient_nid", pairs)):
                config = MadexConfig(detector, patience=5)
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
    parser.add_argument("benchmark", choices=["nid", "madex", "games"])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--black_boxes", nargs="+", choices=BLACK_BOXES, default=[*BLACK_BOXES])
    parser.add_argument("--detectors", nargs="+", choices=DETECTORS, default=DETECTORS)
    parser.add_argument("--trials", type=int, default=10)
    parser.add_argument("--instances", type=int, default=20)
    parser.add_argument("--sigmas", type=float, nargs="+", default=[2.0])
    parser.add_argument(
        "--unbounded",
        nargs="*",
        choices=DETECTORS,
        default=["gradient_nid"],
        help="detectors whose neighbours may lie outside of the data",
    )
    parser.add_argument("--region_points", type=int, default=100, help="of GradientNID")
    parser.add_argument("--min_gain", type=float, default=0.02, help="of madex's k-threshold")
    options = parser.parse_args()
    print_machine("torch")
    if options.benchmark == "nid":
        run_nid(options.seeds)
    elif options.benchmark == "madex":
        config = MadexConfig(
            min_gain=options.min_gain,
            patience=2,
            prune_subsets=True,
            region_points=options.region_points,
        )
        sizes = (options.trials, options.instances, options.sigmas, options.unbounded)
        run_madex(options.black_boxes, options.detectors, *sizes, config)
    else:
        run_games(options.seeds)


if __name__ == "__main__":
    main()
