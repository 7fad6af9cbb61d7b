"""What phrases add, against all contexts one by one."""

from itertools import product

import numpy as np
import pytest
import torch

from zoo import ZooError
from zoo.glider.domains.phrases import phrase_values, phrases_alone
from zoo.glider.domains.sequences import Replaced
from zoo.glider.walsh import WalshConfig, walsh

TEXT = torch.ones(5)
PHRASES = [(0,), (1, 2), (0, 1, 2), (2, 4), (0, 1, 2, 3, 4)]


def scores(rows):
    a, b, c, d, e = rows.t()
    return 0.3 * a - b * c + 2 * a * b * c - 0.5 * d * e + 0.7 * e + 4


@pytest.fixture(scope="module")
def found():
    (explanation,) = walsh(scores, [TEXT], Replaced(), WalshConfig(masks=300, held_out=200))
    return explanation


@pytest.mark.parametrize("p", [0.0, 0.25, 0.5, 1.0])
def test_expectations_over_all_contexts(found, p):
    contexts = torch.tensor([*product([0.0, 1.0], repeat=5)])
    weights = torch.where(contexts > 0, p, 1 - p).prod(1)
    expected = []
    for phrase in PHRASES:
        on, off = contexts.clone(), contexts.clone()
        on[:, [*phrase]], off[:, [*phrase]] = 1, 0
        expected.append(float(weights @ (scores(on) - scores(off))))
    assert phrase_values(found, PHRASES, p) == pytest.approx(np.array(expected), abs=1e-6)


def test_alone(found):
    exact = phrases_alone(scores, TEXT, Replaced(), PHRASES)
    assert exact == pytest.approx(np.array([0.3, -1, 1.3, 0.7, 1.5]), abs=1e-6)
    assert phrase_values(found, PHRASES) == pytest.approx(exact, abs=1e-6)


def test_no_phrase(found):
    assert (
        phrase_values(found, []).shape == phrases_alone(scores, TEXT, Replaced(), []).shape == (0,)
    )


def test_what_does_not_fit(found):
    with pytest.raises(ZooError, match=r"features 0 to 4, got \[4, 5\]"):
        phrase_values(found, [(4, 5)])
    with pytest.raises(ZooError, match=r"features 0 to 4, got \[-1\]"):
        phrases_alone(scores, TEXT, Replaced(), [(-1,)])
    with pytest.raises(ZooError, match=r"context must be a probability, got 1.5"):
        phrase_values(found, [(0,)], 1.5)
