"""The data that checkpoints are scored on."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml
from pytorch_lightning import LightningDataModule

from zoo.data.errors import ZooError
from zoo.data.schema import Schema
from zoo.inspect.training import Run
from zoo.run.parser import ZooParser

# splits, and the stage of which they are a part
SPLITS = {"val": "validate", "test": "test", "predict": "predict"}


def add_data(parser: ZooParser, config: str | None = None) -> None:
    """Adds `--data` and `--data.*`, as `fit` has them.

    Args:
        parser: to add them to.
        config: file whose section `data` says what they leave out, such as a run's `config.yaml`.

    Raises:
        ZooError: where the file has no such section, or cannot be read.
    """
    parser.add_subclass_arguments(
        LightningDataModule,
        "data",
        required=False,
        help="data to score with the checkpoint; --data.* change those of --config",
    )
    if config is not None:
        try:
            parser.set_defaults({"data": _section(Path(config))})
        except (AttributeError, ImportError) as error:
            raise ZooError(f"{config}: section data names no class: {error}") from error


def _section(config: Path) -> Any:
    try:
        content = yaml.safe_load(config.read_text())
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise ZooError(f"{config} cannot be read: {error}".splitlines()[0]) from error
    if not isinstance(content, dict) or content.get("data") is None:
        raise ZooError(f"{config} has no section data")
    return content["data"]


def data_of(config: Path) -> LightningDataModule:
    """The datamodule of a config file, such as a run's `config.yaml`.

    Raises:
        ZooError: where the file has no section `data`, or cannot be read.
    """
    parser = ZooParser(prog="train.py inspect", parser_mode="omegaconf")
    add_data(parser, str(config))
    return parser.instantiate_classes(parser.parse_args([])).data


def batches_of(data: LightningDataModule, split: str) -> Iterable[Any]:
    """The batches of one of `SPLITS`, in the same order each time; prepares the data first."""
    data.prepare_data()
    data.setup(SPLITS[split])
    return getattr(data, f"{split}_dataloader")()


def encoder_of(run: Run | None, data: LightningDataModule) -> Path | None:
    """The encoder that names the values of the fields: of the run, or of the data."""
    if run and run.encoder.is_dir():
        return run.encoder
    return getattr(data, "encoder_folder", None)


def columns_of(schema: Schema, by: str | None) -> dict[str, int]:
    """The columns of `Batch.categorical` by field: all, or `by` alone.

    Raises:
        ZooError: where `by` is not a categorical field.
    """
    columns = {field.name: i for i, field in enumerate(schema.categorical)}
    if by is None:
        return columns
    if by not in columns:
        known = f"these are {', '.join(columns)}" if columns else "the data have none"
        raise ZooError(f"by: {by!r} is not a categorical field; {known}")
    return {by: columns[by]}
