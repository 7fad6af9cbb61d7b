"""The terms of an additive model, in groups that are computed at once."""

from collections.abc import Mapping, Sequence

from zoo.additive.monotone import MonotoneProducts
from zoo.additive.products import Products, Singles
from zoo.additive.purified import PurifiedSum
from zoo.data.schema import Schema


def grouped(
    schema: Schema,
    terms: Sequence[Sequence[str]],
    rank: int,
    dim: int,
    bins: int,
    directions: Mapping[int, int],
) -> PurifiedSum:
    """The terms by size, those with a monotone number apart from the others.

    Args:
        schema: Fields of the model.
        terms: Names of the fields of each term.
        rank: Number of products in the terms of several fields.
        dim: Size of the vectors of the fields.
        bins: Number of bins of the numbers.
        directions: Of fields by number, 1 where the logit rises with them, -1 where it falls.
    """
    fields = [field.name for field in schema.embedded(True)]
    numbers = [tuple(sorted(fields.index(name) for name in term)) for term in terms]
    kinds = [(len(term), any(i in directions for i in term)) for term in numbers]
    groups = [[i for i, k in enumerate(kinds) if k == kind] for kind in sorted({*kinds})]
    products: list[Products] = []
    for group in groups:
        mine, (size, bounded) = [numbers[i] for i in group], kinds[group[0]]
        if bounded:
            products.append(MonotoneProducts(mine, dim, rank if size > 1 else 1, bins, directions))
        elif size == 1:
            products.append(Singles(mine, dim, _columns(schema, [term[0] for term in mine])))
        else:
            products.append(Products(mine, dim, rank))
    return PurifiedSum(numbers, groups, products)


def _columns(schema: Schema, numbers: Sequence[int]) -> list[int]:
    """For each field, how many fields of the same vocabulary stand before it."""
    fields = schema.embedded(True)
    owners = [fields[number].vocabulary or fields[number].name for number in numbers]
    return [owners[:place].count(owner) for place, owner in enumerate(owners)]
