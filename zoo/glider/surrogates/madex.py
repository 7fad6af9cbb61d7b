"""MADEX: the interactions of a black box around one instance.

Tsang et al., *Feature Interaction Interpretability: A Case for Explaining Ad-Recommendation
Systems via Neural Interaction Detection*, ICLR 2020, section 3.

Shapes: K instances, N samples, d features.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, NamedTuple

import torch
from torch import Tensor

from zoo.data.errors import ZooError
from zoo.glider.perturb import OnOff, TruncatedNormal, generator, lime_weights
from zoo.glider.scoring import score
from zoo.glider.surrogates.networks import GRADIENT_NID, NID, SurrogateConfig
from zoo.glider.surrogates.nid import Candidate, gradient_nid, nid, outermost, ranked_pairs
from zoo.glider.surrogates.threshold import r2, threshold
from zoo.glider.surrogates.training import Samples, fit, standardise

DETECTORS = {"nid": NID, "gradient_nid": GRADIENT_NID}


@dataclass(frozen=True)
class MadexConfig:
    """How MADEX samples, detects and stops (Tsang et al. 2020, section 6.1).

    Attributes:
        detector: How interactions are read off the surrogate: `nid` (any order) or
            `gradient_nid` (pairs).
        surrogate: Shape and training of the networks; None takes what suits the detector.
        samples: Numbers of training, validation and test samples.
        max_order: Largest number of features of an interaction; None is any number (of
            GradientNID 2).
        max_interactions: Number of candidates for the k-threshold.
        min_gain: Share of the variance that an interaction must explain on the validation
            samples, beyond the others.
        patience: Number of candidates in a row that do not reach it, after which no more are
            tried; of the paper 1.
        pure: Require of an interaction a term of its own, which its parts do not explain, and try
            the parts of each candidate too; the paper does neither. See
            `zoo.glider.surrogates.threshold`.
        prune_subsets: Leave out interactions that lie inside others of the instance.
        lime_weights: Weigh the samples as LIME does (on/off neighbours only).
        region_points: Number of training samples that GradientNID averages over; 0 takes the
            instance alone, as the paper.
    """

    detector: str = "nid"
    surrogate: SurrogateConfig | None = None
    samples: tuple[int, int, int] = (5000, 500, 500)
    max_order: int | None = None
    max_interactions: int = 50
    min_gain: float = 1e-3
    patience: int = 5
    pure: bool = True
    prune_subsets: bool = False
    lime_weights: bool = False
    region_points: int = 100

    def __post_init__(self) -> None:
        if self.detector not in DETECTORS:
            raise ZooError(f"detector must be one of {[*DETECTORS]}, got {self.detector!r}")
        for option, least in {"patience": 1, "max_order": 2, "region_points": 0}.items():
            value = getattr(self, option)
            if value is not None and value < least:
                raise ZooError(f"{option} must be at least {least}, got {value}")
        if not 0 <= self.min_gain < 1:
            raise ZooError(f"min_gain must be at least 0 and less than 1, got {self.min_gain}")
        if self.detector == "gradient_nid" and (self.max_order or 2) > 2:
            raise ZooError("max_order: gradient_nid finds pairs alone; take nid for larger orders")


class Explanation(NamedTuple):
    """What MADEX found around one instance.

    Attributes:
        interactions: Candidates that the k-threshold keeps, strongest first.
        ranking: All candidates, strongest first.
        fidelity: R^2 on the test samples of the network, of a linear model, and of the linear
            model with the products of the interactions and of their parts.
    """

    interactions: list[Candidate]
    ranking: list[Candidate]
    fidelity: tuple[float, float, float]


def madex(
    scores: Callable[[Any], Any],
    instance: Any,
    neighbours: OnOff | TruncatedNormal,
    config: MadexConfig = MadexConfig(),
    seed: int = 0,
) -> Explanation:
    """The interactions of a black box around an instance.

    Args:
        scores: The black box, any function from rows to logits.
        instance: A batch of one row, or [d] continuous features.
        neighbours: How to draw rows around the instance.
        config: How MADEX samples, detects and stops; see `MadexConfig`.
        seed: Seed of samples and networks.

    Raises:
        ZooError: Where the instance has a single feature, or a score is not finite.
    """
    if config.lime_weights and not isinstance(neighbours, OnOff):
        raise ZooError("lime_weights are of on/off neighbours, these are continuous")
    random = generator(seed)
    x, rows = neighbours.draw(instance, sum(config.samples), random)
    y = score(scores, rows)
    centre = neighbours.centre(instance)[None]
    (explanation,) = explain(x[None], y[None], centre, config, [random])
    return explanation


def explain(
    x: Tensor,
    y: Tensor,
    centres: Tensor,
    config: MadexConfig,
    generators: Sequence[torch.Generator],
) -> list[Explanation]:
    """The interactions of K functions, from samples of each.

    Args:
        x: [K, N, d] samples.
        y: [K, N] values of the functions.
        centres: [K, d] the instances, in the coordinates of the samples.
        config: How MADEX detects and stops; see `MadexConfig`.
        generators: Random numbers of each function's surrogate.
    """
    if x.shape[2] < 2:
        raise ZooError("an interaction needs two features, these data have one")
    samples = Samples(x=x, y=y, weight=lime_weights(x) if config.lime_weights else None)
    train, val, test = standardise(*samples.split(config.samples))
    surrogate = config.surrogate or DETECTORS[config.detector]
    networks, _ = fit(train, val, surrogate, generators)
    if config.detector == "nid":
        rankings = nid(networks, config.max_order)
    else:
        points = train.x[:, : config.region_points] if config.region_points else centres[:, None]
        rankings = ranked_pairs(gradient_nid(networks, points))
    with torch.no_grad():
        predicted = networks(test.x)
    explanations = []
    for k, ranking in enumerate(rankings):
        train_k, val_k, test_k = (s.of(k) for s in (train, val, test))
        candidates = list(islice(ranking, config.max_interactions))
        found, linear, joined = threshold(
            train_k,
            val_k,
            test_k,
            candidates,
            min_gain=config.min_gain,
            patience=config.patience,
            pure=config.pure,
        )
        if config.prune_subsets:
            found = outermost(found)
        fidelity = (float(r2(predicted[k].double(), test_k)), linear, joined)
        explanations.append(Explanation(found, candidates, fidelity))
    return explanations
