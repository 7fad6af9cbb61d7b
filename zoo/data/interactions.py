"""interactions.json: the sets of fields that a model was found to join, most frequent first.

    {"format": 1, "interactions": [{"fields": ["C1", "C2"], "count": 812, ..}, ..]}

`detect` writes it, `data.crosses` makes cross fields of it, `inspect` shows it.
"""

import json
import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zoo.data.errors import ZooError
from zoo.data.files import write_text
from zoo.data.plain import read_json

INTERACTIONS_FORMAT = 1
SIGNIFICANCE_LEVEL = 0.05  # of q-values and p-values
NUMBERS = ("count", "null_count", "p_uniform", "p_permutation", "q_permutation")


@dataclass(frozen=True)
class Interaction:
    """Fields that a model was found to join; a number is None where the file does not have it.

    Attributes:
        fields: Names of the fields.
        count: Number of rows in which it was found.
        null_count: Mean number of rows in whose permuted scores it was found.
        p_uniform: P-value under the uniform null (see `zoo.glider.statistics.summarise`).
        p_permutation: P-value of Fisher's exact test.
        q_permutation: The former, adjusted for all possible interactions.
    """

    fields: tuple[str, ...]
    count: float | None = None
    null_count: float | None = None
    p_uniform: float | None = None
    p_permutation: float | None = None
    q_permutation: float | None = None


@dataclass(frozen=True)
class InteractionFile:
    """What a file of interactions holds, in its order.

    Attributes:
        file: Path of the file.
        model: Class of the model in which they were found; None where the file does not say.
        instances: Number of rows that were explained; None where the file does not say.
        interactions: The interactions, in the order of their rank.
    """

    file: str
    model: str | None
    instances: int | None
    interactions: tuple[Interaction, ...]


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
    model, instances = content.get("model"), content.get("instances")
    return InteractionFile(
        str(path),
        model if isinstance(model, str) else None,
        instances if isinstance(instances, int) else None,
        tuple(
            _interaction(entry, fields, f"{path}: interaction {number}")
            for number, entry in enumerate(content["interactions"], 1)
        ),
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
    numbers = {name: entry.get(name) for name in NUMBERS}
    for name, value in numbers.items():
        if value is not None and not _is_number(value):
            raise ZooError(f"{where} has no number as its {name}: {value!r}")
    return Interaction(tuple(fields), **numbers)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
