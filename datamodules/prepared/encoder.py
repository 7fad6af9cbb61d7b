"""The descriptions of encoders: the one writer of what `zoo.data.encoder` reads.

An encoder is a folder of `encoder.json` and of tables (such as `vocabulary.parquet`). A run
carries a copy, and needs nothing else to score new raw files.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from datamodules.prepared.vocabulary import FIRST_ID
from zoo.data.encoder import ENCODER_FORMAT, encoder_description
from zoo.data.errors import ZooError
from zoo.data.known_ids import difference
from zoo.data.plain import check_kinds
from zoo.data.schema import Schema

DESCRIPTION = "encoder.json"
FITTED = {"scaling": dict[str, tuple[float, float]], "edges": dict[str, list[float]]}
KINDS = {"dataset": str, "options": dict[str, Any], "schema": dict, "means": dict[str, float]}


@dataclass(frozen=True)
class Encoder:
    """What `encoder.json` says of rows with ids and numbers.

    Attributes:
        dataset: Name of the dataset whose raw files it reads, such as `Criteo`.
        options: Options of the datamodule that decide how a raw row becomes ids.
        schema: Schema of the encoded rows, without crosses.
        means: Means of the numerical fields over the training rows, as encoded (missing is 0).
        scaling: Mean and deviation of the standardised fields over the training rows.
        edges: Edges of the bins of numbers that have become categorical.
    """

    dataset: str
    options: dict[str, Any]
    schema: Schema
    means: dict[str, float]
    scaling: dict[str, tuple[float, float]] = field(default_factory=dict)
    edges: dict[str, list[float]] = field(default_factory=dict)

    def save(self, folder: Path) -> None:
        """Writes `encoder.json` into the folder that holds the tables."""
        content = {
            "dataset": self.dataset,
            "options": self.options,
            "schema": self.schema.to_dict(),
            "means": self.means,
        }
        for name in FITTED:
            if getattr(self, name):
                content[name] = getattr(self, name)
        write_description(folder / DESCRIPTION, content)

    @classmethod
    def load(cls, folder: Path) -> "Encoder":
        """Reads what `save` wrote.

        Raises:
            ZooError: where a file is missing or damaged.
        """
        with encoder_description(folder / DESCRIPTION, KINDS) as data:
            schema = Schema.from_dict(data["schema"])
            if absent := {field.name for field in schema.numerical} - data["means"].keys():
                raise ValueError(f"it has no mean of {', '.join(sorted(absent))}")
            fitted = check_kinds({"scaling": {}, "edges": {}, **data}, FITTED)
            fitted = {name: fitted[name] for name in FITTED}
            sizes = {field.name: field.cardinality for field in schema.categorical}
            for name, edges in fitted["edges"].items():
                if sizes.get(name) != FIRST_ID + len(edges) + 1 or edges != sorted(edges):
                    raise ValueError(f"the edges of {name} do not fit its schema")
            return cls(data["dataset"], data["options"], schema, data["means"], **fitted)

    def check(self, dataset: str, options: Mapping[str, Any], folder: Path) -> None:
        """Raises `ZooError` unless raw rows of `dataset` read with `options` suit this encoder.

        Args:
            dataset: Name of the dataset.
            options: Options of the datamodule.
            folder: Folder of the encoder, for messages.
        """
        check_dataset(self.dataset, dataset, folder)
        for option, value in self.options.items():
            there, here = difference(value, options.get(option))
            if there != here:
                raise ZooError(
                    f"{folder} was fitted with data.{option} = {there}, this config has {here}: "
                    "use the config.yaml of that run"
                )


def write_description(path: Path, content: Mapping[str, Any]) -> None:
    """Writes a JSON file of an encoder; `zoo.data.encoder.encoder_description` reads it."""
    path.write_text(json.dumps({"format": ENCODER_FORMAT, **content}, indent=1))


def check_dataset(fitted: str, dataset: str, folder: Path) -> None:
    """Raises `ZooError` where an encoder was fitted on another dataset."""
    if fitted != dataset:
        raise ZooError(f"{folder} was fitted on {fitted} data, not on {dataset} data")
