"""The picture of a neighbourhood, and where its nodes stand."""

import re
from xml.etree import ElementTree

import numpy as np
import pytest

from zoo import ZooError
from zoo.inspect.domains.graphs import Neighbourhood
from zoo.inspect.domains.layout import concentric

STAR = [(0, 1), (0, 2), (2, 3), (3, 2), (1, 2)]


def picture(**changed):
    own = {
        "names": ["<b>a</b>", "b one", "c two", "d three"],
        "labels": ["<b>a</b>", "b", "c", "d"],
        "edges": STAR,
        "centre": 0,
        "mains": [0.5, -0.25, 0.0, 0.125],
        "interactions": [((1, 2), -1.5), ((0, 1, 3), 0.5)],
    }
    return Neighbourhood(**own | changed)


def drawn(html):
    """The drawing as an XML parser reads it."""
    return ElementTree.fromstring(re.search("<svg.*</svg>", html)[0])


def test_what_is_drawn():
    html = picture().html()
    svg = drawn(html)
    nodes = [g for g in svg.iter("g") if g.get("class") == "node"]
    assert [g[0].text for g in nodes] == [
        *("<b>a</b>: +0.5", "b one: -0.25", "c two: +0", "d three: +0.125")
    ]
    assert "<b>" not in html
    fills = re.findall(r"var\(--(up|down)\) (\d+)%", html)
    assert fills == [("up", "100"), ("down", "50"), ("up", "0"), ("up", "25")]
    # the explained node alone has a ring, of both its circles in the middle
    (ring,) = [c for g in nodes for c in g if c.get("class") == "ring"]
    assert (ring.get("cx"), ring.get("cy")) == ("0.0", "0.0")
    links = [g for g in svg.iter("g") if g.get("class") in ("up", "down")]
    assert [(g.get("class"), g[0].text) for g in links] == [
        *(("down", "b one · c two: -1.5"), ("up", "<b>a</b> · b one · d three: +0.5"))
    ]
    widths = [float(g[1].get("stroke-width")) for g in links]
    assert widths[0] == 6
    assert widths[1] == 3
    assert [g[1].get("d").count("L") for g in links] == [2, 3]
    assert svg.find("path").get("d").count("L") == len(STAR)
    assert "http" not in html
    assert "<script" not in html


@pytest.mark.parametrize("count", [1, 2, 10, 31, 100])
def test_all_sizes_stay_within_the_picture(count):
    random = np.random.default_rng(count)
    edges = [(int(random.integers(n)), n) for n in range(1, count)]
    names = [f"node {n}" for n in range(count)]
    mains = random.normal(size=count).tolist()
    sets = [((0, count - 1), 1.0)] if count > 1 else []
    svg = drawn(Neighbourhood(names, names, edges, 0, mains, sets).html())
    low, _, width, _ = map(float, svg.get("viewBox").split())
    places = [float(c.get(k)) for c in svg.iter("circle") for k in ("cx", "cy")]
    assert low + 20 <= min(places) <= max(places) <= low + width - 20
    labels = [t for t in svg.iter("text") if t.get("class")]
    assert len(labels) == count if count <= 30 else 12 <= len(labels) <= 15


def test_nothing_does_anything():
    html = picture(mains=[0.0] * 4, interactions=[]).html()
    assert "nan" not in html
    assert html.count("0%") == 4


def test_nodes_stand_on_circles_by_their_distance():
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import shortest_path

    random = np.random.default_rng(3)
    ends = np.array([(int(random.integers(n)), n) for n in range(1, 60)] + [(3, 9), (7, 7)])
    places = concentric(61, [*map(tuple, ends.tolist())], 5)  # node 60 has no edge
    graph = coo_array((np.ones(len(ends)), ends.T), (61, 61))
    steps = shortest_path(graph, directed=False, indices=5, unweighted=True)
    most = steps[:60].max() + 1
    steps[60] = most  # what is not reached is one step farther
    assert np.hypot(*places.T) == pytest.approx(steps / most)
    apart = np.linalg.norm(places[:, None] - places, axis=2)[np.triu_indices(61, 1)]
    assert apart.min() > 0.02
    assert np.array_equal(places, concentric(61, [*map(tuple, ends.tolist())], 5))


def test_what_is_no_neighbourhood():
    with pytest.raises(ZooError, match=r"must be as many, got \[4, 4, 3\]"):
        picture(mains=[1.0, 2, 3])
    for wrong in ({"centre": 4}, {"edges": [(0, 4)]}, {"interactions": [((1, 4), 1.0)]}):
        with pytest.raises(ZooError, match="no node 4 among 4"):
            picture(**wrong)
