"""Which subsets to take: grown by logloss, chosen by the fields that they save.

Shapes: n rows.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations

import torch
from torch import Tensor

from zoo.experts.masked import Judge, SubsetScores

Subset = frozenset[int]  # numbers of parts
BEAM = 4  # subsets of a size that are grown further
PAIRS = 800  # largest number of pairs that are tried
EVERY = 6  # number of parts up to which all their subsets are tried


@dataclass(frozen=True)
class Growth:
    """A subset that was best of its size.

    Attributes:
        subset: Its parts.
        tried: Number of subsets of this size that were tried.
        logloss: Its mean logloss.
        gained: How much less that is than that of the best subset with a part less.
    """

    subset: Subset
    tried: int
    logloss: float
    gained: float


@dataclass(frozen=True)
class Choice:
    """A subset that was added to the lattice, or taken from it.

    Attributes:
        subset: Its parts.
        kept: Whether it was kept: one that later ones have made superfluous was not.
        logloss: Its mean logloss by itself.
        rows: Share of the rows in which it is sufficient.
        fields: Mean number of fields that a prediction uses, with it and those before it.
        mixed: Mean logloss where each row is predicted by its smallest sufficient subset.
    """

    subset: Subset
    kept: bool
    logloss: float
    rows: float
    fields: float
    mixed: float


def grow(
    judge: Judge, parts: int, least: float, shown: Callable[[Growth], None] = lambda growth: None
) -> list[Growth]:
    """Tries subsets of growing size: all single parts, all pairs, then the best and a part more.

    Of few parts all subsets are tried. Pairs are all tried, as two parts may tell together what
    none tells by itself; of more than `PAIRS` those of the best single parts.

    Args:
        judge: Scores a subset, and remembers what it has scored.
        parts: Number of parts.
        least: Nats of logloss that a size must gain, the last of all but pairs, to go on.
        shown: Takes each size as it is done.

    Returns the best of each size.
    """
    before = judge.mean(judge(frozenset()).logloss)
    levels: list[list[Subset]] = [[frozenset()]]
    found: list[Growth] = []
    for size in range(1, parts):
        tried = _next(judge, levels, parts)
        losses = {subset: judge.mean(judge(subset).logloss) for subset in tried}
        levels.append(sorted(tried, key=lambda s: (losses[s], sorted(s))))
        best = levels[-1][0]
        found.append(Growth(best, len(tried), losses[best], before - losses[best]))
        shown(found[-1])
        if found[-1].gained < least and size > 3 and parts > EVERY:
            break
        before = losses[best]
    return found


def _next(judge: Judge, levels: Sequence[Sequence[Subset]], parts: int) -> list[Subset]:
    """The subsets of the next size that are tried, of those of the sizes before it."""
    everything, size = range(parts), len(levels)
    if parts <= EVERY or size == 1:
        return [frozenset(subset) for subset in combinations(everything, size)]
    if size == 2:
        few = next(k for k in range(parts, 1, -1) if k * (k - 1) // 2 <= PAIRS)
        first = sorted(part for subset in levels[1][:few] for part in subset)
        return [frozenset(pair) for pair in combinations(first, 2)]
    together = _together(judge, levels[2])
    grown = [*levels[-1][:BEAM], *(together if size == 3 else ())]
    tried = [s | {part} for s in grown for part in everything]
    tried += [s | pair for s in levels[-2][:BEAM] for pair in together]
    return [*dict.fromkeys(s for s in tried if len(s) == size)]


def _together(judge: Judge, pairs: Sequence[Subset]) -> list[Subset]:
    """The pairs that tell most beyond what their parts tell: L(a) + L(b) - L(a, b) - L()."""

    def gain(pair: Subset) -> float:
        alone = sum(judge.mean(judge(frozenset({part})).logloss) for part in pair)
        return alone - judge.mean(judge(pair).logloss)

    return sorted(pairs, key=lambda pair: (-gain(pair), sorted(pair)))[:BEAM]


def choose(
    judge: Judge, sizes: Sequence[int], count: int, tolerance: float, least: float = 0.03
) -> list[Choice]:
    """At most `count` subsets, by how many fields a prediction then uses.

    A row is predicted by its smallest subset that is sufficient, d(x_S) <= tolerance, else by all
    parts. The subset that lowers the mean number of fields most is added, then the next; at last
    those without which it hardly rises are taken away again.

    Args:
        judge: Has scored the candidates.
        sizes: Number of fields of each part.
        count: Largest number of subsets, that of all parts not included.
        tolerance: Nats of logloss that a subset may miss.
        least: Share of all fields that a subset must save.
    """
    everything = frozenset(range(len(sizes)))
    whole = judge(everything)
    candidates = {s: _used(judge(s), s, sizes, tolerance) for s in judge.known if s}
    used = candidates.pop(everything).clone().fill_(float(sum(sizes)))
    least *= sum(sizes)
    chosen: list[Subset] = []
    found: list[Choice] = []
    while len(chosen) < count and candidates:
        after = {s: judge.mean(torch.minimum(used, mine)) for s, mine in candidates.items()}
        best = min(after, key=lambda s: (after[s], sorted(s)))
        if judge.mean(used) - after[best] < least:
            break
        chosen.append(best)
        used = torch.minimum(used, candidates[best])
        found.append(_choice(judge, best, chosen, whole, sizes, tolerance))
    for subset in [*chosen]:
        others = [s for s in chosen if s != subset]
        if others and judge.mean(_least(candidates, others, sizes) - used) < least:
            chosen = others
            used = _least(candidates, chosen, sizes)
            taken = _choice(judge, subset, chosen, whole, sizes, tolerance, kept=False)
            found.append(taken)
    return found


def kept(found: Sequence[Choice]) -> list[Subset]:
    """The subsets that stay, small ones first."""
    gone = {choice.subset for choice in found if not choice.kept}
    subsets = [choice.subset for choice in found if choice.kept and choice.subset not in gone]
    return sorted(subsets, key=lambda s: (len(s), sorted(s)))


def _used(judged: SubsetScores, subset: Subset, sizes: Sequence[int], tolerance: float) -> Tensor:
    """[n] the number of fields where the subset is sufficient, elsewhere that of all."""
    mine, every = (float(sum(sizes[part] for part in s)) for s in (subset, range(len(sizes))))
    enough = judged.missing <= tolerance
    return torch.where(enough, mine, every)


def _least(used: dict[Subset, Tensor], subsets: Sequence[Subset], sizes: Sequence[int]) -> Tensor:
    every = next(iter(used.values())).clone().fill_(float(sum(sizes)))
    for subset in subsets:
        every = torch.minimum(every, used[subset])
    return every


def _choice(
    judge: Judge,
    subset: Subset,
    chosen: Sequence[Subset],
    whole: SubsetScores,
    sizes: Sequence[int],
    tolerance: float,
    kept: bool = True,
) -> Choice:
    losses = whole.logloss
    used = torch.full_like(losses, float(sum(sizes)))
    for other in chosen:
        mine = _used(judge(other), other, sizes, tolerance)
        losses = torch.where(mine < used, judge(other).logloss, losses)
        used = torch.minimum(used, mine)
    enough = (judge(subset).missing <= tolerance).float()
    alone = judge.mean(judge(subset).logloss)
    return Choice(subset, kept, alone, judge.mean(enough), judge.mean(used), judge.mean(losses))
