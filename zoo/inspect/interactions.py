"""The interactions that `train.py detect` has found in a model, read from its interactions.json."""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Group
from rich.jupyter import JupyterMixin

from zoo.data.errors import ZooError
from zoo.data.schema import Schema

NUMBERS = ("count", "null_count", "p_uniform", "p_permutation", "q_permutation")


@dataclass(frozen=True)
class Interaction:
    """Fields that a model was found to join; numbers are None where the file lacks them.

    Attributes:
        fields: their names.
        count: number of rows in which it was found.
        null_count: mean number of rows in whose permuted scores it was found.
        p_uniform: see `zoo.glider.detect.summarise`, as of the others.
        p_permutation: of Fisher's exact test.
        q_permutation: the former, adjusted for all possible interactions.
    """

    fields: tuple[str, ...]
    count: float | None
    null_count: float | None
    p_uniform: float | None
    p_permutation: float | None
    q_permutation: float | None


@dataclass(frozen=True)
class Interactions(JupyterMixin):
    """What a file holds, in its order: the most frequent first.

    Attributes:
        file: its path.
        model: in which they were found, where the file says.
        instances: number of rows that were explained, where the file says.
        found: the interactions.
    """

    file: str
    model: str | None
    instances: int | None
    found: tuple[Interaction, ...]

    def to_dict(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self)

    def __rich__(self) -> Group:
        from zoo.inspect.tables import interactions

        return interactions(self)


def read_interactions(path: Path, schema: Schema) -> Interactions:
    """Reads a file of interactions between the fields of a schema.

    Raises:
        ZooError: where it cannot be read, or names other fields.
    """
    from zoo.glider.detect import FORMAT  # which takes a while to load

    try:
        content = json.loads(path.read_bytes())
    except OSError as error:
        raise ZooError(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise ZooError(f"{path} is not JSON: {error}") from error
    if not isinstance(content, dict) or not isinstance(content.get("interactions"), list):
        raise ZooError(f'{path} is not a file of interactions: it has no list "interactions"')
    if content.get("format") != FORMAT:
        raise ZooError(f"{path} has format {content.get('format')!r}, this version reads {FORMAT}")
    found = tuple(
        _interaction(entry, schema, f"{path}: interaction {number}")
        for number, entry in enumerate(content["interactions"], 1)
    )
    model, instances = content.get("model"), content.get("instances")
    return Interactions(
        str(path),
        model if isinstance(model, str) else None,
        instances if isinstance(instances, int) else None,
        found,
    )


def _interaction(entry: Any, schema: Schema, where: str) -> Interaction:
    fields = entry.get("fields") if isinstance(entry, Mapping) else None
    if not isinstance(fields, list) or not all(isinstance(field, str) for field in fields):
        raise ZooError(f'{where} lacks its "fields", a list of names')
    if len(fields) < 2:
        raise ZooError(f"{where} has fewer than two fields: {', '.join(fields) or 'none'}")
    known = {field.name for field in schema.fields}
    others = [field for field in fields if field not in known]
    if others:
        raise ZooError(
            f"{where} names {', '.join(others)}, which the checkpoint's schema lacks: the file is "
            "of other data"
        )
    numbers = [entry.get(name) for name in NUMBERS]
    for name, value in zip(NUMBERS, numbers, strict=True):
        if value is not None and not _is_number(value):
            raise ZooError(f"{where} has no number as its {name}: {value!r}")
    return Interaction(tuple(fields), *numbers)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
