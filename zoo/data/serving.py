"""How raw values become the inputs of a model, where this project is not installed."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Column:
    """A raw column that a served model reads.

    Attributes:
        name: Its name.
        type: What its values are, such as `text`.
        meaning: What it says, in a phrase.
    """

    name: str
    type: str
    meaning: str


@dataclass(frozen=True)
class Serving:
    """What turns raw rows into the inputs of a model, as plain data.

    Attributes:
        reader: Name of the file in `zoo/export/readers` that does so.
        plan: What the reader goes by; JSON.
        arrays: Tables that it looks values up in, by the name of their file.
        columns: The columns of raw rows.
        examples: Raw rows, on which a served model checks itself; JSON.
        batches: The examples as the model takes them, those left out that cannot be used; `row` is
            the number of each.
        keys: What says which row a line of the outputs is of, where it is not one for each.
    """

    reader: str
    plan: Mapping[str, Any]
    arrays: Mapping[str, np.ndarray]
    columns: Sequence[Column]
    examples: Sequence[Mapping[str, Any]]
    batches: Iterable[Any] = field(repr=False)
    keys: Sequence[Column] = ()
