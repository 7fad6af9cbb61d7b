"""A prediction with its attribution to the experts, as examples and sessions show it.

Shapes: R labels, H experts.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

EXPERTS_SHOWN = 3  # in a prediction,
HEARD = 0.005  # where their share does not round to zero
COLUMNS = ("attribution", "probability", "label")


@dataclass(frozen=True)
class Prediction:
    """The prediction of a row, or of a track of a session.

    Attributes:
        probability: Predicted probability.
        label: The label; None where it is not known.
        attribution: What each expert has to say, by name.
    """

    probability: float
    label: float | None
    attribution: dict[str, float]


def predictions_of(
    experts: Sequence[str], logits: Tensor, labels: Tensor, attribution: Tensor
) -> Iterator[Prediction]:
    """The predictions of some rows, from logits [R], labels [R] and attribution [R, H]."""
    probabilities = logits.double().sigmoid().tolist()
    rows = zip(probabilities, labels.tolist(), attribution.tolist(), strict=True)
    for probability, label, shares in rows:
        label_or_none = None if label != label else label  # NaN
        yield Prediction(probability, label_or_none, dict(zip(experts, shares, strict=True)))


def cells(prediction: Prediction, expert: str = "") -> tuple[str, ...]:
    """The `COLUMNS` of a prediction: its largest shares, that of `expert` in any case."""
    ranked = sorted(prediction.attribution.items(), key=lambda share: -share[1])
    largest = [share for share in ranked[:EXPERTS_SHOWN] if share[1] >= HEARD]
    shown = [share for share in ranked if share[0] == expert or share in largest]
    label = "-" if prediction.label is None else f"{prediction.label:.0f}"
    shares = ", ".join(f"{name} {value:.2f}" for name, value in shown)
    return shares, f"{prediction.probability:.4f}", label


def shares_by_expert(predictions: Sequence[Prediction]) -> Mapping[str, list[float]]:
    """The attributions to each expert, by name."""
    experts = predictions[0].attribution
    return {name: [p.attribution[name] for p in predictions] for name in experts}
