"""The picture of a text: words coloured by main effects, interactions numbered."""

import re

import pytest

from zoo import ZooError
from zoo.inspect.domains.texts import NUMBERED, HighlightedText

WORDS = ["never", "<b>fails</b>", "us"]


def test_colours_and_numbers():
    sets = [((1, 0), 1.5), ((1, 2), -0.25)]
    text = HighlightedText(WORDS, [-0.5, -1.0, 0.0], sets, "Blue & orange.").html()
    assert "<b>fails</b>" not in text
    words = re.findall(r'<span><span class="(\w+)" style="--much:(\d+)%" title="([^"]+)">', text)
    assert words == [("down", "50", "-0.5"), ("down", "100", "-1"), ("up", "0", "+0")]
    first, second, third = text.partition("<ul")[0].split("<span><span")[1:]
    assert re.findall(r'<b class="(\w+)">(\d)', first) == [("up", "1")]
    assert re.findall(r'<b class="(\w+)">(\d)', second) == [("up", "1"), ("down", "2")]
    assert re.findall(r'<b class="(\w+)">(\d)', third) == [("down", "2")]
    assert "never · &lt;b&gt;fails&lt;/b&gt; +1.5" in text
    assert "Blue &amp; orange." in text


def test_nothing_to_colour():
    assert "--much:0%" in HighlightedText(["us"], [0.0]).html()
    assert "together" not in HighlightedText(["us"], [0.0]).html()
    assert HighlightedText([], []).html() == '<p class="text"></p>'


def test_only_the_largest_are_numbered():
    sets = [((i, i + 1), 1.0) for i in range(9)]
    assert HighlightedText(["w"] * 10, [0.0] * 10, sets).html().count("<li>") == NUMBERED


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"mains": [1.0]}, "3 words need as many main effects, got 1"),
        ({"interactions": [((0, 3), 1.0)]}, r"interactions are of words 0 to 2, got \[\(\(0, 3\)"),
    ],
)
def test_what_does_not_fit(changed, message):
    with pytest.raises(ZooError, match=message):
        HighlightedText(**{"words": WORDS, "mains": [0.0] * 3} | changed)
