"""Noisy images of shapes, whose label is 1 where a whole square and a whole circle are there.

Shapes: N images, S side of an image.
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

SIDE, CELL = 48, 12  # pixels; a shape lies in a cell
WHOLE = 0.75  # of a shape: what must be left of it
SQUARE, CIRCLE, TRIANGLE, CROSS = range(4)
KINDS = ("square", "circle", "triangle", "cross")
BACKGROUND = 0.15  # mean of the noise


class Planted(NamedTuple):
    """Images with their labels, and where the shapes are.

    Attributes:
        images: float32 [N, S, S, 1] of 0 .. 1.
        labels: int [N].
        shapes: int [N, S, S] the kind of each pixel's shape, -1 of the background.
    """

    images: Tensor
    labels: Tensor
    shapes: np.ndarray


def planted(count: int, seed: int, label: int | None = None) -> Planted:
    """So many images.

    Each has up to one square and one circle, each with probability 0.7, and two or three
    triangles and crosses; all of any brightness and in any place, on noise with flat patches.
    Where the label is left open, patches lie on shapes, too: one that has lost more than a quarter
    is there no more, as half a square is none.

    Args:
        count: Number of images, N.
        seed: Seed of the images.
        label: The label of all of them; None takes both.
    """
    random = np.random.default_rng(seed)
    images = np.empty((count, SIDE, SIDE), np.float32)
    shapes = np.full((count, SIDE, SIDE), -1)
    labels = [_draw(*each, random, label) for each in zip(images, shapes, strict=True)]
    return Planted(torch.from_numpy(images)[..., None], torch.tensor(labels).long(), shapes)


def _draw(
    image: np.ndarray, kinds: np.ndarray, random: np.random.Generator, label: int | None
) -> bool:
    """Fills an image, and the kinds of its pixels; returns its label."""
    image[:] = random.uniform(0, 2 * BACKGROUND, image.shape)
    for _ in range(random.integers(6)):
        image[_patch(random)] = BACKGROUND
    there = [SQUARE, CIRCLE] if label else [k for k in (SQUARE, CIRCLE) if random.random() < 0.8]
    if label == 0:
        there = there[:1]
    there += random.choice((TRIANGLE, CROSS), random.integers(2, 4)).tolist()
    cells = random.permutation((SIDE // CELL) ** 2)[: len(there)]
    for kind, cell in zip(there, cells, strict=True):
        top, left = (int(place) * CELL for place in divmod(cell, SIDE // CELL))
        inside = _shape(kind, random)
        here = np.s_[top : top + CELL, left : left + CELL]
        image[here][inside] = random.uniform(0.6, 1) + random.normal(0, 0.03, inside.sum())
        kinds[here][inside] = kind
    image.clip(0, 1, out=image)
    sizes = [int((kinds == kind).sum()) for kind in (SQUARE, CIRCLE)]
    for _ in range(random.integers(6) if label is None else 0):
        place = _patch(random)
        image[place], kinds[place] = BACKGROUND, -1
    left = [int((kinds == kind).sum()) for kind in (SQUARE, CIRCLE)]
    return all(size and now >= WHOLE * size for size, now in zip(sizes, left, strict=True))


def _patch(random: np.random.Generator) -> tuple[slice, slice]:
    (y, x), (height, width) = random.integers(0, SIDE - CELL, 2), random.integers(4, CELL, 2)
    return np.s_[y : y + height, x : x + width]


def _shape(kind: int, random: np.random.Generator) -> np.ndarray:
    """bool [12, 12] the pixels of a shape, of a size and in a place of its own."""
    half = random.uniform(4, 5)
    y, x = np.mgrid[:CELL, :CELL] - random.uniform(half + 0.2, CELL - 1.2 - half, (2, 1, 1))
    if kind == SQUARE:
        return (abs(y) < half) & (abs(x) < half)
    if kind == CIRCLE:
        return y**2 + x**2 < half**2
    if kind == TRIANGLE:
        return (abs(y) < half) & (abs(x) < (y + half) / 2)
    return ((abs(y) < half / 3) & (abs(x) < half)) | ((abs(x) < half / 3) & (abs(y) < half))
