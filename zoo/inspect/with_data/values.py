"""The values of single rows, as they are shown."""

from collections.abc import Iterable, Mapping

from torch import Tensor

EMPTY = "(none)"  # a list without values


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
