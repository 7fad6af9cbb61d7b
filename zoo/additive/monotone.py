"""Terms that rise, or fall, with some of their numbers, by construction.

Shapes: B batch, F fields, N numbers, D embedding, P terms of one size, o fields of each,
K products, T bins.
"""

from collections.abc import Mapping, Sequence
from itertools import chain

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from zoo.additive.products import Products
from zoo.data.errors import require
from zoo.data.schema import Schema

FIRST_SLOPE = 0.001  # standard deviation of the first slopes


class MonotoneProducts(Products):
    """Terms of equal size, each with at least one number in which it may only rise, or only fall.

        f(x_1, .., x_o) = sum_k c_k prod_j phi_jk(x_j),   c_k = 1, -1, 1, ..,   phi_jk >= 0

    For a number in which the term rises, with p_t its place in each bin (from 0 to 1),

        phi_jk(x) = sum_t |s_jkt| p_t(x)          where c_k = 1,    rises
                  = sum_t |s_jkt| (1 - p_t(x))    where c_k = -1,   falls

    and the other way round where the term falls; of every other field phi is the softplus of
    <w_jk, e_j>. So each product rises (falls), whatever the other fields, and with both signs the
    interaction of two such numbers may have either.

    Args:
        terms: Numbers of the fields of each term.
        dim: Size of the vectors, D.
        rank: Number of products, K.
        bins: Number of bins, T.
        directions: Of fields by number, 1 where terms rise with them, -1 where they fall.

    Attributes:
        slopes: [M, T, K] slopes s, of the M places of `terms` that hold such a number.
    """

    signs: Tensor
    falls: Tensor
    order: Tensor
    bounded: Tensor
    free: Tensor

    def __init__(
        self,
        terms: Sequence[Sequence[int]],
        dim: int,
        rank: int,
        bins: int,
        directions: Mapping[int, int],
    ) -> None:
        super().__init__(terms, dim, rank)
        numbers = [*chain.from_iterable(terms)]
        bounded = [i for i, number in enumerate(numbers) if number in directions]
        free = [i for i, number in enumerate(numbers) if number not in directions]
        signs = 1 - 2 * (torch.arange(rank) % 2).float()
        direction = torch.tensor([directions[numbers[i]] for i in bounded])
        self._keep("signs", signs)
        self._keep("falls", (direction.view(-1, 1) * signs < 0).unsqueeze(1))  # [M, 1, K]
        self._keep("order", torch.tensor([*bounded, *free]).argsort())
        self._keep("bounded", self.fields[bounded])
        self._keep("free", self.fields[free])
        self.slopes = nn.Parameter(torch.empty(len(bounded), bins, rank))
        nn.init.normal_(self.slopes, std=FIRST_SLOPE)
        self.weight = nn.Parameter(self.weight.detach()[free].clone())

    def _keep(self, name: str, value: Tensor) -> None:
        self.register_buffer(name, value, persistent=False)

    def factors(self, vectors: Tensor, bins: Tensor) -> Tensor:
        """[P, o, B, K] the functions phi; see `Products.factors`."""
        slopes = self.slopes.abs()
        places = bins[self.bounded]
        # both are sums of what is not negative
        rising, falling = torch.bmm(places, slopes), torch.bmm(1 - places, slopes)
        found = [torch.where(self.falls, falling, rising)]
        if len(self.free):
            found.append(softplus(torch.bmm(vectors[self.free], self.weight)))
        return torch.cat(found)[self.order].unflatten(0, self.shape)

    def sums(self, products: Tensor) -> Tensor:
        """[.., K] -> [..] the sum over the products, with their signs."""
        return (products * self.signs).sum(-1)


def directions_of(given: Mapping[str, int] | None, schema: Schema, encoding: str) -> dict[int, int]:
    """By the number of the field, 1 where the logit rises with it, -1 where it falls.

    Args:
        given: The option: 1 or -1 by the name of a number.
        schema: Fields of the model.
        encoding: Encoding of the numbers.

    Raises:
        ZooError: where a name is no number, or a value neither 1 nor -1.
    """
    numbers = [field.name for field in schema.numerical]
    for name, direction in (given or {}).items():
        known = ", ".join(numbers) or "there are none"
        require(name in numbers, f"monotone must name numbers: {known}", name)
        require(
            direction in (1, -1) and not isinstance(direction, bool),
            f"monotone.{name} must be 1 (rises) or -1 (falls)",
            direction,
        )
    require(
        not given or encoding == "piecewise_linear",
        "monotone needs numerical_encoding: piecewise_linear",
        encoding,
    )
    names = [field.name for field in schema.embedded(True)]
    return {names.index(name): int(direction) for name, direction in (given or {}).items()}
