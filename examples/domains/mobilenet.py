"""MobileNetV2, which knows 1,000 kinds of things, and the photos that it is shown.

Sandler et al., CVPR 2018, with weights of 8 bits in the file of google-coral/test_data.
"""

from pathlib import Path

import numpy as np
import torch
from downloaded import Remote, files
from torch import Tensor

from zoo.data.errors import ZooError

COMMIT = "104342d2d3480b3e66203073dac24f4e2dbb4c41"
URL = f"https://raw.githubusercontent.com/google-coral/test_data/{COMMIT}"
SIZE = 224


def _remote(name: str, sha256: str) -> Remote:
    return Remote(name, f"{URL}/{name}", sha256)


MODEL = _remote(
    "mobilenet_v2_1.0_224_quant.tflite",
    "7aad0c74c5e3c06e5eb3c827e13304fdd68a83da6087d92ee169c24ff9fd4776",
)
LABELS = _remote(
    "imagenet_labels.txt", "b8aaeb5630c62626a7d124a05c0e14230a7ffdd2136a31d0190a4fb71c1d82f1"
)
PHOTOS = [
    _remote("parrot.jpg", "a8fba9e7e29439fa414c13129aad661f2289ff891231920a7c33641b076f1833"),
    _remote("grace_hopper.bmp", "c43444bf3b1b1e3080551ca194bd231da4b67f20fc91454502915a6b806b614f"),
    _remote("resized_cat.bmp", "c171ae0db8c92170ddf8b91218961bbb0d6ec13b5e193c3b761e45b852d94d97"),
]


class MobileNet:
    """Photos uint8 [N, 224, 224, 3] to logits [N, 1001], one photo at a time.

    The file ends in a softmax whose probabilities are rounded to 1/256, most of them to 0. What
    goes into it is read in its place: numbers of 8 bits too, in steps of a tenth of a logit.

    Args:
        file: The model as a file of TensorFlow Lite.
        threads: Number of threads that work on a photo; more than one do not pay.
    """

    def __init__(self, file: Path, threads: int = 1) -> None:
        try:
            from ai_edge_litert.interpreter import Interpreter
        except ImportError:
            needed = 'pip install "interpretable-zoo[domains]"'
            raise ZooError(f"MobileNetV2 needs ai-edge-litert: {needed}") from None
        try:
            self._of = Interpreter(str(file), num_threads=threads)
            self._of.allocate_tensors()
            details = {d["name"]: d for d in self._of.get_tensor_details()}
            logits = details["MobilenetV2/Logits/Squeeze1"]
        except (ValueError, RuntimeError, KeyError):
            raise ZooError(f"{file} is not the file {MODEL.name} of {URL}") from None
        self._into, self._out = self._of.get_input_details()[0]["index"], logits["index"]
        self._scale, self._zero = logits["quantization"]

    def __call__(self, photos: Tensor) -> Tensor:
        """float32 [N, 1001] logits; class 0 is none of the thousand."""
        return torch.stack([self._logits(photo) for photo in photos.numpy()])

    def _logits(self, photo: np.ndarray) -> Tensor:
        self._of.set_tensor(self._into, photo[None])
        self._of.invoke()
        found = torch.from_numpy(self._of.get_tensor(self._out)[0].astype(np.float32))
        return (found - self._zero) * self._scale


def loaded(data: Path | None) -> tuple[MobileNet, list[str]]:
    """The model and the names of its classes.

    Args:
        data: A folder that has both files; None downloads them.
    """
    model, labels = files([MODEL, LABELS], data)
    names = labels.read_text(encoding="utf-8").splitlines()
    return MobileNet(model), [name.split(",")[0] for name in names]


def photo(file: Path) -> np.ndarray:
    """uint8 [H, W, 3] a photo in colours, upright, on white where it is transparent.

    Raises:
        ZooError: Where the file cannot be read, or is no whole image.
    """
    try:
        from PIL import Image, ImageOps
    except ImportError:
        needed = 'pip install "interpretable-zoo[domains]"'
        raise ZooError(f"photos need Pillow: {needed}") from None
    try:
        with Image.open(file) as content:
            upright = ImageOps.exif_transpose(content).convert("RGBA")
    except FileNotFoundError:
        raise ZooError(f"there is no photo {file}") from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ZooError(f"{file} is no whole image that Pillow reads ({error})") from None
    white = Image.new("RGBA", upright.size, "white")
    return np.asarray(Image.alpha_composite(white, upright).convert("RGB"))


def square(
    content: np.ndarray, share: float = 1.0, place: tuple[float, float] = (0.5, 0.5)
) -> Tensor:
    """uint8 [224, 224, 3] a square of a photo, as large as it fits times a share.

    Args:
        content: [H, W, 3] the photo.
        share: Share of the shorter side that the square has.
        place: Where it is, from 0 (top, left) to 1 (bottom, right).
    """
    from PIL import Image

    side = max(1, round(min(content.shape[:2]) * share))
    top, left = (round((n - side) * at) for n, at in zip(content.shape[:2], place, strict=True))
    cut = Image.fromarray(content[top : top + side, left : left + side])
    return torch.from_numpy(np.asarray(cut.resize((SIZE, SIZE), Image.Resampling.BICUBIC)).copy())


def crops(photos: list[np.ndarray], count: int, seed: int) -> list[Tensor]:
    """So many squares of photos, in turn: first the largest of each, then others at random.

    Args:
        photos: The photos.
        count: Number of squares.
        seed: Seed of where they are.
    """
    random = np.random.default_rng(seed)
    found = [square(content) for content in photos][:count]
    for i in range(len(found), count):
        share, *place = random.uniform((0.6, 0, 0), 1)
        found.append(square(photos[i % len(photos)], share, (place[0], place[1])))
    return found
