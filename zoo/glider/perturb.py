"""Neighbours of an instance, on which a surrogate learns what a black box does around it.

Shapes: N neighbours, d features (the fields of a row).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from zoo.data.batch import Batch
from zoo.data.errors import ZooError
from zoo.data.schema import Schema

OFF = -1  # id of a categorical field that is off: its embedding and weight are zero


def lime_masks(count: int, features: int, generator: torch.Generator) -> Tensor:
    """[N, d] of 0 and 1, LIME's sampler: the number of features that are off is uniform on 1..d.

    Ribeiro et al., KDD 2016, as in their code. The features are correlated then, by 0.32 at
    d = 39, as rows with few (many) of them off share that.
    """
    off = torch.randint(1, features + 1, (count, 1), generator=generator)
    rank = torch.rand(count, features, generator=generator).argsort(1).argsort(1)
    return (rank >= off).float()


def bernoulli_masks(count: int, features: int, generator: torch.Generator) -> Tensor:
    """[N, d] of 0 and 1: every feature is on with probability 1/2, independently.

    Detection wants uncorrelated features (Tsang et al. 2020, section 3.2).
    """
    return torch.randint(2, (count, features), generator=generator).float()


SAMPLERS: dict[str, Callable[[int, int, torch.Generator], Tensor]] = {
    "bernoulli": bernoulli_masks,
    "lime": lime_masks,
}


def lime_weights(masks: Tensor, kernel_width: float = 0.25) -> Tensor:
    """LIME's weights of samples, [.., d] -> [..]: sqrt(exp(-D^2 / kernel_width^2)).

    D is the cosine distance to the instance, whose mask is all ones.
    """
    distance = 1 - masks.mean(-1).sqrt()
    return torch.exp(-0.5 * (distance / kernel_width) ** 2)


def features_of(schema: Schema) -> list[str]:
    """Names of the fields that are switched on and off, in the order of the features."""
    fields = (*schema.numerical, *schema.categorical, *schema.lists)
    return [field.name for field in fields if not schema.crossed(field)]


@dataclass(frozen=True)
class OnOff:
    """Switches the fields of a row on and off: explains a black box of `Batch`es.

    On keeps the value; off is the training mean of a numerical field, `OFF`, a zero embedding, for
    a categorical one (Tsang et al. 2020, section 3.1), and the empty list, a zero embedding too,
    for a field of lists.

    A cross field is no feature: it is on where all that it crosses are.

    Attributes:
        means: [number of numerical fields] means over the training rows.
        sampler: Which features are on: `bernoulli` or `lime`.
        crosses: Features that each of the last categorical fields crosses.
        list_crosses: Features that each of the last fields of lists crosses.
    """

    means: Tensor
    sampler: str = "bernoulli"
    crosses: tuple[tuple[int, ...], ...] = ()
    list_crosses: tuple[tuple[int, ...], ...] = ()

    @classmethod
    def of(cls, schema: Schema, means: Tensor, sampler: str = "bernoulli") -> "OnOff":
        """Those of rows of a schema, whose crosses are no features.

        Args:
            schema: Fields of the rows.
            means: [number of numerical fields] means over the training rows.
            sampler: Which features are on.
        """
        names = features_of(schema)
        crosses, list_crosses = (
            tuple(tuple(map(names.index, schema.crossed(f))) for f in fields if schema.crossed(f))
            for fields in (schema.categorical, schema.lists)
        )
        return cls(means, sampler, crosses, list_crosses)

    def __post_init__(self) -> None:
        if self.sampler not in SAMPLERS:
            raise ZooError(f"sampler must be one of {[*SAMPLERS]}, got {self.sampler!r}")

    def draw(self, instance: Batch, count: int, generator: torch.Generator) -> tuple[Tensor, Batch]:
        """[N, d] masks over the numerical, categorical and list fields, and the rows they give.

        Args:
            instance: A batch of one row.
            count: Number of neighbours, N.
            generator: Random numbers of the masks.
        """
        masks = SAMPLERS[self.sampler](count, len(self.centre(instance)), generator)
        return masks, self.apply(instance, masks)

    def apply(self, instance: Batch, masks: Tensor) -> Batch:
        """The rows that masks [N, d] over the numerical, categorical and list fields give.

        Args:
            instance: A batch of one row.
            masks: 1 where a field is on, 0 where it is off.
        """
        numerical, categorical = instance.numerical, instance.categorical
        count = len(masks)
        if len(instance.label) != 1:
            raise ZooError(f"the instance must be a batch of one row, got {len(instance.label)}")
        split = numerical.shape[1]
        if len(self.means) != split:
            raise ZooError(f"the rows have {split} numerical fields, the means are {self.means}")
        on = (masks > 0.5).to(numerical.device)
        of_categories = split + categorical.shape[1] - len(self.crosses)
        means = self.means.to(numerical.device)
        is_on = _with_crosses(on, on[:, split:of_categories], self.crosses)
        lists = instance.lists
        if lists:
            on_lists = _with_crosses(on, on[:, of_categories:], self.list_crosses)
            lists = lists.take(torch.zeros(count, dtype=torch.long, device=on.device))
            lists = lists._replace(lengths=lists.lengths * on_lists)
        return Batch(
            numerical=torch.where(on[:, :split], numerical, means),
            categorical=torch.where(is_on, categorical, OFF),
            label=instance.label.expand(count),
            lists=lists,
        )

    def centre(self, instance: Batch) -> Tensor:
        """[d] the instance itself: everything is on."""
        fields = instance.numerical.shape[1] + instance.categorical.shape[1]
        fields += instance.lists.lengths.shape[1] if instance.lists else 0
        return torch.ones(fields - len(self.crosses) - len(self.list_crosses))


def _with_crosses(on: Tensor, mine: Tensor, crosses: tuple[tuple[int, ...], ...]) -> Tensor:
    """The columns `mine` of [N, d] which features are on, and behind them those of crosses."""
    return torch.cat((mine, *(on[:, list(members)].all(1, keepdim=True) for members in crosses)), 1)


@dataclass(frozen=True)
class TruncatedNormal:
    """Draws from N(x, sigma^2 I), truncated: explains a black box of continuous features.

    Tsang et al. 2020, appendix F: sigma = 0.6, truncated at sigma. The surrogate sees the
    distance from x in units of sigma.

    Attributes:
        sigma: Standard deviation, in units of the features.
        truncate: Number of sigmas from x at which the distribution ends.
        low: Lower end of the distribution, one number or [d]: the least values that the black box
            has been trained on, below which its scores mean nothing.
        high: Upper end of the distribution, one number or [d]: the largest values.
    """

    sigma: float = 0.6
    truncate: float = 1.0
    low: float | Tensor | np.ndarray = -math.inf
    high: float | Tensor | np.ndarray = math.inf

    def draw(
        self, instance: Tensor, count: int, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """[N, d] distances, and [N, d] the points; by the inverse of the distribution function."""
        instance = as_point(instance)
        x = instance.double().cpu()
        low, high = (torch.as_tensor(limit).double().cpu() for limit in (self.low, self.high))
        if not {low.shape, high.shape} <= {torch.Size(), x.shape}:
            shapes = f"{[*low.shape]} and {[*high.shape]}"
            raise ZooError(f"low and high must be numbers or {[*x.shape]}, got {shapes}")
        if not ((low <= x) & (x <= high)).all():
            raise ZooError(f"the instance lies outside of low and high: {instance.tolist()}")
        start = torch.special.ndtr(((low - x) / self.sigma).clamp(min=-self.truncate))
        end = torch.special.ndtr(((high - x) / self.sigma).clamp(max=self.truncate))
        uniform = torch.rand(count, len(instance), generator=generator, dtype=torch.float64)
        z = torch.special.ndtri(start + uniform * (end - start)).float()
        return z, instance + self.sigma * z.to(instance)

    def centre(self, instance: Tensor) -> Tensor:
        """[d] no distance."""
        return torch.zeros(len(as_point(instance)))


def as_point(point: Any) -> Tensor:
    """[d] floating-point features, of whole numbers and arrays of NumPy too."""
    features = torch.as_tensor(point)
    if features.ndim != 1:
        raise ZooError(f"the instance must be a point [d], got the shape {[*features.shape]}")
    return features if features.is_floating_point() else features.float()


def generator(*seeds: int) -> torch.Generator:
    """A generator for a seed of several parts, such as a run's and an instance's."""
    state = np.random.SeedSequence(seeds).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(state >> np.uint64(1)))
