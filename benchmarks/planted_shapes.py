"""Noisy images of shapes, whose label is 1 where a square and a circle both are there.

Shapes: N images, S side of an image.
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

SIDE, CELL = 48, 12  # pixels; a shape lies in a cell
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

    Args:
        count: Number of images, N.
        seed: Seed of the images.
        label: The label of all of them; None takes both.
    """
    random = np.random.default_rng(seed)
    images = np.empty((count, SIDE, SIDE), np.float32)
    shapes = np.full((count, SIDE, SIDE), -1)
    for image, kinds in zip(images, shapes, strict=True):
        _draw(image, kinds, random, label)
    has = [(shapes == kind).any((1, 2)) for kind in (SQUARE, CIRCLE)]
    labels = torch.from_numpy(has[0] & has[1]).long()
    return Planted(torch.from_numpy(images)[..., None], labels, shapes)


def _draw(
    image: np.ndarray, kinds: np.ndarray, random: np.random.Generator, label: int | None
) -> None:
    """Fills an image, and the kinds of its pixels."""
    image[:] = random.uniform(0, 2 * BACKGROUND, image.shape)
    for _ in range(random.integers(6)):
        y, x = random.integers(0, SIDE - CELL, 2)
        height, width = random.integers(4, CELL, 2)
        image[y : y + height, x : x + width] = BACKGROUND
    there = [SQUARE, CIRCLE] if label else [k for k in (SQUARE, CIRCLE) if random.random() < 0.7]
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
