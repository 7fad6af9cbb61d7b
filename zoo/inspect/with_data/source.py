"""The data that checkpoints are scored on."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from zoo.data.errors import ZooError
from zoo.data.module import STAGES, ZooDataModule
from zoo.data.schema import Schema
from zoo.inspect.weights_only.run import Run


def batches_of(data: ZooDataModule, split: str) -> Iterable[Any]:
    """The batches of a split, in the same order each time; prepares the data first.

    Args:
        data: The data.
        split: `val`, `test` or `predict`.

    Raises:
        ZooError: where the data have no such split.
    """
    if not data.offers(split):
        offered = ", ".join(name for name in STAGES if name != "train" and data.offers(name))
        raise ZooError(f"{type(data).__name__} has no split {split}; it has {offered or 'none'}")
    data.prepare_data()
    data.setup(STAGES[split])
    return data.batches(split)


def encoder_of(run: Run | None, data: ZooDataModule) -> Path | None:
    """The encoder that names the values of the fields: that of the run, or of the data."""
    return run.encoder if run and run.encoder.is_dir() else data.encoder_folder


def categorical_fields(schema: Schema, by: str | None) -> tuple[str, ...]:
    """The names of the categorical fields: all, or `by` alone.

    Raises:
        ZooError: where `by` is not a categorical field.
    """
    names = tuple(field.name for field in schema.categorical)
    if by is None:
        return names
    if by not in names:
        hint = f"these are {', '.join(names)}" if names else "the data have none"
        raise ZooError(f"by: {by!r} is not a categorical field; {hint}")
    return (by,)
