"""Switches between two points: explains a black box of numbers.

Shapes: N neighbours, d features.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from zoo.data.errors import ZooError
from zoo.glider.perturb import as_point


@dataclass(frozen=True)
class Between:
    """Gives each feature of a point its own number (on) or that of another point (off).

    For numbers what `OnOff` is for the fields of a row: all that explains on/off switches explains
    what makes the score of the point another than that of the other one. The rows are 2^d corners
    of the box between the two, so no number is one that neither point has.

    Attributes:
        other: [d] the other point: a row of the data, their mean, a counterfactual.
    """

    other: Tensor | np.ndarray | Sequence[float]

    def apply(self, instance: Any, masks: Tensor) -> Tensor:
        """[N, d] the points that masks [N, d] give.

        Args:
            instance: [d] the point.
            masks: 1 where a feature is on, 0 where it is off.
        """
        point, other = as_point(instance), as_point(self.other)
        if point.shape != other.shape:
            raise ZooError(f"the points have {len(point)} and {len(other)} features")
        return torch.where(masks.to(point.device) > 0.5, point, other.to(point))

    def centre(self, instance: Any) -> Tensor:
        """[d] the instance itself: everything is on."""
        return torch.ones(len(as_point(instance)))
