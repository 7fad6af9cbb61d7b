"""MADEX: the interactions of a black box around one instance.

Tsang et al., *Feature Interaction Interpretability: A Case for Explaining Ad-Recommendation
Systems via Neural Interaction Detection*, ICLR 2020, section 3.

Shapes: K instances, N samples, d features.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from zoo.glider.explainer import GRADIENT_NID, NID, Explainer, Samples, fit, standardise
from zoo.glider.nid import Interaction, gradient_nid, nid, outermost, prune_subsets, ranked_pairs
from zoo.glider.perturb import OnOff, TruncatedNormal, generator, lime_weights, score
from zoo.schema import ZooError

DETECTORS = {"nid": NID, "gradient_nid": GRADIENT_NID}


@dataclass(frozen=True)
class Settings:
    """How MADEX samples, detects and stops (Tsang et al. 2020, section 6.1).

    Attributes:
        detector: `nid` (any order) or `gradient_nid` (pairs).
        explainer: settings of the networks; None takes those of the detector.
        samples: numbers of training, validation and test samples.
        max_order: of an interaction.
        max_interactions: candidates for the k-threshold.
        min_gain: share of the variance that the k-th interaction must explain on the
            validation samples, beyond the k - 1 before it.
        patience: candidates in a row that do not reach it, after which no more are tried.
        prune_subsets: of the k, leave out those that lie inside another (Algorithm 1, line 6).
        lime_weights: the networks learn by LIME's weights of samples (on/off neighbours only).
        region_points: GradientNID averages over this many training samples; 0 takes the
            instance alone, as the paper.
    """

    detector: str = "nid"
    explainer: Explainer | None = None
    samples: tuple[int, int, int] = (5000, 500, 500)
    max_order: int | None = None
    max_interactions: int = 50
    min_gain: float = 1e-3
    patience: int = 1
    prune_subsets: bool = False
    lime_weights: bool = False
    region_points: int = 0

    def __post_init__(self) -> None:
        if self.detector not in DETECTORS:
            raise ZooError(f"detector must be one of {[*DETECTORS]}, got {self.detector!r}")
        if self.patience < 1:
            raise ZooError(f"patience must be at least 1, got {self.patience}")


class Explanation(NamedTuple):
    """What MADEX says of one instance.

    Attributes:
        interactions: the first k of the ranking; pruned, if the settings say so.
        ranking: the candidates, strongest first.
        fidelity: R^2 on the test samples: of the network, of a linear model, of the linear
            model with the k products.
    """

    interactions: list[Interaction]
    ranking: list[Interaction]
    fidelity: tuple[float, float, float]


def madex(
    scores: Callable[[Any], Any],
    instance: Any,
    neighbours: OnOff | TruncatedNormal,
    settings: Settings = Settings(),
    seed: int = 0,
) -> Explanation:
    """The interactions of a black box around an instance.

    Args:
        scores: the black box: rows to logits, whatever it is made of.
        instance: a batch of one row, or [d] continuous features.
        neighbours: how to draw rows around it.
        settings: see `Settings`.
        seed: of all that is random.

    Raises:
        ZooError: where the instance has a single feature, or a score is not finite.
    """
    if settings.lime_weights and not isinstance(neighbours, OnOff):
        raise ZooError("lime_weights are of on/off neighbours, these are continuous")
    random = generator(seed)
    x, rows = neighbours.draw(instance, sum(settings.samples), random)
    y = score(scores, rows)
    centre = neighbours.centre(instance)[None]
    (explanation,) = explain(x[None], y[None], centre, settings, [random])
    return explanation


def explain(
    x: Tensor,
    y: Tensor,
    centres: Tensor,
    settings: Settings,
    generators: Sequence[torch.Generator],
) -> list[Explanation]:
    """The interactions of K functions, from samples [K, N, d] and their values [K, N].

    `centres` [K, d] are the instances among the samples' coordinates; each function has its own
    generator.
    """
    if x.shape[2] < 2:
        raise ZooError("an interaction needs two features, these data have one")
    columns = [x, y, lime_weights(x)] if settings.lime_weights else [x, y]
    parts = zip(*(column.split(settings.samples, 1) for column in columns), strict=True)
    train, val, test = standardise(*(Samples(*part) for part in parts))
    explainer = settings.explainer or DETECTORS[settings.detector]
    networks, _ = fit(train, val, explainer, generators)
    if settings.detector == "nid":
        rankings = nid(networks, settings.max_order)
    else:
        points = (
            train.x[:, : settings.region_points] if settings.region_points else centres[:, None]
        )
        rankings = ranked_pairs(gradient_nid(networks, points))
    with torch.no_grad():
        predicted = networks(test.x)
    explanations = []
    for k, ranking in enumerate(rankings):
        data = [Samples(s.x[k], s.y[k]) for s in (train, val, test)]
        candidates = prune_subsets(ranking, settings.max_interactions)
        linear = _linear_r2(*data, candidates, settings)
        network = r2(predicted[k], test.y[k])
        first = candidates[: linear.k]
        if settings.prune_subsets:
            first = outermost(first)
        explanations.append(
            Explanation(first, candidates, (network, linear.without, linear.with_k))
        )
    return explanations


def r2(predicted: Tensor, target: Tensor) -> float:
    """1 - the mean squared error over the target's variance; 1 for a constant that is met."""
    rest, total = (predicted - target).square().mean(), target.var(unbiased=False)
    return float(1 - rest / total) if total > 0 else float(rest == 0)


class _Threshold(NamedTuple):
    k: int
    without: float
    with_k: float


def _linear_r2(
    train: Samples, val: Samples, test: Samples, ranking: Sequence[Interaction], settings: Settings
) -> _Threshold:
    """k of section 3.3: products of interactions join a linear regression while they help.

    The regression learns from the training samples; the validation samples decide. A product
    that does not help counts if one soon after it does.
    """
    designs = [_design(s.x, ranking) for s in (train, val, test)]
    columns = train.x.shape[1] + 1
    gram, right = designs[0].T @ designs[0], designs[0].T @ train.y.double()

    def r2_of(k: int, design: Tensor, target: Tensor) -> float:
        n = columns + k
        # a product that no sample has on is a column of zeros
        ridge = 1e-9 * (1 + gram.diagonal()[:n]).diag()
        weights = torch.linalg.solve(gram[:n, :n] + ridge, right[:n])
        return r2(design[:, :n] @ weights, target.double())

    k, best = 0, r2_of(0, designs[1], val.y)
    for j in range(1, len(ranking) + 1):
        found = r2_of(j, designs[1], val.y)
        if found >= best + settings.min_gain:
            k, best = j, found
        elif j - k >= settings.patience:
            break
    return _Threshold(k, *(r2_of(j, designs[2], test.y) for j in (0, k)))


def _design(x: Tensor, ranking: Sequence[Interaction]) -> Tensor:
    """[N, 1 + d + len(ranking)] ones, features, products of the interactions' features."""
    x = x.double()
    products = [x[:, list(interaction.features)].prod(1) for interaction in ranking]
    return torch.stack([torch.ones_like(x[:, 0]), *x.unbind(1), *products], 1)
