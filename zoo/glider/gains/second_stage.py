"""A second stage on fixed logits: one number for each id of a field, learned field by field.

    logit(row) = offset(row) + sum over fields f of table_f[id_f(row)]

A candidate's table is fitted to the training rows by Newton's method while all else stands still,
as in the field-wise logistic regression of AutoCross (Luo et al., KDD 2019, section 4.3), but with
a normal prior of its numbers: an id of few rows stays near zero. Where a row has a list of ids, it
gets the mean of their numbers, and the Newton step is that of an upper bound. A table that is kept
is fitted together with those before it, in turn (backfitting: Hastie & Tibshirani, *Generalized
additive models*, 1990).

Validation rows, which no table has seen, say what it is worth: the mean of the difference of their
losses, with the standard error of that mean over the rows (paired, as both are of the same rows).

Shapes: n rows of a split, E ids in them, V ids that there are.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import expit

from zoo.data.crossing import CrossIds

PRIOR = 0.5  # standard deviation of an id's number, in logits
STEPS = 6  # of Newton's method; each changes a number by at most 1
ROUNDS = 4  # through all fields, where several are fitted together for the first time
REFITS = 2  # where one more joins them


@dataclass(frozen=True)
class Gain:
    """What a table takes from the logloss of the validation rows.

    Attributes:
        value: Mean over the rows.
        error: Its standard error.
        rows: [n] of each row.
    """

    value: float
    error: float
    rows: np.ndarray


class SecondStage:
    """Training and validation rows, their fixed logits, and what is added to these.

    Args:
        labels: float64 [n] of `train` and of `val`.
        weights: float64 [n] how much each row counts.
        offsets: float64 [n] the logits to start from.
    """

    def __init__(
        self,
        labels: Mapping[str, np.ndarray],
        weights: Mapping[str, np.ndarray],
        offsets: Mapping[str, np.ndarray],
    ) -> None:
        self.labels, self.weights = labels, weights
        self._kept: list[tuple[CrossIds, np.ndarray]] = []
        self.logits = {split: offsets[split].astype(np.float64) for split in ("train", "val")}

    def fit(
        self, field: CrossIds, table: np.ndarray | None = None, steps: int = STEPS
    ) -> np.ndarray:
        """[V] the numbers of a field's ids, on top of the logits so far.

        Args:
            field: The ids of the rows.
            table: [V] numbers to start from, which the logits do not hold; none are zeros.
            steps: Number of Newton steps.
        """
        table = np.zeros(field.cardinality) if table is None else table.copy()
        label, weight = self.labels["train"], self.weights["train"]
        for _ in range(steps):
            p = expit(self.logits["train"] + looked_up(field, table, "train"))
            slope = summed(field, weight * (label - p)) - table / PRIOR**2
            curvature = summed(field, weight * p * (1 - p)) + 1 / PRIOR**2
            table += np.clip(slope / curvature, -1, 1)
        return table

    def keep(self, fields: Sequence[CrossIds]) -> None:
        """Adds fields to the logits, and fits all that were added anew.

        A number that was fitted while others were unknown is too small: what is not explained makes
        logits look smaller.

        Args:
            fields: The ids of the rows.
        """
        rounds = REFITS if self._kept else ROUNDS
        self._kept += [(field, np.zeros(field.cardinality)) for field in fields]
        for _ in range(rounds):
            for i, (field, table) in enumerate(self._kept):
                self._add(field, -table)
                table = self.fit(field, table, steps=2)
                self._add(field, table)
                self._kept[i] = field, table

    def _add(self, field: CrossIds, table: np.ndarray) -> None:
        for split, logits in self.logits.items():
            logits += looked_up(field, table, split)

    def losses(self, further: np.ndarray | float = 0.0) -> np.ndarray:
        """[n] the losses of the validation rows.

        Args:
            further: What is added to the logits so far.
        """
        logits = self.logits["val"] + further
        return np.logaddexp(0, logits) - self.labels["val"] * logits

    @property
    def logloss(self) -> float:
        """Of the validation rows."""
        return float(np.average(self.losses(), weights=self.weights["val"]))

    def gain(self, field: CrossIds) -> Gain:
        """What the numbers of a field, fitted to the training rows, are worth."""
        added = looked_up(field, self.fit(field), "val")
        return mean_and_error(self.losses() - self.losses(added), self.weights["val"])


def mean_and_error(rows: np.ndarray, weight: np.ndarray) -> Gain:
    """The weighted mean of the rows, and its standard error."""
    mean = float(np.average(rows, weights=weight))
    error = math.sqrt(float((weight**2 * (rows - mean) ** 2).sum())) / float(weight.sum())
    return Gain(mean, error, rows)


def looked_up(field: CrossIds, table: np.ndarray, split: str) -> np.ndarray:
    """[n] the number of each row's id; of a list the mean, and 0 of an empty one."""
    numbers, counts = table[field.ids[split]], field.counts.get(split)
    if counts is None:
        return numbers
    rows = np.repeat(np.arange(len(counts)), counts)
    return np.bincount(rows, numbers, len(counts)) / np.maximum(counts, 1)


def summed(field: CrossIds, values: np.ndarray) -> np.ndarray:
    """[V] the sum of training rows' values for each id; a row's is shared by its list.

    Args:
        field: The ids of the rows.
        values: [n] a value of each row.
    """
    counts = field.counts.get("train")
    if counts is not None:
        values = np.repeat(values / np.maximum(counts, 1), counts)
    return np.bincount(field.ids["train"], values, field.cardinality)
