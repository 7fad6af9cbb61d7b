"""Mixed differences: what two features do together, in given contexts of the others.

    m_ab(c) = f(a on, b on) - f(a on, b off) - f(a off, b on) + f(a off, b off)

with the other features as in the context c: zero in all contexts if and only if a and b do not
interact (Friedman & Popescu 2008). They are exact, where a regression on random
contexts is an estimate, and show what random contexts never see, such as an AND of twenty.

In Walsh coefficients (`zoo.glider.walsh`), a quarter of m_ab is the sum of c_S over all S that
contain a and b, each times the signs that c gives the others of S. So the mean of its square over
random contexts is the sum of the c_S^2: the variance of all terms in which a and b are together.

Shapes: K contexts, P points, d features.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from zoo.data.batch import Batch
from zoo.data.errors import ZooError
from zoo.glider.between import Between
from zoo.glider.perturb import as_point
from zoo.glider.scoring import score
from zoo.glider.switches import Switches

SCORED = 16_384  # rows that are made at once


def mixed_differences(
    scores: Callable[[Any], Any],
    instance: Batch | Any,
    switches: Switches,
    contexts: Tensor | None = None,
) -> np.ndarray:
    """[K, d, d] the mixed differences of all pairs; on the diagonal those of single features.

    All on and all off are the contexts of ArchDetect (Tsang et al., *How does This Interaction
    Affect Me?*, NeurIPS 2020), whose strength of a pair is the mean of the two squares. A context
    takes 1 + d + d (d - 1) / 2 scores.

    Args:
        scores: The black box, any function from rows to scores.
        instance: A batch of one row, or [d] numbers.
        switches: What on and off mean.
        contexts: [K, d] of 0 and 1; None takes all on and all off.

    Raises:
        ZooError: Where the contexts have another number of features, or a score is not finite.
    """
    features = len(switches.centre(instance))
    if contexts is None:
        contexts = torch.stack((torch.ones(features), torch.zeros(features)))
    if contexts.ndim != 2 or contexts.shape[1] != features:
        raise ZooError(f"contexts must be [K, {features}], got the shape {[*contexts.shape]}")
    # without flips, of each feature, and of each pair; column d stands for none
    a, b = torch.triu_indices(features, features, offset=1)
    none = torch.full((1 + features,), features)
    first = torch.cat((none[:1], torch.arange(features), a))
    second = torch.cat((none, b))
    found = np.empty((len(contexts), features, features))
    for out, context in zip(found, contexts, strict=True):
        y = np.concatenate(
            [
                _flipped(scores, instance, switches, context, *flips)
                for flips in zip(first.split(SCORED), second.split(SCORED), strict=True)
            ]
        )
        sign = 2 * (context.double().numpy() > 0.5) - 1
        one = y[1 : 1 + features]
        out[np.diag_indices(features)] = sign * (y[0] - one)
        out[a, b] = out[b, a] = sign[a] * sign[b] * (y[0] - one[a] - one[b] + y[1 + features :])
    return found


def _flipped(
    scores: Callable[[Any], Any],
    instance: Any,
    switches: Switches,
    context: Tensor,
    first: Tensor,
    second: Tensor,
) -> np.ndarray:
    """The scores where two features of a context are switched; number d is no feature."""
    masks = torch.cat((context > 0.5, torch.zeros(1, dtype=torch.bool))).repeat(len(first), 1)
    rows = torch.arange(len(first))
    masks[rows, first] ^= True
    masks[rows, second] ^= True
    return score(scores, switches.apply(instance, masks[:, :-1].float())).double().numpy()


def total_interactions(
    scores: Callable[[Any], Any], points: Tensor | np.ndarray, pairs: int = 100, seed: int = 0
) -> np.ndarray:
    """[d, d] how much any two features of a black box of numbers interact, over all points.

    It is the variance of all terms (of the analysis of variance) that have both features: the total
    interaction index (Fruth, Roustant & Kuhnt, *Total interaction index*, 2014) by the
    estimator of Liu & Owen, *Estimating mean dimensionality of analysis of variance
    decompositions* (JASA 2006): a quarter of the mean square of the mixed differences
    between two points, here in the contexts of both. On the diagonal the total effect of each
    feature (Jansen 1999): half of the mean square of its difference.

    Exact expectations are of independent features. Those of data are not: numbers of two rows are
    mixed to rows that may not occur, as in every permutation of features.

    Args:
        scores: The black box, any function from rows [N, d] to scores.
        points: [P, d] rows of the data, or drawn from where it shall be explained.
        pairs: Number of pairs of points; each takes 2 + 2 d + d (d - 1) scores.
        seed: Seed of the pairs.

    Raises:
        ZooError: Where there are fewer than two points, or a score is not finite.
    """
    if len(points) < 2:
        raise ZooError(f"two points are needed at least, got {len(points)}")
    random, total = np.random.default_rng(seed), 0.0
    for _ in range(pairs):
        i, j = random.choice(len(points), 2, replace=False)
        found = mixed_differences(scores, as_point(points[i]), Between(points[j]))
        total = total + np.square(found).mean(0) / pairs
    return total / np.where(np.eye(points.shape[1]), 2, 4)
