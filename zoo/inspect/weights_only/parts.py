"""How large the weights of each part of a model are."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from zoo.inspect.chapters import MODEL
from zoo.inspect.page import Figure, Section
from zoo.inspect.table import TextTable, text_table

WEIGHTS_AT_ONCE = 2**20  # are looked at together, so that memory stays bounded


@dataclass(frozen=True)
class Weights:
    """Some weights.

    Attributes:
        parameters: Number of weights.
        share: Their share in all parameters of the model.
        rms: Root of their mean square, over those that are finite.
        largest: Largest absolute value, over those that are finite.
        not_finite: Number of weights that are NaN or infinite.
    """

    parameters: int
    share: float
    rms: float
    largest: float
    not_finite: int


def measure(tensors: Iterable[Tensor], total: int) -> Weights:
    """The size of the weights in some tensors of a model of `total` parameters."""
    count = not_finite = 0
    squares = largest = 0.0
    for tensor in tensors:
        count += tensor.numel()
        for chunk in tensor.flatten().split(WEIGHTS_AT_ONCE):
            values = chunk.double()
            finite = values.isfinite()
            values = values.masked_fill(~finite, 0).abs_()
            not_finite += int((~finite).sum())
            largest = max(largest, float(values.max()) if len(values) else 0.0)
            squares += float(values.square_().sum())
    rms = (squares / max(count - not_finite, 1)) ** 0.5
    return Weights(count, count / max(total, 1), rms, largest, not_finite)


def parts_of(parameters: Mapping[str, Tensor]) -> dict[str, Weights]:
    """The weights of each part of a model: all that belongs to one of its attributes."""
    total = sum(tensor.numel() for tensor in parameters.values())
    names = dict.fromkeys(name.partition(".")[0] for name in parameters)
    return {
        part: measure(
            (tensor for name, tensor in parameters.items() if name.partition(".")[0] == part), total
        )
        for part in names
    }


def sections(parts: Mapping[str, Weights]) -> Iterator[Section]:
    """The parameters by part."""
    reading = "The longer a bar, the more of the model's parameters lie in that part."
    content = [Figure(lambda: _draw(parts), reading), _table(parts)]
    yield Section("parameters", content, MODEL, folded=True)


def _table(parts: Mapping[str, Weights]) -> TextTable:
    rows = [
        (
            name,
            part.parameters,
            f"{part.share:.2%}",
            f"{part.rms:.3g}",
            f"{part.largest:.3g}",
            part.not_finite or "",
        )
        for name, part in parts.items()
    ]
    total = sum(part.parameters for part in parts.values())
    columns = ("part", "parameters", "share", "rms", "largest", "NaN or inf")
    return text_table("parameters", columns, [*rows, ("all", total, "", "", "", "")], sums=1)


def _draw(parts: Mapping[str, Weights]) -> Any:
    from zoo.inspect import plots

    shares = {name: part.share for name, part in parts.items()}
    return plots.share_bars(shares, "share of the parameters")
