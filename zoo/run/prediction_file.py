"""Files of predictions: where they go, which formats they have, what they carry along."""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import csv

from zoo.data.errors import ZooError

WRITERS: dict[str, Callable[[Path, pa.Schema], Any]] = {
    ".parquet": pq.ParquetWriter,
    ".csv": csv.CSVWriter,
}
SOURCE = b"interpretable-zoo predictions"  # in the metadata of a Parquet file


def writer_of(output: Path) -> Callable[[Path, pa.Schema], Any]:
    """What writes tables to a file of this suffix.

    Raises:
        ZooError: where the suffix names no format, or the file cannot be one.
    """
    if output.suffix not in WRITERS or output.is_dir():
        formats = " or ".join(WRITERS)
        raise ZooError(f"data.predict_output: {output} must name a file that ends in {formats}")
    return WRITERS[output.suffix]


def source_of(scored: str | None, checkpoint: Path, recommend: int | None = None) -> dict[str, str]:
    """What predictions are made of: the file that is scored and the checkpoint; of recommendations
    also their number."""
    named = str(Path(scored).resolve()) if scored else ""
    found = {"predict_path": named, "checkpoint": str(checkpoint.resolve())}
    return {**found, "recommend": str(recommend)} if recommend else found


def default_output(folder: Path, source: Mapping[str, str]) -> Path:
    """The file for predictions that no option names: `<name of the scored file>.parquet`.

    Where that holds the predictions of another file of this name, or of another checkpoint, they
    stay, and the name gets eight digits that distinguish this source.
    """
    stem = Path(source["predict_path"]).stem
    if not stem or set(stem) & set("*?["):  # a pattern names no file
        stem = "predictions"
    if "recommend" in source:
        stem = f"{stem if source['predict_path'] else 'users'}-top-{source['recommend']}"
    plain = folder / f"{stem}.parquet"
    if not plain.exists() or _saved_source(plain) == source:
        return plain
    digits = hashlib.sha256(json.dumps(source, sort_keys=True).encode()).hexdigest()[:8]
    return folder / f"{stem}-{digits}.parquet"


def with_source(schema: pa.Schema, source: Mapping[str, str]) -> pa.Schema:
    """The schema of a file that says what its predictions are made of."""
    return schema.with_metadata({SOURCE: json.dumps(source).encode()})


def _saved_source(path: Path) -> Any:
    try:
        return json.loads((pq.read_schema(path).metadata or {})[SOURCE])
    except (OSError, KeyError, ValueError):  # of an earlier version, or no predictions at all
        return None


class Carried:
    """Columns of the scored file, which are written beside its predictions.

    Args:
        file: Parquet file of `row` (rising) and these columns; None carries nothing.
    """

    def __init__(self, file: Path | None) -> None:
        opened = pq.ParquetFile(file) if file else None
        self.fields = list(opened.schema_arrow)[1:] if opened else []
        self._batches: Iterator[pa.RecordBatch] = opened.iter_batches() if opened else iter(())
        schema = pa.schema([("row", pa.int64()), *self.fields])
        self._rest = schema.empty_table()

    def beside(self, table: pa.Table) -> pa.Table:
        """The table with the columns of its rows, which follow those of the table before."""
        if not self.fields or not len(table):
            return table
        rows = table["row"].to_numpy()
        while not len(self._rest) or self._rest["row"][-1].as_py() < rows[-1]:
            batch = next(self._batches, None)
            if batch is None:
                break
            self._rest = pa.concat_tables([self._rest, pa.table(batch)])
        mine = self._rest["row"].to_numpy()
        place = np.searchsorted(mine, rows)
        absent = np.append(mine, -1)[place] != rows
        taken = self._rest.take(pa.array(place, mask=absent))
        self._rest = self._rest.slice(np.searchsorted(mine, rows[-1], side="right"))
        for field in self.fields:
            table = table.append_column(field, taken[field.name])
        return table
