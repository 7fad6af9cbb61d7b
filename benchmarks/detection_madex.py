"""Table 10 of Tsang et al. (ICLR 2020): one interaction in what black boxes have learned."""

import math
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from common import console, make_table, mean_and_deviation
from detection_functions import FEATURES, LOCAL
from rich.progress import track
from torch import Tensor, nn

from zoo.glider.between import Between
from zoo.glider.perturb import TruncatedNormal, generator
from zoo.glider.scoring import score
from zoo.glider.surrogates.madex import Explanation, MadexConfig, explain
from zoo.glider.surrogates.networks import GRADIENT_NID, NID
from zoo.glider.walsh import SharedMasks
from zoo.glider.walsh.search import WalshConfig

Scores = Callable[[Tensor], Tensor | np.ndarray]
NEURAL = ["nid", "gradient_nid"]
DETECTORS = [*NEURAL, "walsh"]
# Walsh regression between a point and each of these many others, and what a set of more features
# must have of the largest mean share
OTHERS, MASKS, PART = 30, WalshConfig(masks=150, held_out=50), 0.1
PUBLISHED = {
    ("XGBoost", "nid"): ("1 ± 0", "0.3 ± 0.4", "1 ± 0", "1 ± 0"),
    ("XGBoost", "gradient_nid"): ("0.96 ± 0.04", "0.6 ± 0.4", "1 ± 0", "-"),
    ("MLP", "nid"): ("1 ± 0", "1 ± 0", "1 ± 0", "1 ± 0"),
    ("MLP", "gradient_nid"): ("1 ± 0", "0.95 ± 0.04", "1 ± 0", "-"),
    ("LSTM", "nid"): ("1 ± 0", "0.99 ± 0.02", "1 ± 0", "1 ± 0"),
    ("LSTM", "gradient_nid"): ("1 ± 0", "0.95 ± 0.04", "1 ± 0", "-"),
}


def fit_xgboost(x: Tensor, y: Tensor, seed: int) -> Scores:
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


def fit_network(x: Tensor, y: Tensor, seed: int, network: str) -> Scores:
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


@dataclass(frozen=True)
class Settings:
    """What the rows of the table are of.

    Attributes:
        black_boxes: Names of what has learned the functions.
        detectors: Names of the detectors.
        first: Number of the first fit of each black box.
        trials: Number of fits of each black box.
        instances: Number of points of a trial.
        sigmas: Widths of the region of `nid` and `gradient_nid`.
        unbounded: Detectors whose neighbours may lie outside of the data.
        config: How MADEX detects and stops.
    """

    black_boxes: Sequence[str]
    detectors: Sequence[str]
    first: int
    trials: int
    instances: int
    sigmas: Sequence[float]
    unbounded: Sequence[str]
    config: MadexConfig

    def rows(self) -> dict[str, tuple[str, float]]:
        """Name, detector and sigma of each row of a table."""
        found = {
            f"{detector}, sigma {sigma}": (detector, sigma)
            for sigma in self.sigmas
            for detector in self.detectors
            if detector in NEURAL
        }
        return found | ({"walsh": ("walsh", 0.0)} if "walsh" in self.detectors else {})


def run_madex(settings: Settings) -> None:
    """B2: the first interaction of each instance, of those inside no other (Algorithm 1)."""
    columns = [column for f in range(1, 5) for column in (f"F{f}", "published")]
    title = f"R-precision, {settings.trials} trials x {settings.instances} instances"
    for name in settings.black_boxes:
        table = make_table(title, name, *columns, "calls", "CPU seconds")
        rows = settings.rows()
        found = {row: [list[float]() for _ in LOCAL] for row in rows}
        calls, seconds = dict.fromkeys(rows, 0), {row: list[float]() for row in rows}
        for f, (function, truth) in enumerate(track(LOCAL, name, console=console)):
            for trial in range(settings.first, settings.first + settings.trials):
                random = generator(f, trial)
                x = 2 * torch.rand(10_000, FEATURES, generator=random) - 1
                scores = BLACK_BOXES[name](x, function(x), trial)
                points = 2 * torch.rand(settings.instances, FEATURES, generator=random) - 1
                for row, (detector, sigma) in rows.items():
                    if detector == "gradient_nid" and len(truth) > 2:
                        continue
                    start = time.process_time()
                    if detector == "walsh":
                        sets, calls[row] = between(scores, points, x, trial)
                    else:
                        sets = neural(scores, points, detector, sigma, trial, settings)
                        calls[row] = sum(settings.config.samples)
                    seconds[row].append((time.process_time() - start) / settings.instances)
                    found[row][f].append(float(np.mean([s == truth for s in sets])))
        for row, (detector, _) in rows.items():
            published = PUBLISHED.get((name, detector), ("",) * len(LOCAL))
            cells = [mean_and_deviation(r) if r else "-" for r in found[row]]
            both = (c for pair in zip(cells, published, strict=True) for c in pair)
            table.add_row(row, *both, f"{calls[row]:,}", f"{np.mean(seconds[row]):.2f}")
        console.print(table)


def neural(
    scores: Scores, points: Tensor, detector: str, sigma: float, trial: int, settings: Settings
) -> list[tuple[int, ...]]:
    """The first interaction of each point by MADEX, of the ranking where none was kept.

    NID's networks have a linear part, so that main effects need no hidden units.
    """
    surrogate = replace(NID, linear=True) if detector == "nid" else GRADIENT_NID
    config = replace(settings.config, detector=detector, surrogate=surrogate)
    limit = math.inf if detector in settings.unbounded else 1.0
    neighbours = TruncatedNormal(sigma, low=-limit, high=limit)
    explanations = explain_many(scores, points, neighbours, config, trial)
    return [(e.interactions or e.ranking)[0].features for e in explanations]


def explain_many(
    scores: Scores, points: Tensor, neighbours: TruncatedNormal, config: MadexConfig, seed: int
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


def between(
    scores: Scores, points: Tensor, data: Tensor, seed: int
) -> tuple[list[tuple[int, ...]], int]:
    """The first interaction of each point by Walsh regression, and its calls.

    Between a point and rows of the data, a product of three has coefficients for its pairs too, as
    large as its own on average; so the largest set of a tenth of the largest mean share is taken,
    of several the one with the largest.
    """
    masks, found = SharedMasks(FEATURES, MASKS, seed), []
    for i, point in enumerate(points):
        others = data[torch.randperm(len(data), generator=generator(seed, i))[:OTHERS]]
        y = np.stack([masks.scores(scores, point, Between(other)) for other in others])
        shares: dict[tuple[int, ...], float] = defaultdict(float)
        for fitted in masks.fits(y):
            for s, value, error in fitted.fit.rows():
                if len(s) > 1:
                    shares[s] += max(value**2 - error**2, 0.0) / fitted.variance
        least = PART * max(shares.values())
        found.append(max((len(s), share, s) for s, share in shares.items() if share >= least)[2])
    return found, OTHERS * len(masks.masks)
