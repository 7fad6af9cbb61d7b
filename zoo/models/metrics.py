"""Metrics that are exact over a whole split and over all ranks.

Shapes: B batch, R rows of a split, Q queries, T tracks of a session.
"""

from typing import Any, cast

import torch
from torch import Tensor, distributed, nn
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from zoo.data.errors import ZooError
from zoo.models.histogram import counted, measured
from zoo.models.measures import click_metrics, cross_entropy, total

EXACT_ROWS = 20_000_000  # 160 MB of logits and labels


class MetricDict(nn.ModuleDict):
    """Metrics by the prefix of their split, such as `val/`."""

    def __getitem__(self, key: str) -> Metric:
        return cast(Metric, super().__getitem__(key))


class ClickMetrics(Metric):
    """Exact AUC and logloss of a split, and the AUC within groups where its rows have these.

    AUC is the probability that a random positive scores above a random negative, ties counting
    one half; logloss is the mean of -y log p - (1 - y) log(1 - p); GAUC is the mean AUC of the
    groups with both classes, weighted by their rows. A row of weight w counts as w rows do. Logits
    are kept, in batches, and gathered from all ranks when the metrics are computed. They are ranked
    as the model gives them: those of a model in half precision tie where they are rounded to one
    number.

    Rows beyond a number are counted in bins of their logits instead (see `zoo.models.histogram`),
    and `auc_error` says by how much the AUC may be off. Rows with groups are kept in any number.

    Args:
        exact_rows: Number of rows of all processes up to which they are kept.
    """

    full_state_update = False
    names = ("auc", "logloss")
    logits: list[Tensor]
    labels: list[Tensor]
    weights: list[Tensor]
    groups: list[Tensor]
    counts: Tensor
    sums: Tensor

    def __init__(self, exact_rows: int = EXACT_ROWS) -> None:
        super().__init__()
        self.exact_rows = exact_rows
        self._kept = 0
        for state in ("logits", "labels", "weights", "groups"):
            self.add_state(state, [], dist_reduce_fx="cat")
        for state in ("counts", "sums"):  # of no bins until they are needed
            self.add_state(state, torch.zeros(0, dtype=torch.float64), dist_reduce_fx="sum")

    def update(
        self,
        logits: Tensor,
        labels: Tensor,
        weight: Tensor | None = None,
        group: Tensor | None = None,
    ) -> None:
        """Adds a batch: logits [B], labels [B], and weights [B] and groups [B] of data with such.

        All batches have weights or none has, and so with groups.
        """
        check_shapes(logits, labels)
        self.logits.append(logits.detach())
        self.labels.append(labels)
        if weight is not None:
            self.weights.append(weight)
        if group is not None:
            self.groups.append(group)
            return
        self._kept += len(logits)
        if self._kept > self.exact_rows:
            self._count()

    def reset(self) -> None:
        """Forgets all rows."""
        super().reset()
        self._kept = 0

    def _count(self) -> None:
        """Counts the rows that are kept, and lets them go."""
        columns = [self.logits, self.labels, *([self.weights] if self.weights else [])]
        logits, labels, *weight = (dim_zero_cat(column) for column in columns)
        found = counted(logits, labels, weight[0] if weight else None)
        if len(self.counts):
            found = self.counts + found[0], self.sums + found[1]
        self.counts, self.sums = found
        for column in columns:
            column[:] = [column[0][:0]]  # ranks gather columns, of no rows too
        self._kept = 0

    def sync(self, *arguments: Any, **options: Any) -> None:
        """Gathers the states of all ranks, who count their rows where these are too many.

        Where one has counted its rows, all have to.
        """
        if distributed.is_available() and distributed.is_initialized():
            kept = torch.tensor([self._kept, len(self.counts) > 0], device=self.device)
            distributed.all_reduce(kept)
            if kept[0] > self.exact_rows or kept[1]:
                self._count()
        super().sync(*arguments, **options)

    def compute(self) -> dict[str, Tensor]:
        """`auc` (NaN where only one class is present, or a logit is NaN), `logloss`, of rows that
        were counted in bins `auc_error`, and of rows with groups `gauc` (NaN where no group has
        both classes)."""
        if len(self.counts):
            if self._kept:  # of a single process; `sync` has counted those of several
                self._count()
            return measured(self.counts, self.sums)
        states = (self.logits, self.labels, self.weights, self.groups)
        logits, labels, *rest = (dim_zero_cat(s) if len(s) else None for s in states)
        if logits is None or labels is None:
            raise ZooError("a split without a batch cannot be measured")
        return click_metrics(logits, labels, *rest)


class RankingMetrics(Metric):
    """Hit ratio and NDCG of leave-one-out ranking (He et al. 2017, section 4.1).

    Each query is a list of one positive and its negatives. With g negatives that score higher
    than the positive and t that score the same, its rank is uniform over g + 1 .. g + t + 1:

        hr@k   = mean over queries of P(rank <= k)
        ndcg@k = mean over queries of E([rank <= k] / log2(rank + 1))

    Both are expected values, so a model that scores all rows alike gains nothing. A NaN never
    helps: a positive of that score ranks last, a negative of that score above the positive.

    Args:
        k: Number of ranks that count.
    """

    full_state_update = False
    logits: list[Tensor]
    labels: list[Tensor]
    queries: list[Tensor]

    def __init__(self, k: int = 10) -> None:
        super().__init__()
        if k < 1:
            raise ZooError(f"k must be at least 1, got {k}")
        self.k = k
        self.names = (f"hr@{k}", f"ndcg@{k}")
        self.add_state("logits", [], dist_reduce_fx="cat")
        self.add_state("labels", [], dist_reduce_fx="cat")
        self.add_state("queries", [], dist_reduce_fx="cat")

    def update(self, logits: Tensor, labels: Tensor, query: Tensor) -> None:
        """Adds a batch: logits [B], labels [B], query [B]; the rows of a query in any batch."""
        self.logits.append(logits.detach())
        self.labels.append(labels)
        self.queries.append(query)

    def compute(self) -> dict[str, Tensor]:
        """`hr@k` and `ndcg@k`; NaN where there are no queries.

        Raises:
            ZooError: Where a query has no positive, or several.
        """
        # a list before the states of all ranks are gathered, a tensor after
        parts = [self.logits] if isinstance(self.logits, Tensor) else self.logits
        if not sum(map(len, parts)):
            nan = torch.tensor(torch.nan, dtype=torch.float64, device=self.device)
            return {name: nan.clone() for name in self.names}
        logits, positive = dim_zero_cat(self.logits), dim_zero_cat(self.labels) > 0.5
        hits, gains = gains_of_lists(logits, positive, dim_zero_cat(self.queries), self.k)
        return dict(zip(self.names, (hits.mean(), gains.mean()), strict=True))


def gains_of_lists(
    logits: Tensor, positive: Tensor, query: Tensor, k: int
) -> tuple[Tensor, Tensor]:
    """[Q] hit ratios and [Q] NDCG of ranked lists, in order of their numbers; see `RankingMetrics`.

    Args:
        logits: [R] scores of the rows.
        positive: [R] bool, true for the positive of each list.
        query: [R] number of each row's list.
        k: Number of ranks that count.

    Raises:
        ZooError: Where a list has no positive, or several.
    """
    higher, equal = _rivals(logits, positive, query)
    first, last = higher.clamp(max=k), (higher + equal + 1).clamp(max=k)
    ranks = torch.arange(2, k + 2, dtype=torch.float64, device=logits.device)
    gains = torch.cat((ranks.new_zeros(1), ranks.log2().reciprocal().cumsum(0)))
    hits = (last - first) / (equal + 1).double()
    return hits, (gains[last] - gains[first]) / (equal + 1)


class SessionMetrics(Metric):
    """Accuracy, accuracy on the first track, mean average accuracy and logloss of sessions.

    With L_i = 1 where the prediction of track i of a session is right, and T tracks,

        acc   = mean over all tracks of L_i
        acc@1 = mean over sessions of L_1
        maa   = mean over sessions of (1 / T) sum_i A_i L_i,   A_i = (1 / i) sum_{j <= i} L_j

    (Brost et al. 2019; Afchar & Hennequin 2020, section 4.3.2). A skip is predicted where the
    logit is positive, no skip where it is negative; a logit of zero guesses, and counts with the
    expected value of guessing. A NaN is never right. Tracks without a label are left out, as if
    the session did not hold them; where the first track has none, acc@1 leaves out the session.
    """

    full_state_update = False
    names = ("acc", "acc@1", "maa", "logloss")
    sums: Tensor
    counts: Tensor

    def __init__(self) -> None:
        super().__init__()
        sums = torch.zeros(len(self.names), dtype=torch.float64)
        self.add_state("sums", sums, dist_reduce_fx="sum")
        self.add_state("counts", sums.long(), dist_reduce_fx="sum")

    def update(self, logits: Tensor, labels: Tensor, scored: Tensor) -> None:
        """Adds a batch: logits [B, T], labels [B, T], and bool [B, T] which tracks count."""
        check_shapes(logits, labels)
        parts, counts = session_parts(logits.detach(), labels, scored)
        self.sums += torch.stack([part.sum() for part in parts])
        self.counts += torch.stack([count.sum() for count in counts])

    def compute(self) -> dict[str, Tensor]:
        """`acc`, `acc@1`, `maa` and `logloss`; NaN where there is nothing to score."""
        return dict(zip(self.names, self.sums / self.counts, strict=True))


def session_parts(
    logits: Tensor, labels: Tensor, scored: Tensor
) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    """What the metrics of sessions are sums of, in the order of `SessionMetrics.names`, and how
    many there are of each: [B, T] of tracks, [B] of sessions.

    Args:
        logits: [B, T] logits.
        labels: [B, T] labels.
        scored: bool [B, T] which tracks count.
    """
    logits = logits.masked_fill(~scored, 0)
    labels = labels.masked_fill(~scored, 0)
    right = ((logits > 0) == (labels > 0.5)) & ~logits.isnan() & scored
    right = torch.where((logits == 0) & scored, 0.5, right.double())
    place = scored.cumsum(1)
    # of a guess, L_i L_i is L_i
    average = right * (1 + right.cumsum(1) - right) / place.clamp(min=1)
    tracks = place[:, -1]
    loss = cross_entropy(logits, labels) * scored
    parts = (right, right[:, 0], average.sum(1) / tracks.clamp(min=1), loss)
    return parts, (scored, scored[:, 0], tracks > 0, scored)


def check_shapes(logits: Tensor, labels: Tensor) -> None:
    """Refuses what torch would broadcast."""
    if logits.shape != labels.shape:
        raise ZooError(
            f"the model gives logits of the shape {[*logits.shape]}, but the labels have "
            f"{[*labels.shape]}"
        )


def _rivals(logits: Tensor, positive: Tensor, query: Tensor) -> tuple[Tensor, Tensor]:
    """[Q] numbers of negatives that score higher than the positive, and [Q] of equal score.

    Args:
        logits: [R] scores of the rows.
        positive: [R] bool, true for the positive of each query.
        query: [R] number of each row's query.
    """
    queries, place = torch.unique(query, return_inverse=True)
    counts = _count(place, positive, len(queries))
    if (wrong := counts != 1).any():
        raise ZooError(
            f"{int(wrong.sum())} of {len(queries)} ranked lists do not hold exactly one positive, "
            f"such as query {int(queries[wrong][0])} with {int(counts[wrong][0])}: rank whole "
            "lists (trainer.limit_val_batches and limit_test_batches cut them)"
        )
    scores = logits.new_empty(len(queries))
    scores[place[positive]] = logits[positive]
    target = scores[place]
    # not `logits > target`: where either is NaN, the negative ranks higher
    higher = _count(place, ~positive & ~(logits <= target), len(queries))
    equal = _count(place, ~positive & (logits == target), len(queries))
    return higher, equal


def _count(place: Tensor, rows: Tensor, queries: int) -> Tensor:
    """[Q] how many of the marked rows [R] each query has."""
    return total(place, rows.to(place.dtype), queries)
