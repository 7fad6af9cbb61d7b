"""What a phrase adds to a score: several features, such as words that follow each other, at once.

    v(P) = E[f(P on, C)] - E[f(P off, C)]

where in the context C each feature outside of P is on with a probability p. In Walsh coefficients

    v(P) = sum_S c_S (2 p - 1)^|S \\ P| (1 - (-1)^|S & P|)

With p = 1 it is what is lost with the phrase (occlusion), with p = 1/2 twice the sum of the
coefficients of an odd number of features inside of it, and with p = 0 what the phrase says by
itself, f(P alone) - f(nothing): ArchAttribute of Tsang et al., *How does This Interaction Affect
Me?*, NeurIPS 2020. The whole text has f(all) - f(nothing) for any p.

Shapes: P phrases, d features.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from zoo.data.errors import ZooError
from zoo.glider.scoring import score
from zoo.glider.switches import Switches
from zoo.glider.walsh import WalshExplanation

Phrases = Sequence[Sequence[int]]


def phrase_values(found: WalshExplanation, phrases: Phrases, context: float = 0.0) -> np.ndarray:
    """[P] what phrases add, by the coefficients of an explanation: it takes no further scores.

    Args:
        found: The explanation.
        phrases: The features of each phrase.
        context: Probability p that another feature is on.

    Raises:
        ZooError: Where a phrase has other features than the explanation, or p is no probability.
    """
    if not 0 <= context <= 1:
        raise ZooError(f"context must be a probability, got {context}")
    inside = _masks(phrases, len(found.mains)).double().numpy()
    every = (*found.mains, *found.interactions)
    sets = _masks([c.features for c in every], len(found.mains)).double().numpy()
    shared = inside @ sets.T
    others = sets.sum(1) - shared
    weights = (2 * context - 1) ** others * (1 - (-1) ** shared)
    return weights @ np.array([c.value for c in every])


def phrases_alone(
    scores: Callable[[Any], Any], instance: Any, switches: Switches, phrases: Phrases
) -> np.ndarray:
    """[P] what phrases add with nothing else on, exactly: it takes 1 + P scores.

    Args:
        scores: The black box.
        instance: What is explained.
        switches: What on and off mean.
        phrases: The features of each phrase.

    Raises:
        ZooError: Where a phrase has other features than the instance, or a score is not finite.
    """
    features = len(switches.centre(instance))
    masks = torch.cat((torch.zeros(1, features), _masks(phrases, features)))
    found = score(scores, switches.apply(instance, masks)).double().numpy()
    return found[1:] - found[0]


def _masks(sets: Phrases, features: int) -> Tensor:
    """[P, d] 1 where a feature is in a set."""
    found = torch.zeros(len(sets), features)
    for row, s in zip(found, sets, strict=True):
        if any(not 0 <= i < features for i in s):
            raise ZooError(f"a phrase has features 0 to {features - 1}, got {[*s]}")
        row[[*s]] = 1
    return found
