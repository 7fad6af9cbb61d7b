"""Trained models as functions of on/off masks, and the exact truth about rows inside them.

The truth of a set S is its Walsh coefficient: the mean over random contexts z of

    prod_{i in S} z_i  sum_{T <= S} (-1)^|T| f(z with T switched) / 2^|S|

whatever else the function does: of 500 contexts, of 2,000 where that is from a quarter of the line
to four times it, and of 6,000 from half to twice. Contexts cost calls: they are taken for the sets
that a screen leaves, least squares of pairs on 20,000 masks and, of triples, what its residual
shows; it leaves what has a fifth of the line.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import chain, combinations
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import PROJECT, fit_ours
from pytorch_lightning.utilities.seed import isolate_rng

import zoo
from zoo.data.batch import Batch, take
from zoo.glider.detector import rows_at, sample_positions
from zoo.glider.perturb import OnOff, features_of
from zoo.glider.scoring import score
from zoo.glider.walsh.fit import Set, products

DEMO_MODELS = ("autoint", "deepfm", "xdeepfm", "dcn")
MASKS = 20_000  # of a screen
CONTEXTS = 2000
STAGES = ((500, math.inf), (1500, 4.0), (4000, 2.0))  # contexts, and how far from the line at most
LINE = 1e-3  # share of the variance of an interaction
EITHER = (0.8e-3, 1.25e-3)  # within a fifth of the line


@dataclass(frozen=True)
class Instance:
    """A row inside a model: a function of masks over its fields.

    Attributes:
        model: The model.
        row: A batch of one row.
        neighbours: What off means.
    """

    model: Any
    row: Batch
    neighbours: OnOff

    def __call__(self, z: np.ndarray) -> np.ndarray:
        """[N] scores of masks z [N, d], -1 and 1."""
        pieces = np.array_split(z, max(1, len(z) // 16_384))
        with torch.inference_mode():
            found = [
                score(self.model, self.neighbours.apply(self.row, torch.from_numpy(piece > 0)))
                for piece in pieces
            ]
        return torch.cat(found).double().numpy()

    @property
    def fields(self) -> int:
        """Number of switches, d."""
        return len(self.neighbours.centre(self.row))


@dataclass(frozen=True)
class Explained:
    """A trained model with rows to explain.

    Attributes:
        model: The model, in evaluation.
        rows: The rows.
        neighbours: What off means.
        names: Names of the fields.
    """

    model: Any
    rows: Batch
    neighbours: OnOff
    names: list[str]

    @classmethod
    def of(cls, run: Path, count: int, seed: int) -> "Explained":
        """Validation rows of the best checkpoint of a run.

        Args:
            run: The run directory.
            count: Number of rows.
            seed: Seed of the rows.
        """
        loaded = zoo.load(run)
        data: Any = loaded.data
        with isolate_rng():
            data.prepare_data()
            for stage in ("fit", "validate"):
                data.setup(stage)
            positions = sample_positions(data.size("val").rows, count, seed)
            rows = rows_at(data.val_dataloader(), positions)
        means = torch.from_numpy(data.numerical_means())
        neighbours = OnOff.of(data.schema, means)
        return cls(loaded.model, rows, neighbours, features_of(data.schema))

    def instance(self, i: int) -> Instance:
        """Row i."""
        return Instance(self.model, take(self.rows, slice(i, i + 1)), self.neighbours)


def demo_run(model: str, rows: int, seed: int, folder: Path, *options: str) -> Path:
    """The run directory of a demo model, trained where it is not there yet.

    Args:
        model: Stem of a config in configs/demo.
        rows: Number of generated rows.
        seed: Seed of truth, rows and weights.
        folder: Where data and runs lie.
        options: Further options of the command.
    """
    here = folder / f"demo_{rows}_{seed}"
    run = here / "runs" / f"{model}_{seed}" / "version_0"
    if not (run / "metrics.json").exists():
        config = PROJECT / "configs" / "demo" / f"{model}.yaml"
        data = (f"--data.synthetic.rows={rows}", f"--data.synthetic.seed={seed}")
        fit_ours(config, here / "train.txt", seed, here, *data, *options)
    return run


class Screen:
    """Masks that are shared by all rows, and least squares of all pairs on them.

    Args:
        fields: Number of switches, d.
        seed: Seed of the masks.
    """

    def __init__(self, fields: int, seed: int) -> None:
        random = np.random.default_rng((seed, 1))
        self.z = random.choice([-1.0, 1.0], (MASKS, fields))
        self.sets: list[Set] = [s for order in range(3) for s in combinations(range(fields), order)]
        self.triples: list[Set] = list(combinations(range(fields), 3))
        self.x = products(self.z, self.sets)
        self.inverse = np.linalg.inv(self.x.T @ self.x)

    def __call__(self, y: np.ndarray) -> dict[Set, float]:
        """Shares of all pairs and triples in the scores y [MASKS], roughly."""
        values = self.inverse @ (self.x.T @ y)
        residual = y - self.x @ values
        free = len(y) - len(values)
        tripled = np.empty(len(self.triples))
        for start in range(0, len(tripled), 1000):
            x = products(self.z, self.triples[start : start + 1000])
            tripled[start : start + 1000] = x.T @ residual / free
        found = chain(zip(self.sets, values, strict=True), zip(self.triples, tripled, strict=True))
        return {s: float(c) ** 2 / float(y.var()) for s, c in found if len(s) > 1}


@dataclass(frozen=True)
class Truth:
    """What is true of a row.

    Attributes:
        variance: Variance of its scores over all masks.
        shares: Share of it of each set that contexts were taken for; others have less than a fifth
            of the line.
    """

    variance: float
    shares: dict[Set, float]

    def share(self, features: Set) -> float:
        """Share of a set."""
        return self.shares.get(features, 0.0)

    def above(self, order: int, line: float = LINE) -> set[Set]:
        """Sets of an order at or above the line."""
        return {s for s, share in self.shares.items() if len(s) == order and share >= line}

    def either(self, order: int) -> set[Set]:
        """Sets of an order so near the line that they count as either."""
        low, high = EITHER
        return {s for s, share in self.shares.items() if len(s) == order and low <= share <= high}


def truth(instance: Instance, screen: Screen, reported: Iterable[Set], seed: int) -> Truth:
    """The truth of a row.

    Args:
        instance: The row inside its model.
        screen: Masks that leave out what is far below the line.
        reported: Sets whose truth is wanted whatever the screen shows.
        seed: Seed of the contexts.
    """
    y = instance(screen.z)
    sets = {s for s, share in screen(y).items() if share >= LINE / 5} | set(reported)
    variance, found = float(y.var()), dict.fromkeys(sets, Mean(math.sqrt(y.var() * LINE), 0, 0.0))
    for stage, (count, ratio) in enumerate(STAGES):
        near = [s for s, c in found.items() if 1 / ratio <= c.share(variance) / LINE <= ratio]
        for s, more in contexts(instance, near, count, (seed, stage)).items():
            found[s] = found[s].joined(more)
    return Truth(variance, {s: c.share(variance) for s, c in found.items()})


@dataclass(frozen=True)
class Mean:
    """A mean of terms, which estimates a coefficient.

    Attributes:
        value: The mean.
        count: Number of terms.
        square: Their variance.
    """

    value: float
    count: int
    square: float

    @classmethod
    def of(cls, terms: np.ndarray) -> "Mean":
        """That of some terms."""
        return cls(float(terms.mean()), len(terms), float(terms.var(ddof=1)))

    def joined(self, other: "Mean") -> "Mean":
        """That of both."""
        count = self.count + other.count
        weights = self.count / count, other.count / count
        value, square = (
            weights[0] * mine + weights[1] * theirs
            for mine, theirs in ((self.value, other.value), (self.square, other.square))
        )
        return Mean(value, count, square)

    def share(self, variance: float) -> float:
        """Its square, without what its error adds to it, as a share of a variance."""
        return max(self.value**2 - self.square / max(self.count, 1), 0.0) / variance


def contexts(
    instance: Instance, sets: Iterable[Set], count: int, seed: tuple[int, ...]
) -> dict[Set, Mean]:
    """Walsh coefficients of some sets, by mixed differences.

    Args:
        instance: The row inside its model.
        sets: The sets.
        count: Number of contexts, which all sets share.
        seed: Seed of the contexts.
    """
    wanted = sorted(sets, key=lambda s: (len(s), s))
    z = np.random.default_rng(seed).choice([-1.0, 1.0], (count, instance.fields))
    scores: dict[Set, np.ndarray] = {}
    for part in {part for s in wanted for part in subsets(s)}:
        switched = z.copy()
        switched[:, list(part)] *= -1
        scores[part] = instance(switched)
    found = {}
    for s in wanted:
        mixed = np.sum([(-1) ** len(part) * scores[part] for part in subsets(s)], axis=0)
        found[s] = Mean.of(mixed * z[:, list(s)].prod(1) / 2 ** len(s))
    return found


def subsets(features: Set) -> list[Set]:
    """All subsets, the empty one among them."""
    return [s for n in range(len(features) + 1) for s in combinations(features, n)]
