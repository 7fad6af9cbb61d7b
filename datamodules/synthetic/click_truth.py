"""What decides the clicks of generated rows.

    logit(x) = bias + sum_f main_f(x_f) + sum_I strength_I * prod_{f in I} sign_f(x_f)

`sign_f` has mean zero under the distribution of field f and the fields are independent, so
a planted interaction leaves no trace in any of its proper subsets: what a detector finds
there, it found in the interaction itself.

Shapes: R rows, n values of a categorical field.
"""

from collections.abc import Sequence

import numpy as np
import torch
from scipy.stats import rankdata
from torch.nn.functional import binary_cross_entropy_with_logits

from datamodules.tabular.criteo import CATEGORICAL, NUMERICAL

# Distinct values of C1..C26 and shares of missing values of I1..I13 and C1..C26, of the order
# of those in the public Criteo file; the largest vocabularies are cut to a million.
CARDINALITIES = (
    1460, 583, 1_000_000, 1_000_000, 305, 24, 12_517, 633, 3, 93_145, 5683, 1_000_000, 3194,
    27, 14_992, 1_000_000, 10, 5652, 2173, 4, 1_000_000, 18, 15, 286_181, 105, 142_572,
)  # fmt: skip
NUMERICAL_MISSING = (0.45, 0, 0.21, 0.22, 0.03, 0.22, 0.04, 0, 0.04, 0.45, 0.04, 0.77, 0.22)
CATEGORICAL_MISSING = (
    0, 0, 0.03, 0.03, 0, 0.12, 0, 0, 0, 0, 0, 0.03, 0,
    0, 0, 0.03, 0, 0, 0.44, 0.44, 0.03, 0.76, 0, 0.03, 0.44, 0.44,
)  # fmt: skip
MAIN_EFFECT_VALUES = 100  # rarer values of a field than this many carry no main effect


def ceiling(labels: np.ndarray, logits: np.ndarray) -> dict[str, float]:
    """AUC and logloss of the true logits: what no model can be expected to beat."""
    if labels.min() == labels.max():
        return {"auc": float("nan"), "logloss": float("nan")}
    positives = int(labels.sum())
    pairs = positives * (len(labels) - positives)
    # the ranks of the positives less those that they would have below all negatives
    ahead = rankdata(logits)[labels > 0.5].sum() - positives * (positives + 1) / 2
    label, logit = (torch.from_numpy(part.astype(np.float64)) for part in (labels, logits))
    loss = binary_cross_entropy_with_logits(logit, label)
    return {"auc": float(ahead / pairs), "logloss": float(loss)}


class ClickTruth:
    """Distributions and effects of all fields, drawn once from a seed.

    Args:
        seed: Seed of the distributions and effects.
        crosses: Planted interactions, each a list of field names.
        cross_strength: Standard deviation that each interaction adds to the logit.
        main_strength: Standard deviation of all main effects together.
        bias: Logit of a row without any effect.

    Attributes:
        missing: The value of each categorical field that stands for a missing one.
    """

    def __init__(
        self,
        seed: int,
        crosses: Sequence[Sequence[str]],
        cross_strength: float,
        main_strength: float,
        bias: float,
    ) -> None:
        rng = np.random.default_rng((seed, 0))
        self.crosses = crosses
        self.cross_strength = cross_strength
        self.bias = bias
        self.missing = CARDINALITIES
        self.location = rng.uniform(0.5, 4.5, len(NUMERICAL))
        self.spread = rng.uniform(0.7, 1.6, len(NUMERICAL))
        self.slope = rng.normal(size=len(NUMERICAL))
        self.probability = [
            _probabilities(n, missing)
            for n, missing in zip(CARDINALITIES, CATEGORICAL_MISSING, strict=True)
        ]
        self.sign = {
            c: _balanced_signs(rng, p) for c, p in zip(CATEGORICAL, self.probability, strict=True)
        }
        self.effect = [
            _main_effect(rng, p, self.sign[c])
            for c, p in zip(CATEGORICAL, self.probability, strict=True)
        ]
        scale = main_strength / np.sqrt(len(NUMERICAL) + len(CATEGORICAL))
        self.slope *= scale
        self.effect = [effect * scale for effect in self.effect]

    def draw(
        self, rng: np.random.Generator, rows: int
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """(label [R], logit [R], numerical [R, 13], categorical [R, 26]) of so many rows.

        A missing number is -1, a missing category its field's cardinality.
        """
        z = rng.normal(size=(rows, len(NUMERICAL)))
        numerical = np.floor(np.exp(self.location + self.spread * z)).astype(np.int64)
        numerical[rng.random(numerical.shape) < NUMERICAL_MISSING] = -1
        categorical = np.empty((rows, len(CATEGORICAL)), np.int64)
        for c, n in enumerate(CARDINALITIES):
            # log-uniform ranks: P(k) proportional to log((k + 2) / (k + 1)), a Zipf-like skew
            categorical[:, c] = np.minimum((n + 1) ** rng.random(rows) - 1, n - 1)
            categorical[rng.random(rows) < CATEGORICAL_MISSING[c], c] = n
        logit = self._logit(numerical, categorical)
        label = (rng.random(rows) < 1 / (1 + np.exp(-logit))).astype(np.int8)
        return label, logit, numerical, categorical

    def _logit(self, numerical: np.ndarray, categorical: np.ndarray) -> np.ndarray:
        standard = (np.log(np.maximum(numerical, 0) + 0.5) - self.location) / self.spread
        standard = np.where(numerical < 0, 0.0, np.clip(standard, -2, 2))
        logit = self.bias + standard @ self.slope
        for c, effect in enumerate(self.effect):
            logit += effect[np.minimum(categorical[:, c], len(effect) - 1)]
        for cross in self.crosses:
            product = np.full(len(logit), self.cross_strength)
            for name in cross:
                if name in NUMERICAL:
                    product *= np.tanh(1.5 * standard[:, NUMERICAL.index(name)]) / 0.75
                else:
                    product *= self.sign[name][categorical[:, CATEGORICAL.index(name)]]
            logit += product
        return logit


def _probabilities(n: int, missing: float) -> np.ndarray:
    """[n + 1] probabilities of a field's values, the last one of a missing value."""
    rank = np.arange(n)
    return np.append((1 - missing) * np.log((rank + 2) / (rank + 1)) / np.log(n + 1), missing)


def _main_effect(rng: np.random.Generator, probability: np.ndarray, sign: np.ndarray) -> np.ndarray:
    """[min(n, MAIN_EFFECT_VALUES) + 1] effects of unit variance; the last of all other values.

    Half of it follows `sign`: what interacts in real data seldom has no effect of its own.
    """
    n = min(len(probability) - 1, MAIN_EFFECT_VALUES)
    effect = np.append(rng.normal(size=n) + sign[:n], 0.0)
    return effect / np.sqrt(probability[:n] @ effect[:-1] ** 2)


def _balanced_signs(rng: np.random.Generator, probability: np.ndarray) -> np.ndarray:
    """[n + 1] values near +-1 with mean zero and variance one under `probability`."""
    first = rng.choice([-1.0, 1.0])
    order = np.argsort(-probability, kind="stable")
    signs = np.empty(len(probability))
    signs[order] = np.resize([1.0, -1.0], len(order))
    mass = 0.0
    for k in order[:1000]:  # the rest hardly weighs, and alternates
        signs[k] = first if mass == 0 else -np.sign(mass)
        mass += signs[k] * probability[k]
    signs -= signs @ probability
    return signs / np.sqrt(signs**2 @ probability)
