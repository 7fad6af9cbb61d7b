"""What to be wary of in a checkpoint, each in one sentence."""

from collections.abc import Iterator, Mapping

from torch import Tensor

from zoo.inspect.architecture import Architecture
from zoo.inspect.weights import Rows, measure

EXPLODED = 1000.0  # a weight beyond this has left the range in which training is stable
SHOWN = 5  # names in a sentence


def warnings_of(
    architecture: Architecture | None,
    rows: Mapping[str, Rows],
    parameters: Mapping[str, Tensor],
    squares: Mapping[str, tuple[Tensor, float]],
    steps: int | None,
) -> Iterator[str]:
    """The warnings of a checkpoint.

    Args:
        architecture: None where the model is another project's.
        rows: embedding rows by field.
        parameters: by name.
        squares: what the optimiser has gathered (see `squares_of`).
        steps: of the optimiser.
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
    idle = {name: field.untrained for name, field in rows.items() if field.untrained}
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


def _listed(names: list[str] | tuple[str, ...]) -> str:
    more = f" and {len(names) - SHOWN:,} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
