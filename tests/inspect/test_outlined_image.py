"""An image with what was found outlined on it."""

import base64
import io
import re

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from skimage.draw import polygon2mask

from zoo import ZooError
from zoo.inspect.domains.images import OutlinedImage, outline, png

LABELS = np.kron(np.arange(4).reshape(2, 2), np.ones((4, 6), int))
COLOURS = np.random.default_rng(0).integers(0, 256, (8, 12, 3), np.uint8)


def drawn(text):
    """The image that a page holds, as another library reads it."""
    (data,) = re.findall(r'href="data:image/png;base64,([^"]+)"', text)
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))))


def loops(path):
    """The points (y, x) of each loop of a path."""
    for loop in path.split("Z")[:-1]:
        x, y = map(int, re.match(r"M(\d+) (\d+)", loop).groups())
        points = [(y, x)]
        for step, value in re.findall(r"([HV])(\d+)", loop):
            x, y = (int(value), y) if step == "H" else (x, int(value))
            points.append((y, x))
        yield points


@pytest.mark.parametrize("channels", [1, 3])
def test_a_file_that_others_read(channels):
    pixels = COLOURS[..., :channels]
    read = np.asarray(Image.open(io.BytesIO(png(pixels))))
    assert np.array_equal(read.reshape(pixels.shape), pixels)


@given(st.integers(0, 2**30), st.integers(1, 9), st.integers(1, 9))
def test_the_inside_of_an_outline_is_the_mask(seed, height, width):
    mask = np.random.default_rng(seed).random((height, width)) < 0.5
    found = np.zeros_like(mask)
    for points in loops(outline(mask)):
        inner = np.array(points) - 0.5  # pixels have their middle at whole numbers there
        found ^= polygon2mask(mask.shape, inner)
    assert np.array_equal(found, mask)


def test_an_outline_of_one_corner():
    assert outline(np.array([[1, 0], [1, 1]], bool)) == "M0 0H1V1H2V2H0Z"


def test_main_effects_beside_interactions():
    text = OutlinedImage(COLOURS, LABELS, [0.1, -2, 0, 3], [((0, 3), -1.5), ((1, 2), 0.25)]).html()
    assert np.array_equal(drawn(text), COLOURS)  # once, and referred to
    name = re.findall(r'image id="([^"]+)"', text)
    assert re.findall(r'use href="#([^"]+)"', text) == name * 3
    image, mains, first, second = re.findall("<figure>.*?</figure>", text)
    assert "text" not in image
    assert 'aria-label="main effects: superpixels 4 · 2 · 1"' in mains  # of none its number
    assert [re.findall(r'edge (\w+)" d="(M\d+ \d+)', part) for part in (mains, first, second)] == [
        [("up", "M6 4"), ("down", "M6 0"), ("up", "M0 0")],
        [("down", "M0 0"), ("down", "M6 4")],
        [("up", "M6 0"), ("up", "M0 4")],
    ]
    assert "together -1.5" in first
    assert "together +0.25" in second


def test_images_of_floats_and_tensors():
    grey = torch.linspace(0, 1, 96).reshape(8, 12, 1)
    text = OutlinedImage(grey, LABELS, [0] * 4, []).html()
    assert np.array_equal(drawn(text), (grey[..., 0] * 255).round().byte().numpy())
    assert 'class="pixels"' in text
    assert 'aria-label="main effects: superpixels none"' in text


@pytest.mark.parametrize(
    ("image", "labels", "mains", "message"),
    [
        (COLOURS[..., 0], LABELS, [0] * 4, r"got \[8, 12\] and \[8, 12\]"),
        (COLOURS[..., :2], LABELS, [0] * 4, r"\[H, W, 1\] or \[H, W, 3\] .* got \[8, 12, 2\]"),
        (COLOURS, LABELS[:4], [0] * 4, r"superpixels \[H, W\], got \[8, 12, 3\] and \[4, 12\]"),
        (COLOURS, LABELS, [0] * 3, r"superpixels must be 0 to 2, the main effects"),
    ],
)
def test_what_does_not_fit_an_image(image, labels, mains, message):
    with pytest.raises(ZooError, match=message):
        OutlinedImage(image, labels, mains, [])
