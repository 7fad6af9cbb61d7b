"""A square that must be there with a circle: whether this is found in what a network has learned.

    pip install -c constraints.txt -e ".[domains]"
    python benchmarks/planted_images.py

For each seed a convolutional network learns noisy images of shapes, whose label is 1 where a whole
square and a whole circle are there, among triangles, crosses and shapes that are cut
(`planted_shapes.py`). Images that it has not seen, with both, are cut into superpixels by SLIC,
which are off in the colour of the background, and the interactions of each that are at least half
as strong as the strongest are taken (as on the pages of `examples/domains/image.py`).

The truth: a superpixel is of the shape that most of its shaped pixels are of, where it has a tenth
of that shape at least. An interaction of superpixels of the square and of the circle, both, and of
none other, is true; one that joins any other superpixels is false, and one within a single shape,
which says that its parts make it, is neither.

- recall: share of the images in which a true one is found.
- precision: share of the true ones among true and false ones.

The score is the probability of the label. In the log-odds of it an AND needs no interaction:
evidence for the square and evidence for the circle add up, and both are needed to pass zero.
"""

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from common import PROJECT, console, make_table, print_machine
from planted_shapes import BACKGROUND, CIRCLE, SQUARE, planted
from torch import Tensor

from zoo.glider.domains.images import Superpixels
from zoo.glider.walsh import walsh

sys.path.insert(0, str(PROJECT / "examples" / "domains"))
from classifier import predicted, scores_of, trained  # pyright: ignore

STRONG = 0.5  # of the share of the strongest interaction
LEAST = 0.1  # of a shape
EPOCHS = 8


@dataclass
class Found:
    """What was found in some images.

    Attributes:
        images: Number of images.
        seen: Number of images in which a true interaction was found.
        true: Number of true interactions.
        false: Number of false ones.
        linear: Sum over the images of R^2 of the main effects.
    """

    images: int = 0
    seen: int = 0
    true: int = 0
    false: int = 0
    linear: float = 0.0

    @property
    def recall(self) -> float:
        """Share of the images in which a true interaction is found."""
        return self.seen / self.images

    @property
    def precision(self) -> float:
        """Share of the true interactions among true and false ones; 1 where there are none."""
        return self.true / max(self.true + self.false, 1) if self.true + self.false else 1.0

    def add(self, scores: Callable[[Tensor], Tensor], image: Tensor, shapes: np.ndarray) -> None:
        """Adds what is found in an image.

        Args:
            scores: The black box.
            image: [S, S, 1] the image.
            shapes: [S, S] the kind of each pixel's shape, -1 of the background.
        """
        switches = Superpixels.of(image, off=BACKGROUND, n_segments=64)
        of = shapes_of(np.asarray(switches.labels), shapes)
        (found,) = walsh(scores, [image], switches)
        strong = [c for c in found.interactions if c.share >= STRONG * found.interactions[0].share]
        joined = [{of[i] for i in c.features} for c in strong]
        true = joined.count({SQUARE, CIRCLE})
        self.images += 1
        self.seen += true > 0
        self.true += true
        self.false += sum(kinds != {SQUARE, CIRCLE} and len(kinds) > 1 for kinds in joined)
        self.linear += found.r2[1]


def shapes_of(labels: np.ndarray, shapes: np.ndarray) -> list[int]:
    """The kind of the shape that each superpixel is of, -1 of none.

    Args:
        labels: [S, S] number of each pixel's superpixel.
        shapes: [S, S] the kind of each pixel's shape, -1 of the background.
    """
    found = []
    for i in range(labels.max() + 1):
        counts = np.bincount(shapes[(labels == i) & (shapes >= 0)], minlength=CIRCLE + 1)
        kind = int(counts.argmax())
        found.append(kind if counts[kind] >= LEAST * max((shapes == kind).sum(), 1) else -1)
    return found


def measured(seed: int, train: int, count: int) -> tuple[float, dict[str, Found]]:
    """The accuracy of a network, and what is found in images it has not seen, by the score.

    Args:
        seed: Seed of images and network.
        train: Number of images that it learns.
        count: Number of images that are explained.
    """
    images, test, both = (
        planted(n, 3 * seed + i, k)
        for i, (n, k) in enumerate(((train, None), (1000, None), (count, 1)))
    )
    model = trained(images.images, images.labels, 2, EPOCHS, seed)
    accuracy = float((predicted(model, test.images) == test.labels).float().mean())
    log_odds = scores_of(model, 1)
    found = {"probability": Found(), "log-odds": Found()}
    right = predicted(model, both.images) == 1
    for image, shapes in zip(both.images[right], both.shapes[right.numpy()], strict=True):
        found["probability"].add(lambda rows: log_odds(rows).sigmoid(), image, shapes)
        found["log-odds"].add(log_odds, image, shapes)
    return accuracy, found


def main() -> None:
    """Prints a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--seeds", type=int, default=5, help="number of seeds")
    parser.add_argument("--images", type=int, default=40, help="number of images to explain")
    parser.add_argument("--train", type=int, default=8000, help="number of images to learn")
    given = parser.parse_args()
    torch.set_num_threads(1)
    print_machine("torch", "scikit-image")
    columns = ("accuracy", "images", "recall", "precision", "R² of main effects", "s of CPU")
    table = make_table("A square with a circle", "seed, score", *columns)
    for seed in range(given.seeds):
        start = time.process_time()
        accuracy, by_score = measured(seed, given.train, given.images)
        seconds = f"{time.process_time() - start:.0f}"
        for score, found in by_score.items():
            shares = f"{found.recall:.3f}", f"{found.precision:.3f}"
            linear = f"{found.linear / found.images:.3f}"
            row = (f"{accuracy:.3f}", str(found.images), *shares, linear, seconds)
            table.add_row(f"{seed}, {score}", *row)
    console.print(table)


if __name__ == "__main__":
    main()
