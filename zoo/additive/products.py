"""Terms of an additive model as sums of products of functions of one field each.

Shapes: B batch, F fields, N numbers, D embedding, P terms of one size, o fields of each,
K products, T bins.
"""

import math
from collections.abc import Sequence
from itertools import chain

import torch
from torch import Tensor, nn


class Products(nn.Module):
    """Terms of equal size, each with weights of its own.

        f(x_1, .., x_o) = sum_k prod_j phi_jk(x_j),   phi_jk(x_j) = <w_jk, e_j(x_j)>

    with the vectors e_j of the fields, which all terms share: of two categories a matrix of rank
    K, of two numbers a sum of K products of piecewise-linear functions. All terms are one batched
    product.

    Args:
        terms: Numbers of the fields of each term.
        dim: Size of the vectors, D.
        rank: Number of products, K.

    Attributes:
        weight: [P * o, D, K] weights, term after term.
        means: [P, o, K] means of phi over training rows.
    """

    fields: Tensor
    means: Tensor

    def __init__(self, terms: Sequence[Sequence[int]], dim: int, rank: int) -> None:
        super().__init__()
        self.shape = len(terms), len(terms[0])
        numbers = torch.tensor([*chain.from_iterable(terms)])
        self.register_buffer("fields", numbers, persistent=False)
        self.register_buffer("means", torch.zeros(*self.shape, rank))
        self.weight = nn.Parameter(torch.empty(len(numbers), dim, rank))
        nn.init.normal_(self.weight, std=1 / math.sqrt(dim))

    def factors(self, vectors: Tensor, bins: Tensor) -> Tensor:
        """[P, o, B, K] the functions phi.

        Args:
            vectors: [F, B, D] vectors of the fields.
            bins: [N, B, T] encodings of the numbers, which are the first N fields.
        """
        return torch.bmm(vectors[self.fields], self.weight).unflatten(0, self.shape)

    def sums(self, products: Tensor) -> Tensor:
        """[.., K] -> [..] the sum over the products."""
        return products.sum(-1)

    def values(self, vectors: Tensor, bins: Tensor) -> Tensor:
        """[P, B] what each term adds to the logit, not yet purified; see `factors`."""
        first, *others = self.factors(vectors, bins).unbind(1)
        for other in others:
            first = first * other
        return self.sums(first)

    def part(self, factors: Tensor, subset: Sequence[bool]) -> Tensor:
        """[P, B] the part of each term that depends on some of its fields alone.

            sum_k prod_{j in S} (phi_jk - m_jk) prod_{j not in S} m_jk,   m_jk the mean of phi_jk

        Over all subsets S of its fields these parts add up to the term.

        Args:
            factors: [P, o, B, K] the functions phi.
            subset: Which of the fields are in S.
        """
        means = self.means.unsqueeze(2)
        product = torch.ones_like(means[:, 0])
        for place, inside in enumerate(subset):
            mean = means[:, place]
            product = product * (factors[:, place] - mean if inside else mean)
        return self.sums(product)


class Singles(Products):
    """Terms of one field, phi(x) = <w, e(x)>; w begins as the unit vector of a column.

    Args:
        terms: Number of the field of each term.
        dim: Size of the vectors, D.
        columns: Column that each term begins with; fields that share vectors have each their own.
    """

    def __init__(self, terms: Sequence[Sequence[int]], dim: int, columns: Sequence[int]) -> None:
        super().__init__(terms, dim, 1)
        with torch.no_grad():
            self.weight.zero_()
            self.weight[range(len(terms)), [column % dim for column in columns], 0] = 1
