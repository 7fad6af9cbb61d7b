"""What turns raw rows of a table into the inputs of a model without this project.

The plan is what `zoo/export/readers/rows.py` goes by:

    columns      names of the raw columns
    missing      texts that mean that a value is missing
    fields       of each field its name, kind, column, and how it is read:
                 read: number   whether blanks may stand around it, type, transform, mean,
                                deviation, and edges, of bins
                 read: text, list or time   vocabulary, buckets, separator, kept; part, form, digits
    crosses      of each cross field its members, each with its edges, or none where it has ids
    numerical, categorical, lists    the fields, in the order of the inputs

A value is looked up by the hash of its key, `<vocabulary>NUL<text>`; a missing one by that of its
vocabulary's name, and a combination by `<cross>NUL<id>NUL<id>`. There are no texts in the tables.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from datamodules.prepared.encoder import Encoder
from datamodules.tabular.crosses import Cross
from datamodules.tabular.paths import Reading
from datamodules.tabular.source import RawField
from zoo.data.encoder import VOCABULARY
from zoo.data.errors import ZooError
from zoo.data.module import EncodedTable
from zoo.data.schema import JOINER, MISSING, Schema
from zoo.data.serving import Column, Serving

NUMBER = {"type": "f8", "blanks": True, "mean": 0.0, "deviation": 1.0, "edges": None}
IDS = {"buckets": None, "separator": None, "kept": (None, None), "form": None, "digits": None}
EXAMPLES = 10
NUMBERS = (0, 1, 2.5, 40, -1, -25, 7)  # of the examples, in deviations from the mean
UNSEEN = "a value that was never seen"
FIRST_DAY = datetime(2014, 10, 21)
EPOCHS = {"s": 1, "ms": 1000, "us": 1_000_000}
TYPES = {"number": "number", "text": "text", "list": "list of texts", "time": "time"}


def plan_of(
    fields: Sequence[RawField],
    encoder: Encoder,
    crosses: Sequence[Cross],
    schema: Schema,
    reading: Reading,
) -> dict[str, Any]:
    """What a reader goes by.

    Args:
        fields: The fields, without crosses.
        encoder: What was fitted.
        crosses: The crosses.
        schema: Schema of the rows, crosses included.
        reading: How values are read.

    Raises:
        ZooError: where a field is read by SQL that has no other form.
    """
    return {
        "columns": [*dict.fromkeys(field.column for field in fields)],
        "missing": [*reading.missing_values],
        "fields": [_field(field, encoder, reading) for field in fields],
        "crosses": {
            JOINER.join(cross.members): {m: cross.edges.get(m) for m in cross.members}
            for cross in crosses
        },
        "numerical": [field.name for field in schema.numerical],
        "categorical": [field.name for field in schema.categorical],
        "lists": [field.name for field in schema.lists],
    }


def _field(field: RawField, encoder: Encoder, reading: Reading) -> dict[str, Any]:
    served = field.served or ({"read": "text"} if field.is_text and field.is_as_it_is else None)
    if served is None:
        raise ZooError(
            f"the field {field.name} cannot be read where this project is not: its RawField has "
            "SQL alone, and no `served`"
        )
    found: dict[str, Any] = {"name": field.name, "kind": field.kind, "column": field.column}
    if served["read"] == "number":
        mean, deviation = encoder.scaling.get(field.name, (0.0, 1.0))
        fitted = {"mean": mean, "deviation": deviation, "edges": encoder.edges.get(field.name)}
        return {**found, **NUMBER, **fitted, **served}
    form = {"form": reading.time_format} if served["read"] == "time" else {}
    return {**found, **IDS, "vocabulary": field.vocabulary or field.name, **form, **served}


def serving_of(
    plan: Mapping[str, Any],
    encoder: Path,
    crosses: Sequence[Path],
    encode: Callable[[pa.Table], EncodedTable],
) -> Serving:
    """What serves a table without this project.

    Args:
        plan: The plan.
        encoder: Folder of the encoder.
        crosses: Folders of its crosses, in the order of the plan.
        encode: Encodes rows in memory.
    """
    examples = examples_of(plan, encoder)
    table = pa.table({name: [row[name] for row in examples] for name in plan["columns"]})
    arrays = vocabulary_arrays(encoder, crosses, plan)
    return Serving("rows", plan, arrays, columns_of(plan), examples, encode(table).batches)


def columns_of(plan: Mapping[str, Any]) -> list[Column]:
    """The raw columns, and what they hold."""
    found: dict[str, Column] = {}
    for field in plan["fields"]:
        name = field["column"]
        found.setdefault(name, Column(name, TYPES[field["read"]], f"of the field {field['name']}"))
    return [*found.values()]


def vocabulary_arrays(
    encoder: Path, crosses: Sequence[Path], plan: Mapping[str, Any]
) -> dict[str, np.ndarray]:
    """The hashes of all keys, ascending, and their ids.

    Args:
        encoder: Folder of the encoder.
        crosses: Folders of its crosses, in the order of the plan.
        plan: The plan.

    Raises:
        ZooError: where two keys have one hash, which happens once in many millions of encoders.
    """
    own = [*dict.fromkeys(f["vocabulary"] for f in plan["fields"] if "vocabulary" in f)]
    parts = [(_hashes(own), np.full(len(own), MISSING))]
    parts += _hashed(encoder, ["field", "value"])
    for name, folder in zip(plan["crosses"], crosses, strict=True):
        parts += _hashed(folder, [f"m{i}" for i in range(len(plan["crosses"][name]))], name)
    hashes, ids = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    order = np.argsort(hashes)
    if (np.diff(hashes[order]) == 0).any():
        raise ZooError(f"{encoder}: two of its values have the same hash of 64 bits")
    return {"vocabulary": hashes[order], "ids": ids[order].astype(np.int32)}


def _hashed(
    folder: Path, columns: Sequence[str], *name: str
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The hashes of the keys of a vocabulary and their ids, some at a time."""
    for batch in pq.ParquetFile(folder / VOCABULARY).iter_batches(columns=[*columns, "id"]):
        values = [batch.column(column).to_pylist() for column in columns]
        keys = ("\0".join(map(str, (*name, *row))) for row in zip(*values, strict=True))
        yield _hashes(keys), batch.column("id").to_numpy()


def _hashes(keys: Iterable[str]) -> np.ndarray:
    """uint64 [n] the hash of each key, as readers compute it."""
    digests = (hashlib.blake2b(key.encode(), digest_size=8).digest() for key in keys)
    return np.frombuffer(b"".join(digests), "<u8")


def examples_of(plan: Mapping[str, Any], encoder: Path) -> list[dict[str, Any]]:
    """Raw rows of values that are known, but for the last two: missing ones, and unseen ones."""
    known = _first_values(encoder)
    return [
        {
            column: next(
                _example(field, known.get(field.get("vocabulary", ""), []), i)
                for field in plan["fields"]
                if field["column"] == column
            )
            for column in plan["columns"]
        }
        for i in range(EXAMPLES)
    ]


def _first_values(encoder: Path) -> dict[str, list[str]]:
    """The most frequent values of each vocabulary."""
    columns, least = ["field", "value", "id"], [("id", "<", EXAMPLES + MISSING)]
    table = pq.read_table(encoder / VOCABULARY, columns=columns, filters=least)
    found: dict[str, list[str]] = {}
    for row in table.to_pylist():
        found.setdefault(row["field"], []).append(row["value"])
    return found


def _example(field: Mapping[str, Any], known: Sequence[str], i: int) -> Any:
    """A value of a field in row i of the examples."""
    if field["read"] == "time":
        return _moment(field["form"], FIRST_DAY + timedelta(hours=13 * i))
    if i == EXAMPLES - 2:
        return None
    if field["read"] == "number":
        spread = field["edges"] or [field["mean"] + field["deviation"] * x for x in NUMBERS]
        return float(spread[i % len(spread)])
    texts = [UNSEEN] if i == EXAMPLES - 1 or field["buckets"] or not known else known
    found = [texts[(i + k) % len(texts)] for k in range(2)]
    if field["read"] == "text":
        return found[0]
    return found if field["separator"] is None else field["separator"].join(found)


def _moment(form: str | None, moment: datetime) -> Any:
    if form in EPOCHS:
        return int((moment - datetime(1970, 1, 1)).total_seconds()) * EPOCHS[form]
    return moment.strftime(form) if form else moment.isoformat(sep=" ")
