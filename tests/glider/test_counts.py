"""Counts of interactions over rows, their p-values, and chunks of a detection."""

import itertools
import math

import numpy as np
import pytest
import scipy.stats
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.explaining import QUICK, instance

from zoo.data.batch import concatenate
from zoo.glider.detector import Result, permuted
from zoo.glider.perturb import OnOff, bernoulli_masks, generator
from zoo.glider.surrogates.counts import (
    adjust,
    order_weights,
    permutation_p_value,
    summarise,
    uniform_p_values,
)
from zoo.glider.surrogates.detector import MadexDetector, read_results


def results(found, null, instances=20):
    return [Result(i, found(i), [null(i)], (1.0, 0.5, 0.9)) for i in range(instances)]


def test_counts_are_ranked_and_named():
    found = results(lambda i: [(0, 1)] + [(1, 2)] * (i < 5), lambda i: [(1, 2)] * (i < 4))
    summary = summarise(found, ["a", "b", "c"])
    rows = [(r["fields"], r["count"], r["null_count"]) for r in summary["interactions"]]
    assert rows == [(["a", "b"], 20, 0), (["b", "c"], 5, 4)]
    assert summary["fidelity"] == pytest.approx(
        {"network": 1.0, "linear": 0.5, "with_interactions": 0.9}
    )


# ab 20, abc 5, bd 4, cd 3: the larger set takes the place of the pair inside it
@pytest.mark.parametrize(
    ("top", "names"), [(1, ["ab"]), (2, ["abc", "bd"]), (9, ["abc", "bd", "cd"])]
)
def test_of_the_most_frequent_interactions_those_inside_others_can_be_left_out(top, names):
    def sets(i):
        return [(0, 1)] + [(0, 1, 2)] * (i < 5) + [(1, 3)] * (i < 4) + [(2, 3)] * (i < 3)

    kept = summarise(results(sets, lambda i: []), ["a", "b", "c", "d"], top=top)["interactions"]
    assert ["".join(row["fields"]) for row in kept] == names


@pytest.mark.parametrize("orders", [[2], [2, 2, 3]])
def test_uniform_p_values_equal_a_simulation(orders):
    features, instances = 12, 30
    random = np.random.default_rng(0)
    drawn = [
        Result(i, [tuple(range(o)) for o in orders], [], (1.0, 1.0, 1.0)) for i in range(instances)
    ]
    p_value = uniform_p_values(drawn, features)
    largest = np.zeros(4000)
    for order in set(orders):
        possible = math.comb(features, order)
        first = random.integers(possible, size=(4000, instances))
        second = random.integers(possible - 1, size=(4000, instances))
        second += second >= first  # any but the first
        picks = np.concatenate([first, second][: orders.count(order)], 1)
        places = picks + possible * np.arange(4000)[:, None]
        counts = np.bincount(places.ravel(), minlength=4000 * possible).reshape(4000, possible)
        largest = np.maximum(largest, counts.max(1))
    for count in range(1, 12):
        # the counts of different interactions are slightly dependent
        assert p_value(count) == pytest.approx(np.mean(largest >= count), abs=0.05)


def test_permutation_p_values_are_those_of_fishers_exact_test():
    for count, null in ((5, 0), (3, 2), (7, 7), (0, 4)):
        table = [[count, 20 - count], [null, 40 - null]]
        expected = scipy.stats.fisher_exact(table, alternative="greater").pvalue
        assert permutation_p_value(count, 20, null, 40) == pytest.approx(expected)
    assert permutation_p_value(5, 20, 0, 0) == 1


@given(st.lists(st.floats(1e-6, 1), min_size=1, max_size=20), st.integers(0, 30))
@settings(deadline=None)
def test_adjusted_p_values_are_benjamini_and_hochbergs(p, more):
    expected = scipy.stats.false_discovery_control(p + [1.0] * more)[: len(p)]
    np.testing.assert_allclose(adjust([x * (len(p) + more) for x in p]), expected)


@pytest.mark.parametrize("max_order", [2, 3, 6])
def test_the_false_discovery_rate_holds_over_all_orders(monkeypatch, max_order):
    """Nothing interacts: any significant set is false, whatever its order."""
    # which take most of the time, and are not asked for
    slow = "zoo.glider.surrogates.counts.uniform_p_values"
    monkeypatch.setattr(slow, lambda *_: lambda count: 0.0)
    random = np.random.default_rng(0)
    sets = [s for o in range(2, max_order + 1) for s in itertools.combinations(range(6), o)]
    falsely = 0
    for _ in range(300):
        here, there = random.random((2, 200, len(sets))) < 0.3
        found = [
            Result(
                i,
                [s for s, at in zip(sets, here[i], strict=True) if at],
                [[s for s, at in zip(sets, there[i], strict=True) if at]],
                (1.0, 1.0, 1.0),
            )
            for i in range(200)
        ]
        rows = summarise(found, [*"abcdef"], max_order)["interactions"]
        falsely += any(row["q_permutation"] < 0.05 for row in rows)
    assert falsely <= 300 * 0.05 + 2 * math.sqrt(300 * 0.05 * 0.95)


@pytest.mark.parametrize("max_order", [2, 3, 39])
def test_each_order_has_half_the_weight_of_the_one_below(max_order):
    weights = order_weights(max_order)
    assert list(weights) == list(range(2, max_order + 1))
    assert sum(weights.values()) == pytest.approx(1)
    assert all(weights[o] == pytest.approx(weights[o - 1] / 2) for o in list(weights)[1:])


def test_small_p_values_are_not_rounded_away():
    """Of 200 instances with one pair each out of 190, the same pair in 40: a binomial tail."""
    drawn = [Result(i, [(0, 1)], [], (1.0, 1.0, 1.0)) for i in range(200)]
    p_value = uniform_p_values(drawn, 20)
    tail = scipy.stats.binom.sf(39, 200, 1 / 190)
    assert p_value(40) == pytest.approx(190 * tail, rel=1e-6)
    assert 0 <= p_value(200) < 1e-300
    assert p_value(0) == 1


def test_equal_rates_are_rarely_significant():
    random = np.random.default_rng(0)
    false = 0
    for _ in range(200):
        rate = random.uniform(0.01, 0.5)
        count, null = random.binomial(100, rate, 2)
        false += permutation_p_value(count, 100, null, 100) < 0.05
    assert false <= 20  # 5 % of 200 are expected at most


def test_permuted_scores_keep_the_main_effects_alone():
    x = bernoulli_masks(4000, 4, generator(0))
    y = x @ torch.tensor([1.0, 2, 3, 4]) + 5 * x[:, 0] * x[:, 1]
    shuffled = permuted(x, y, generator(1))
    design = torch.cat((torch.ones(4000, 1), x, (x[:, 0] * x[:, 1])[:, None]), 1)
    weights = torch.linalg.lstsq(design, shuffled[:, None]).solution[:, 0]
    assert weights[1:5].tolist() == pytest.approx([3.5, 4.5, 3, 4], abs=0.4)
    assert abs(weights[5]) < 0.4
    assert shuffled.var() == pytest.approx(y.var().item(), rel=0.05)


def test_a_chunk_that_is_done_is_not_explained_again(tmp_path):
    asked = []

    def scores(rows):
        asked.append(len(rows.label))
        on = (rows.categorical >= 0).float()
        return 3 * on[:, 0] * on[:, 1]

    rows = concatenate([instance()] * 3)
    detector = MadexDetector(scores, rows, OnOff(torch.zeros(2)), QUICK, tmp_path)
    detector.predict_step(torch.tensor(0))
    first, left_out = read_results(tmp_path)
    done = len(asked)
    detector.predict_step(torch.tensor(0))
    assert len(asked) == done
    assert ([result.found for result in first], left_out) == ([[(2, 3)]] * 3, 0)
    assert [len(result.null) for result in first] == [1] * 3


def test_an_instance_without_scores_is_left_out(tmp_path):
    def scores(rows):
        on = (rows.categorical >= 0).float()
        return 3 * on[:, 0] * on[:, 1] + rows.numerical[:, 0]

    broken = instance()
    broken = broken._replace(numerical=torch.full_like(broken.numerical, torch.nan))
    rows = concatenate([instance(), broken, instance()])
    detector = MadexDetector(scores, rows, OnOff(torch.zeros(2)), QUICK, tmp_path)
    detector.predict_step(torch.tensor(0))
    results, left_out = read_results(tmp_path)
    assert [result.instance for result in results] == [0, 2]
    assert [result.found for result in results] == [[(2, 3)]] * 2
    assert left_out == 1


def test_every_process_has_a_chunk(tmp_path):
    rows = concatenate([instance()] * 3)
    off = OnOff(torch.zeros(2))
    detector = MadexDetector(lambda rows: rows.numerical[:, 0], rows, off, QUICK, tmp_path)
    assert detector.chunk_starts(1) == [0]
    first, *others = detector.chunk_starts(3)
    assert (first, len(others)) == (0, 2)
    for chunk in others:
        detector.predict_step(torch.tensor(chunk))
    assert not list(tmp_path.iterdir())


def test_an_instance_is_explained_alike_in_any_chunk(tmp_path):
    def scores(rows):
        on = (rows.categorical >= 0).float()
        return on[:, 0] * on[:, 1] + rows.numerical[:, 0] * rows.numerical[:, 1] * on[:, 0]

    rows = concatenate([instance(seed) for seed in range(3)])
    detector = MadexDetector(scores, rows, OnOff(torch.zeros(2)), QUICK, tmp_path)
    together, alone = detector.explain([0, 1, 2]), detector.explain([1])
    assert together[1].found == alone[0].found
