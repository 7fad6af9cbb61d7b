"""Subsets of the fields, ordered by inclusion: which expert may see what.

Afchar & Hennequin, *Making Neural Networks Interpretable with Attribution: Application to
Implicit Signals Prediction*, RecSys 2020, sections 3.2 and 3.3.2.

Shapes: H subsets.
"""

from collections.abc import Mapping, Sequence
from itertools import accumulate

import torch
from torch import Tensor

from zoo.data.errors import ZooError
from zoo.data.schema import Schema

EVERYTHING = "*"
ALL = "all"  # name of the subset of all fields, where nobody has named it
FIELD = "field:"  # before the name of a field, where a group has the same


class Lattice:
    """Named subsets S_1 .. S_H of a schema's fields, partially ordered by inclusion.

    Args:
        schema: Fields of the batches and their cardinalities; see `Schema`.
        subsets: Fields of each subset by its name; a field is given by its own name, by that of
            its group, or by `*` for all; a name that is both means the group, and `field:NAME` the
            field. None is the single subset `all` of all fields.

    Attributes:
        names: Names of the subsets.
        fields: Names of the fields of each subset, in the order of the schema.
        below: Numbers of the subsets strictly inside each subset, omega(i).
        unused: Names of the fields in no subset.

    Raises:
        ZooError: Where a subset is empty, names what does not exist, or equals another.
    """

    def __init__(self, schema: Schema, subsets: Mapping[str, Sequence[str]] | None = None) -> None:
        if subsets is None:
            subsets = {ALL: [EVERYTHING]}
        if not subsets:
            raise ZooError("model.subsets must name at least one subset")
        self.names = tuple(subsets)
        sets = [_members(schema, name, tuple(given)) for name, given in subsets.items()]
        for i, subset in enumerate(sets):
            if subset in sets[:i]:
                same = self.names[sets.index(subset)]
                raise ZooError(f"model.subsets: {same} and {self.names[i]} hold the same fields")
        every = [field.name for field in schema.fields]
        self.fields = tuple(tuple(name for name in every if name in subset) for subset in sets)
        self.below = tuple(
            tuple(j for j, inner in enumerate(sets) if inner < subset) for subset in sets
        )
        self.unused = tuple(name for name in every if not any(name in subset for subset in sets))

    def __len__(self) -> int:
        return len(self.names)

    @property
    def children(self) -> tuple[tuple[int, ...], ...]:
        """The largest subsets inside each subset: the edges of the Hasse diagram."""
        return tuple(
            tuple(j for j in inside if not any(j in self.below[k] for k in inside))
            for inside in self.below
        )

    @property
    def greatest(self) -> int | None:
        """The subset that holds all the others, where there is one."""
        return next(
            (i for i, inside in enumerate(self.below) if len(inside) == len(self) - 1), None
        )

    def inclusion(self) -> Tensor:
        """[H, H] float: 1 at (i, j) where S_j lies strictly inside S_i."""
        matrix = torch.zeros(len(self), len(self))
        for i, inside in enumerate(self.below):
            matrix[i, list(inside)] = 1
        return matrix

    def block_mask(self, outputs: Sequence[int], inputs: Sequence[int]) -> Tensor:
        """[sum outputs, sum inputs] bool: the weights of equation 14 that exist.

        Block (i, j), outputs[i] by inputs[j], is true where S_j is S_i or lies inside it.

        Args:
            outputs: Number of outputs of each expert.
            inputs: Number of inputs of each expert.
        """
        rows = [0, *accumulate(outputs)]
        columns = [0, *accumulate(inputs)]
        mask = torch.zeros(rows[-1], columns[-1], dtype=torch.bool)
        for i, inside in enumerate(self.below):
            for j in (i, *inside):
                mask[rows[i] : rows[i + 1], columns[j] : columns[j + 1]] = True
        return mask


def _members(schema: Schema, name: str, given: tuple[str, ...]) -> frozenset[str]:
    """The fields that a subset's entries mean."""
    if not given:
        raise ZooError(f"model.subsets: {name} is empty")
    groups: dict[str, list[str]] = {EVERYTHING: [field.name for field in schema.fields]}
    for field in schema.fields:
        if field.group:
            groups.setdefault(field.group, []).append(field.name)
    fields = {field.name: [field.name] for field in schema.fields}
    known = {FIELD + name: own for name, own in fields.items()} | fields | groups
    unknown = [entry for entry in given if entry not in known]
    if unknown:
        raise ZooError(
            f"model.subsets: {name} names {', '.join(unknown)}, which is neither a field nor a "
            f"group; groups: {', '.join(groups)}; fields: {', '.join(groups[EVERYTHING])}"
        )
    return frozenset(field for entry in given for field in known[entry])
