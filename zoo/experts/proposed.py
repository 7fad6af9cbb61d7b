"""Subsets that are proposed from detected interactions.

    subsets: {from: interactions.json, size: 6}

Each strong interaction is a subset, and where it shares a part with earlier ones, so is their
union; the last subset is that of all fields. The parts are groups of fields, or single fields
(see `zoo.experts.parts`).
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NotRequired, TypedDict, cast

from zoo.data.errors import ZooError, require
from zoo.data.interaction import InteractionFile
from zoo.data.interactions import read_interactions
from zoo.data.schema import Schema
from zoo.experts.parts import Of, Parts, parts_of, subsets_of

OPTION = "model.subsets"
SIZE = 6
# `from` is no name that a class could have. Where subsets are proposed from: the file of the
# interactions, the largest number of subsets, and what their parts are, groups or fields.
Proposed = TypedDict("Proposed", {"from": str, "size": NotRequired[int], "of": NotRequired[Of]})
Subsets = Mapping[str, Sequence[str]]
Weights = Mapping[frozenset[str], float]


def resolved(given: Subsets | Proposed | None, schema: Schema) -> Subsets | None:
    """The option `subsets` with the fields of each subset by its name.

    Args:
        given: Its value.
        schema: Fields of the model.

    Raises:
        ZooError: where the file cannot be read, is of other fields or finds nothing, or an option
            is wrong.
    """
    if given is None or not isinstance(given, Mapping):
        return given
    options: Mapping[str, Any] = given
    if not isinstance(options.get("from"), str):
        _check_lists(options)
        return cast(Subsets, given)
    known = Proposed.__annotations__
    for name in options:
        if name not in known:
            close = get_close_matches(name, known, 1)
            hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(known)}"
            raise ZooError(f"{OPTION}: no option {name} beside from; {hint}")
    size, path = options.get("size", SIZE), Path(options["from"])
    whole = isinstance(size, int) and not isinstance(size, bool) and size >= 2
    require(whole, "subsets.size must be a whole number from 2 on", size)
    parts = parts_of(schema, options.get("of"))
    names = [field.name for field in schema.fields]
    found = read_interactions(path, names, f"{OPTION}.from")
    unions = propose(weights_of(found, parts), size, parts)
    late = {f.name for f in schema.fields if not f.past_only}  # of sessions: what is known later
    unions = [union for union in unions if late & _fields(union, parts)]
    if not unions:
        raise ZooError(
            f"{path} ({OPTION}.from) has nothing to propose a subset of: no interaction is "
            "significant (q < 0.05) and between fewer than all parts of the input"
        )
    return subsets_of(unions, schema, parts)


def _check_lists(given: Mapping[str, Any]) -> None:
    for name, entries in given.items():
        if isinstance(entries, str) or not isinstance(entries, Sequence):
            raise ZooError(
                f"{OPTION}: {name} must be a list of fields and groups, got {entries!r}; to have "
                "subsets proposed, give from: a file of interactions, and size"
            )


def _fields(union: frozenset[str], parts: Parts) -> set[str]:
    return {field for part in union for field in parts[part]}


def weights_of(found: InteractionFile, parts: Parts) -> dict[frozenset[str], float]:
    """How strong each set of parts is: its share of the variance of the scores around a row.

    Interactions inside a part, and main effects, count for that part alone. In a file without
    shares the interaction at place r counts 1 / r. Those that are not significant are left out.

    Args:
        found: The interactions.
        parts: The fields of each part.
    """
    part = {field: name for name, fields in parts.items() for field in fields}
    has_shares = any(interaction.share is not None for interaction in found.interactions)
    weights: defaultdict[frozenset[str], float] = defaultdict(float)
    for place, interaction in enumerate(found.interactions, 1):
        if interaction.q_value is not None and not interaction.significant:
            continue
        share = (interaction.share or 0.0) if has_shares else 1 / place
        # a cross field, which a file may name, stands for what it crosses
        members = [name for name in interaction.fields if name in part]
        weights[frozenset(part[name] for name in members)] += share
    for main in found.mains if has_shares else ():
        if main.field in part:
            weights[frozenset({part[main.field]})] += main.share or 0.0
    return {union: weight for union, weight in weights.items() if union and weight > 0}


def propose(weights: Weights, size: int, parts: Parts) -> list[frozenset[str]]:
    """The parts of at most `size - 1` subsets, none of which holds all.

    Sets of parts come in the order of what they and the sets inside them are worth together, for
    each of their parts. Each is a subset; then so is its union with all earlier ones that it
    is connected to by shared parts.

    Args:
        weights: How strong each set of parts is.
        size: Number of subsets, that of all fields included.
        parts: The fields of each part.
    """
    worth = {union: _worth(union, weights) / len(union) for union in weights}
    order = sorted(worth, key=lambda union: (-worth[union], len(union), sorted(union)))
    chosen: list[frozenset[str]] = []
    connected: list[frozenset[str]] = []
    for union in order:
        joined = union.union(*(other for other in connected if other & union))
        connected = [other for other in connected if not other & union] + [joined]
        new = (s for s in (union, joined) if len(s) < len(parts) and s not in chosen)
        chosen += dict.fromkeys(new)
    return sorted(chosen[: size - 1], key=len)


def _worth(union: frozenset[str], weights: Weights) -> float:
    return sum(weight for inner, weight in weights.items() if inner <= union)
