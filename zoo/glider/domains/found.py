"""What is shown of an explanation: its main effects, and its interactions with overlaps joined."""

from typing import NamedTuple

from zoo.glider.domains.merged import merged
from zoo.glider.walsh import WalshExplanation
from zoo.glider.walsh.fit import Set


class Shown(NamedTuple):
    """Main effects and interactions as plain numbers.

    Attributes:
        mains: [d] what each feature adds by itself to the score.
        interactions: Features and what they add together, the largest share first.
        r2: R^2 on held-out masks of the main effects, and of these with the interactions.
    """

    mains: list[float]
    interactions: list[tuple[tuple[int, ...], float]]
    r2: tuple[float, float]


def shown(
    explanation: WalshExplanation,
    least: float = 0.5,
    by_sign: bool = False,
    least_share: float = 0.0,
) -> Shown:
    """What is shown of an explanation.

    Interactions that overlap are one, whose value is the sum of theirs; see `merged`.

    Args:
        explanation: The explanation.
        least: Overlap coefficient from which on two interactions are one.
        by_sign: Whether interactions that raise the score stay apart from those that lower it.
        least_share: How strong an interaction must be to be shown: its share of the variance over
            that of the strongest one. Many weak ones overlap, and would be joined to all of them.
    """
    every = explanation.interactions
    found = [c for c in every if c.share >= least_share * every[0].share]
    groups = [[c for c in found if (c.value < 0) == below] for below in (False, True)]
    values = dict[tuple[int, Set], float]()  # by the place of the strongest part, and the features
    for group in groups if by_sign else [found]:
        sets, first = merged((c.features for c in group), least), dict[Set, int]()
        for c in group:
            home = next(s for s in sets if {*c.features} <= {*s})
            key = first.setdefault(home, found.index(c)), home
            values[key] = values.get(key, 0.0) + c.value
    interactions = [(s, value) for (_, s), value in sorted(values.items())]
    return Shown([c.value for c in explanation.mains], interactions, explanation.r2[1:])
