"""Black boxes of which is known what interacts: planted unions, and nothing at all.

All are functions of the ids of 39 categorical fields that are on. Noise is a function of a row too,
a fixed pseudo-random one, so that the same row has the same score.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import black_boxes
import numpy as np
import torch
from black_boxes import Explained, Instance
from common import PROJECT, fit_ours
from scipy import stats
from torch import Tensor

from zoo.data.batch import Batch, take
from zoo.data.interactions import SIGNIFICANCE_LEVEL
from zoo.glider.perturb import OnOff
from zoo.glider.walsh import SharedMasks
from zoo.glider.walsh.detector import WalshRows
from zoo.glider.walsh.fit import Set
from zoo.glider.walsh.search import WalshConfig
from zoo.glider.walsh.summary import summarise_effects

FIELDS, IDS, ROWS = 39, 50, 40
MAIN = 0.25  # deviation of the effects of a field's ids
PAIR = 0.5  # what the first planted pair adds where both are on, or takes away
UNIONS = ((0, 1), (1, 2))


@dataclass(frozen=True)
class Ids:
    """sum_f effect_f(id_f) + sum_P strength_P prod_{f in P} sign_f(id_f) + noise of what is on.

    Attributes:
        effects: [FIELDS, IDS] effects.
        signs: [FIELDS, IDS] signs, 1 and -1.
        pairs: Planted pairs, and their strengths.
        noise: Quantile function of the noise; None without.
        weights: [FIELDS, IDS] what the noise is computed from.
    """

    effects: np.ndarray
    signs: np.ndarray
    pairs: dict[Set, float]
    noise: Callable[[np.ndarray], np.ndarray] | None
    weights: np.ndarray

    @classmethod
    def drawn(
        cls,
        seed: int,
        pairs: dict[Set, float],
        noise: Callable[[np.ndarray], np.ndarray] | None = None,
    ) -> "Ids":
        """One with random effects.

        Args:
            seed: Seed of effects, signs and noise.
            pairs: Planted pairs, and their strengths.
            noise: Quantile function of the noise.
        """
        random, shape = np.random.default_rng(seed), (FIELDS, IDS)
        effects, signs = MAIN * random.normal(size=shape), random.choice([-1.0, 1.0], shape)
        return cls(effects, signs, pairs, noise, random.normal(size=shape))

    def __call__(self, rows: Batch) -> Tensor:
        """[B] scores."""
        ids = rows.categorical.numpy()
        on, columns = ids >= 0, np.arange(FIELDS)
        y = (self.effects[columns, ids] * on).sum(1)
        signs = self.signs[columns, ids] * on
        for pair, strength in self.pairs.items():
            y += strength * signs[:, list(pair)].prod(1)
        if self.noise:
            mixed = np.sin((self.weights[columns, ids] * on).sum(1) * 1e3) * 43758.5453
            y += self.noise(np.clip(mixed % 1, 1e-9, 1 - 1e-9))
        return torch.from_numpy(y)


def normal(u: np.ndarray) -> np.ndarray:
    """Noise of the size of all main effects together."""
    return 0.8 * stats.norm.ppf(u)


def heavy(u: np.ndarray) -> np.ndarray:
    """Noise of Student's t with two degrees of freedom, whose variance is infinite."""
    return 0.4 * stats.t.ppf(u, 2)


def draw_rows(seed: int, copies: bool = False) -> Batch:
    """Random rows.

    Args:
        seed: Seed of the rows.
        copies: Whether a third of the fields are copies of others, and another third nearly so.
    """
    random = np.random.default_rng((seed, 4))
    ids = random.integers(0, IDS, (ROWS, FIELDS))
    if copies:
        third = FIELDS // 3
        ids[:, third : 2 * third] = ids[:, :third]
        near = random.random((ROWS, FIELDS - 2 * third)) < 0.9
        ids[:, 2 * third :] = np.where(near, ids[:, :third], ids[:, 2 * third :])
    return Batch(torch.zeros(ROWS, 0), torch.from_numpy(ids).int(), torch.zeros(ROWS))


def detected(
    scores: Callable[[Batch], Tensor], rows: Batch, neighbours: OnOff, seed: int
) -> dict[Set, dict[str, Any]]:
    """What `detect` finds: each interaction with its q, share and count.

    Args:
        scores: The black box.
        rows: The rows to explain.
        neighbours: What off means.
        seed: Seed of the masks.
    """
    count = len(rows.label)
    fields = len(neighbours.centre(take(rows, slice(0, 1))))
    masks = SharedMasks(fields, WalshConfig(), seed)
    with torch.inference_mode():
        y = [masks.scores(scores, take(rows, slice(i, i + 1)), neighbours) for i in range(count)]
    fits = masks.fits(np.stack(y))
    found = WalshRows.of(range(count), fits, [[] for _ in fits])
    names = [str(i) for i in range(fields)]
    table = summarise_effects(found, masks, names, range(count))
    return {tuple(sorted(map(int, row["fields"]))): row for row in table["interactions"]}


def significant(found: dict[Set, dict[str, Any]]) -> list[Set]:
    """Sets that are significant."""
    return [s for s, row in found.items() if row["q"] < SIGNIFICANCE_LEVEL]


def union_case(ratio: float, noise: bool, seed: int) -> dict[Set, dict[str, Any]]:
    """What is found where two pairs with a common field are planted, the second weaker.

    Args:
        ratio: Strength of the second pair over that of the first.
        noise: Whether there is noise.
        seed: Seed of black box, rows and masks.
    """
    pairs = dict(zip(UNIONS, (PAIR, PAIR * ratio), strict=True))
    box = Ids.drawn(seed, pairs, normal if noise else None)
    return detected(box, draw_rows(seed), OnOff(torch.zeros(0)), seed)


NULLS: dict[str, tuple[Callable[[np.ndarray], np.ndarray], bool]] = {
    "additive with noise": (normal, False),
    "heavy tails": (heavy, False),
    "copies of columns": (normal, True),
}


def null_case(name: str, seed: int) -> list[Set]:
    """What is significant where nothing interacts, all of it false."""
    noise, copies = NULLS[name]
    box = Ids.drawn(seed, {}, noise)
    return significant(detected(box, draw_rows(seed, copies), OnOff(torch.zeros(0)), seed))


def additive_model(rows: int, seed: int, folder: Path) -> tuple[Explained, dict[str, float]]:
    """A DeepFM of clicks without interactions, with rows to explain and its metrics.

    Args:
        rows: Number of generated rows.
        seed: Seed of truth, rows and weights.
        folder: Where data and runs lie.
    """
    here = folder / f"additive_{seed}"
    config = PROJECT / "configs" / "demo" / "deepfm.yaml"
    options = (f"--data.synthetic.rows={rows}", f"--data.synthetic.seed={seed}")
    crosses = ("--data.synthetic.crosses=[]",)
    metrics, _ = fit_ours(config, here / "train.txt", seed, here, *options, *crosses)
    run = here / "runs" / f"deepfm_{seed}" / "version_0"
    return Explained.of(run, ROWS, seed), metrics


def mean_shares(explained: Explained, sets: Sequence[Set], seed: int) -> dict[Set, float]:
    """The true mean share of sets over the rows, by contexts.

    Args:
        explained: A model with rows.
        sets: The sets.
        seed: Seed of contexts and masks.
    """
    shares: dict[Set, list[float]] = {s: [] for s in sets}
    random = np.random.default_rng((seed, 5))
    z = random.choice([-1.0, 1.0], (2000, len(explained.names)))
    for i in range(len(explained.rows.label)) if sets else ():
        instance: Instance = explained.instance(i)
        variance = float(instance(z).var())
        found = black_boxes.contexts(instance, sets, black_boxes.CONTEXTS, (seed, i))
        for s, mean in found.items():
            shares[s].append(mean.share(variance))
    return {s: float(np.mean(of)) for s, of in shares.items()}
