"""Small images with labels: handwritten digits, which scikit-learn brings, and garments.

Shapes: N images, H height, W width.
"""

import gzip
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from downloaded import Remote, files
from torch import Tensor
from torch.nn import functional

from zoo.data.errors import ZooError

SIZE = 32
HELD_OUT = 360  # of the 1,797 digits
COMMIT = "b2617bb6d3ffa2e429640350f613e3291e10b141"
URL = f"https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/{COMMIT}/data/fashion"
FASHION = {
    "train-images-idx3": "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
    "train-labels-idx1": "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
    "t10k-images-idx3": "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
    "t10k-labels-idx1": "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
}
GARMENTS = ["T-shirt", "trousers", "pullover", "dress", "coat"]
GARMENTS += ["sandal", "shirt", "sneaker", "bag", "ankle boot"]


class Labelled(NamedTuple):
    """Images of 0 .. 1 with their classes, for training and held out.

    Attributes:
        train: float32 [N, 32, 32, 1] and int [N].
        test: The same of other images.
        classes: Names of the classes.
    """

    train: tuple[Tensor, Tensor]
    test: tuple[Tensor, Tensor]
    classes: list[str]


def digits(seed: int) -> Labelled:
    """1,797 handwritten digits (Alpaydin & Kaynak 1998) of 8 x 8 pixels, smoothly enlarged.

    Args:
        seed: Seed of which are held out.
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        needed = 'pip install "interpretable-zoo[domains]"'
        raise ZooError(f"the digits are in scikit-learn: {needed}") from None
    pixels, target = map(np.asarray, load_digits(return_X_y=True))
    small = torch.from_numpy(pixels).float().reshape(-1, 1, 8, 8) / 16
    large = functional.interpolate(small, (SIZE, SIZE), mode="bicubic").clamp(0, 1)
    images, labels = large.permute(0, 2, 3, 1).contiguous(), torch.from_numpy(target)
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))
    test, train = order[:HELD_OUT], order[HELD_OUT:]
    names = [str(digit) for digit in range(10)]
    return Labelled((images[train], labels[train]), (images[test], labels[test]), names)


def fashion(data: Path | None, most: int = 20_000) -> Labelled:
    """Fashion-MNIST (Xiao, Rasul & Vollgraf 2017): garments of 28 x 28 pixels, with a margin.

    Args:
        data: A folder that has its four files; None downloads them.
        most: Number of images that are trained on.
    """
    remotes = [
        Remote(f"{name}-ubyte.gz", f"{URL}/{name}-ubyte.gz", sha256)
        for name, sha256 in FASHION.items()
    ]
    arrays = [_idx(file) for file in files(remotes, data)]
    parts = []
    for kind, images, labels in (("train", *arrays[:2]), ("t10k", *arrays[2:])):
        whole = images.ndim == 3 and images.shape[1:] == (28, 28) and labels.ndim == 1
        if not whole or len(images) != len(labels) or not len(labels) or labels.max() > 9:
            raise ZooError(f"the {kind} files are not images of 28 x 28 with labels of 0 to 9")
        padded = functional.pad(torch.from_numpy(images[:most]), [2] * 4)
        parts.append((padded.float()[..., None] / 255, torch.from_numpy(labels[:most]).long()))
    return Labelled(parts[0], parts[1], GARMENTS)


def _idx(file: Path) -> np.ndarray:
    """The array of an idx file, the format of MNIST."""
    try:
        raw = file.read_bytes()
        raw = gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw
    except (OSError, EOFError, zlib.error):
        raise ZooError(f"{file} is no whole gzip file: get it again") from None
    axes = raw[3] if raw[:3] == b"\0\0\x08" and len(raw) > 3 else 0
    shape = np.frombuffer(raw[4 : 4 + 4 * axes], ">i4")
    values = np.frombuffer(raw[4 + 4 * axes :], np.uint8)
    if not axes or len(shape) != axes or shape.prod() != len(values):
        raise ZooError(f"{file} is no whole idx file of bytes: get it again")
    return values.reshape(shape).copy()
