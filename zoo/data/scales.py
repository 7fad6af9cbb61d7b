"""In what unit a model takes a number, so that it can be shown as the table has it.

A run's `encoder/encoder.json` says so of the numbers of `Table`, and of Criteo's.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zoo.data.plain import read_json


@dataclass(frozen=True)
class Scale:
    """What becomes of a number before a model takes it.

    Attributes:
        log: Whether it is taken as sign(x) ln(1 + |x|).
        mean: What is subtracted from it.
        deviation: What it is then divided by.
    """

    log: bool = False
    mean: float = 0.0
    deviation: float = 1.0

    def raw(self, number: float) -> float:
        """The number of the table that the model takes as this one."""
        if not self.log:
            return self.mean + self.deviation * number
        try:
            return math.copysign(math.expm1(abs(number)), number)
        except OverflowError:
            return math.copysign(math.inf, number)


@dataclass(frozen=True)
class Scales:
    """What an encoder says of the fields.

    Attributes:
        of: Scale of each number whose scale is known, by name.
        binned: Names of the fields whose ids are bins of numbers, in their order.
    """

    of: Mapping[str, Scale]
    binned: frozenset[str] = frozenset()


def scales_of(encoder: Path | None) -> Scales:
    """What an encoder says of the scales of its fields.

    Args:
        encoder: Its folder; None, or one that says nothing of them, knows none.
    """
    file = encoder and encoder / "encoder.json"
    if not file or not file.is_file():
        return Scales({})
    said = read_json(file)
    options, fitted = said.get("options") or {}, said.get("scaling") or {}
    found = {}
    for field in options.get("fields") or _of_criteo(said):
        name, transform = field.get("name"), field.get("transform")
        if transform in ("none", "log"):
            found[name] = Scale(log=transform == "log")
        elif transform == "standardise" and name in fitted:
            mean, deviation = fitted[name]
            found[name] = Scale(mean=mean, deviation=deviation)
    return Scales(found, frozenset(said.get("edges") or ()))


def _of_criteo(said: Mapping[str, Any]) -> list[dict[str, str]]:
    """The numbers of data that are all scaled alike, which are not negative."""
    scaling = (said.get("options") or {}).get("scaling")
    fields = (said.get("schema") or {}).get("fields") or []
    numbers = [field["name"] for field in fields if field.get("kind") == "numerical"]
    return [{"name": name, "transform": str(scaling)} for name in numbers]
