"""The folder `encoder/` of a run, which turns raw rows into ids and numbers: the one reader of it.

    encoder/encoder.json          dataset, options, schema, and what was fitted on training rows
            vocabulary.parquet    (field, value, id, count), where fields are categorical
            crosses/0000/         cross.json and vocabulary.parquet (m0, m1, .., id, count)

Datamodules write it; they read its descriptions here, and large tables with their own engine.
"""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from zoo.data.checksums import combined, verified_checksums
from zoo.data.errors import ZooError
from zoo.data.plain import check_kinds, read_json
from zoo.data.schema import JOINER, MISSING, UNKNOWN, Schema

ENCODER_FORMAT = 1
VOCABULARY = "vocabulary.parquet"
CROSS_KINDS = {"members": list[str], "edges": dict[str, list[float]]}
SPECIAL = {UNKNOWN: "(unknown)", MISSING: "(missing)"}
CROSS_FILE = re.compile(r"(crosses/[^/]+)/(.+)")
ENCODER_PART = re.compile(r"encoder(/.*)?", re.DOTALL)
Wanted = Mapping[str, Collection[int] | None]  # ids by field; None is all of them


def encoder_checksums(folder: Path) -> dict[str, str]:
    """What distinguishes an encoder from all others: `encoder`, and `encoder/NAME` of each cross.

    Raises:
        ZooError: where a file is damaged.
    """
    parts: dict[str, dict[str, str]] = {"encoder": {}}
    for path, value in verified_checksums(folder).items():
        cross = CROSS_FILE.fullmatch(path)
        part = f"encoder/{cross_name(folder / cross[1])}" if cross else "encoder"
        parts.setdefault(part, {})[cross[2] if cross else path] = value
    return {part: combined(files) for part, files in parts.items()}


def cross_name(folder: Path) -> str:
    """The name of the field that a saved cross makes."""
    with encoder_description(folder / "cross.json", CROSS_KINDS) as cross:
        return JOINER.join(cross["members"])


def check_encoder(saved: object, mine: Mapping[str, str]) -> None:
    """Refuses data whose ids are of another encoder than those that a model was trained on.

    Args:
        saved: What a checkpoint says of the data it was trained on, its `data`; None of those of
            earlier versions.
        mine: Checksums of the data at hand (`ZooDataModule.checksums`).

    Raises:
        ZooError: where both are known and differ.
    """
    theirs = saved if isinstance(saved, Mapping) else {}
    for part in filter(ENCODER_PART.fullmatch, map(str, theirs)):
        if part in mine and theirs[part] != mine[part]:
            name = part.partition("/")[2]
            raise ZooError(
                f"the model was trained with another encoder{name and f' of {name}'} than "
                "that of these data, in which the same id means another value: give data.encoder "
                "the folder `encoder` of its run"
            )


@contextmanager
def encoder_description(
    path: Path, kinds: Mapping[str, Any], beside: str = VOCABULARY
) -> Iterator[dict[str, Any]]:
    """What a JSON file of an encoder's folder says; what is wrong with it becomes a `ZooError`.

    Args:
        path: The file, such as `encoder/encoder.json`.
        kinds: Its keys, and the types of their values (see `zoo.data.plain.check_kinds`).
        beside: Name of a file that the folder holds next to it.

    Raises:
        ZooError: where a file is missing or damaged, or of another format; also for what is
            missing in the description, where it is read within the `with` block.
    """
    if not path.is_file() or not (path.parent / beside).is_file():
        raise ZooError(f"{path.parent} is not an encoder: {path.name} or {beside} is missing")
    try:
        data = check_kinds(read_json(path, "is damaged"), {"format": int})
        if data["format"] != ENCODER_FORMAT:
            raise ZooError(
                f"{path} has format {data['format']}, this version reads {ENCODER_FORMAT}"
            )
        yield check_kinds(data, kinds)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ZooError(f"{path} is damaged: {error}") from error


def numerical_means(encoder: Path, schema: Schema) -> list[float]:
    """The means of the numerical fields over the training rows, in the order of the schema.

    Raises:
        ZooError: where the encoder is missing or damaged.
    """
    with encoder_description(encoder / "encoder.json", {"means": dict[str, float]}) as data:
        return [data["means"][field.name] for field in schema.numerical]


def value_names(encoder: Path | None, wanted: Wanted) -> dict[str, dict[int, str]]:
    """The values of fields by id, as far as an encoder names them.

    Args:
        encoder: Folder of the encoder; None names unknown and missing alone.
        wanted: The fields, and of each the ids to name; None is all of them.

    Raises:
        ZooError: where the encoder is damaged.
    """
    found = {field: dict(SPECIAL) for field in wanted}
    if not wanted or encoder is None or not (encoder / VOCABULARY).is_file():
        return found
    try:
        of_owner = _sharing(encoder, wanted)
        for owner, value, i in _fields(encoder, wanted, of_owner):
            for field in of_owner[owner]:
                found[field].setdefault(i, value)
        for folder in sorted(encoder.glob("crosses/*")):
            cross = check_kinds(read_json(folder / "cross.json"), CROSS_KINDS)
            field = JOINER.join(cross["members"])
            if field in wanted:
                found[field] |= _cross(encoder, folder, cross, wanted[field])
    except (AttributeError, KeyError, OSError, TypeError, ValueError) as error:
        reason = (str(error).splitlines() or [repr(error)])[0]
        raise ZooError(f"{encoder} cannot be read: {reason}") from error
    return found


def _read(file: Path, columns: list[str], filters: Any) -> list[tuple[Any, ...]]:
    import pyarrow.parquet as pq  # which takes a while to load

    table = pq.read_table(file, columns=columns, filters=filters)
    return list(zip(*(table[name].to_pylist() for name in columns), strict=True))


def _sharing(encoder: Path, wanted: Wanted) -> dict[str, list[str]]:
    """The wanted fields by the one whose ids they have, in most cases themselves."""
    file = encoder / "encoder.json"
    fields = read_json(file)["schema"]["fields"] if file.is_file() else []
    owners = {field["name"]: field.get("vocabulary") or field["name"] for field in fields}
    found: dict[str, list[str]] = {}
    for field in wanted:
        found.setdefault(owners.get(field, field), []).append(field)
    return found


def _fields(
    encoder: Path, wanted: Wanted, of_owner: Mapping[str, list[str]]
) -> list[tuple[Any, ...]]:
    """(owner, value, id) of the fields that are no crosses."""
    filters = []
    for owner, fields in of_owner.items():
        for ids in (wanted[field] for field in fields):
            if ids is None or ids:
                of_ids = [] if ids is None else [("id", "in", list(ids))]
                filters.append([("field", "=", owner), *of_ids])
    columns = ["field", "value", "id"]
    return _read(encoder / VOCABULARY, columns, filters) if filters else []


def _cross(
    encoder: Path, folder: Path, cross: Mapping[str, Any], ids: Collection[int] | None
) -> dict[int, str]:
    """The values of a cross field by id: those of its members."""
    columns = ["id", *(f"m{i}" for i in range(len(cross["members"])))]
    filters = None if ids is None else [("id", "in", list(ids))]
    rows = _read(folder / VOCABULARY, columns, filters)
    if not rows:
        return {}
    mine, *codes = zip(*rows, strict=True)
    values = []
    for member, column in zip(cross["members"], codes, strict=True):
        if member in cross["edges"]:
            edges = [f"{edge:.4g}" for edge in cross["edges"][member]]
            values.append([interval(edges, code) for code in column])
        else:
            named = value_names(encoder, {member: set(column)})[member]
            values.append([named.get(code, f"id {code}") for code in column])
    return dict(zip(mine, map(JOINER.join, zip(*values, strict=True)), strict=True))


def interval(edges: Sequence[str], code: int) -> str:
    """The name of a bin of numbers, from 0, by the edges between all bins."""
    if not edges:
        return "any"
    if code == 0:
        return f"<= {edges[0]}"
    return f"> {edges[-1]}" if code == len(edges) else f"({edges[code - 1]}, {edges[code]}]"
