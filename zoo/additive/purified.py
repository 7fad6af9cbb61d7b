"""What each term of an additive model adds, told apart from what smaller terms add.

    f_T = sum_{S in T} g_S,T,    g_S,T the part of f_T that depends on the fields S alone

with a mean of zero over each field of S, whatever the values of the others: the functional
analysis of variance over fields that are taken as independent, each with its distribution among
the training rows (Hooker, *Generalized functional ANOVA diagnostics*, 2007; Lengerich et al.,
*Purifying interaction effects with the functional ANOVA*, AISTATS 2020). A part goes to the term
whose fields are S, where there is one, and stays with T where there is none; then the mean over
the training rows is taken from each term, to the intercept. The logit stays what it is.

Shapes: B batch, F fields, N numbers, D embedding, P terms of a group, o fields of each, Q all
terms, T bins.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import product

import torch
from torch import Tensor, nn

from zoo.additive.kept import mean_of
from zoo.additive.products import Products

Inputs = tuple[Tensor, Tensor, Tensor]  # vectors [F, B, D], bins [N, B, T] and weights [B] of rows


class PurifiedSum(nn.Module):
    """The terms of an additive model, in groups of one size.

    Args:
        terms: Numbers of the fields of each term, Q of them.
        groups: Which of the terms, by number, each group is of.
        products: The terms of each group.

    Attributes:
        offsets: [Q] means of the purified terms over the training rows.
        spread: [Q] their standard deviations.
        is_on: [Q, 1] 1 for terms that are part of the logit, 0 for those that are switched off.
        all_on: Whether none is switched off.
    """

    offsets: Tensor
    spread: Tensor
    is_on: Tensor

    def __init__(
        self,
        terms: Sequence[tuple[int, ...]],
        groups: Sequence[Sequence[int]],
        products: Sequence[Products],
    ) -> None:
        super().__init__()
        self.groups = nn.ModuleList(products)
        self._members = [[*group] for group in groups]
        self.subsets = [_subsets(len(terms[group[0]])) for group in groups]
        places = {term: number for number, term in enumerate(terms)}
        for g, group in enumerate(groups):
            targets = [[places.get(_of(terms[i], s), i) for i in group] for s in self.subsets[g]]
            self.register_buffer(f"targets_{g}", torch.tensor(targets), persistent=False)
        for name in ("offsets", "spread"):
            self.register_buffer(name, torch.zeros(len(terms)))
        self.register_buffer("is_on", torch.ones(len(terms), 1), persistent=False)
        self.all_on = True

    @property
    def products(self) -> list[Products]:
        """The terms of each group."""
        return [group for group in self.groups if isinstance(group, Products)]

    def switch_off(self, off: Sequence[int]) -> None:
        """Leaves out the terms of these numbers, and no others."""
        self.is_on.fill_(1)
        self.is_on[[*off]] = 0
        self.all_on = not len(off)

    def forward(self, vectors: Tensor, bins: Tensor) -> Tensor:
        """[B] the sum of all terms that are on, with its constant.

        Args:
            vectors: [F, B, D] vectors of the fields.
            bins: [N, B, T] encodings of the numbers, which are the first N fields.
        """
        if self.all_on:  # the same, without telling the terms apart
            return torch.stack([each.sum(0) for each in self.values(vectors, bins)]).sum(0)
        return self.constant() + self.contributions(vectors, bins).sum(0)

    def values(self, vectors: Tensor, bins: Tensor) -> list[Tensor]:
        """[P, B] the terms of each group, not told apart; see `forward`."""
        return [group.values(vectors, bins) for group in self.products]

    def contributions(self, vectors: Tensor, bins: Tensor) -> Tensor:
        """[Q, B] what each term adds, zero of those that are off; see `forward`."""
        return (self._purified(vectors, bins) - self.offsets.unsqueeze(1)) * self.is_on

    def constant(self) -> Tensor:
        """[] what no term adds."""
        parts = []
        for group in self.products:
            means = group.means.unsqueeze(2)
            parts.append(group.part(means, [False] * means.shape[1]).sum())
        return torch.stack(parts).sum() + self.offsets.sum()

    def _purified(self, vectors: Tensor, bins: Tensor) -> Tensor:
        found = vectors.new_zeros(len(self.is_on), vectors.shape[1])
        for g, (group, subsets) in enumerate(zip(self.products, self.subsets, strict=True)):
            factors, targets = group.factors(vectors, bins), getattr(self, f"targets_{g}")
            for subset, target in zip(subsets, targets, strict=True):
                found = found.index_add(0, target, group.part(factors, subset))
        return found

    @torch.no_grad()
    def fit(self, rows: Callable[[], Iterator[Inputs]]) -> None:
        """Takes the means by which terms are told apart, and those of the terms, from rows.

        Args:
            rows: Gives the rows, as often as it is called.
        """
        for group, mean in zip(self.products, _means(rows, self._all_factors), strict=True):
            group.means.copy_(mean)
        mean, square = _means(rows, self._moments)
        self.offsets.copy_(mean)
        self.spread.copy_((square - mean.square()).clamp_min(0).sqrt())

    def _moments(self, vectors: Tensor, bins: Tensor) -> list[Tensor]:
        """[Q, B] the terms before their means are taken from them, and their squares."""
        found = self._purified(vectors, bins).double()
        return [found, found.square()]

    def _all_factors(self, vectors: Tensor, bins: Tensor) -> list[Tensor]:
        """[P, o, K, B] of each group."""
        return [group.factors(vectors, bins).transpose(2, 3) for group in self.products]


def _means(
    rows: Callable[[], Iterator[Inputs]], function: Callable[[Tensor, Tensor], list[Tensor]]
) -> list[Tensor]:
    """The weighted means over rows of what a function gives, [.., B] -> [..], float64."""
    totals: list[Tensor] = []
    weights: list[Tensor] = []
    for vectors, bins, weight in rows():
        found = [values.double() @ weight.double() for values in function(vectors, bins)]
        totals = [a + b for a, b in zip(totals, found, strict=True)] if totals else found
        weights.append(weight.double().sum())
    return [mean_of(total, torch.stack(weights).sum()) for total in totals]


def _subsets(size: int) -> list[tuple[bool, ...]]:
    """All subsets of so many fields but the empty one."""
    return [subset for subset in product((False, True), repeat=size) if any(subset)]


def _of(term: Sequence[int], subset: Sequence[bool]) -> tuple[int, ...]:
    return tuple(number for number, inside in zip(term, subset, strict=True) if inside)
