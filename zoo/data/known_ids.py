"""Which ids of one encoder mean what ids of another mean.

Shapes: K ids.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np

from zoo.data.encoder import CROSS_KINDS, VOCABULARY, cross_name
from zoo.data.errors import ZooError
from zoo.data.plain import check_kinds, read_json
from zoo.data.schema import MISSING, UNKNOWN, Schema

SPECIAL_IDS = np.array([UNKNOWN, MISSING])
SIZES = ("min_count", "max_size")  # options that say how many values have an id, not what it means


@dataclass(frozen=True)
class KnownIds:
    """The ids of a field whose values another encoder knows too.

    Attributes:
        now: int64 [K] the ids, unknown and missing included.
        before: int64 [K] those of the same values in the other encoder.
        values: Number of values that have an id.
        gone: Number of values that have one in the other encoder alone.
    """

    now: np.ndarray
    before: np.ndarray
    values: int
    gone: int

    @property
    def known(self) -> int:
        """Number of values that both know."""
        return len(self.now) - len(SPECIAL_IDS)


def known_ids(before: Path, now: Path, schema: Schema) -> dict[str, KnownIds]:
    """The known ids of all fields with a vocabulary of their own, by name.

    Values are compared as text, crosses by the values of their members; a bin of a number is known
    where its edges are the same.

    Args:
        before: Folder of the other encoder.
        now: Folder of the encoder.
        schema: Fields of the encoder.

    Raises:
        ZooError: where rows become ids by other rules, or an encoder is damaged.
    """
    _check_rules(before, now)
    try:
        owners = [f.name for f in schema.fields if f.has_ids and not f.vocabulary]
        crosses = {cross_name(path): path for path in now.glob("crosses/*")}
        earlier = {cross_name(path): path for path in before.glob("crosses/*")}
        found = {name: _known(before, now, name) for name in owners if name not in crosses}
        of_fields = {
            f.name: found[f.vocabulary or f.name]
            for f in schema.fields
            if (f.vocabulary or f.name) in found
        }
        for name in owners:
            if name in crosses:
                found[name] = _known_crosses(earlier[name], crosses[name], of_fields)
        return found
    except (KeyError, OSError, TypeError, ValueError) as error:
        reason = (str(error).splitlines() or [repr(error)])[0]
        raise ZooError(f"{before} or {now} cannot be read: {reason}") from error


def _check_rules(before: Path, now: Path) -> None:
    old, new = (read_json(folder / "encoder.json") for folder in (before, now))
    if old.get("dataset") != new.get("dataset"):
        raise ZooError(
            f"{before} is of {old.get('dataset')} data, these are {new.get('dataset')} data: their "
            "values do not mean the same"
        )
    mine, theirs = (_rules(content.get("options") or {}) for content in (new, old))
    for option in {**mine, **theirs}:
        there, here = difference(theirs.get(option), mine.get(option))
        if there != here:
            raise ZooError(
                f"{before} was fitted with data.{option} = {there}, here it is {here}: its numbers "
                "or values would mean something else"
            )


def difference(one: Any, other: Any) -> tuple[Any, Any]:
    """Two values; of two lists the first items that differ; of these their names and what does."""
    if isinstance(one, list) and isinstance(other, list):
        pairs = zip_longest(one, other)
        return next((difference(*pair) for pair in pairs if pair[0] != pair[1]), (one, other))
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        keys = [k for k in {**one, **other} if k == "name" or one.get(k) != other.get(k)]
        return {k: one.get(k) for k in keys}, {k: other.get(k) for k in keys}
    return one, other


def _rules(options: Any) -> Any:
    """Options without those of sizes, and those that are not set, which another version may add."""
    if isinstance(options, Mapping):
        rules = {k: _rules(v) for k, v in options.items() if k not in SIZES}
        return {k: v for k, v in rules.items() if v not in (None, False, "", "none", [], {})}
    return [*map(_rules, options)] if isinstance(options, list) else options


def _vocabulary(folder: Path, name: str) -> Any:
    """`value` and `id` of one field: those of all may not fit in memory."""
    import pyarrow.parquet as pq  # which takes a while to load

    filters = [("field", "=", name)]
    return pq.read_table(folder / VOCABULARY, columns=["value", "id"], filters=filters)


def _known(old: Path, new: Path, name: str) -> KnownIds:
    import pyarrow.compute

    compute: Any = pyarrow.compute  # makes its functions when it is imported
    before, now = (_vocabulary(folder, name) for folder in (old, new))
    place = compute.index_in(now["value"], value_set=before["value"])
    is_known = compute.is_valid(place)
    ids = now["id"].filter(is_known).to_numpy()
    theirs = before["id"].take(place.filter(is_known)).to_numpy()
    return _with_special(ids, theirs, len(now), len(before))


def _with_special(now: np.ndarray, before: np.ndarray, values: int, earlier: int) -> KnownIds:
    mine, theirs = (np.concatenate([SPECIAL_IDS, ids]).astype(np.int64) for ids in (now, before))
    return KnownIds(mine, theirs, values, earlier - len(now))


def _known_crosses(before: Path, now: Path, found: Mapping[str, KnownIds]) -> KnownIds:
    """Of a cross, by the ids or bins of its members."""
    old, new = (check_kinds(read_json(f / "cross.json"), CROSS_KINDS) for f in (before, now))
    theirs, mine = (_combinations(f, len(new["members"])) for f in (before, now))
    translated = []
    for i, member in enumerate(new["members"]):
        if member in new["edges"]:
            codes = _same_bins(old["edges"][member], new["edges"][member])
        else:
            codes = dict(
                zip(found[member].now.tolist(), found[member].before.tolist(), strict=True)
            )
        translated.append([codes.get(code) for code in mine[i]])
    numbered = dict(zip(zip(*theirs[:-1], strict=True), theirs[-1], strict=True))
    places = [numbered.get(key) for key in zip(*translated, strict=True)]
    pairs = [(i, place) for i, place in zip(mine[-1], places, strict=True) if place is not None]
    both = np.array(pairs, np.int64).reshape(-1, 2)
    return _with_special(both[:, 0], both[:, 1], len(mine[-1]), len(theirs[-1]))


def _combinations(folder: Path, members: int) -> list[list[int]]:
    """The columns of a cross's vocabulary: the codes of its members, then the ids."""
    import pyarrow.parquet as pq

    columns = [*(f"m{i}" for i in range(members)), "id"]
    table = pq.read_table(folder / VOCABULARY, columns=columns)
    return [table[name].to_pylist() for name in columns]


def _same_bins(before: list[float], now: list[float]) -> dict[int, int]:
    """The bins of a number that have the same edges in both, as code now -> code before."""
    bins = [
        {edges: code for code, edges in enumerate(zip([None, *e], [*e, None], strict=True))}
        for e in (before, now)
    ]
    return {code: bins[0][edges] for edges, code in bins[1].items() if edges in bins[0]}
