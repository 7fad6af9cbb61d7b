"""The parts that subsets are made of: groups of fields, or single fields.

Subsets that are proposed or learned are unions of parts, named `time x route`.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Literal, get_args

from zoo.data.errors import require
from zoo.data.schema import JOINER, Schema
from zoo.experts.lattice import ALL, EVERYTHING, FIELD

Of = Literal["groups", "fields"]
Parts = Mapping[str, tuple[str, ...]]  # the fields of each part, by its name
NAMED = 4  # largest number of parts that the name of a subset names


def parts_of(schema: Schema, of: Of | None = None) -> dict[str, tuple[str, ...]]:
    """The fields of each part, by its name, in the order of the schema.

    A cross field is in no part: it belongs to the subsets that hold all that it crosses.

    Args:
        schema: Fields of the batches.
        of: Whether parts are groups (a field without a group is one by itself) or single fields;
            None takes groups where there are at least two that say more than the kind of a field.
    """
    rule = "subsets.of must be groups or fields"
    require(of is None or of in get_args(Of), rule, of)
    fields = [field for field in schema.fields if not schema.crossed(field)]
    if of is None:
        told = {field.group for field in fields if field.group not in ("", field.kind)}
        of = "groups" if len(told) > 1 else "fields"
    found: dict[str, list[str]] = {}
    for field in fields:
        found.setdefault((of == "groups" and field.group) or field.name, []).append(field.name)
    return {name: tuple(fields) for name, fields in found.items()}


def subsets_of(
    chosen: Sequence[Collection[str]], schema: Schema, parts: Parts
) -> dict[str, list[str]]:
    """The option `subsets`: unions of parts by their names, and behind them that of all fields.

    Args:
        chosen: Names of the parts of each subset.
        schema: Fields of the batches.
        parts: The fields of each part.
    """
    groups = {field.group for field in schema.fields}
    whole = {group: {f.name for f in schema.fields if f.group == group} for group in groups}
    found: dict[str, list[str]] = {}
    for union in chosen:
        names = [name for name in parts if name in union]
        entries = []
        for name in names:
            is_group = whole.get(name) == set(parts[name])
            escaped = name in (*groups, EVERYTHING) and not is_group
            entries.append(FIELD + name if escaped else name)
        seen = {field for name in names for field in parts[name]}
        crosses = {field.name: set(schema.crossed(field)) for field in schema.fields}
        entries += [name for name, of in crosses.items() if of and of <= seen]
        found[_name(names, [*found, ALL])] = entries
    return {**found, ALL: [EVERYTHING]}


def _name(names: Sequence[str], taken: Collection[str]) -> str:
    """`a x b`; of many parts the first ones and the number of the others."""
    name = whole = JOINER.join(names)
    if len(names) > NAMED:
        name = f"{JOINER.join(names[: NAMED - 1])} + {len(names) - NAMED + 1}"
    name = whole if name in taken else name
    while name in taken:
        name += " alone"
    return name
