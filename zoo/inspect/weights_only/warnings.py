"""The warnings of a checkpoint, each one sentence."""

from collections.abc import Iterator, Mapping, Sequence

from torch import Tensor

from zoo.inspect.weights_only.architecture import Architecture
from zoo.inspect.weights_only.fields import InspectedField
from zoo.inspect.weights_only.parts import measure

EXPLODED = 1000.0  # a weight beyond this has left the range in which training is stable
NAMES_SHOWN = 5  # in a sentence


def warnings_of(
    architecture: Architecture | None,
    fields: Sequence[InspectedField],
    parameters: Mapping[str, Tensor],
    squares: Mapping[str, tuple[Tensor, float]],
    steps: int | None,
) -> Iterator[str]:
    """The warnings of a checkpoint.

    Args:
        architecture: The model; None where it is another project's.
        fields: Fields of the model, with their embedding rows.
        parameters: Trained tensors by name.
        squares: What the optimiser has gathered (see `squares_of`).
        steps: Number of steps of the optimiser.
    """
    if architecture is None:
        yield (
            "not a checkpoint of this project: it holds no model_class with a schema, so only its "
            "parameters are read"
        )
    elif architecture.unused:
        yield f"fields that no expert sees: {_listed(architecture.unused)}"
    if steps == 0 and parameters:
        yield "saved before the first step: all weights are at their random start"
        return
    yield from _sizes(parameters)
    untouched = [
        name
        for name, (gathered, start) in squares.items()
        if gathered.numel() and bool((gathered == start).all())
    ]
    if untouched:
        yield f"parameters that no gradient ever reached: {_listed(untouched)}"
    idle = {f.field.name: f.rows.untrained for f in fields if f.rows and f.rows.untrained}
    if idle:
        worst = sorted(idle, key=lambda name: -idle[name])
        named = _listed([f"{name} ({idle[name]:,})" for name in worst])
        yield (
            f"{sum(idle.values()):,} values of the vocabulary have an embedding that was never "
            f"trained: {named}"
        )


def _sizes(parameters: Mapping[str, Tensor]) -> Iterator[str]:
    for name, tensor in parameters.items():
        weights = measure([tensor], tensor.numel())
        if weights.not_finite:
            yield (
                f"{weights.not_finite:,} of {weights.parameters:,} weights of {name} are NaN or "
                "infinite"
            )
        elif weights.largest > EXPLODED:
            yield f"a weight of {name} has grown to {weights.largest:,.0f}"


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - NAMES_SHOWN:,} more" if len(names) > NAMES_SHOWN else ""
    return ", ".join(names[:NAMES_SHOWN]) + more
