"""The metrics of several models on the same rows, and how sure these rows make them.

Shapes: K models, R rows, U units, S draws.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.stats import norm
from torch import Tensor

from zoo.inspect.runs.bootstrap import draws, interval
from zoo.inspect.runs.delong import areas
from zoo.inspect.runs.rows import Rows
from zoo.models.measures import areas_of_groups, cross_entropy
from zoo.models.metrics import RankingMetrics, SessionMetrics, gains_of_lists, session_parts

LOWEST = "logloss"  # the one metric that is best where it is lowest


@dataclass(frozen=True)
class Measured:
    """One metric of several models.

    Attributes:
        name: Name of the metric, such as `auc`.
        values: [K] its values.
        low: [K] lower ends of their confidence intervals.
        high: [K] upper ends.
        covariance: [K, K] covariance of their errors, as other rows would give other values.
    """

    name: str
    values: np.ndarray
    low: np.ndarray
    high: np.ndarray
    covariance: np.ndarray

    @property
    def sign(self) -> int:
        """1 where a higher value is better, else -1."""
        return -1 if self.name == LOWEST else 1


def measure(
    rows: Rows, logits: Sequence[Tensor], level: float = 0.95, count: int = 1000, seed: int = 0
) -> dict[str, Measured]:
    """The metrics of models on some rows, by name, the same that a fit reports.

    The area under the ROC curve has the covariance of DeLong, all others that of `count` draws of
    units, which are the same for all models.

    Args:
        rows: The rows.
        logits: [R] logits of each model.
        level: Level of the confidence intervals.
        count: Number of draws, S.
        seed: Seed of the draws.
    """
    parts = _ratios(rows, logits)
    above = np.stack([np.stack([of.numpy() for of in part[0]]) for part in parts.values()])
    below = np.stack([part[1].numpy() for part in parts.values()])
    drawn = draws(above, below, count, seed)
    with np.errstate(divide="ignore", invalid="ignore"):
        values = above.sum(2) / below.sum(1)[:, None]
    found = {}
    for i, name in enumerate(parts):
        with np.errstate(invalid="ignore"):
            covariance = np.atleast_2d(np.cov(drawn[:, i], rowvar=False))
        found[name] = Measured(name, values[i], *interval(drawn[:, i], level), covariance)
    if rows.place is None:
        found["auc"] = _auc(rows, logits, level)
    return found


def _auc(rows: Rows, logits: Sequence[Tensor], level: float) -> Measured:
    scores = torch.stack([*logits]).numpy()
    weight, unit = (x if x is None else x.numpy() for x in (rows.weight, rows.units()))
    values, covariance = areas(scores, rows.labels.numpy() > 0.5, weight, unit)
    half = norm.ppf((1 + level) / 2) * np.sqrt(covariance.diagonal())
    low, high = np.clip(values - half, 0, 1), np.clip(values + half, 0, 1)
    return Measured("auc", values, low, high, covariance)


Ratio = tuple[list[Tensor], Tensor]  # [U] sums above of each model, [U] the sum below


def _ratios(rows: Rows, logits: Sequence[Tensor]) -> dict[str, Ratio]:
    """The metrics that are ratios of sums over units."""
    if rows.place is not None:
        return _of_sessions(rows.place, rows.labels, logits)
    labels, units = rows.labels, rows.units()
    weight = torch.ones(len(labels)) if rows.weight is None else rows.weight
    losses = [cross_entropy(of, labels) * weight.double() for of in logits]
    found = {LOWEST: ([_sums(of, units) for of in losses], _sums(weight.double(), units))}
    positive = labels > 0.5
    if rows.query is not None:
        k = RankingMetrics().k
        lists = [gains_of_lists(of, positive, rows.query, k) for of in logits]
        ones = torch.ones_like(lists[0][0])
        for i, name in enumerate((f"hr@{k}", f"ndcg@{k}")):
            found[name] = ([of[i] for of in lists], ones)
    elif rows.group is not None:
        found |= _of_groups(rows.group, positive, weight, logits)
    return found


def _of_groups(
    group: Tensor, positive: Tensor, weight: Tensor, logits: Sequence[Tensor]
) -> dict[str, Ratio]:
    above, size = [], weight
    for of in logits:
        area, size = areas_of_groups(of, positive, group, weight)
        total = (area * size).masked_fill(size == 0, 0)
        above.append(total if not of.isnan().any() else torch.full_like(total, torch.nan))
    return {"gauc": (above, size.double())} if (size > 0).any() else {}


def _of_sessions(place: Tensor, labels: Tensor, logits: Sequence[Tensor]) -> dict[str, Ratio]:
    sessions, row = torch.unique(place[:, 0], return_inverse=True)
    shape = len(sessions), int(place[:, 1].max()) + 1
    at = row, place[:, 1]
    scored = torch.zeros(shape, dtype=torch.bool).index_put(at, torch.tensor(True))
    filled = [torch.zeros(shape).index_put(at, of) for of in (labels, *logits)]
    found = [session_parts(of, filled[0], scored) for of in filled[1:]]
    below = [_by_session(count.double()) for count in found[0][1]]
    return {
        name: ([_by_session(parts[i].double()) for parts, _ in found], below[i])
        for i, name in enumerate(SessionMetrics.names)
    }


def _by_session(of: Tensor) -> Tensor:
    return of if of.ndim == 1 else of.sum(1)


def _sums(of: Tensor, units: Tensor | None) -> Tensor:
    """[U] sums over the rows [R] of each unit."""
    if units is None:
        return of
    return of.new_zeros(int(units.max()) + 1).index_add_(0, units, of)
