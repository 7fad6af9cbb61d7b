"""Losses of experts in the rows of each other: brute force, batches, ranks, and verdicts."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchmetrics.utilities import dim_zero_sum

from zoo.models.description import Expert
from zoo.models.expert_losses import ExpertLosses, expert_sums, measured_losses
from zoo.models.judged import complaints, judge
from zoo.models.measures import cross_entropy

ROW_SHAPES, SESSION_SHAPES = st.tuples(st.integers(1, 12)), st.tuples(st.just(5), st.integers(1, 4))


@st.composite
def scored_rows(draw, shapes=ROW_SHAPES | SESSION_SHAPES):
    """Attributions, logits, labels, and weights of rows or which tracks of sessions count."""
    shape, experts = draw(shapes), draw(st.integers(1, 3))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 1000)))
    attributed = torch.rand(*shape, experts, generator=generator).mul(5).softmax(-1)
    logits = 3 * torch.randn(*shape, experts, generator=generator)
    label = torch.randint(draw(st.integers(1, 2)), shape, generator=generator).float()
    weight = scored = None
    if len(shape) == 2:
        scored = torch.rand(shape, generator=generator) < 0.7
        label = label.masked_fill(~scored, torch.nan)
    elif draw(st.booleans()):
        weight = torch.randint(3, shape, generator=generator).float() / 2
    return attributed, logits, label, weight, scored


def by_hand(kind, i, j, attributed, logits, label, weight, scored):
    """Share, logloss of j, what it saves, the error of that, and units: of one expert's rows."""
    total, rows, units = 0.0, 0.0, []
    for b in range(len(label)):  # a unit is a row, or a session
        lines = []
        one = label.ndim == 1
        for said, z, y in zip(
            *(x[b : b + 1] if one else x[b] for x in (attributed, logits, label)), strict=True
        ):
            w = 1.0 if weight is None else weight[b].item()
            if y.isnan() or w == 0:
                continue
            of = said[i].item() if kind else float(said.argmax() == i)
            total, rows = total + 1, rows + of
            mine, other = (cross_entropy(z[k], y).item() for k in (i, j))
            lines.append((w * of, mine, other))
        units.append(lines)
    weights = sum(w for unit in units for w, *_ in unit)
    if not weights:
        return (rows / total if total else math.nan, *[math.nan] * 4)
    logloss = sum(w * other for unit in units for w, _, other in unit) / weights
    saved = sum(w * (mine - other) for unit in units for w, mine, other in unit) / weights
    apart = [sum(w * (mine - other - saved) for w, mine, other in unit) for unit in units]
    squares = sum(sum(w for w, *_ in unit) ** 2 for unit in units)
    error = math.sqrt(sum(x**2 for x in apart)) / weights
    return rows / total, logloss, saved, error, weights**2 / squares


@settings(deadline=None, max_examples=40)
@given(scored_rows())
def test_the_losses_are_those_by_hand(rows):
    found = measured_losses(expert_sums(*rows))
    experts = rows[0].shape[-1]
    for kind in range(2):
        for i in range(experts):
            for j in range(experts):
                values = (found.share[kind, i], found.logloss[kind, i, j], found.saved[kind, i, j])
                values = (*values, found.error[kind, i, j], found.effective[kind, i])
                expected = by_hand(kind, i, j, *rows)
                assert [*map(float, values)] == pytest.approx(expected, abs=1e-6, nan_ok=True)


@settings(deadline=None, max_examples=60)
@given(scored_rows(), st.integers(0, 7))
def test_they_are_exact_in_any_batches_and_over_ranks(rows, cut):
    whole, first, second = (ExpertLosses(rows[0].shape[-1]) for _ in range(3))
    whole.update(*rows)
    for metric, part in ((first, slice(None, cut)), (second, slice(cut, None))):
        metric.update(*(x if x is None else x[part] for x in rows))
    first.merge_state(second)
    for found, expected in zip(first.compute(), whole.compute(), strict=True):
        torch.testing.assert_close(found, expected, equal_nan=True, rtol=1e-7, atol=1e-7)
    assert whole._reductions["sums"] is dim_zero_sum  # what ranks do with each other


def test_sessions_of_one_track_are_rows():
    attributed, logits = torch.rand(40, 3).softmax(1), torch.randn(40, 3)
    label = torch.randint(2, (40,)).float()
    rows = expert_sums(attributed, logits, label)
    sessions = expert_sums(attributed[:, None], logits[:, None], label[:, None])
    torch.testing.assert_close(sessions, rows)


# Verdicts

FIELDS = {"A": "a", "B": "b", "AB": "ab", "all": "abc"}


def judged(subsets, rows, logits, label, attributed, tolerance=0.02):
    """The verdicts of experts by what they predict and how often, and the complaints."""
    experts = [Expert(name, tuple(FIELDS[name]), ()) for name in subsets]
    parts = [torch.tensor(part, dtype=torch.float32) for part in (attributed, logits, label)]
    count = torch.tensor(rows)
    sums = expert_sums(*(part.repeat_interleave(count, 0) for part in parts))
    found = judge(experts, measured_losses(sums), tolerance)["largest"]
    return {expert.name: expert.verdict for expert in found}, [*complaints(found, "rows")]


def test_an_expert_that_is_not_sufficient_is_reported():
    # A is sure of one half, all of .9: A speaks for all rows
    logits = [[0.0, 2.2], [0.0, -2.2], [0.0, 2.2], [0.0, -2.2]]
    found = judged(("A", "all"), [90, 90, 10, 10], logits, [1, 0, 0, 1], [[0.9, 0.1]] * 4)
    verdicts, said = found
    assert verdicts == {"A": "not sufficient: all saves 0.368 nats", "all": "leads no row"}
    assert said == [
        "expert A has the largest attribution in 100.0% of the rows, but is not sufficient there: "
        "all would save 0.368 nats"
    ]


def test_the_smallest_that_would_do_is_reported():
    logits = [[2.2, 2.2, 2.2], [-2.2, -2.2, -2.2], [2.2, 2.2, 2.2], [-2.2, -2.2, -2.2]]
    found = judged(
        ("AB", "A", "all"), [90, 90, 10, 10], logits, [1, 0, 0, 1], [[0.1, 0.1, 0.8]] * 4
    )
    assert found[0]["all"] == "A would do: it loses 0.000 nats"
    assert found[1] == [
        "expert all has the largest attribution in 100.0% of the rows, where A would do: it loses "
        "0.000 nats"
    ]


def test_a_right_mixture_gets_no_complaint():
    # A alone decides half of the rows, all the other half
    logits = [[2.2, 2.2], [-2.2, -2.2], [0.0, 2.2], [0.0, -2.2]] * 2
    attributed = [[0.9, 0.1]] * 2 + [[0.2, 0.8]] * 2
    label = [1, 0, 1, 0, 0, 1, 0, 1]
    verdicts, said = judged(("A", "all"), [90] * 4 + [10] * 4, logits, label, attributed * 2)
    assert verdicts == {"A": "sufficient", "all": "no smaller one is sufficient"}
    assert said == []


@pytest.mark.parametrize(
    ("rows", "logits", "verdict"),
    [
        (14, [0.0, 2.2], "too few rows"),  # 28 rows of two kinds
        (20, [0.0, 0.18], "not certain"),  # the truth may be on either side of the tolerance
        (2000, [0.0, 0.1], "sufficient"),
    ],
)
def test_verdicts_are_given_beyond_the_noise_alone(rows, logits, verdict):
    pair = [logits, [-x for x in logits]]
    wrong = [[-x for x in logits], logits]
    counts = [rows - rows // 3] * 2 + [rows // 3] * 2
    found = judged(("A", "all"), counts, pair + wrong, [1, 0, 1, 0], [[0.9, 0.1]] * 4)
    assert found[0]["A"] == verdict
    assert found[1] == []


def test_a_single_expert_is_compared_with_none():
    assert judged(("A",), [50], [[0.3]], [1], [[1.0]]) == ({"A": ""}, [])
    assert judged(("A", "B"), [50], [[0.3, 0.1]], [1], [[0.9, 0.1]])[1] == []


def test_a_tolerance_is_the_models():
    rows = (("A", "all"), [900, 900, 700, 700], [[0.0, 0.3], [0.0, -0.3]] * 2, [1, 0, 0, 1])
    attributed = [[0.9, 0.1]] * 4
    assert judged(*rows, attributed, 0.001)[0]["A"].startswith("not sufficient: all saves 0.008")
    assert judged(*rows, attributed, 0.1)[0]["A"] == "sufficient"
