"""What is shown of an explanation: its main effects, and its interactions with overlaps joined."""

from typing import NamedTuple

from zoo.glider.domains.merged import merged
from zoo.glider.walsh import WalshExplanation


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


def shown(explanation: WalshExplanation, least: float = 0.5) -> Shown:
    """What is shown of an explanation.

    Interactions that overlap are one, whose value is the sum of theirs; see `merged`.

    Args:
        explanation: The explanation.
        least: Overlap coefficient from which on two interactions are one.
    """
    sets = merged((c.features for c in explanation.interactions), least)
    values = dict.fromkeys(sets, 0.0)
    for c in explanation.interactions:
        values[next(s for s in sets if {*c.features} <= {*s})] += c.value
    mains = [c.value for c in explanation.mains]
    return Shown(mains, [*values.items()], explanation.r2[1:])
