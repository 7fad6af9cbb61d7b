"""The logo of a sequence: letters by main effects, brackets by interactions."""

import re
import xml.etree.ElementTree as ET

import pytest

from zoo import ZooError
from zoo.inspect.domains.sequences import BRACKETS, CAPITAL, CELL, HALF, Logo

EFFECTS = [0.5, -1.0, 0.0, 0.25]
SETS = [((0, 2), 1.5), ((2, 3), -0.25)]


def drawn(logo):
    return ET.fromstring(re.search(r"<svg.*</svg>", logo.html(), re.S)[0])


def scaled(svg):
    """Sign, left, bottom and height of each letter on the line."""
    found = []
    for text in svg.findall("text"):
        numbers = re.findall(r"[\d.-]+", text.get("transform"))
        x, y, _, height = map(float, numbers)
        found.append((text.get("class"), x, y, height * CAPITAL))
    return found


def test_letters_are_as_large_as_their_effects():
    svg = drawn(Logo("ACGT", EFFECTS))
    letters = scaled(svg)
    assert [sign for sign, *_ in letters] == ["up", "down", "up", "up"]
    assert [height for *_, height in letters] == pytest.approx(
        [HALF / 2, HALF, 0, HALF / 4], abs=0.01
    )
    line = float(re.search(r"M0 ([\d.]+)H", svg.find("path").get("d"))[1])
    # those that raise the score stand on the line, and the other one hangs below it
    assert [bottom for _, _, bottom, _ in letters] == [line, line + HALF, line, line]
    assert [left // CELL for _, left, *_ in letters] == [0, 1, 2, 3]
    assert svg.findall("text")[1][0].text == "C2 -1"
    assert "".join(text.text for text in svg.findall("g[@class='sequence']/text")) == "ACGT"


def test_brackets_reach_each_letter_of_an_interaction():
    svg = drawn(Logo("ACGT", EFFECTS, SETS))
    up, down = svg.find("g[@class='up']"), svg.find("g[@class='down']")
    assert (up.find("text").text, down.find("text").text) == ("+1.5", "-0.25")
    strokes = re.findall(r"M(\d+) ([\d.]+)v", up.find("path").get("d"))
    assert [int(x) for x, _ in strokes] == [CELL // 2, 2 * CELL + CELL // 2]
    other = re.findall(r"M\d+ ([\d.]+)v", down.find("path").get("d"))
    assert float(other[0]) < float(strokes[0][1])  # it would touch the first one, so is above it
    bold = svg.findall("g[@class='sequence']/text[@class='inside']")
    assert [text.text for text in bold] == ["A", "G", "T"]
    assert "together: A1, G3 +1.5; together: G3, T4 -0.25" in svg.get("aria-label")


def test_brackets_side_by_side_share_a_lane():
    sets = [((0, 1), 1.0), ((6, 7), 1.0), ((3, 4), 1.0)]
    svg = drawn(Logo("ACGTACGT", [1.0] * 8, sets))
    lines = [g.find("path").get("d") for g in svg.findall("g[@class='up']")]
    heights = {re.search(r"M\d+ ([\d.]+)H", line)[1] for line in lines}
    assert len(lines) == 3
    assert len(heights) == 1


def test_only_the_largest_have_brackets():
    sets = [((i, i + 1), 1.0) for i in range(9)]
    assert Logo("A" * 10, [0.0] * 10, sets).html().count('<g class="up">') == BRACKETS


def test_letters_are_text():
    text = Logo(["<b>", "&", '"'], [0, 0, 0], [((0, 1), 1)], "Blue & <orange>.").html()
    assert "<b>" not in text
    assert "Blue &amp; &lt;orange&gt;." in text
    assert "<script" not in text


@pytest.mark.parametrize(
    ("mains", "sets", "message"),
    [
        ([1.0], (), "2 letters need as many main effects, got 1"),
        ([1.0, 0.0], [((0, 2), 1.0)], "interactions are of letters 0 to 1"),
        ([1.0, 0.0], [((), 1.0)], "interactions are of letters 0 to 1"),
    ],
)
def test_what_does_not_fit(mains, sets, message):
    with pytest.raises(ZooError, match=message):
        Logo("AC", mains, sets)


def test_no_letters():
    with pytest.raises(ZooError, match="0 letters"):
        Logo("", [])
