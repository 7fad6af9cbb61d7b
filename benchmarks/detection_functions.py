"""Functions whose interactions are known: what `detection.py` measures detectors on.

- FUNCTIONS: F1..F10 of Tsang et al. (ICLR 2018, Table 1).
- LOCAL: F1..F4 of Tsang et al. (ICLR 2020, Table 9).
- ARCHIPELAGO: F1..F4 of Tsang et al. (NeurIPS 2020, Table 1), of 40 features that are 1 or -1.
- PRODUCTS: two products of four features each, half of them squared, so that no pair of a product
  has a second derivative at the origin.
"""

import math
from collections.abc import Callable, Sequence
from itertools import combinations

import torch
from torch import Tensor

FEATURES = 10
Function = Callable[[Tensor], Tensor]


def f1(x: Tensor) -> Tensor:
    """F1 of Tsang et al. 2018; the others follow."""
    x1, x2, x3, x4, x5, _, x7, x8, x9, x10 = x.unbind(1)
    out = math.pi ** (x1 * x2) * (2 * x3).sqrt() - x4.asin() + (x3 + x5).log()
    return out - x9 / x10 * (x7 / x8).sqrt() - x2 * x7


def f2(x: Tensor) -> Tensor:
    """F2."""
    x1, x2, x3, x4, x5, _, x7, x8, x9, x10 = x.unbind(1)
    out = math.pi ** (x1 * x2) * (2 * x3.abs()).sqrt() - (0.5 * x4).asin()
    out = out + ((x3 + x5).abs() + 1).log()
    return out + x9 / (1 + x10.abs()) * (x7.abs() / (1 + x8.abs())).sqrt() - x2 * x7


def f3(x: Tensor) -> Tensor:
    """F3."""
    x1, x2, x3, x4, x5, _, x7, x8, x9, x10 = x.unbind(1)
    out = (x1 - x2).abs().exp() + (x2 * x3).abs() - (x3**2) ** x4.abs()
    return out + (x4**2 + x5**2 + x7**2 + x8**2).log() + x9 + 1 / (1 + x10**2)


def f4(x: Tensor) -> Tensor:
    """F4."""
    return f3(x) + (x[:, 0] * x[:, 3]) ** 2


def f5(x: Tensor) -> Tensor:
    """F5."""
    x1, x2, x3, x4, x5, x6, x7, x8, x9, x10 = x.unbind(1)
    out = 1 / (1 + x1**2 + x2**2 + x3**2) + (x4 + x5).exp().sqrt()
    return out + (x6 + x7).abs() + x8 * x9 * x10


def f6(x: Tensor) -> Tensor:
    """F6."""
    x1, x2, x3, x4, x5, x6, _, x8, x9, x10 = x.unbind(1)
    out = ((x1 * x2).abs() + 1).exp() - ((x3 + x4).abs() + 1).exp()
    return out + (x5 + x6 - x8).cos() + (x8**2 + x9**2 + x10**2).sqrt()


def f7(x: Tensor) -> Tensor:
    """F7."""
    x1, x2, x3, x4, x5, x6, x7, x8, x9, _ = x.unbind(1)
    out = (x1.atan() + x2.atan()) ** 2 + (x3 * x4 + x6).clamp_min(0)
    out = out - 1 / (1 + (x4 * x5 * x6 * x7 * x8) ** 2)
    return out + (x7.abs() / (1 + x9.abs())) ** 5 + x.sum(1)


def f8(x: Tensor) -> Tensor:
    """F8."""
    x1, x2, x3, x4, x5, x6, x7, x8, x9, x10 = x.unbind(1)
    out = x1 * x2 + 2 ** (x3 + x5 + x6) + 2 ** (x3 + x4 + x5 + x7)
    return out + (x7 * (x8 + x9).sin()).sin() + (0.9 * x10).acos()


def f9(x: Tensor) -> Tensor:
    """F9."""
    x1, x2, x3, x4, x5, x6, x7, x8, x9, x10 = x.unbind(1)
    out = (x1 * x2 + x3 * x4).tanh() * x5.abs().sqrt() + (x5 + x6).exp()
    return out + ((x6 * x7 * x8) ** 2 + 1).log() + x9 * x10 + 1 / (1 + x10.abs())


def f10(x: Tensor) -> Tensor:
    """F10."""
    x1, x2, x3, x4, x5, _, x7, _, x9, _ = x.unbind(1)
    return (x1 + x2).sinh() + (x3 + x5 + x7).tanh().acos() + (x4 + x5).cos() + 1 / (x7 * x9).cos()


# Functions with their interactions, counted from 1 as in the paper
FUNCTIONS: list[tuple[Function, list[tuple[int, ...]]]] = [
    (f1, [(1, 2, 3), (3, 5), (7, 8, 9, 10), (2, 7)]),
    (f2, [(1, 2, 3), (3, 5), (7, 8, 9, 10), (2, 7)]),
    (f3, [(1, 2), (2, 3), (3, 4), (4, 5, 7, 8)]),
    (f4, [(1, 2), (2, 3), (3, 4), (4, 5, 7, 8), (1, 4)]),
    (f5, [(1, 2, 3), (4, 5), (6, 7), (8, 9, 10)]),
    (f6, [(1, 2), (3, 4), (5, 6, 8), (8, 9, 10)]),
    (f7, [(1, 2), (3, 4, 6), (4, 5, 6, 7, 8), (7, 9)]),
    (f8, [(1, 2), (3, 5, 6), (3, 4, 5, 7), (7, 8, 9)]),
    (f9, [(1, 2, 3, 4, 5), (5, 6), (6, 7, 8), (9, 10)]),
    (f10, [(1, 2), (3, 5, 7), (4, 5), (7, 9)]),
]


def truth_of(interactions: Sequence[tuple[int, ...]], features: int) -> list[bool]:
    """Of all pairs, in their order, which lie inside one of the interactions, counted from 1."""
    sets = [frozenset(i - 1 for i in interaction) for interaction in interactions]
    return [any(s >= {*pair} for s in sets) for pair in combinations(range(features), 2)]


def draw(function: Function, count: int, random: torch.Generator) -> Tensor:
    """Samples of a function's domain."""
    x = torch.rand(count, FEATURES, generator=random)
    if function is not f1:
        return 2 * x - 1
    x[:, [3, 4, 7, 9]] = 0.6 + 0.4 * x[:, [3, 4, 7, 9]]
    return x


# Of each function its only interaction, counted from 0
LOCAL: list[tuple[Function, tuple[int, ...]]] = [
    (lambda x: 10 * x[:, 0] * x[:, 1] + x[:, 2:].sum(1), (0, 1)),
    (lambda x: x[:, 0] * x[:, 1] + x[:, 2:].sum(1), (0, 1)),
    (lambda x: (x[:, 0] + x[:, 1]).abs().exp() + x[:, 2:].sum(1), (0, 1)),
    (lambda x: 10 * x[:, 0] * x[:, 1] * x[:, 2] + x[:, 3:].sum(1), (0, 1, 2)),
]

# Archipelago's suite. x* is the instance, x' = -x* the other end of each switch.
SWITCHES = 40


def conjunction(x: Tensor, on: Sequence[int], off: Sequence[int], instance: Tensor) -> Tensor:
    """[N] 1 where features `on` are as in the instance and `off` are not, else -1."""
    agrees = x == instance
    return 2 * (agrees[:, [*on]].all(1) & ~agrees[:, [*off]].any(1)).double() - 1


def archipelago(instance: Tensor) -> list[tuple[Function, list[tuple[int, ...]]]]:
    """The functions around an instance [40] of 1 and -1, with their interactions, from 1."""
    common = range(10, 30)

    def products(x: Tensor) -> Tensor:
        return x[:, :10].sum(1) ** 2 + x[:, 10:20].sum(1) * x[:, 20:30].sum(1) + x.sum(1)

    def both(on: Sequence[int], off: Sequence[int]) -> Function:
        return lambda x: (
            conjunction(x, on, off, instance) + conjunction(x, common, [], instance) + x.sum(1)
        )

    first, shared = tuple(range(1, 21)), tuple(range(11, 31))
    crossed = [(i, j) for i in range(11, 21) for j in range(21, 31)]
    return [
        (products, [tuple(range(1, 11)), *crossed]),
        (both(range(20), []), [first, shared]),
        (both([], range(20)), [first, shared]),
        (both([0, 1], [2]), [(1, 2, 3), shared]),
    ]


def products_of_four(x: Tensor) -> Tensor:
    """x1^2 x2 x3^2 x4 + x5^2 x6 x7^2 x8."""
    squared = torch.where(torch.arange(8) % 2 == 0, x**2, x)
    return squared[:, :4].prod(1) + squared[:, 4:].prod(1)


PRODUCTS = (products_of_four, [(1, 2, 3, 4), (5, 6, 7, 8)])
