"""What turns raw rows into ids and numbers: vocabularies and means, fitted on training rows.

On disk an encoder is a folder of `encoder.json` (dataset, options, schema, means) and
`vocabulary.parquet` (field, value, id, count). A run carries a copy, and needs nothing else
to score new raw files.
"""

import glob
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import numpy as np

from datamodules.prepared.engine import Engine, name, quote
from datamodules.tabular.source import RawField
from zoo.data.encoder import ENCODER_FORMAT, VOCABULARY, encoder_description
from zoo.data.errors import ZooError
from zoo.data.schema import MISSING, UNKNOWN, Field, Schema

CHUNK = 500_000  # rows encoded at once


@dataclass(frozen=True)
class Encoder:
    """A fitted encoder.

    Args:
        dataset: the datamodule that reads the raw files, such as `Criteo`.
        options: those of the datamodule that decide how a raw row becomes ids.
        schema: of the encoded rows.
        means: of the numerical fields over the training rows, as encoded (missing is 0).
    """

    dataset: str
    options: dict[str, Any]
    schema: Schema
    means: dict[str, float]

    def save(self, engine: Engine, folder: Path) -> None:
        """Writes the folder; the engine holds the vocabulary."""
        folder.mkdir()
        save_vocabulary(engine, folder, order="field, id")
        self.save_description(folder)

    def save_description(self, folder: Path) -> None:
        """Writes `encoder.json`."""
        description = {
            "format": ENCODER_FORMAT,
            "dataset": self.dataset,
            "options": self.options,
            "schema": self.schema.to_dict(),
            "means": self.means,
        }
        (folder / "encoder.json").write_text(json.dumps(description, indent=1))

    @classmethod
    def load(cls, folder: Path) -> "Encoder":
        """Reads the description; `load_vocabulary` reads the rest."""
        with encoder_description(folder / "encoder.json") as data:
            schema = Schema.from_dict(data["schema"])
            return cls(data["dataset"], data["options"], schema, data["means"])

    def check(self, dataset: str, options: dict[str, Any], where: Path) -> None:
        """Raises `ZooError` unless raw rows of `dataset` read with `options` suit this encoder."""
        if dataset != self.dataset:
            raise ZooError(f"{where} was fitted on {self.dataset} data, not on {dataset} data")
        for option, value in self.options.items():
            if options.get(option) != value:
                raise ZooError(
                    f"{where} was fitted with data.{option} = {value}, this config has "
                    f"{options.get(option)}: use the config.yaml of that run"
                )


def save_vocabulary(engine: Engine, folder: Path, order: str) -> None:
    """Writes the engine's table `vocabulary`."""
    target = quote(folder / VOCABULARY)
    engine.run(f"COPY (SELECT * FROM vocabulary ORDER BY {order}) TO {target}")


def load_vocabulary(engine: Engine, folder: Path, columns: str) -> None:
    """Puts these columns of a saved vocabulary into the engine's table `vocabulary`."""
    path = folder / VOCABULARY
    source = f"read_parquet({quote(glob.escape(str(path)))}, hive_partitioning=false)"
    try:
        engine.run(f"CREATE OR REPLACE TABLE vocabulary AS SELECT {columns} FROM {source}")
    except duckdb.Error as error:
        raise ZooError(f"{path} is damaged: {str(error).splitlines()[0]}") from error


def fit_vocabulary(engine: Engine, fields: list[RawField], min_count: int) -> None:
    """Makes the table vocabulary (field, value, id, count) of the training rows.

    Ids follow unknown and missing, most frequent value first, ties in the order of the text;
    values rarer than `min_count` get none.
    """
    engine.run("CREATE TABLE vocabulary (field VARCHAR, value VARCHAR, id INTEGER, count BIGINT)")
    categorical = [field for field in fields if field.kind == "categorical"]
    for field in engine.progress.track(categorical, description="count ids"):
        column = name(field.name)
        engine.run(
            f"INSERT INTO vocabulary SELECT {quote(field.name)}, value, "
            f"{MISSING} + row_number() OVER (ORDER BY n DESC, value), n "
            f"FROM (SELECT {column} AS value, count(*) AS n FROM rows "
            f"WHERE split = 0 AND problem IS NULL AND {column} IS NOT NULL GROUP BY 1) "
            f"WHERE n >= {min_count}"
        )


def fit_schema(engine: Engine, fields: list[RawField]) -> Schema:
    """The schema that the engine's vocabulary makes of the raw fields."""
    counts = dict(engine.run("SELECT field, count(*) FROM vocabulary GROUP BY 1"))
    return Schema(
        tuple(
            Field(f.name, f.kind, MISSING + 1 + counts.get(f.name, 0), f.group)
            if f.kind == "categorical"
            else Field(f.name, f.kind, group=f.group)
            for f in fields
        )
    )


def fit_means(engine: Engine, schema: Schema) -> dict[str, float]:
    """Training means of the numerical fields, a missing number counting as 0."""
    if not schema.numerical:
        return {}
    means = ", ".join(f"avg(coalesce({name(f.name)}, 0))" for f in schema.numerical)
    (values,) = engine.run(f"SELECT {means} FROM rows WHERE split = 0 AND problem IS NULL")
    return {f.name: value for f, value in zip(schema.numerical, values, strict=True)}


@dataclass(frozen=True)
class Encoded:
    """Encoded rows in file order: split [R] int8, row [R] int64 (of the table), label [R]
    float32 (NaN if unknown), numerical [R, N] float32, categorical [R, C] int32."""

    split: np.ndarray
    row: np.ndarray
    label: np.ndarray
    numerical: np.ndarray
    categorical: np.ndarray


def encode(engine: Engine, schema: Schema) -> Iterator[Encoded]:
    """Encodes the table `rows` chunk by chunk."""
    ((count,),) = engine.run("SELECT count(*) FROM rows")
    chunks = range(0, count, CHUNK)
    for start in engine.progress.track(chunks, description="encode"):
        found = engine.arrays(_encode_statement(schema, start))
        order = np.argsort(found["row"], kind="stable")  # joins may have disturbed it
        yield Encoded(
            split=found["split"][order],
            row=found["row"][order],
            label=found["label"][order],
            numerical=_matrix(found, schema.numerical, np.float32)[order],
            categorical=_matrix(found, schema.categorical, np.int32)[order],
        )


def _encode_statement(schema: Schema, start: int) -> str:
    columns = [
        "rows.rowid AS row",
        "split",
        "coalesce(label::FLOAT, 'nan'::FLOAT) AS label",
    ]
    columns += [f"coalesce({name(f.name)}, 0)::FLOAT AS {name(f.name)}" for f in schema.numerical]
    joins = []
    for i, field in enumerate(schema.categorical):
        column = f"rows.{name(field.name)}"
        rare = f"CASE WHEN {column} IS NULL THEN {MISSING} ELSE {UNKNOWN} END"
        columns.append(f"coalesce(v{i}.id, {rare})::INTEGER AS {name(field.name)}")
        joins.append(
            f"LEFT JOIN (SELECT value, id FROM vocabulary WHERE field = {quote(field.name)}) "
            f"AS v{i} ON v{i}.value = {column}"
        )
    return (
        f"SELECT {', '.join(columns)} FROM rows {' '.join(joins)} WHERE problem IS NULL "
        f"AND rows.rowid >= {start} AND rows.rowid < {start + CHUNK}"
    )


def _matrix(found: dict[str, np.ndarray], fields: tuple[Field, ...], dtype: type) -> np.ndarray:
    matrix = np.empty((len(found["row"]), len(fields)), dtype)
    for i, field in enumerate(fields):
        matrix[:, i] = found[field.name]
    return matrix
