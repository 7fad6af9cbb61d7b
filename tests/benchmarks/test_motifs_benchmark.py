"""What benchmarks/motifs.py finds of a function that asks for all six letters."""

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from zoo.glider.domains.sequences import OtherLetters

ROOT = Path(__file__).parents[2]
SITE, START = torch.tensor([1, 0, 1, 2, 3, 2]), 5


@pytest.fixture(scope="module")
def motifs():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "benchmarks"))
        import motifs

        yield motifs
    sys.modules.pop("motifs")


def instance(changed):
    """A sequence of 14 letters, with the site in the middle, or one other letter in it."""
    letters = torch.cat((torch.tensor([0, 3, 2, 1, 0]), SITE, torch.tensor([3, 3, 0])))
    letters[START + 2] = (letters[START + 2] + changed) % 4

    def scores(rows):
        right = (rows[:, START : START + 6] == SITE).sum(1)
        return 16.0 * (right == 6) + 4 * (right == 5)

    return SimpleNamespace(x=letters, switches=OtherLetters(4, seed=3), scores=scores)


@pytest.mark.parametrize("name", ["Walsh", "NID", "mixed differences"])
def test_the_site_is_found_and_the_decoy_is_not(motifs, name):
    counts = motifs.Counts()
    for distance in (0, 1):
        counts.add(distance, START, motifs.METHODS[name](instance(distance), 0))
    assert counts.of([0], signed=True) == [True]
    assert counts.exact[0] == [True]
    assert counts.of([1], signed=True) == [False]


def test_around_a_decoy_all_six_interact_where_the_wrong_letter_is_off(motifs):
    """The wrong letter is repaired in a third of the masks: found, but by negative terms too."""
    found = motifs.Walsh(20_000)(instance(1), 0)
    assert motifs.holds(found, START)[0]
    assert not motifs.holds([one for one in found if one[1] > 0], START)[0]
    assert all(value < 0 for features, value in found if START + 2 in features)
    assert all(value > 0 for features, value in found if START + 2 not in features)


def test_what_holds_the_six(motifs):
    pairs = [((i, i + 1), 1.0) for i in range(START, START + 5)]
    assert motifs.holds(pairs, START) == (True, True)
    assert motifs.holds([*pairs, ((0, START), 1.0)], START) == (True, False)
    assert motifs.holds(pairs[1:], START) == (False, False)
    assert motifs.holds([], START) == (False, False)
    counts = motifs.Counts()
    counts.add(1, START, [*pairs[1:], ((START, START + 1), -1.0)])
    assert (counts.of([1], True), counts.of([1], False)) == ([False], [True])


def test_what_masks_decide(motifs):
    """All of how many letters are on, and nothing of which others are drawn in their place."""
    own = instance(0)
    own.scores = lambda rows: (rows == own.x).float().sum(1)
    assert motifs.decided(own) == pytest.approx(1)
    own.scores = lambda rows: ((rows - own.x) % 4 * (rows != own.x) - 2.0 * (rows != own.x)).sum(1)
    assert motifs.decided(own) == pytest.approx(0, abs=0.06)


def test_calls_are_counted(motifs):
    calls, own = [], instance(0)

    def counted(rows):
        calls.append(len(rows))
        return scores(rows)

    scores, own.scores = own.scores, counted
    for name in ("Walsh", "NID"):
        calls.clear()
        motifs.METHODS[name](own, 0)
        assert sum(calls) == motifs.METHODS[name].calls == 3500
