"""The k-threshold of MADEX: how many of the ranked candidates interact, by linear regression.

Products of the candidates join a regression on the features, the strongest first, while they help
(Tsang et al., ICLR 2020, section 3.3). The regression learns from the training samples; the
validation samples decide.

Shapes: N samples, d features, P products, C of them chosen.
"""

from collections.abc import Sequence
from functools import reduce
from itertools import combinations

import torch
from torch import Tensor

from zoo.glider.surrogates.nid import Candidate
from zoo.glider.surrogates.training import Samples
from zoo.nn.device import is_cpu

PARTS_OF = 5  # features of a candidate whose parts are tried; larger ones have too many
Set = tuple[int, ...]


def threshold(
    train: Samples,
    val: Samples,
    test: Samples,
    ranking: Sequence[Candidate],
    *,
    min_gain: float,
    patience: int,
    pure: bool,
) -> tuple[list[Candidate], float, float]:
    """The interactions that help, and R^2 on the test samples without and with them.

    A set inside one that has joined may fail to help without counting as a failure, as that says
    nothing of those that follow. In the end those are left out that the others make superfluous,
    such as a union of two interactions that ranked before them.

    With `pure`, each candidate is tried with all its parts, so that they take the place of a union
    that came without them; and an interaction needs a term of its own: see `_impure`. A part that
    was no candidate has the strength of the first candidate that it is in.

    Args:
        train: Training samples.
        val: Validation samples.
        test: Test samples.
        ranking: Candidates, the strongest first.
        min_gain: Share of the variance that an interaction must explain.
        patience: Number of candidates in a row that do not reach it, after which no more are
            tried.
        pure: Whether an interaction must have a term of its own.
    """
    regression = _Regression(train, val)
    strengths: dict[Set, float] = dict(ranking)
    tried: list[Set] = []
    kept: list[Set] = []
    best, failed = regression.r2(kept), 0
    for features, strength in ranking:
        parts = _parts(features) if pure else []
        tried += [s for s in (features, *parts) if s not in tried]
        for part in parts:
            strengths.setdefault(part, strength)
        found = regression.r2(tried)
        if found >= best + min_gain:
            kept, best, failed = tried.copy(), found, 0
        elif not any(set(features) < set(s) for s in kept):
            failed += 1
            if failed == patience:
                break
    kept = _needed(regression, kept, min_gain)
    joined = kept
    if pure:
        kept = _pure(regression, kept, min_gain)
        # a product of centred features is one of features and their parts
        joined = _with_parts(kept)
    kept.sort(key=lambda s: -strengths[s])
    found = [Candidate(s, strengths[s]) for s in kept]
    return found, regression.r2([], test), regression.r2(joined, test)


def _needed(regression: "_Regression", kept: Sequence[Set], min_gain: float) -> list[Set]:
    """The sets without those that the others make superfluous, the most superfluous first."""
    left, best = [*kept], regression.r2(kept)
    while left:
        without = regression.without_each(left)
        least = int(without.argmax())
        if float(without[least]) < best - min_gain:
            break
        del left[least]
        best = float(without[least])
    return left


def _pure(regression: "_Regression", kept: Sequence[Set], min_gain: float) -> list[Set]:
    """The sets that have a term of their own; parts take the place of those that have none."""
    centred, left, gone = regression.centred(), [*kept], set[Set]()
    while impure := _impure(centred, left, min_gain):
        gone |= impure
        parts = [part for s in left if s in impure for part in _parts(s)]
        following = dict.fromkeys([*left, *parts])
        left = _needed(regression, [s for s in following if s not in gone], min_gain)
    return left


def _impure(centred: "_Regression", sets: Sequence[Set], min_gain: float) -> set[Set]:
    """Those that explain less than that beside their parts, in products of centred features.

    Of independent features less their means, products are orthogonal: what one explains belongs to
    no part of it. Of on/off features with probability 1/2 it is the square of the set's Walsh
    coefficient (see `zoo.glider.walsh`).
    """
    joined = _with_parts(sets)
    without = centred.without_each(joined)[: len(sets)]
    least = centred.r2(joined) - min_gain
    return {s for s, r in zip(sets, without.tolist(), strict=True) if r > least}


def r2(predicted: Tensor, samples: Samples) -> Tensor:
    """[..] 1 - the mean squared error over the target's variance; 1 for an exact constant.

    Args:
        predicted: [.., N] predictions of the samples.
        samples: Targets [N] and their weights.
    """
    target = samples.y.double()
    weight = torch.ones_like(target) if samples.weight is None else samples.weight.double()
    weight = weight / weight.sum()
    rest = (predicted - target).square() @ weight
    total = (target - target @ weight).square() @ weight
    return torch.where(total > 0, 1 - rest / total, (rest == 0).double())


def _parts(features: Set) -> list[Set]:
    """The sets of two features or more inside a set, the larger ones first."""
    if len(features) > PARTS_OF:
        return []
    return [s for order in range(len(features) - 1, 1, -1) for s in combinations(features, order)]


def _with_parts(sets: Sequence[Set]) -> list[Set]:
    """The sets, and behind them those of their parts that are none of them."""
    return [*dict.fromkeys([*sets, *(part for s in sets for part in _parts(s))])]


class _Regression:
    """Least squares on a constant, features and products of features, made as they are asked for.

    Args:
        train: Training samples.
        val: Validation samples.
    """

    def __init__(self, train: Samples, val: Samples) -> None:
        self.train = train._replace(x=train.x.double(), y=train.y.double())
        self.val = val._replace(x=val.x.double())
        self.places: dict[Set, int] = {}
        self.x, self.val_x = _base(self.train.x), _base(self.val.x)
        weighted = _weighted(self.x, train.weight)
        self.gram, self.right = weighted.T @ self.x, weighted.T @ self.train.y
        self.main = [*range(self.x.shape[1])]

    def centred(self) -> "_Regression":
        """The same of features less their means over the training samples."""
        mean = self.train.x.mean(0)
        train, val = (part._replace(x=part.x - mean) for part in (self.train, self.val))
        return _Regression(train, val)

    def r2(self, sets: Sequence[Set], samples: Samples | None = None) -> float:
        """R^2 with the products of these sets, on the validation samples or others."""
        columns, inverse = self._solved(sets)
        if samples is None:
            samples, x = self.val, self.val_x[:, self._index(columns)]
        else:
            x = torch.cat((_base(samples.x.double()), _products(samples.x.double(), sets)), 1)
        return float(r2(x @ (inverse @ self.right[self._index(columns)]), samples))

    def without_each(self, sets: Sequence[Set]) -> Tensor:
        """[C] R^2 on the validation samples with the products of all of these sets but one."""
        columns, inverse = self._solved(sets)
        index = self._index(columns)
        weights = inverse @ self.right[index]
        # leaving out a column moves the other weights along its column of the inverse
        moved = weights[:, None] - inverse * (weights / inverse.diagonal())
        predicted = self.val_x[:, index] @ moved[:, len(self.main) :]
        return r2(predicted.T, self.val)

    def _solved(self, sets: Sequence[Set]) -> tuple[list[int], Tensor]:
        """The columns of these sets, behind those of the features, and their inverse."""
        self._add([s for s in sets if s not in self.places])
        columns = self.main + [self.places[s] for s in sets]
        index = self._index(columns)
        mine = self.gram[index][:, index]
        # a product that no sample has on is a column of zeros
        mine = mine + 1e-9 * (1 + mine.diagonal()).diag()
        # `inv` waits for a GPU to say that there is an inverse
        inverse = torch.linalg.inv(mine) if is_cpu(mine) else torch.linalg.inv_ex(mine).inverse
        return columns, inverse

    def _index(self, columns: list[int]) -> "list[int] | slice | Tensor":
        """An index of some columns; to a GPU no numbers are copied where they are the first."""
        if is_cpu(self.x):
            return columns
        if columns == [*range(len(columns))]:
            return slice(len(columns))
        return torch.tensor(columns, device=self.x.device)

    def _add(self, sets: Sequence[Set]) -> None:
        """Makes the products of some sets."""
        if not sets:
            return
        self.places |= {s: len(self.gram) + j for j, s in enumerate(sets)}
        fresh = _products(self.train.x, sets)
        weighted = _weighted(fresh, self.train.weight)
        across = self.x.T @ weighted
        rows = torch.cat((across.T, weighted.T @ fresh), 1)
        self.gram = torch.cat((torch.cat((self.gram, across), 1), rows))
        self.right = torch.cat((self.right, weighted.T @ self.train.y))
        self.x = torch.cat((self.x, fresh), 1)
        self.val_x = torch.cat((self.val_x, _products(self.val.x, sets)), 1)


def _base(x: Tensor) -> Tensor:
    """[N, 1 + d] a constant and the features."""
    return torch.cat((torch.ones_like(x[:, :1]), x), 1)


def _products(x: Tensor, sets: Sequence[Set]) -> Tensor:
    """[N, C] the product of the features of each set."""
    if is_cpu(x):
        products = [x[:, list(features)].prod(1) for features in sets]
    else:  # to which no numbers are copied
        products = [reduce(torch.mul, (x[:, i] for i in features)) for features in sets]
    return torch.stack(products, 1) if products else x[:, :0]


def _weighted(x: Tensor, weight: Tensor | None) -> Tensor:
    return x if weight is None else x * weight.unsqueeze(1)
