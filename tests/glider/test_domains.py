"""Switches of texts, images, graphs and sequences, and planted truth that is found through them."""

import sys

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from zoo import ZooError
from zoo.glider.domains.found import shown
from zoo.glider.domains.graphs import Nodes, neighbourhood
from zoo.glider.domains.images import Superpixels
from zoo.glider.domains.merged import merged
from zoo.glider.domains.sequences import Deleted, OtherLetters, Replaced
from zoo.glider.scoring import score
from zoo.glider.walsh import walsh
from zoo.glider.walsh.search import WalshConfig

NOT, GOOD, MASK = 7, 8, 99
TEXT = torch.tensor([3, NOT, 4, 5, GOOD, 6])
SMALL = WalshConfig(masks=300, held_out=200)


def pairs_of(found):
    return [c.features for c in found.interactions]


def has(word):
    return lambda rows: (rows == word).any(1).float()


@pytest.mark.parametrize("switches", [Replaced(MASK), Deleted(padding=0)])
def test_two_words_that_need_each_other(switches):
    def scores(rows):
        return has(NOT)(rows) * has(GOOD)(rows) + 0.5 * has(3)(rows)

    (found,) = walsh(scores, [TEXT], switches, SMALL)
    assert pairs_of(found) == [(1, 4)]
    # z1 z4 of 0 and 1 is (1 + s1 + s4 + s1 s4) / 4 of signs s
    assert found.interactions[0].value == pytest.approx(0.25, abs=1e-9)
    assert [c.value for c in found.mains] == pytest.approx([0.25, 0.25, 0, 0, 0.25, 0], abs=1e-9)


def test_what_is_off():
    masks = torch.tensor([[1.0, 0, 1, 0, 0, 1], [1] * 6, [0] * 6])
    assert Replaced(MASK).apply(TEXT, masks).tolist() == [
        *([3, MASK, 4, MASK, MASK, 6], TEXT.tolist(), [MASK] * 6)
    ]
    assert Deleted(0).apply(TEXT, masks).tolist() == [[3, 4, 6, 0, 0, 0], TEXT.tolist(), [0] * 6]
    vectors = torch.randn(6, 3)
    zeroed = Replaced().apply(vectors, masks)
    assert torch.equal(zeroed, masks.unsqueeze(2) * vectors)
    moved = Deleted().apply(vectors, masks)
    assert torch.equal(moved[0], torch.cat((vectors[[0, 2, 5]], torch.zeros(3, 3))))


@given(st.integers(0, 10**6), st.integers(2, 6), st.integers(1, 12))
def test_other_letters_are_others(seed, letters, length):
    own = torch.randint(letters, (length,), generator=torch.Generator().manual_seed(seed))
    masks = torch.randint(2, (40, length), generator=torch.Generator().manual_seed(seed + 1))
    rows = OtherLetters(letters, seed).apply(own, masks.float())
    assert torch.equal(rows == own, masks.bool())
    assert 0 <= rows.min() <= rows.max() < letters
    assert torch.equal(rows, OtherLetters(letters, seed).apply(own, masks.float()))


def test_a_motif_of_letters():
    """CACGT: a score where all five are there, which each of its pairs shows alike."""
    motif = torch.tensor([1, 0, 1, 2, 3])
    own = torch.cat((torch.tensor([0, 0, 3]), motif, torch.tensor([2, 2])))

    def scores(rows):
        return (rows[:, 3:8] == motif).all(1).float() * 32

    config = WalshConfig(masks=3000, held_out=1000, max_order=2)
    (found,) = walsh(scores, [own], OtherLetters(4), config)
    assert sorted(pairs_of(found)) == [(i, j) for i in range(3, 8) for j in range(i + 1, 8)]
    assert merged(pairs_of(found)) == [(3, 4, 5, 6, 7)]


def test_interactions_of_both_signs():
    """2 s0 s1 + s1 s2 - s2 s3 + 0.5 s4 of signs, whose pairs overlap in one feature."""

    def scores(rows):
        s = 2 * rows - 1
        return 2 * s[:, 0] * s[:, 1] + s[:, 1] * s[:, 2] - s[:, 2] * s[:, 3] + 0.5 * s[:, 4]

    (found,) = walsh(scores, [torch.ones(5)], Replaced(), SMALL)
    apart, joined = shown(found, by_sign=True), shown(found)
    assert [s for s, _ in apart.interactions] == [(0, 1, 2), (2, 3)]
    assert [value for _, value in apart.interactions] == pytest.approx([3, -1], abs=1e-6)
    assert [s for s, _ in joined.interactions] == [(0, 1, 2, 3)]
    assert [value for _, value in joined.interactions] == pytest.approx([2], abs=1e-6)
    assert apart.mains == joined.mains == pytest.approx([0, 0, 0, 0, 0.5], abs=1e-6)
    assert apart.r2[1] == pytest.approx(1)
    assert {s for s, _ in shown(found, least=0.6).interactions} == {(0, 1), (1, 2), (2, 3)}


def test_a_square_that_needs_a_circle():
    """Of nine superpixels, two hold what the score asks for together."""
    labels = np.kron(np.arange(9).reshape(3, 3), np.ones((8, 8), int))
    image = np.random.default_rng(0).uniform(0, 0.2, (24, 24, 3)).astype("f4")
    y, x = np.mgrid[:8, :8]
    square, circle = (abs(y - 3.5) < 3) & (abs(x - 3.5) < 3), (y - 3.5) ** 2 + (x - 3.5) ** 2 < 9
    image[0:8, 8:16][square] = 1  # superpixel 1
    image[16:24, 16:24][circle] = 1  # superpixel 8

    def scores(rows):
        there = (rows[:, 0:8, 8:16].amax((1, 2, 3)) > 0.9, rows[:, 16:, 16:].amax((1, 2, 3)) > 0.9)
        return (there[0] & there[1]).float()

    (found,) = walsh(scores, [image], Superpixels(labels), SMALL)
    assert pairs_of(found) == [(1, 8)]


@pytest.mark.parametrize("options", [{"n_segments": 16}, {"method": "quickshift", "max_dist": 9}])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("scale", [1, 255])
def test_superpixels_of_an_image(options, channels, scale):
    """Each of two halves has superpixels of its own, numbered from 0, whatever the values are."""
    image = np.zeros((32, 32, channels), "u1" if scale == 255 else "f4")
    image[:, 16:] = scale
    labels = np.asarray(Superpixels.of(image, **options).labels)
    left, right = ({*np.unique(part).tolist()} for part in (labels[:, :16], labels[:, 16:]))
    assert not left & right
    assert left | right == {*range(labels.max() + 1)}
    assert labels.shape == (32, 32)


@pytest.mark.parametrize(
    ("image", "options", "message"),
    [
        (np.zeros((8, 8)), {}, r"must be \[H, W, 1\] or \[H, W, 3\], got \[8, 8\]"),
        (np.zeros((8, 8, 4)), {}, r"got \[8, 8, 4\]"),
        (np.zeros((0, 8, 3)), {}, r"got \[0, 8, 3\]"),
        (np.full((8, 8, 3), 2.0), {}, r"within 0 .. 255, or 0.0 .. 1.0 of floats"),
        (np.full((8, 8, 3), np.nan), {}, r"within 0 .. 255, or 0.0 .. 1.0 of floats"),
        (np.zeros((8, 8, 3)), {"method": "grid"}, r"one of \['slic', 'quickshift'\], got 'grid'"),
        (np.zeros((8, 8, 3)), {"segments": 3}, r"slic has no option 'segments', only \['n_seg"),
        (np.zeros((8, 8, 3)), {"n_segments": 1}, r"slic finds one superpixel in this image"),
    ],
)
def test_images_without_superpixels(image, options, message):
    with pytest.raises(ZooError, match=message):
        Superpixels.of(image, **options)


def test_superpixels_without_scikit_image(monkeypatch):
    monkeypatch.setitem(sys.modules, "skimage", None)
    with pytest.raises(ZooError, match=r"need scikit-image: pip install .*\[domains\]"):
        Superpixels.of(np.zeros((8, 8, 3)))


def test_superpixels_that_are_off_have_their_mean_colour():
    labels = torch.tensor([[0, 0, 1], [0, 1, 1]])
    image = torch.tensor([[[1, 0], [2, 3], [9, 9]], [[6, 0], [7, 1], [8, 2]]])
    rows = Superpixels(labels).apply(image, torch.tensor([[0.0, 1], [1, 0]]))
    assert rows[0].tolist() == [[[3, 1], [3, 1], [9, 9]], [[3, 1], [7, 1], [8, 2]]]
    assert rows[1].tolist() == [[[1, 0], [2, 3], [8, 4]], [[6, 0], [8, 4], [8, 4]]]
    assert Superpixels(labels).centre(image).tolist() == [1, 1]


def test_images_are_made_some_at_a_time():
    """2,000 photos in colours are 0.3 GB of bytes, or 1.2 GB of float32: never all at once."""
    labels = np.arange(224 * 224).reshape(224, 224) // 6272  # 8 rows of 28 lines
    image = torch.randint(256, (224, 224, 3), generator=torch.Generator().manual_seed(0)).byte()
    masks = torch.randint(2, (300, 8), generator=torch.Generator().manual_seed(1)).float()
    sizes = []

    def scores(images):
        sizes.append(images.numel() * images.element_size())
        return images[:, ::28].float().mean((1, 2, 3))

    switches = Superpixels(labels, off=(0, 0, 0))
    found = score(scores, switches.apply(image, masks))
    assert max(sizes) < 2**24
    assert sum(sizes) == 300 * image.numel()
    parts = image[::28].float().mean((1, 2)) / 8
    assert torch.allclose(found, masks @ parts, rtol=1e-4)
    images = switches.apply(image, masks)
    assert torch.equal(images[3], images[2:5][1])
    assert len(images) == 300


def test_a_colour_that_is_off():
    labels, image = torch.tensor([[0, 1]]), torch.tensor([[[9, 8, 7], [6, 5, 4]]])
    rows = Superpixels(labels, (1, 2, 3)).apply(image, torch.tensor([[0.0, 1], [1, 0]]))
    assert rows[:].tolist() == [[[[1, 2, 3], [6, 5, 4]]], [[[9, 8, 7], [1, 2, 3]]]]
    dark = Superpixels(labels, 0).apply(image / 10, torch.zeros(1, 2))
    assert dark[0].tolist() == [[[0, 0, 0], [0, 0, 0]]]


@pytest.mark.parametrize("of", ["features", "edges"])
def test_a_label_that_two_neighbours_decide(of):
    """The sum over paths from node 0 by neighbours 1 and 3, of a small graph, times each other."""
    edges = torch.tensor([[0, 0, 0, 1, 4, 5], [1, 2, 3, 4, 5, 6]])
    nodes = neighbourhood(edges, 0, 2)
    assert nodes == [0, 1, 2, 3, 4]
    matrix = torch.zeros(7, 7)
    matrix[edges[0], edges[1]] = matrix[edges[1], edges[0]] = 1
    features = torch.eye(7)

    def scores(rows):
        reached = rows[:, 0] if of == "edges" else rows[:, [1, 2, 3]].sum(1)
        return reached[:, 1] * reached[:, 3]

    switches = Nodes([n for n in nodes if n], of)
    (found,) = walsh(scores, [matrix if of == "edges" else features], switches, SMALL)
    assert pairs_of(found) == [(0, 2)]  # nodes 1 and 3


@given(st.lists(st.sets(st.integers(0, 12), min_size=1, max_size=4), max_size=8))
def test_merged_sets_overlap_no_more_and_lose_nothing(sets):
    found = merged(sets)
    assert {i for one in found for i in one} == {i for one in sets for i in one}
    assert all(any(one <= {*whole} for whole in found) for one in sets)
    for i, one in enumerate(found):
        for other in found[:i]:
            assert len({*one} & {*other}) / min(len(one), len(other)) < 0.5
    assert merged(found) == found


def test_sets_that_are_merged():
    assert merged([(0, 1), (1, 2), (5, 6)]) == [(0, 1, 2), (5, 6)]
    assert merged([(0, 1, 2, 3), (3, 4, 5)]) == [(0, 1, 2, 3), (3, 4, 5)]
    assert merged([(0, 1), (1, 2)], least=0.6) == [(0, 1), (1, 2)]


def test_what_does_not_fit():
    on = torch.ones(1, 2)
    for switches, instance, message in (
        (OtherLetters(4), torch.tensor([0, 4]), r"letters, 0 to 3"),
        (OtherLetters(4), torch.tensor([0.0, 1]), r"letters, 0 to 3"),
        (Replaced(), "never fails", r"of ids or of vectors, got 'never fails'"),
        (Replaced(), torch.ones(3), r"masks are of 2 positions, the instance has 3: sequences"),
        (Deleted(), torch.ones(3), r"masks are of 2 positions, the instance has 3: sequences"),
        (Replaced(), torch.tensor(3), r"a sequence, got the shape \[\]"),
        (Superpixels(torch.zeros(2, 2)), torch.zeros(3, 2, 1), r"\[3, 2, 1\] and \[2, 2\]"),
        (Superpixels(torch.zeros(2, 2)), torch.zeros(2, 2, 1), r"\[N, 1\], got the shape \[1, 2\]"),
        (
            Superpixels(torch.eye(2), (1, 2)),
            torch.zeros(2, 2, 3),
            r"one number, or 3, got \(1, 2\)",
        ),
        (Nodes([0, 1], "edges"), torch.zeros(3, 2), r"must be \[V, V\], got the shape \[3, 2\]"),
    ):
        with pytest.raises(ZooError, match=message):
            switches.apply(instance, on)
