"""Leave-one-out ranking: hand-worked ranks, and the definition by brute force."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from zoo import Batch, DeepFM, Field, Schema, ZooError
from zoo.metrics import RankingMetrics

NAN = math.nan


def measured(logits, labels, query, k=10):
    metric = RankingMetrics(k)
    metric.update(torch.tensor(logits), torch.tensor(labels).float(), torch.tensor(query))
    return {name: float(value) for name, value in metric.compute().items()}


def by_definition(logits, labels, query, k):
    """The mean over queries of the mean over the possible ranks of the positive."""
    hits, gains = [], []
    for q in set(query):
        rows = [i for i in range(len(query)) if query[i] == q]
        (positive,) = [logits[i] for i in rows if labels[i]]
        negatives = [logits[i] for i in rows if not labels[i]]
        if math.isnan(positive):
            ranks = [len(negatives) + 1]
        else:
            above = sum(math.isnan(n) or n > positive for n in negatives)
            ties = sum(n == positive for n in negatives)
            ranks = range(above + 1, above + ties + 2)
        hits.append(sum(rank <= k for rank in ranks) / len(ranks))
        gains.append(sum((rank <= k) / math.log2(rank + 1) for rank in ranks) / len(ranks))
    return {f"hr@{k}": sum(hits) / len(hits), f"ndcg@{k}": sum(gains) / len(gains)}


@pytest.mark.parametrize(
    ("positive", "negatives", "hit", "gain"),
    [
        (5.0, [4.0, 3.0, 2.0], 1.0, 1.0),  # rank 1
        (3.5, [4.0, 3.0, 2.0], 1.0, 1 / math.log2(3)),  # rank 2
        (1.0, [4.0, 3.0, 2.0], 0.0, 0.0),  # rank 4 of k = 2
        (4.0, [4.0, 3.0], 1.0, (1 + 1 / math.log2(3)) / 2),  # rank 1 or 2
        (3.0, [4.0, 3.0, 2.0], 0.5, 1 / math.log2(3) / 2),  # rank 2 or 3
        (0.0, [0.0] * 99, 0.02, (1 + 1 / math.log2(3)) / 100),  # any of 100
        (NAN, [NAN, -1.0, 0.0], 0.0, 0.0),  # last
        (1.0, [NAN, 0.0], 1.0, 1 / math.log2(3)),  # below the NaN
    ],
)
def test_hand_worked_ranks(positive, negatives, hit, gain):
    labels = [1] + [0] * len(negatives)
    found = measured([positive, *negatives], labels, [7] * len(labels), k=2)
    assert found == pytest.approx({"hr@2": hit, "ndcg@2": gain})


@st.composite
def ranked_lists(draw):
    logit = st.sampled_from([-1.0, 0.0, 0.5, 2.0, NAN, math.inf, -math.inf])
    rows = []
    for query in draw(st.lists(st.integers(0, 10**12), min_size=1, max_size=5, unique=True)):
        scores = draw(st.lists(logit, min_size=1, max_size=8))
        rows += [(score, int(i == 0), query) for i, score in enumerate(scores)]
    return draw(st.permutations(rows))


@settings(deadline=None, max_examples=200)
@given(ranked_lists(), st.integers(1, 9))
def test_equal_to_the_definition_in_any_order(rows, k):
    logits, labels, query = map(list, zip(*rows, strict=True))
    expected = by_definition(logits, labels, query, k)
    assert measured(logits, labels, query, k) == pytest.approx(expected)


@settings(deadline=None, max_examples=50)
@given(ranked_lists(), st.integers(0, 40))
def test_lists_may_be_spread_over_batches_and_processes(rows, cut):
    columns = [torch.tensor(column) for column in zip(*rows, strict=True)]
    logits, labels, query = columns[0], columns[1].float(), columns[2]
    parts = [slice(None, cut), slice(cut, None)]
    processes = [RankingMetrics(), RankingMetrics()]
    for process, part in zip(processes, parts, strict=True):
        process.update(logits[part], labels[part], query[part])
    # what torchmetrics does to gather: one tensor of the states of all processes
    joined = RankingMetrics()
    for name in ("logits", "labels", "queries"):
        setattr(joined, name, torch.cat([getattr(p, name)[0] for p in processes]))
        assert joined._reductions[name].__name__ == "dim_zero_cat"
    joined._update_count = 1
    found = {name: float(value) for name, value in joined.compute().items()}
    assert found == pytest.approx(measured(logits.tolist(), labels.tolist(), query.tolist()))


def test_no_list_at_all_is_no_number():
    assert all(math.isnan(value) for value in measured([], [], []).values())
    with pytest.warns(UserWarning, match="before the ``update``"):
        values = RankingMetrics().compute()
    assert all(value.isnan() for value in values.values())


@pytest.mark.parametrize("labels", [[0, 0, 1], [1, 1, 1]])
def test_a_list_needs_exactly_one_positive(labels):
    message = rf"^1 of 2 ranked lists do not hold .* query 4 with {sum(labels[:2])}:"
    with pytest.raises(ZooError, match=message):
        measured([0.0, 1.0, 2.0], labels, [4, 4, 5])


def test_k_is_at_least_one():
    with pytest.raises(ZooError, match="k must be at least 1, got 0"):
        RankingMetrics(0)


def test_batches_without_lists_leave_no_trace():
    schema = Schema((Field("a", "categorical", 4),))
    model = DeepFM(schema, embedding_dim=2, hidden_units=[2])
    ids = torch.zeros(2, 1, dtype=torch.int)
    model.validation_step(Batch(torch.empty(2, 0), ids, torch.tensor([0.0, 1.0])))
    assert not model.ranking["val/"].update_called
    assert model.metrics["val/"].update_called
