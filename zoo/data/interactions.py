"""interactions.json: the sets of fields that a model was found to join, the strongest first.

    {"format": 1, "interactions": [{"fields": ["C1", "C2"], "count": 812, ..}, ..]}

`detect` writes it, `data.crosses` makes cross fields of it, `inspect` shows it.
"""

import json
import sys
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from zoo.data.errors import ZooError
from zoo.data.files import write_text
from zoo.data.interaction import (
    SIGNIFICANCE_LEVEL,
    InCheckpoint,
    Interaction,
    InteractionFile,
    Main,
    StrongRow,
)
from zoo.data.plain import read_json

__all__ = [
    "SIGNIFICANCE_LEVEL",
    "Interaction",
    "InteractionFile",
    "read_interactions",
    "write_interactions",
]

INTERACTIONS_FORMAT = 1
EFFECTS = ("effect", "effect_low", "effect_high", "size", "share", "share_low", "share_high")
MEASURED = (*EFFECTS, "p", "q", "context_share")
GAINS = ("gain", "gain_error")
STABILITY = ("spread", "agreement")
IN_CHECKPOINT = ("count", "effect", "size", "share", "share_low", "share_high", "q")
COUNTED = ("count", "null_count", "p_uniform", "p_permutation", "q_permutation")
NUMBERS = (*COUNTED, *MEASURED, *STABILITY, *GAINS)


def write_interactions(path: Path, found: Mapping[str, Any]) -> None:
    """Writes a file of interactions; the one before stands until it is complete.

    Args:
        path: File to write.
        found: Its content but the format: `interactions`, and what else is to be kept.
    """
    write_text(path, json.dumps({"format": INTERACTIONS_FORMAT, **found}, indent=1))


def read_interactions(path: Path, fields: Collection[str], option: str) -> InteractionFile:
    """Reads a file of interactions between known fields.

    Args:
        path: The file.
        fields: Names of the fields that there are.
        option: The option that names the file, for messages.

    Raises:
        ZooError: where the file cannot be read, is of another format, or an interaction is not a
            list of at least two different known fields.
    """
    content = _read(path, option)
    mains = [
        _main(entry, f"{path}: main effect {number}")
        for number, entry in enumerate(_list(content, "mains", f"{path}:"), 1)
    ]
    return InteractionFile(
        str(path),
        _of(content, "model", str),
        _of(content, "instances", int),
        tuple(
            _interaction(entry, fields, f"{path}: interaction {number}")
            for number, entry in enumerate(content["interactions"], 1)
        ),
        _of(content, "detector", str),
        tuple(mains),
        _fidelity(content.get("fidelity")),
        *_matrix(content, path),
        _gains_of(content.get("gains")),
        _checkpoints(content, path),
    )


def _read(path: Path, option: str) -> dict[str, Any]:
    if not path.is_file():
        raise ZooError(f"cannot read {path} ({option}): No such file or directory")
    content = read_json(path, f"is not JSON ({option})")
    if not isinstance(content, dict) or "format" not in content:
        raise ZooError(f'{path} is not a file of interactions: it has no "format" ({option})')
    if content["format"] != INTERACTIONS_FORMAT:
        raise ZooError(
            f"{path} has format {content['format']!r}, this version reads {INTERACTIONS_FORMAT}"
        )
    if not isinstance(content.get("interactions"), list):
        raise ZooError(f'{path}: "interactions" is not a list')
    return content


def _interaction(entry: Any, known: Collection[str], where: str) -> Interaction:
    fields = entry.get("fields") if isinstance(entry, Mapping) else None
    if not isinstance(fields, list) or not all(isinstance(name, str) for name in fields):
        raise ZooError(f'{where} has no "fields", a list of names')
    for name in fields:
        if name not in known:
            raise ZooError(
                f"{where} names an unknown field: {name}; the file is of other data, or of crosses"
            )
        if fields.count(name) > 1:
            raise ZooError(f"{where} names a field twice: {name}")
    if len(fields) < 2:
        raise ZooError(f"{where} has fewer than two fields: {', '.join(fields) or 'none'}")
    by = entry.get("by")
    if by is not None and not isinstance(by, str):
        raise ZooError(f"{where} has no text as its by: {by!r}")
    strongest = [_strong(row, where) for row in _list(entry, "strongest", where)]
    each = enumerate(_list(entry, "checkpoints", where), 1)
    return Interaction(
        tuple(fields),
        by=by,
        strongest=tuple(strongest),
        checkpoints=tuple(_in_checkpoint(x, f"{where}: checkpoint {i}") for i, x in each),
        **_numbers(entry, NUMBERS, where),
        **_pays(entry, where),
    )


def _pays(entry: Mapping[str, Any], where: str) -> dict[str, Any]:
    bins, pays = entry.get("bins"), entry.get("pays")
    if bins is not None and (not isinstance(bins, int) or isinstance(bins, bool) or bins < 2):
        raise ZooError(f"{where} has no whole number from 2 on as its bins: {bins!r}")
    if pays is not None and not isinstance(pays, bool):
        raise ZooError(f"{where} has neither true nor false as its pays: {pays!r}")
    return {"bins": bins, "pays": pays}


def _strong(entry: Any, where: str) -> StrongRow:
    row = entry.get("row") if isinstance(entry, Mapping) else None
    if not isinstance(row, int) or isinstance(row, bool) or row < 0:
        raise ZooError(f'{where}: one of its strongest rows has no number as its "row": {row!r}')
    effect, error = _numbers(entry, ("effect", "error"), f"{where}: row {row}").values()
    if effect is None:
        raise ZooError(f'{where}: row {row} has no "effect"')
    return StrongRow(row, effect, error)


def _in_checkpoint(entry: Any, where: str) -> InCheckpoint:
    if not isinstance(entry, Mapping):
        raise ZooError(f"{where} is no mapping: {entry!r}")
    return InCheckpoint(**_numbers(entry, IN_CHECKPOINT, where))


def _checkpoints(content: Mapping[str, Any], path: Path) -> tuple[str, ...]:
    """The checkpoints that were compared; an interaction has its numbers in all or in none."""
    named = _list(content, "checkpoints", f"{path}:")
    if not all(isinstance(name, str) for name in named):
        raise ZooError(f'{path}: "checkpoints" is not a list of names')
    for number, entry in enumerate(content["interactions"], 1):
        count = len(entry.get("checkpoints") or ())
        if count not in (0, len(named)):
            raise ZooError(
                f"{path}: interaction {number} has numbers of {count} checkpoints, the file names "
                f"{len(named)}"
            )
    return tuple(named)


def _main(entry: Any, where: str) -> Main:
    name = entry.get("field") if isinstance(entry, Mapping) else None
    if not isinstance(name, str):
        raise ZooError(f'{where} has no "field", a name')
    return Main(name, **_numbers(entry, ("effect", "share"), where))


def _matrix(
    content: Mapping[str, Any], path: Path
) -> tuple[tuple[str, ...], tuple[tuple[float, ...], ...]]:
    """The names of the fields, and the matrix; both empty where there is none."""
    rows, names = _list(content, "matrix", f"{path}:"), content.get("fields")
    if not rows:
        return (), ()
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ZooError(f'{path}: "fields" is not a list of names, which "matrix" needs')
    if [len(row) if isinstance(row, list) else 0 for row in rows] != [len(names)] * len(names):
        raise ZooError(f'{path}: "matrix" has not {len(names)} rows of {len(names)} numbers')
    if not all(_is_number(value) for row in rows for value in row):
        raise ZooError(f'{path}: "matrix" holds what is no number')
    return tuple(names), tuple(map(tuple, rows))


def _gains_of(found: Any) -> dict[str, str]:
    data = found.get("data") if isinstance(found, Mapping) else None
    plain = data.items() if isinstance(data, Mapping) else ()
    return {name: value for name, value in plain if isinstance(value, str)}


def _fidelity(found: Any) -> dict[str, float]:
    plain = found.items() if isinstance(found, Mapping) else ()
    return {name: value for name, value in plain if _is_number(value)}


def _list(content: Mapping[str, Any], name: str, where: str) -> list[Any]:
    """A list of the file; empty where it does not have it."""
    found = content.get(name)
    if found is not None and not isinstance(found, list):
        raise ZooError(f'{where} "{name}" is not a list')
    return found or []


def _of(content: Mapping[str, Any], name: str, kind: type) -> Any:
    """A value of a kind; None where the file has none, or something else."""
    found = content.get(name)
    return found if isinstance(found, kind) and not isinstance(found, bool) else None


def _numbers(entry: Mapping[str, Any], names: Sequence[str], where: str) -> dict[str, Any]:
    """Numbers of the file by name; None where it does not have one."""
    found = {name: entry.get(name) for name in names}
    for name, value in found.items():
        if value is not None and not _is_number(value):
            raise ZooError(f"{where} has no number as its {name}: {value!r}")
    return found


def _is_number(value: Any) -> bool:
    if not isinstance(value, int | float) or isinstance(value, bool):
        return False
    return abs(value) <= sys.float_info.max  # neither NaN nor a number beyond floats
