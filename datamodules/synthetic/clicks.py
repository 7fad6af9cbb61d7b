"""Generators that write the raw formats, with planted truths.

`PlantedClicks` writes a file that looks like Criteo's `train.txt` (label, I1..I13, C1..C26,
tab-separated, empty = missing) whose click probability is known for every row:

    logit(x) = bias + sum_f main_f(x_f) + sum_I strength_I * prod_{f in I} sign_f(x_f)

`sign_f` has mean zero under the distribution of field f and the fields are independent, so
a planted interaction leaves no trace in any of its proper subsets: what a detector finds
there, it found in the interaction itself.
"""

import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import torch
from torch.nn.functional import binary_cross_entropy_with_logits
from torchmetrics.functional.classification import binary_auroc

from zoo.data.errors import ZooError

CHUNK = 100_000  # rows drawn at once; a longer file begins with the rows of a shorter one

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
NUMERICAL = tuple(f"I{i}" for i in range(1, 14))
CATEGORICAL = tuple(f"C{i}" for i in range(1, 27))
CROSSES = (
    ("C6", "C14"),
    ("C9", "C17"),
    ("C20", "C23"),
    ("C22", "C25"),
    ("I2", "C17"),
    ("I8", "C6"),
    ("C9", "C14", "C23"),
)
MAIN_EFFECT_VALUES = 100  # rarer values of a field than this many carry no main effect


@dataclass(frozen=True)
class PlantedClicks:
    """Clicks in Criteo's raw format with known main effects and planted interactions.

    Args:
        rows: number of rows to write.
        seed: seed of the truth and of the rows.
        crosses: planted interactions, each a list of field names.
        cross_strength: standard deviation that each interaction adds to the logit.
        main_strength: standard deviation of all main effects together.
        bias: logit of a row without any effect.
        sort_by_label: write the rows of label 0 first (a test of shuffling).
    """

    rows: int = 200_000
    seed: int = 0
    crosses: list[list[str]] = field(default_factory=lambda: [list(c) for c in CROSSES])
    cross_strength: float = 0.5
    main_strength: float = 2.0
    bias: float = -1.8
    sort_by_label: bool = False

    def __post_init__(self) -> None:
        if self.rows < 1:
            raise ZooError(f"synthetic.rows must be at least 1, got {self.rows}")
        if self.seed < 0:
            raise ZooError(f"synthetic.seed must be at least 0, got {self.seed}")
        for cross in self.crosses:
            unknown = sorted(set(cross) - set(NUMERICAL + CATEGORICAL))
            if unknown or len(set(cross)) < 2:
                raise ZooError(
                    f"synthetic.crosses: {cross} must name at least two of I1..I13, C1..C26"
                )

    @cached_property
    def _truth(self) -> "_Truth":
        return _Truth(self)

    def chunks(self) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]]:
        """Yields (label [R], logit [R], numerical [R, 13], categorical [R, 26]) in file order.

        A missing number is -1, a missing category its field's cardinality.
        """
        for start in range(0, self.rows, CHUNK):
            rng = np.random.default_rng((self.seed, 1, start))
            chunk = self._truth.draw(rng)
            yield tuple(part[: self.rows - start] for part in chunk)

    def ensure(self, path: Path) -> None:
        """Writes the file unless this very configuration has written it before."""
        if path.suffix == ".gz":
            raise ZooError(f"data.synthetic writes plain text: {path} must not end in .gz")
        if path.exists():
            # as JSON gives it back: a tuple would not equal its list
            mine = json.loads(json.dumps(asdict(self)))
            if _generator(truth_path(path)) == mine and logits_path(path).exists():
                return
            raise ZooError(
                f"{path} exists and was not generated with these data.synthetic options: "
                "delete it, or choose another data.path"
            )
        self.write(path)

    def write(self, path: Path) -> None:
        """Writes the rows to `path`, the logits and the truth beside it; whole or not at all."""
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            labels, logits = self._write_rows(partial)
            np.save(logits_path(path), logits)
            truth_path(path).write_text(json.dumps(self._describe(labels, logits), indent=2))
            os.replace(partial, path)
        finally:
            partial.unlink(missing_ok=True)

    def _write_rows(self, path: Path) -> tuple[np.ndarray, np.ndarray]:
        labels, logits = [], []
        options = pa.csv.WriteOptions(include_header=False, delimiter="\t", quoting_style="none")
        schema = pa.schema([(c, pa.string()) for c in ("label", *NUMERICAL, *CATEGORICAL)])
        passes = (0, 1) if self.sort_by_label else (None,)
        with pa.csv.CSVWriter(path, schema, write_options=options) as writer:
            for wanted in passes:
                for label, logit, numerical, categorical in self.chunks():
                    keep = slice(None) if wanted is None else label == wanted
                    writer.write(_to_table(label[keep], numerical[keep], categorical[keep], schema))
                    labels.append(label[keep])
                    logits.append(logit[keep].astype(np.float32))
        return np.concatenate(labels), np.concatenate(logits)

    def _describe(self, labels: np.ndarray, logits: np.ndarray) -> dict:
        return {
            "generator": asdict(self),
            "crosses": [
                {"fields": cross, "strength": self.cross_strength} for cross in self.crosses
            ],
            "click_rate": float(labels.mean()),
            **ceiling(labels, logits),
        }


def truth_path(path: Path) -> Path:
    """Where the planted truth of a generated file lies: JSON, next to the file."""
    return path.with_name(path.name + ".truth.json")


def logits_path(path: Path) -> Path:
    """Where the true logit of each row of a generated file lies: float32 [rows], NumPy."""
    return path.with_name(path.name + ".logits.npy")


def _generator(truth: Path) -> dict | None:
    """The options that wrote a generated file; None where no readable truth says so."""
    try:
        return json.loads(truth.read_text())["generator"]
    except (OSError, ValueError, KeyError, TypeError):
        return None


def ceiling(labels: np.ndarray, logits: np.ndarray) -> dict[str, float]:
    """AUC and logloss of the true logits: what no model can be expected to beat."""
    if labels.min() == labels.max():
        return {"auc": float("nan"), "logloss": float("nan")}
    label, logit = torch.from_numpy(labels.astype(np.int64)), torch.from_numpy(logits).double()
    return {
        "auc": float(binary_auroc(logit.sigmoid(), label)),
        "logloss": float(binary_cross_entropy_with_logits(logit, label.double())),
    }


class _Truth:
    """Distributions and effects of all fields, drawn once from the seed."""

    def __init__(self, options: PlantedClicks) -> None:
        rng = np.random.default_rng((options.seed, 0))
        self.options = options
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
        scale = options.main_strength / np.sqrt(len(NUMERICAL) + len(CATEGORICAL))
        self.slope *= scale
        self.effect = [effect * scale for effect in self.effect]

    def draw(self, rng: np.random.Generator) -> tuple[np.ndarray, ...]:
        z = rng.normal(size=(CHUNK, len(NUMERICAL)))
        numerical = np.floor(np.exp(self.location + self.spread * z)).astype(np.int64)
        numerical[rng.random(numerical.shape) < NUMERICAL_MISSING] = -1
        categorical = np.empty((CHUNK, len(CATEGORICAL)), np.int64)
        for c, n in enumerate(CARDINALITIES):
            # log-uniform ranks: P(k) proportional to log((k + 2) / (k + 1)), a Zipf-like skew
            categorical[:, c] = np.minimum((n + 1) ** rng.random(CHUNK) - 1, n - 1)
            categorical[rng.random(CHUNK) < CATEGORICAL_MISSING[c], c] = n
        logit = self._logit(numerical, categorical)
        label = (rng.random(CHUNK) < 1 / (1 + np.exp(-logit))).astype(np.int8)
        return label, logit, numerical, categorical

    def _logit(self, numerical: np.ndarray, categorical: np.ndarray) -> np.ndarray:
        standard = (np.log(np.maximum(numerical, 0) + 0.5) - self.location) / self.spread
        standard = np.where(numerical < 0, 0.0, np.clip(standard, -2, 2))
        logit = self.options.bias + standard @ self.slope
        for c, effect in enumerate(self.effect):
            logit += effect[np.minimum(categorical[:, c], len(effect) - 1)]
        for cross in self.options.crosses:
            product = np.full(len(logit), self.options.cross_strength)
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


def _to_table(
    label: np.ndarray, numerical: np.ndarray, categorical: np.ndarray, schema: pa.Schema
) -> pa.Table:
    columns = [pa.array(label).cast(pa.string())]
    for column in numerical.T:
        columns.append(pa.array(column, mask=column < 0).cast(pa.string()).fill_null(""))
    for c, column in enumerate(categorical.T):
        missing = column == CARDINALITIES[c]
        columns.append(pa.array(_hex(column, c), mask=missing, type=pa.string()).fill_null(""))
    return pa.Table.from_arrays(columns, schema=schema)


def _hex(values: np.ndarray, salt: int) -> np.ndarray:
    """Eight hexadecimal digits that differ for different values of a field, as in Criteo."""
    mixed = ((values + 1).astype(np.uint64) * 2654435761 + salt * 40503) & 0xFFFFFFFF
    digits = np.frombuffer(b"0123456789abcdef", np.uint8)
    shifts = np.arange(28, -1, -4, dtype=np.uint64)
    text = digits[(mixed[:, None] >> shifts) & np.uint64(15)]
    return np.ascontiguousarray(text).view("S8").ravel().astype("U8")


if __name__ == "__main__":
    from jsonargparse import auto_cli

    auto_cli(PlantedClicks)
