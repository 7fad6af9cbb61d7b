"""The page of explained texts, images, graphs and sequences."""

from dataclasses import dataclass

import pytest
import torch

from zoo.glider.domains.found import shown
from zoo.glider.domains.sequences import Replaced
from zoo.glider.walsh import walsh
from zoo.glider.walsh.search import WalshConfig
from zoo.inspect.domains.page import ExplainedInstance, page


@dataclass(frozen=True)
class Picture:
    text: str = "<svg></svg>"

    def html(self):
        return self.text


def instance(**changed):
    own = {
        "title": "not <b>bad</b>",
        "said": "positive, 0.7",
        "names": ["not", "<b>bad</b>"],
        "mains": [0.1, -0.5],
        "interactions": [((0, 1), 1.25)],
        "picture": Picture(),
        "r2": (0.5, 0.99),
    }
    return ExplainedInstance(**own | changed)


def test_main_effects_stand_beside_interactions():
    text = page("Sentiment", "An LSTM.", [instance()], ["accuracy 0.8"])
    assert "<b>bad</b>" not in text
    assert "&lt;b&gt;bad&lt;/b&gt;" in text
    assert text.index("main effects") < text.index("-0.5") < text.index("+0.1")
    assert "not · &lt;b&gt;bad&lt;/b&gt;" in text
    assert "+1.25" in text
    assert "explain 50.0% of the variance of the scores, with the interactions 99.0%." in text
    assert "<svg></svg>" in text
    assert "accuracy 0.8" in text


def test_an_instance_without_interactions():
    assert "None was found." in page("Sentiment", "", [instance(interactions=[])])


def test_overlapping_interactions_are_one_with_the_sum_of_their_values():
    """x0 x1 x2 / 8 + x3 x4 / 4 of signs: (0, 1), .. of a product of three on/off features."""
    own = torch.ones(6)

    def scores(rows):
        return rows[:, 0] * rows[:, 1] * rows[:, 2] + rows[:, 3] * rows[:, 4]

    found = shown(walsh(scores, [own], Replaced(), WalshConfig(masks=300, held_out=200))[0])
    assert [s for s, _ in found.interactions] == [(3, 4), (0, 1, 2)]
    # three pairs and the triple, 1/8 each
    assert [v for _, v in found.interactions] == pytest.approx([0.25, 0.5])
    assert found.mains == pytest.approx([1 / 8, 1 / 8, 1 / 8, 1 / 4, 1 / 4, 0], abs=1e-9)
    assert found.r2[1] == pytest.approx(1)


def test_interactions_far_weaker_than_the_strongest_are_not_shown():
    """Shares of x0 x1, x1 x2 and x3 x4 are as the squares of 4, 3 and 1."""

    def scores(rows):
        return 4 * rows[:, 0] * rows[:, 1] + 3 * rows[:, 1] * rows[:, 2] - rows[:, 3] * rows[:, 4]

    (found,) = walsh(scores, [torch.ones(6)], Replaced(), WalshConfig(masks=300, held_out=200))
    assert [s for s, _ in shown(found, least_share=0.5).interactions] == [(0, 1, 2)]
    assert [s for s, _ in shown(found, least_share=0.6).interactions] == [(0, 1)]
    assert [s for s, _ in shown(found).interactions] == [(0, 1, 2), (3, 4)]
