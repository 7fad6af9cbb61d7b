"""The data that checkpoints are scored on."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml
from pytorch_lightning import LightningDataModule

from zoo.parser import ZooParser
from zoo.schema import Schema, ZooError


def data_of(config: Path) -> LightningDataModule:
    """The datamodule of a config file, such as a run's `config.yaml`.

    Raises:
        ZooError: where the file has no section `data`, or cannot be read.
    """
    try:
        content = yaml.safe_load(config.read_text())
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise ZooError(f"{config} cannot be read: {error}".splitlines()[0]) from error
    if not isinstance(content, dict) or "data" not in content:
        raise ZooError(f"{config} has no section data")
    parser = ZooParser(prog="train.py inspect", parser_mode="omegaconf")
    parser.add_subclass_arguments(LightningDataModule, "data", required=True)
    options = parser.parse_object({"data": content["data"]})
    return parser.instantiate_classes(options).data


def batches_of(data: LightningDataModule, split: str) -> Iterable[Any]:
    """The batches of `val` or `test`, in the same order each time; prepares the data first."""
    data.prepare_data()
    data.setup("test" if split == "test" else "validate")
    return data.test_dataloader() if split == "test" else data.val_dataloader()


def columns_of(schema: Schema, by: str | None) -> dict[str, int]:
    """The columns of `Batch.categorical` by field: all, or `by` alone.

    Raises:
        ZooError: where `by` is not a categorical field.
    """
    columns = {field.name: i for i, field in enumerate(schema.categorical)}
    if by is None:
        return columns
    if by not in columns:
        raise ZooError(f"by: {by!r} is not a categorical field; these are {', '.join(columns)}")
    return {by: columns[by]}
