"""What benchmarks/domains.py says of a function whose interactions are known."""

import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from zoo.glider.domains.sequences import Replaced

ROOT = Path(__file__).parents[2]


@pytest.fixture
def domains(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import domains

    yield domains
    sys.modules.pop("domains")


def box(scores, features=6):
    return SimpleNamespace(
        x=np.ones(features, "f4"),
        switches=Replaced(),
        names=[*"abcdefgh"[:features]],
        scores=scores,
    )


def planted(rows):
    """x0 x1 of signs, and a linear part: k = 1 explains all, and k = 0 all but 1 of 1.25."""
    z = 2 * rows - 1
    return z[:, 0] * z[:, 1] + 0.5 * z[:, 2]


@pytest.mark.parametrize("lime", [False, True])
def test_errors_without_and_with_the_interaction(domains, lime):
    errors = domains.Errors()
    for number in range(2):
        errors.instance(box(planted), 0, number, SimpleNamespace(lime=lime, min_gain=1e-3))
    linear = errors.of["linear (LIME)", "0"][0]
    if not lime:
        assert linear == pytest.approx([1, 1], abs=0.02)
        assert errors.shares["linear (LIME)", "0"][0] == pytest.approx(
            [0.8] * 2, abs=0.06
        )  # of 500 masks
    assert min(linear) > 0.1
    for name in domains.DETECTORS:
        assert errors.found[name] == [1, 1]
        for k in "1L":
            assert errors.of[name, k][0] == pytest.approx([0, 0], abs=1e-9)


def test_overlapping_interactions_are_one_with_all_products(domains):
    (small,) = domains.interactions_of([(0, 1), (1, 2)])
    assert small.named == [(0, 1), (1, 2)]
    assert small.every == [(0, 1), (0, 2), (1, 2), (0, 1, 2)]
    chain = [(i, i + 1) for i in range(9)]
    (large,) = domains.interactions_of(chain)  # of ten features: too many products
    assert large.named == large.every == chain


def test_a_model_that_says_the_same_of_all(domains):
    assert not domains.varies(box(lambda rows: 0 * rows[:, 0] + 3))
    assert domains.varies(box(planted))
