"""Switches the words of a text, or the positions of another sequence, on and off.

Shapes: N neighbours, T positions, D embedding, K letters.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from zoo.data.errors import ZooError
from zoo.glider.perturb import generator


def positions(instance: Any, masks: Tensor | None = None) -> Tensor:
    """An instance as a tensor [T, ..], one position at least.

    Args:
        instance: The instance.
        masks: [N, T] what is made of it; None where nothing is.

    Raises:
        ZooError: Where it is no sequence of numbers, or the masks are of another length.
    """
    try:
        found = torch.as_tensor(instance)
    except (TypeError, ValueError, RuntimeError):
        raise ZooError(
            f"the instance must be a sequence of ids or of vectors, got {instance!r:.60}"
        ) from None
    if not found.ndim or not len(found):
        raise ZooError(f"the instance must be a sequence, got the shape {[*found.shape]}")
    if masks is not None and masks.shape[1] != len(found):
        raise ZooError(
            f"the masks are of {masks.shape[1]} positions, the instance has {len(found)}: "
            "sequences that are explained together must be of one length"
        )
    return found


@dataclass(frozen=True)
class Replaced:
    """Gives each position its own value (on) or another one (off).

    Of ids [T], `off` is the id of a mask token; of embeddings [T, D], a vector, where 0 is the zero
    embedding of LIME's text and of Tsang et al. 2020, section 6 (GLIDER).

    Attributes:
        off: What stands in place of a position: a number, or a tensor of its shape.
    """

    off: float | Tensor = 0

    def apply(self, instance: Any, masks: Tensor) -> Tensor:
        """[N, T, ..] the sequences that masks [N, T] give."""
        own = positions(instance, masks)
        on = masks.to(own.device).view(*masks.shape, *[1] * (own.ndim - 1)) > 0.5
        return torch.where(on, own, torch.as_tensor(self.off, dtype=own.dtype).to(own.device))

    def centre(self, instance: Any) -> Tensor:
        """[T] the instance itself: everything is on."""
        return torch.ones(len(positions(instance)))


@dataclass(frozen=True)
class Deleted:
    """Leaves out the positions that are off: the others move together, and padding follows them.

    Attributes:
        padding: What follows the last position: an id, or a number that fills a vector.
    """

    padding: float = 0

    def apply(self, instance: Any, masks: Tensor) -> Tensor:
        """[N, T, ..] the sequences that masks [N, T] give."""
        own = positions(instance, masks)
        off = masks.to(own.device) <= 0.5
        order = off.byte().argsort(dim=1, stable=True)  # those that are on come first
        rows = own[order]
        left = off.gather(1, order).view(*off.shape, *[1] * (own.ndim - 1))
        return rows.masked_fill(left, self.padding)

    def centre(self, instance: Any) -> Tensor:
        """[T] the instance itself: everything is on."""
        return torch.ones(len(positions(instance)))


@dataclass(frozen=True)
class OtherLetters:
    """Gives each position its own letter (on) or another one, drawn at random (off).

    The off state of nucleotides in Tsang et al. 2020, section 6 (GLIDER). What is drawn depends on
    the seed and the place of the neighbour alone.

    Attributes:
        letters: Number of letters, K; the instance holds 0 .. K - 1.
        seed: Seed of what is drawn.
    """

    letters: int = 4
    seed: int = 0

    def apply(self, instance: Any, masks: Tensor) -> Tensor:
        """int [N, T] the sequences that masks [N, T] give."""
        own = positions(instance, masks)
        if (
            own.is_floating_point()
            or own.ndim != 1
            or not 0 <= own.min() <= own.max() < self.letters
        ):
            raise ZooError(f"the instance must be numbers [T] of letters, 0 to {self.letters - 1}")
        drawn = torch.randint(1, self.letters, masks.shape, generator=generator(self.seed))
        others = (own.cpu() + drawn) % self.letters
        return torch.where(masks.cpu() > 0.5, own.cpu(), others.to(own.dtype)).to(own.device)

    def centre(self, instance: Any) -> Tensor:
        """[T] the instance itself: everything is on."""
        return torch.ones(len(positions(instance)))
