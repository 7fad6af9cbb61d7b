"""The values of single rows, as they are shown."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from torch import Tensor

from zoo.data.encoder import value_names

EMPTY = "(none)"  # a list without values
Values = dict[str, float | str]


def ids_of(column: Iterable[Tensor]) -> set[int]:
    """The ids in some values of a field, none where they are numbers."""
    return {i for x in column if not x.is_floating_point() for i in x.flatten().tolist() if i >= 0}


def shown(value: Tensor, names: Mapping[int, str]) -> float | str:
    """A value of a field: a number, the name of an id, or those of a list of ids.

    Args:
        value: One of those that `Batch.inputs` gives for a row.
        names: Names of the ids of the field.
    """
    if value.is_floating_point():
        return float(value)
    found = [names.get(i, f"id {i}") for i in value.flatten().tolist() if i >= 0]
    return ", ".join(found) or EMPTY


def values_of(inputs: Mapping[str, Tensor], encoder: Path | None) -> list[Values]:
    """The values of some rows, by field; ids by name.

    Args:
        inputs: The values of each field, as `Batch.inputs` gives them.
        encoder: Folder of the encoder that names the values; None without one.
    """
    ids = {name: found for name, column in inputs.items() if (found := ids_of(column))}
    names = value_names(encoder, ids)
    columns = [[shown(x, names.get(name, {})) for x in column] for name, column in inputs.items()]
    return [dict(zip(inputs, row, strict=True)) for row in zip(*columns, strict=True)]


def text_of(value: float | str) -> str:
    """A value as text."""
    return value if isinstance(value, str) else f"{value:.4g}"
