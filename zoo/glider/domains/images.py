"""Switches the superpixels of an image on and off.

Shapes: N neighbours, H height, W width, C channels, d superpixels.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from zoo.data.errors import ZooError


@dataclass(frozen=True)
class Superpixels:
    """Gives each superpixel its own pixels (on) or their mean colour (off).

    Ribeiro et al., KDD 2016 (LIME), and Tsang et al. 2020, section 6 (GLIDER).

    Attributes:
        labels: int [H, W] number of each pixel's superpixel, 0 .. d - 1, such as
            `skimage.segmentation.quickshift` finds.
    """

    labels: Tensor | np.ndarray

    def apply(self, instance: Any, masks: Tensor) -> Tensor:
        """[N, H, W, C] the images that masks [N, d] give.

        Args:
            instance: [H, W, C] the image.
            masks: 1 where a superpixel is on, 0 where it is off.
        """
        image, labels = torch.as_tensor(instance), torch.as_tensor(self.labels).long()
        if image.ndim != 3 or image.shape[:2] != labels.shape:
            shapes = f"{[*image.shape]} and {[*labels.shape]}"
            raise ZooError(f"the image must be [H, W, C] and its labels [H, W], got {shapes}")
        labels = labels.to(image.device)
        pixels = image.reshape(-1, image.shape[2]).float()
        total = pixels.new_zeros(self.count, image.shape[2])
        total.index_add_(0, labels.flatten(), pixels)
        sizes = torch.bincount(labels.flatten(), minlength=self.count).clamp(min=1)
        means = (total / sizes.unsqueeze(1))[labels]
        on = (masks.to(image.device) > 0.5)[:, labels].unsqueeze(3)
        if not image.is_floating_point():
            means = means.round()
        return torch.where(on, image, means.to(image.dtype))

    def centre(self, instance: Any) -> Tensor:
        """[d] the image itself: everything is on."""
        return torch.ones(self.count)

    @property
    def count(self) -> int:
        """Number of superpixels, d."""
        return int(torch.as_tensor(self.labels).max()) + 1
