"""The statistics of `compare`, against closed forms, scipy, sklearn and slow ways to the same."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import log_loss, roc_auc_score

from zoo.inspect.runs import bootstrap
from zoo.inspect.runs.compared import same_rows
from zoo.inspect.runs.contrasts import between_configs, holm
from zoo.inspect.runs.delong import areas
from zoo.inspect.runs.measured import Measured, measure
from zoo.inspect.runs.rows import Rows, rows_of
from zoo.models.metrics import ClickMetrics, RankingMetrics, SessionMetrics


def slow_delong(scores, positive):
    """DeLong et al. 1988, equations 4 to 6, pair by pair."""
    m, n = positive.sum(), (~positive).sum()
    psi = np.array(
        [[[(x > y) + (x == y) / 2 for y in of[~positive]] for x in of[positive]] for of in scores]
    )
    theta = psi.mean((1, 2))
    return theta, np.atleast_2d(np.cov(psi.mean(2)) / m + np.cov(psi.mean(1)) / n)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(4, 40), st.integers(1, 4), st.integers(1, 12))
def test_fast_delong_is_the_slow_one(seed, rows, models, values):
    random = np.random.default_rng(seed)
    scores = random.integers(values, size=(models, rows)).astype(float)  # of many ties
    positive = np.arange(rows) % 2 == 0
    theta, covariance = areas(scores, positive)
    expected = slow_delong(scores, positive)
    np.testing.assert_allclose(theta, expected[0], atol=1e-12)
    np.testing.assert_allclose(covariance, expected[1], atol=1e-12)
    assert theta == pytest.approx([roc_auc_score(positive, of) for of in scores])


def drawn(seed, rows=3000, apart=1.0):
    """Labels, and the scores of two models that know something of them."""
    random = np.random.default_rng(seed)
    positive = random.random(rows) < 0.3
    shared = apart * positive + random.normal(size=rows)
    return positive, shared + random.normal(size=(2, rows))


def test_weights_count_in_the_area_and_in_its_variance():
    positive, scores = drawn(0, 400)
    weight = np.random.default_rng(1).exponential(size=len(positive))
    theta, covariance = areas(scores, positive, weight)
    assert theta == pytest.approx(
        [roc_auc_score(positive, x, sample_weight=weight) for x in scores]
    )
    same = areas(scores, positive)
    for constant in (1.0, 0.25):
        found = areas(scores, positive, np.full(len(positive), constant))
        np.testing.assert_allclose(found[0], same[0])
        np.testing.assert_allclose(found[1], same[1])
    random = np.random.default_rng(2)
    chosen = random.integers(len(positive), size=(2000, len(positive)))
    again = np.array([areas(scores[:, i], positive[i], weight[i])[0] for i in chosen])
    np.testing.assert_allclose(covariance, np.cov(again, rowvar=False), rtol=0.15)


def test_scores_that_know_nothing_have_the_variance_of_mann_whitney():
    positive, scores = drawn(3, 20_000, apart=0.0)
    m, n = positive.sum(), (~positive).sum()
    assert areas(scores, positive)[1].diagonal() == pytest.approx(
        (m + n + 1) / 12 / m / n, rel=0.02
    )


def test_copies_of_a_row_in_one_unit_count_once():
    positive, scores = drawn(4, 500)
    copies = [np.tile(x, 5) for x in (positive, *scores)]
    unit = np.tile(np.arange(len(positive)), 5)
    found = areas(np.stack(copies[1:]), copies[0], unit=unit)
    expected = areas(scores, positive)
    np.testing.assert_allclose(found[0], expected[0])
    np.testing.assert_allclose(found[1], expected[1], rtol=0.02)


def test_what_has_no_area_or_no_variance_is_nan():
    positive = np.array([True, True, False])
    theta, covariance = areas(np.array([[1.0, np.nan, 0.0], [1.0, 2.0, 0.0]]), positive)
    assert np.isnan(theta).tolist() == [True, False]
    assert np.isnan(covariance).all()  # of one negative
    for one_class in (positive | True, positive & False):
        assert np.isnan(areas(np.zeros((2, 3)), one_class)[0]).all()


def test_the_bootstrap_of_a_mean_has_its_standard_error(monkeypatch):
    values = np.random.default_rng(0).gamma(0.5, size=(2, 3000))
    ones = np.ones((1, 3000))
    expected = values.std(1, ddof=1) / np.sqrt(3000)
    found = bootstrap.draws(values[None], ones, 2000, seed=0)
    assert found.shape == (2000, 1, 2)
    assert found[:, 0].std(0) == pytest.approx(expected, rel=0.06)
    assert np.corrcoef(found[:, 0].T)[0, 1] == pytest.approx(np.corrcoef(values)[0, 1], abs=0.06)
    np.testing.assert_array_equal(found, bootstrap.draws(values[None], ones, 2000, seed=0))
    monkeypatch.setattr(bootstrap, "UNITS", 700)  # as of many rows
    assert bootstrap.draws(values[None], ones, 2000, 0)[:, 0].std(0) == pytest.approx(
        expected, rel=0.1
    )
    normal = stats.norm.interval(0.9, values[0].mean(), expected[0])
    low, high = bootstrap.interval(found[:, 0, 0], 0.9)
    assert (low, high) == pytest.approx(normal, rel=0.005)


def test_holm_is_the_example_and_keeps_what_is_not_known():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert str(holm([0.01, np.nan])) == "[0.02, nan]"
    assert holm([]) == []


def rows_and_logits(seed, rows=2000, noise=(0.0, 0.0)):
    """Rows of known odds, and models that know these up to some noise."""
    random = np.random.default_rng(seed)
    logit = random.normal(size=rows) * 1.5 - 1
    labels = torch.from_numpy(random.random(rows) < 1 / (1 + np.exp(-logit))).float()
    scores = [torch.from_numpy(logit + n * random.normal(size=rows)).float() for n in noise]
    return Rows(labels), scores


def test_pairs_are_tested_as_scipy_tests_them():
    rows, (one, two) = rows_and_logits(0, noise=(0.2, 0.5))
    found = measure(rows, [one, two], count=4000)
    labels = rows.labels.numpy()
    p = [x.double().sigmoid().numpy() for x in (one, two)]
    assert found["logloss"].values == pytest.approx([log_loss(labels, x) for x in p], rel=1e-6)
    (pair,) = between_configs(found["logloss"], [[0], [1]], 0.95)
    losses = [-np.log(np.where(labels > 0.5, x, 1 - x)) for x in p]
    expected = stats.ttest_rel(*losses)
    assert pair.p == pytest.approx(expected.pvalue, rel=0.3)
    interval = expected.confidence_interval(0.95)
    assert (pair.low, pair.high) == pytest.approx((interval.low, interval.high), rel=0.05)
    (pair,) = between_configs(found["auc"], [[0], [1]], 0.95)
    theta, covariance = areas(np.stack([one, two]), labels > 0.5)
    z = (theta[0] - theta[1]) / np.sqrt([1, -1] @ covariance @ [1, -1])
    assert pair.p == pytest.approx(2 * stats.norm.sf(abs(z)))
    low, high = found["auc"].low, found["auc"].high
    assert (theta - low) / np.sqrt(covariance.diagonal()) == pytest.approx(stats.norm.ppf(0.975))
    assert high - theta == pytest.approx(theta - low)


def test_a_detectable_difference_is_found_as_often_as_it_says():
    error, random = 0.01, np.random.default_rng(0)
    covariance = np.eye(2) * error**2 / 2
    (pair,) = between_configs(
        Measured("m", np.zeros(2), *[np.zeros(2)] * 2, covariance), [[0], [1]], 0.95
    )
    apart = pair.detectable + error * random.normal(size=20_000)
    assert (np.abs(apart) > stats.norm.ppf(0.975) * error).mean() == pytest.approx(0.8, abs=0.01)


def test_seeds_add_their_noise_and_cost_degrees_of_freedom():
    values = np.array([1.0, 1.2, 2.0, 2.4, 2.2])
    covariance = np.full((5, 5), 0.01) + np.eye(5) * 0.002
    of = Measured("m", values, values, values, covariance)
    (pair,) = between_configs(of, [[0, 1], [2, 3, 4]], 0.95)
    seeds = (values[:2].var(ddof=1) + 2 * values[2:].var(ddof=1)) / 3 * (1 / 2 + 1 / 3)
    rows = 0.002 * (1 / 2 + 1 / 3)  # what all runs share cancels
    freedom = 3 * ((rows + seeds) / seeds) ** 2
    assert pair.with_seeds
    assert pair.difference == pytest.approx(-1.1)
    assert pair.p == pytest.approx(2 * stats.t.sf(1.1 / np.sqrt(rows + seeds), freedom))
    (alone,) = between_configs(of, [[0], [3]], 0.95)
    assert not alone.with_seeds
    assert alone.p == pytest.approx(2 * stats.norm.sf(1.4 / np.sqrt(0.004)))
    same = Measured("m", np.ones(2), np.ones(2), np.ones(2), np.full((2, 2), 0.01))
    (pair,) = between_configs(same, [[0], [1]], 0.95)
    assert (pair.p, pair.is_noise) == (1, True)


# The metrics are those of a fit


def test_metrics_of_weighted_rows_in_groups_are_those_of_a_fit():
    rows, logits = rows_and_logits(0, 600, noise=(0.2, 0.5))
    random = np.random.default_rng(1)
    weight = torch.from_numpy(random.exponential(size=600)).float()
    group = torch.from_numpy(random.integers(50, size=600)) * 7
    rows = Rows(rows.labels, weight, group)
    found = measure(rows, logits, count=50)
    for i, of in enumerate(logits):
        metric = ClickMetrics()
        metric.update(of, rows.labels, weight, group)
        for name, value in metric.compute().items():
            assert found[name].values[i] == pytest.approx(value.item(), rel=1e-6)
            assert found[name].low[i] < value < found[name].high[i]
    assert (rows.unit, rows.units().max()) == ("group", 49)


def test_metrics_of_lists_are_those_of_a_fit():
    random = np.random.default_rng(1)
    query = torch.arange(80).repeat_interleave(20) * 3
    labels = (torch.arange(1600) % 20 == 4).float()
    logits = [torch.from_numpy(random.integers(30, size=1600)).float() for _ in range(2)]
    found = measure(Rows(labels, query=query), logits, count=50)
    for i, of in enumerate(logits):
        metric = RankingMetrics()
        metric.update(of, labels, query)
        expected = {name: value.item() for name, value in metric.compute().items()}
        assert {name: found[name].values[i] for name in expected} == pytest.approx(expected)
    hits = bootstrap.interval(np.ones((3, 1)), 0.95)
    assert hits == (1, 1)


def test_metrics_of_sessions_are_those_of_a_fit():
    from zoo import SessionBatch

    torch.manual_seed(0)
    batches, logits = [], [[], []]
    for tracks in (3, 5, 4):
        mask = torch.rand(30, tracks) < 0.8
        label = torch.randint(2, (30, tracks)).float()
        label[torch.rand(30, tracks) < 0.1] = torch.nan
        none = (
            torch.zeros(30, 2, 1),
            torch.ones(30, 2, dtype=torch.bool),
            torch.zeros(30, tracks, 1),
        )
        batches.append(SessionBatch(*none, mask, label))
        for of in logits:
            of.append(torch.randn(30, tracks))
    rows = rows_of(batches)
    flat = [torch.cat([x[b.labelled] for x, b in zip(of, batches, strict=True)]) for of in logits]
    found = measure(rows, flat, count=50)
    assert "auc" not in found
    assert rows.unit == "session"
    for i, of in enumerate(logits):
        metric = SessionMetrics()
        for x, batch in zip(of, batches, strict=True):
            metric.update(x, batch.label, batch.labelled)
        expected = {name: value.item() for name, value in metric.compute().items()}
        assert {name: x.values[i] for name, x in found.items()} == pytest.approx(expected)


def test_infinite_and_missing_scores_spoil_nothing_else():
    rows, (one, two) = rows_and_logits(0, 300, noise=(0.2, 0.5))
    broken, certain = one.clone(), one.clone()
    broken[0] = torch.nan
    certain[rows.labels.argmax()] = -torch.inf
    found = same_rows(rows, {"a": one, "b": two, "c": broken, "d": certain}, [[0], [1], [2], [3]])
    assert found.best == 0
    pairs = {pair.second: pair for pair in found.contrasts["logloss"] if pair.first == 0}
    assert np.isfinite(pairs[1].p)
    assert np.isnan([pairs[2].p, pairs[3].p]).all()
    pairs = {pair.second: pair for pair in found.contrasts["auc"] if pair.first == 0}
    assert np.isfinite([pairs[1].p, pairs[3].p]).all()


# What is noise


def test_the_test_of_rows_errs_as_often_as_it_says():
    errors = {"logloss": 0, "auc": 0}
    for seed in range(200):
        rows, logits = rows_and_logits(seed, 1000, noise=(0.3, 0.3))
        found = same_rows(rows, dict(zip("ab", logits, strict=True)), [[0], [1]], draws=100)
        for name in errors:
            errors[name] += not found.contrasts[name][0].is_noise
    assert all(2 <= count <= 22 for count in errors.values()), errors  # of 200, at a level of 5 %


def test_seeds_that_differ_are_no_difference_of_configs():
    """One config twice, of three seeds each, some of which learn more than others by chance."""
    random = np.random.default_rng(0)
    told = {"one seed each": 0, "three seeds each": 0}
    for seed in range(100):
        rows, logits = rows_and_logits(seed, 2000, noise=random.uniform(0.2, 0.8, 6))
        named = dict(zip("abcdef", logits, strict=True))
        found = same_rows(rows, named, [[0, 1, 2], [3, 4, 5]], draws=50)
        told["three seeds each"] += found.contrasts["logloss"][0].is_noise
        alone = same_rows(rows, {k: named[k] for k in "ad"}, [[0], [1]], draws=50)
        told["one seed each"] += alone.contrasts["logloss"][0].is_noise
    assert told["three seeds each"] >= 90, told
    assert told["one seed each"] < 70, told  # the noise of rows alone knows nothing of seeds


def test_a_planted_difference_is_found():
    found = 0
    for seed in range(50):
        rows, logits = rows_and_logits(seed, 2000, noise=(0.3, 0.8))
        of = same_rows(rows, dict(zip("ab", logits, strict=True)), [[0], [1]], draws=100)
        found += of.best == 0 and not of.contrasts["logloss"][0].is_noise
    assert found >= 48
