"""A square and a circle that an image must have both, found in a trained network."""

import importlib

import numpy as np
import pytest
from support.running import ROOT


@pytest.fixture
def benchmark(monkeypatch):
    for folder in ("benchmarks", "examples/domains"):
        monkeypatch.syspath_prepend(ROOT / folder)
    return importlib.import_module("planted_images")


def test_the_pair_is_found(benchmark):
    """Of 20 images that the network has not seen, in all but one at most."""
    accuracy, found = benchmark.measured(seed=0, train=8000, count=20)
    assert accuracy > 0.9
    assert found["probability"].images >= 18
    assert found["probability"].recall >= 0.95
    assert found["probability"].precision >= 0.95
    # log-odds add up: there is next to nothing for an interaction to explain
    assert found["log-odds"].linear / found["log-odds"].images > 0.93


def test_superpixels_and_their_shapes(benchmark):
    labels = np.array([[0, 0, 1, 1, 2, 2]] * 10)
    shapes = np.full((10, 6), -1)
    shapes[:, 1:3] = benchmark.SQUARE  # half in each
    shapes[:2, 4:] = benchmark.CIRCLE
    shapes[5, 3] = benchmark.CIRCLE  # less than a tenth of it, and fewer than of the square
    assert benchmark.shapes_of(labels, shapes) == [benchmark.SQUARE, benchmark.SQUARE, 1]
    shapes[:, :2] = -1
    shapes[0, 0] = benchmark.SQUARE  # 1 of 11
    assert benchmark.shapes_of(labels, shapes)[0] == -1


def test_labels_are_those_of_the_shapes(benchmark):
    drawn = benchmark.planted(50, 0)
    for label, shapes in zip(drawn.labels.tolist(), drawn.shapes, strict=True):
        assert label <= ({benchmark.SQUARE, benchmark.CIRCLE} <= {*shapes.flat})
    assert 10 <= drawn.labels.sum() <= 40
    assert benchmark.planted(5, 0, 1).labels.tolist() == [1] * 5
    assert benchmark.planted(5, 0, 0).labels.tolist() == [0] * 5
    assert 0 <= drawn.images.min() <= drawn.images.max() <= 1
