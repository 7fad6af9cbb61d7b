"""Clicks, leave-one-out ranking and sessions: hand-worked values, definitions by brute force."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from zoo import Batch, DeepFM, Field, Schema, ZooError
from zoo.inspect.with_data.importance import _measure
from zoo.models.metrics import ClickMetrics, RankingMetrics, SessionMetrics, cross_entropy

NAN, INF = math.nan, math.inf


def measured(logits, labels, query, k=10):
    metric = RankingMetrics(k)
    metric.update(torch.tensor(logits), torch.tensor(labels).float(), torch.tensor(query))
    return {name: float(value) for name, value in metric.compute().items()}


@pytest.mark.parametrize(
    ("logits", "auc"),
    [
        ([-1.0, 2.0, 3.0, 0.5], 0.75),  # of four pairs one is in the wrong order
        ([1e6 - 1, 1e6 + 2, 1e6 + 3, 1e6 + 0.5], 0.75),
        ([-math.inf, 2.0, math.inf, 0.5], 0.75),
        ([NAN, 2.0, 3.0, 0.5], NAN),
        ([NAN] * 4, NAN),
    ],
)
def test_area_under_the_curve(logits, auc):
    for order in itertools.permutations(range(4)):
        metric = ClickMetrics()
        metric.update(torch.tensor(logits)[[*order]], torch.tensor([0.0, 0.0, 1.0, 1.0])[[*order]])
        assert float(metric.compute()["auc"]) == pytest.approx(auc, nan_ok=True)


def of_clicks(logits, labels):
    metric = ClickMetrics()
    metric.update(torch.as_tensor(logits), torch.as_tensor(labels).float())
    return {name: float(value) for name, value in metric.compute().items()}


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_scores_far_apart_do_not_tie(dtype):
    logits = torch.tensor([-60, -50, 50, 60, 70], dtype=dtype)
    assert of_clicks(logits, [0, 0, 1, 0, 1])["auc"] == 5 / 6


def test_infinities_tie_with_their_like():
    # of six pairs two are in order and two tie
    assert of_clicks([INF, INF, -INF, -INF, 0.0], [1, 0, 0, 1, 1])["auc"] == (2 + 1) / 6


def drawn_clicks(seed, rows):
    """float32 logits over +-2,000, some of them equal, some infinite; labels of both classes."""
    random = np.random.default_rng(seed)
    logits = random.uniform(-2000, 2000, rows).astype(np.float32)
    tied = random.random(rows) < random.choice([0, 0.5, 1])
    logits[tied] = random.choice([-2000, -60, -0.0, 0, 37, 38, 2000, INF, -INF], tied.sum())
    labels = random.permutation(np.arange(rows) < random.integers(1, rows))
    return torch.from_numpy(logits), torch.from_numpy(labels).float()


def gathered(parts):
    """The first of these metrics, which gathers the states of all when it is computed."""
    none = [torch.tensor([])]  # which a process without a state sends
    names = ("logits", "labels", "weights", "groups")
    kept = [[torch.cat(getattr(part, name) or none) for part in parts] for name in names]
    counted = [[getattr(part, name) for part in parts] for name in ("counts", "sums")]
    states = iter([*kept, *counted])
    first = parts[0]
    first.distributed_available_fn = lambda: True
    first.dist_sync_fn = lambda *_, **__: next(states)
    return first


@settings(deadline=None, max_examples=1000)
@given(st.integers(0, 2**32), st.integers(2, 60), st.integers(1, 59))
def test_auc_equals_that_of_scikit_learn_on_one_process_and_two(seed, rows, cut):
    logits, labels = drawn_clicks(seed, rows)
    # which refuses infinities: a finite number beyond all others has their rank
    expected = roc_auc_score(labels, logits.double().clamp(-1e9, 1e9))
    assert of_clicks(logits, labels)["auc"] == pytest.approx(expected, abs=1e-12)
    parts = [ClickMetrics(), ClickMetrics()]
    for part, piece in zip(parts, (slice(None, cut), slice(cut, None)), strict=True):
        part.update(logits[piece], labels[piece])
    assert float(gathered(parts).compute()["auc"]) == pytest.approx(expected, abs=1e-12)


@settings(deadline=None, max_examples=20)
@given(
    st.integers(0, 2**32), st.integers(2, 200), st.integers(0, 50), st.booleans(), st.integers(1, 9)
)
def test_rows_that_are_counted_in_bins_measure_as_exactly_as_is_said(
    seed, rows, exact, weighted, size
):
    """In batches on two processes, one of which may have kept all of its rows."""
    logits, labels, weight, _ = drawn_groups(seed, rows)
    logits = logits.nan_to_num(posinf=1e5, neginf=-1e5)
    columns = [logits, labels, *([weight] if weighted else [])]
    parts = [ClickMetrics(exact), ClickMetrics(exact)]
    for i, batch in enumerate(zip(*(column.split(size) for column in columns), strict=True)):
        parts[i % 5 == 0].update(*batch)
    for part in parts:
        if any(len(other.counts) for other in parts) and len(part.logits):
            part._count()  # as `sync` does
    if not all(len(part.logits) for part in parts):
        return
    found = {k: float(v) for k, v in gathered(parts).compute().items()}
    one = ClickMetrics()
    one.update(*columns)
    wanted = {k: float(v) for k, v in one.compute().items()}
    assert found["logloss"] == pytest.approx(wanted["logloss"], rel=1e-9, nan_ok=True)
    error = found.get("auc_error", 0.0)
    assert found["auc"] == pytest.approx(wanted["auc"], abs=error + 1e-12, nan_ok=True)
    assert ("auc_error" in found) == any(len(part.counts) for part in parts)


@pytest.mark.parametrize(("elsewhere", "counts"), [(4, False), (5, True)])
def test_rows_of_all_processes_are_kept_up_to_one_number(monkeypatch, elsewhere, counts):
    metric = ClickMetrics(10)
    metric.update(torch.zeros(6), torch.ones(6))
    monkeypatch.setattr("torch.distributed.is_initialized", lambda: True)
    monkeypatch.setattr(
        "torch.distributed.all_reduce", lambda kept: kept.add_(kept.new_tensor([elsewhere, 0]))
    )
    monkeypatch.setattr("torchmetrics.Metric.sync", lambda *_, **__: None)
    metric.sync()
    assert (len(metric.counts) > 0) == counts
    assert sum(map(len, metric.logits)) == (0 if counts else 6)


def test_bins_of_many_rows_are_fine_enough():
    """A million rows as a model scores them: within 2e-6, it says, and few rows are kept."""
    random = np.random.default_rng(0)
    logits = torch.from_numpy(random.normal(-2, 1, 1_000_000).astype(np.float32))
    labels = (torch.from_numpy(random.random(1_000_000)) < logits.sigmoid()).float()
    metric, exact = ClickMetrics(150_000), ClickMetrics()
    for batch in zip(logits.split(10_000), labels.split(10_000), strict=True):
        metric.update(*batch)
        assert sum(map(len, metric.logits)) <= 150_000
    exact.update(logits, labels)
    found, wanted = metric.compute(), exact.compute()
    assert found["auc_error"] < 2e-6
    assert abs(float(found["auc"] - wanted["auc"])) < 1e-8
    metric.reset()
    metric.update(logits[:100], labels[:100])
    assert "auc_error" not in metric.compute()
    metric.update(torch.full((150_000,), NAN), torch.zeros(150_000))
    assert math.isnan(float(metric.compute()["auc"]))


def drawn_groups(seed, rows):
    """Clicks as `drawn_clicks` draws them, with weights (some of them zero) and groups."""
    logits, labels = drawn_clicks(seed, rows)
    random = np.random.default_rng(seed + 1)
    weight = random.choice([0, 1e-6, 0.5, 1, 3, 1e6], rows).astype(np.float32)
    group = random.choice([-(2**63), -5, 0, 7, 2**63 - 1], rows)
    return logits, labels, torch.from_numpy(weight), torch.from_numpy(group)


def by_group(logits, labels, weight, group):
    """The mean of scikit-learn's AUC over the groups with both classes, weighted by their size."""
    areas, sizes = [], []
    for g in set(group.tolist()):
        rows = group == g
        if all(weight[rows & (labels == y)].sum() > 0 for y in (0, 1)):
            scores = logits[rows].double().clamp(-1e9, 1e9)
            w = weight[rows].double()
            areas.append(roc_auc_score(labels[rows], scores, sample_weight=w))
            sizes.append(float(w.sum()))
    return np.average(areas, weights=sizes) if areas else NAN


def click_parts(pieces, *columns):
    parts = [ClickMetrics() for _ in pieces]
    for part, piece in zip(parts, pieces, strict=True):
        part.update(*(None if column is None else column[piece] for column in columns))
    return parts


@settings(deadline=None, max_examples=150)
@given(st.integers(0, 2**32), st.integers(2, 40), st.integers(1, 39), st.booleans())
def test_weighted_metrics_and_those_by_group_equal_scikit_learn(seed, rows, cut, weighted):
    logits, labels, weight, group = drawn_groups(seed, rows)
    ones = torch.ones(rows)
    parts = click_parts(
        (slice(None, cut), slice(cut, None)), logits, labels, weight if weighted else None, group
    )
    found = {name: float(value) for name, value in gathered(parts).compute().items()}
    w = (weight if weighted else ones).double()
    assert found["gauc"] == pytest.approx(by_group(logits, labels, w, group), abs=1e-9, nan_ok=True)
    losses = cross_entropy(logits, labels)[w > 0]
    if w.sum() > 0:
        assert found["logloss"] == pytest.approx(np.average(losses, weights=w[w > 0]), rel=1e-12)
    if all(w[labels == y].sum() > 0 for y in (0, 1)):
        scores = logits.double().clamp(-1e9, 1e9)
        expected = roc_auc_score(labels, scores, sample_weight=w)
        assert found["auc"] == pytest.approx(expected, abs=1e-9)
    else:
        assert math.isnan(found["auc"])


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 2**32), st.integers(2, 30))
def test_a_weight_measures_as_so_many_rows(seed, rows):
    logits, labels, _, group = drawn_groups(seed, rows)
    times = torch.from_numpy(np.random.default_rng(seed).integers(0, 4, rows))
    (weighted,) = click_parts([slice(None)], logits, labels, times.float(), group)
    again = [column.repeat_interleave(times) for column in (logits, labels, group)]
    if times.sum():
        (repeated,) = click_parts([slice(None)], *again[:2], None, again[2])
        found, expected = weighted.compute(), repeated.compute()
        for name, value in expected.items():
            torch.testing.assert_close(found[name], value, rtol=1e-10, atol=1e-10, equal_nan=True)


@pytest.mark.parametrize(
    ("logits", "labels", "group", "gauc"),
    [
        ([1.0, 2, 3, 4], [0, 1, 1, 0], [1, 1, 2, 2], 0.5),  # one of two is in order
        ([1.0, 2, 3, 4, 5], [0, 1, 1, 0, 0], [1, 1, 2, 2, 2], 0.4),  # 1 of 2 rows, 0 of 3
        ([1.0, 2, 9, 9], [0, 1, 1, 1], [1, 1, 2, 3], 1.0),  # others have a single class
        ([1.0, 1], [0, 1], [1, 1], 0.5),
        ([1.0, 2], [0, 1], [1, 2], NAN),
        ([1.0, NAN, 3], [0, 1, 1], [1, 1, 2], NAN),
    ],
)
def test_hand_worked_areas_within_groups(logits, labels, group, gauc):
    (metric,) = click_parts(
        [slice(None)],
        *map(torch.tensor, (logits, [float(y) for y in labels])),
        None,
        torch.tensor(group),
    )
    assert float(metric.compute()["gauc"]) == pytest.approx(gauc, nan_ok=True)


def test_an_infinite_logit_costs_nothing_or_everything():
    logits, labels = torch.tensor([INF, -INF, 1e4, INF, -INF]), torch.tensor([1.0, 0, 1, 0, 1])
    assert cross_entropy(logits, labels).tolist() == [0, 0, 0, INF, INF]
    assert of_clicks(logits[:3], labels[:3])["logloss"] == 0
    assert of_clicks(logits, labels)["logloss"] == INF
    assert of_sessions([logits[:3].tolist()], [labels[:3].tolist()])["logloss"] == 0
    assert _measure(logits, labels)[1].tolist() == [0, 0, 0, INF, INF]  # of `inspect`
    assert cross_entropy(torch.zeros(1), torch.tensor([NAN])).isnan()


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
    labels = torch.tensor([0.0, 1.0])
    model.validation_step(Batch(numerical=torch.empty(2, 0), categorical=ids, label=labels))
    assert not model.ranking
    assert model.metrics["val/"].update_called


# Sessions


def of_sessions(logits, labels, known=None):
    """The metrics of padded sessions."""
    metric = SessionMetrics()
    labels = torch.tensor(labels)
    known = ~labels.isnan() if known is None else known
    metric.update(torch.tensor(logits), labels, known)
    return {name: float(value) for name, value in metric.compute().items()}


def test_three_sessions_by_hand():
    """Right: yes no yes | no yes | yes yes no yes; padding is NaN here."""
    labels = [[1.0, 1, 0, NAN], [0, 1, NAN, NAN], [1, 0, 0, 1]]
    logits = [[2.0, -1, -3, NAN], [1, 1, 9, NAN], [1, -1, 1, 1]]
    found = of_sessions(logits, labels)
    averages = [(1 + 2 / 3) / 3, (1 / 2) / 2, (1 + 1 + 3 / 4) / 4]
    assert found["acc"] == pytest.approx(6 / 9)
    assert found["acc@1"] == pytest.approx(2 / 3)
    assert found["maa"] == pytest.approx(sum(averages) / 3)
    known = [(2, 1), (-1, 1), (-3, 0), (1, 0), (1, 1), (1, 1), (-1, 0), (1, 0), (1, 1)]
    losses = [math.log1p(math.exp(-z if y else z)) for z, y in known]
    assert found["logloss"] == pytest.approx(sum(losses) / 9)


@pytest.mark.parametrize("tracks", [1, 4, 10])
def test_random_guessing(tracks):
    """The mean over all outcomes, a logit of zero, and 1/4 + H_T / 4T are one number."""
    outcomes = torch.tensor(list(itertools.product((1.0, -1.0), repeat=tracks)))
    labels = torch.randint(2, (tracks,)).float().expand_as(outcomes)
    harmonic = sum(1 / i for i in range(1, tracks + 1))
    for logits in (outcomes, torch.zeros_like(outcomes)):
        found = of_sessions(logits.tolist(), labels.tolist())
        assert found["acc"] == pytest.approx(0.5)
        assert found["acc@1"] == pytest.approx(0.5)
        assert found["maa"] == pytest.approx(0.25 + 0.25 * harmonic / tracks)
    if tracks == 10:  # sessions of 20
        assert found["maa"] == pytest.approx(0.323, abs=5e-4)
        assert found["logloss"] == pytest.approx(math.log(2))


def session_by_definition(logits, labels):
    """Sum of A_i L_i over the tracks that have a label, by the number of these."""
    right = [(z > 0) == (y == 1) for z, y in zip(logits, labels, strict=True) if y == y]
    areas = [sum(right[:i]) / i * right[i - 1] for i in range(1, len(right) + 1)]
    return sum(areas) / len(right) if right else None


label = st.sampled_from([0.0, 1.0, NAN])
sessions = st.integers(1, 6).flatmap(
    lambda t: st.lists(
        st.lists(st.tuples(st.sampled_from([-2.0, 0.5]), label), min_size=t, max_size=t),
        min_size=1,
        max_size=6,
    )
)


@settings(deadline=None, max_examples=100)
@given(sessions, st.integers(0, 6))
def test_sessions_equal_the_definition_over_batches_and_processes(rows, cut):
    columns = torch.tensor(rows)
    logits, labels = columns.unbind(2)
    known = ~labels.isnan()
    parts = [SessionMetrics(), SessionMetrics()]
    for part, piece in zip(parts, (slice(None, cut), slice(cut, None)), strict=True):
        part.update(logits[piece], labels[piece], known[piece])
    parts[0].merge_state(parts[1])
    found = {name: float(value) for name, value in parts[0].compute().items()}
    averages = [session_by_definition(z, y) for z, y in zip(logits, labels, strict=True)]
    averages = [a for a in averages if a is not None]
    right = ((logits > 0) == (labels == 1)).double()
    first = right[:, 0][known[:, 0]]
    expected = {"acc": right[known].mean(), "acc@1": first.mean()}
    expected["maa"] = sum(averages) / len(averages) if averages else NAN
    for name, value in expected.items():
        assert found[name] == pytest.approx(float(value), nan_ok=True), name
    assert all(
        part._reductions[name].__name__ == "dim_zero_sum"
        for part in parts
        for name in ("sums", "counts")
    )


def test_a_score_that_is_no_number_is_never_right():
    assert of_sessions([[NAN, NAN]], [[0.0, 1.0]])["acc"] == 0
