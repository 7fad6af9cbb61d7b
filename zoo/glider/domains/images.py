"""Switches the superpixels of an image on and off.

Shapes: N neighbours, H height, W width, C channels, d superpixels.
"""

import inspect
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from zoo.data.errors import ZooError

AT_ONCE = 2**23  # bytes of images that are made at once
# segments of about the same size; and those of LIME's images
OPTIONS: dict[str, dict[str, Any]] = {
    "slic": {"n_segments": 50, "compactness": 10, "start_label": 0},
    "quickshift": {"kernel_size": 4, "max_dist": 200, "ratio": 0.2},
}


@dataclass(frozen=True)
class Images:
    """Images [N, H, W, C] that are made when they are asked for: all of them may not fit memory.

    Attributes:
        image: [H, W, C] the image itself.
        off: [H, W, C] the image with all superpixels off.
        labels: [H, W] number of each pixel's superpixel.
        masks: bool [N, d] which superpixels are on.
    """

    image: Tensor
    off: Tensor
    labels: Tensor
    masks: Tensor

    def __len__(self) -> int:
        return len(self.masks)

    def __getitem__(self, index: Any) -> Tensor:
        """One image by its number, or several by a slice or numbers."""
        on = self.masks[index].to(self.image.device)[..., self.labels]
        return torch.where(on.unsqueeze(-1), self.image, self.off)

    def split(self, size: int) -> Iterator[Tensor]:
        """All images, so many at a time, or as many as fit some megabytes."""
        of_one = self.image.numel() * self.image.element_size()
        size = max(1, min(size, AT_ONCE // max(of_one, 1)))
        return (self[start : start + size] for start in range(0, len(self), size))


@dataclass(frozen=True)
class Superpixels:
    """Gives each superpixel its own pixels (on) or one colour (off).

    Ribeiro et al., KDD 2016 (LIME), and Tsang et al. 2020, section 6 (GLIDER).

    Attributes:
        labels: int [H, W] number of each pixel's superpixel, 0 .. d - 1; see `of`.
        off: The colour of all that is off: a number, or [C]. None is the mean colour of each
            superpixel, which hides little of one that has a single colour.
    """

    labels: Tensor | np.ndarray
    off: float | Sequence[float] | None = None

    @classmethod
    def of(
        cls,
        image: Any,
        method: Literal["slic", "quickshift"] = "slic",
        off: float | Sequence[float] | None = None,
        **options: Any,
    ) -> "Superpixels":
        """The superpixels that scikit-image finds in an image.

        Args:
            image: [H, W, C] grey (C = 1) or in colours (C = 3), of 0 .. 255 or 0.0 .. 1.0.
            method: `slic` (k-means of colours and places) finds segments of about the same size,
                `quickshift` (Vedaldi & Soatto 2008) follows edges, as LIME does.
            off: The colour of all that is off; None is the mean colour of each.
            **options: Options of `skimage.segmentation.slic` or `quickshift`, such as
                `n_segments` of the one and `kernel_size` of the other.

        Raises:
            ZooError: Where the image, or an option, is none, there is but one superpixel, or
                scikit-image is not installed.
        """
        pixels = _colours(image)
        found = _segmented(pixels, method, OPTIONS.get(method, {}) | options)
        labels = np.unique(found, return_inverse=True)[1].reshape(pixels.shape[:2])
        if not labels.any():
            raise ZooError(f"{method} finds one superpixel in this image: change its options")
        return cls(labels, off)

    def apply(self, instance: Any, masks: Tensor) -> Images:
        """[N, H, W, C] the images that masks [N, d] give, which are made when they are asked for.

        Args:
            instance: [H, W, C] the image.
            masks: 1 where a superpixel is on, 0 where it is off.
        """
        image, labels = torch.as_tensor(instance), torch.as_tensor(self.labels).long()
        if image.ndim != 3 or image.shape[:2] != labels.shape:
            shapes = f"{[*image.shape]} and {[*labels.shape]}"
            raise ZooError(f"the image must be [H, W, C] and its labels [H, W], got {shapes}")
        if masks.shape[1] != self.count:
            raise ZooError(f"masks must be [N, {self.count}], got the shape {[*masks.shape]}")
        labels = labels.to(image.device)
        off = self._off(image, labels)
        if not image.is_floating_point():
            off = off.round()
        return Images(image, off.to(image.dtype).expand_as(image), labels, masks > 0.5)

    def _off(self, image: Tensor, labels: Tensor) -> Tensor:
        """What stands in place of all pixels: [H, W, C], or one colour [C]."""
        if self.off is not None:
            colour = torch.as_tensor(self.off, dtype=torch.float32, device=image.device)
            if colour.shape not in ((), (1,), (image.shape[2],)):
                raise ZooError(f"off must be one number, or {image.shape[2]}, got {self.off}")
            return colour
        pixels = image.reshape(-1, image.shape[2]).float()
        total = pixels.new_zeros(self.count, image.shape[2])
        total.index_add_(0, labels.flatten(), pixels)
        sizes = torch.bincount(labels.flatten(), minlength=self.count).clamp(min=1)
        return (total / sizes.unsqueeze(1))[labels]

    def centre(self, instance: Any) -> Tensor:
        """[d] the image itself: everything is on."""
        return torch.ones(self.count)

    @property
    def count(self) -> int:
        """Number of superpixels, d."""
        return int(torch.as_tensor(self.labels).max()) + 1


def _colours(image: Any) -> np.ndarray:
    """[H, W, 3] of 0 .. 1, from an image that is grey or in colours."""
    pixels = torch.as_tensor(image).cpu().numpy()
    if pixels.ndim != 3 or pixels.shape[2] not in (1, 3) or not pixels.size:
        raise ZooError(f"an image must be [H, W, 1] or [H, W, 3], got {[*pixels.shape]}")
    scale = 1 if np.issubdtype(pixels.dtype, np.floating) else 255
    if not (np.isfinite(pixels).all() and 0 <= pixels.min() <= pixels.max() <= scale):
        raise ZooError("the values of an image must be within 0 .. 255, or 0.0 .. 1.0 of floats")
    return np.broadcast_to(pixels / scale, (*pixels.shape[:2], 3))


def _segmented(pixels: np.ndarray, method: str, options: dict[str, Any]) -> np.ndarray:
    """int [H, W] the segments of an image, numbered anyhow."""
    if method not in OPTIONS:
        raise ZooError(f"method must be one of {[*OPTIONS]}, got {method!r}")
    try:
        from skimage import segmentation
    except ImportError:
        needed = 'pip install "interpretable-zoo[domains]"'
        raise ZooError(f"superpixels need scikit-image: {needed}") from None
    find = getattr(segmentation, method)
    known = [*inspect.signature(find).parameters][1:]
    if unknown := [*options.keys() - {*known}]:
        raise ZooError(f"{method} has no option {unknown[0]!r}, only {known}")
    return find(pixels, **options)
