"""An image with what was found outlined on it: main effects beside interactions.

Shapes: H height, W width, C channels, d superpixels.
"""

import base64
import hashlib
import struct
import zlib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from zoo.data.errors import ZooError
from zoo.inspect.domains.page import Sets

MAINS = 5  # superpixels whose main effects are shown, as many as LIME shows
INTERACTIONS = 3
SMALL = 64  # pixels up to which an image is enlarged with its pixels as squares
READING = (
    "Blue adds to the score, orange takes from it, by itself under main effects and together under "
    "each interaction; pale parts have no part in it. The numbers are those of the bars below."
)


@dataclass(frozen=True)
class OutlinedImage:
    """An image, and beside it the same with superpixels outlined (Tsang et al. 2020, figure 4).

    Attributes:
        image: [H, W, C] the image, of 0 .. 255 or of 0.0 .. 1.0, grey (C = 1) or in colours.
        labels: int [H, W] number of each pixel's superpixel, 0 .. d - 1, which is shown as 1 .. d.
        mains: [d] what each superpixel adds by itself to the score.
        interactions: Superpixels and what they add together, the largest first.
    """

    image: Any
    labels: Any
    mains: Sequence[float]
    interactions: Sets

    def __post_init__(self) -> None:
        shape, labels = np.shape(self.image), np.asarray(self.labels)
        if len(shape) != 3 or shape[2] not in (1, 3) or labels.shape != shape[:2]:
            raise ZooError(
                "an image must be [H, W, 1] or [H, W, 3] and its superpixels [H, W], "
                f"got {[*shape]} and {[*labels.shape]}"
            )
        if not 0 <= labels.min() <= labels.max() < len(self.mains):
            raise ZooError(f"superpixels must be 0 to {len(self.mains) - 1}, the main effects")

    def html(self) -> str:
        """A row of pictures, of which the first holds the image and the others refer to it."""
        order = sorted(range(len(self.mains)), key=lambda i: -abs(self.mains[i]))
        strongest = [i for i in order[:MAINS] if self.mains[i]]
        panels = [
            self._panel(self._content, "the image", "the image"),
            self._outlined("main effects", [((i,), self.mains[i]) for i in strongest]),
        ]
        for features, value in self.interactions[:INTERACTIONS]:
            panels.append(self._outlined(f"together {value:+.3g}", [(features, value)]))
        return f'<div class="panels">{"".join(panels)}</div><p class="reading">{READING}</p>'

    def _outlined(self, title: str, sets: Sets) -> str:
        """The image with some superpixels outlined, and the others pale."""
        shown = [(i, value) for features, value in sets for i in features]
        height, width = np.shape(self.labels)
        clear = "".join(self._outline(i) for i, _ in shown)
        lines = [
            f'<use href="#{self._name}"/>',
            f'<path class="veil" d="M0 0H{width}V{height}H0Z{clear}"/>',
        ]
        for i, value in shown:
            kind = "down" if value < 0 else "up"
            lines.append(f'<path class="halo" d="{self._outline(i)}"/>')
            lines.append(f'<path class="edge {kind}" d="{self._outline(i)}"/>')
        size = height / 13
        for i, _ in shown:
            x, y = _inside(self._mask(i))
            lines.append(
                f'<text x="{x:g}" y="{y + size / 3:.3g}" font-size="{size:.3g}">{i + 1}</text>'
            )
        numbers = " · ".join(str(i + 1) for i, _ in shown) or "none"
        return self._panel("".join(lines), f"{title}: superpixels {numbers}", title)

    def _panel(self, drawn: str, text: str, title: str) -> str:
        height, width = np.shape(self.labels)
        return (
            f'<figure><svg viewBox="0 0 {width} {height}" role="img" aria-label="{text}">{drawn}'
            f"</svg><figcaption>{title}</figcaption></figure>"
        )

    @cached_property
    def _png(self) -> bytes:
        pixels = np.asarray(self.image)
        if np.issubdtype(pixels.dtype, np.floating):
            pixels = np.clip(pixels * 255, 0, 255).round()
        return png(pixels.astype(np.uint8))

    @property
    def _name(self) -> str:
        """The id of the image in the page: that of its content, as pages may show it twice."""
        return f"image-{hashlib.sha256(self._png).hexdigest()[:12]}"

    @property
    def _content(self) -> str:
        height, width = np.shape(self.labels)
        kind = ' class="pixels"' if max(height, width) <= SMALL else ""
        data = base64.b64encode(self._png).decode()
        return (
            f'<image id="{self._name}"{kind} width="{width}" height="{height}" '
            f'href="data:image/png;base64,{data}"/>'
        )

    def _mask(self, i: int) -> np.ndarray:
        return np.asarray(self.labels) == i

    def _outline(self, i: int) -> str:
        return outline(self._mask(i))


def png(pixels: np.ndarray) -> bytes:
    """The file of an image uint8 [H, W, C], grey (C = 1) or in colours (C = 3)."""
    height, width, channels = pixels.shape
    left = np.zeros_like(pixels)
    left[:, 1:] = pixels[:, :-1]
    lines = (pixels - left).reshape(height, -1)  # differences, modulo 256, take fewer bytes
    filtered = np.concatenate((np.ones((height, 1), np.uint8), lines), 1).tobytes()
    colours = {1: 0, 3: 2}[channels]
    head = struct.pack(">2I5B", width, height, 8, colours, 0, 0, 0)
    parts = ((b"IHDR", head), (b"IDAT", zlib.compress(filtered, 9)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(*part) for part in parts)


def _chunk(kind: bytes, content: bytes) -> bytes:
    check = struct.pack(">I", zlib.crc32(kind + content))
    return struct.pack(">I", len(content)) + kind + content + check


def outline(mask: np.ndarray) -> str:
    """The path of SVG around the pixels of a mask [H, W], whose inside is by the rule `evenodd`."""
    ends = defaultdict[tuple[int, int], list[tuple[int, int]]](list)
    for start, end in _sides(mask):
        ends[start].append(end)
    path = ""
    while ends:
        path += _loop(ends)
    return path


def _sides(mask: np.ndarray) -> Iterable[tuple[tuple[int, int], tuple[int, int]]]:
    """The sides of pixels between mask and no mask, in points (x, y), clockwise."""
    wide = np.pad(mask, 1)
    beside = {
        ((0, 0), (1, 0)): wide[:-2, 1:-1],  # top
        ((1, 0), (1, 1)): wide[1:-1, 2:],
        ((1, 1), (0, 1)): wide[2:, 1:-1],  # bottom
        ((0, 1), (0, 0)): wide[1:-1, :-2],
    }
    for ((x0, y0), (x1, y1)), other in beside.items():
        for y, x in np.argwhere(mask & ~other).tolist():
            yield (x + x0, y + y0), (x + x1, y + y1)


def _loop(ends: dict[tuple[int, int], list[tuple[int, int]]]) -> str:
    """A loop of sides, which are taken out of `ends`."""
    first = point = next(iter(ends))
    path, along = f"M{first[0]} {first[1]}", ""
    while True:
        after = ends[point].pop()
        if not ends[point]:
            del ends[point]
        step = "H" if after[1] == point[1] else "V"
        if along and step != along:
            path += f"{along}{point[0] if along == 'H' else point[1]}"
        point, along = after, step
        if point == first:
            return f"{path}Z"


def _inside(mask: np.ndarray) -> tuple[float, float]:
    """The middle of that pixel of a mask which is nearest to its centre."""
    places = np.argwhere(mask)
    y, x = places[np.square(places - places.mean(0)).sum(1).argmin()]
    return x + 0.5, y + 0.5
