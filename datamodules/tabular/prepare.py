"""Streaming preparation: raw file -> counts -> vocabulary -> ids -> arrays on disk.

Memory stays bounded whatever the file's size: DuckDB spills to the folder being built, and
arrays are appended to chunk by chunk.
"""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from datamodules.prepared.engine import Engine, name, quote
from datamodules.prepared.store import SPLITS, ArraysWriter, Manifest, checksums
from datamodules.tabular.encoder import (
    CHUNK,
    Encoder,
    encode,
    fit_means,
    fit_schema,
    fit_vocabulary,
    load_vocabulary,
)
from datamodules.tabular.source import RawField, RawFile, Rows, check_malformed, read_rows
from zoo.data.errors import ZooError
from zoo.data.schema import Schema

TIME = "time of the row"  # extra column of the table `rows` where the split is by time


@dataclass(frozen=True)
class Splitting:
    """How rows are dealt to training, validation and test.

    Args:
        by: `hash` of the row number, or `time`.
        ratio: sizes of training, validation and test.
        seed: of the hash.
        time: with `time`, an SQL expression over the raw columns that sorts as time does.
    """

    by: Literal["hash", "time"]
    ratio: Sequence[int]
    seed: int = 0
    time: str | None = None

    def __post_init__(self) -> None:
        if len(self.ratio) != 3 or min(self.ratio) < 1:
            raise ZooError(f"data.split_ratio needs three positive numbers, got {list(self.ratio)}")
        if self.by == "time" and self.time is None:
            raise ZooError("these rows have no time to be split by: use data.split=hash")

    @property
    def extra(self) -> dict[str, str]:
        """Columns that the split needs beside the fields."""
        return {TIME: self.time} if self.by == "time" else {}

    def assign(self, engine: Engine) -> None:
        """Sets `split` of the table `rows`: 0 for training, 1 for validation, 2 for test."""
        ((count,),) = engine.run("SELECT count(*) FROM rows")
        split = self._expression(engine)
        for start in range(0, count, CHUNK):
            chunk = f"rowid >= {start} AND rowid < {start + CHUNK}"
            engine.run(f"UPDATE rows SET split = {split} WHERE {chunk}")

    def _expression(self, engine: Engine) -> str:
        if self.by == "time":
            validation, test = self._times(engine)
            time = name(TIME)
            return f"CASE WHEN {time} < {validation} THEN 0 WHEN {time} < {test} THEN 1 ELSE 2 END"
        bucket = f"{_hash_statement(self.seed)} % {sum(self.ratio)}"
        train, validation, _ = self.ratio
        return (
            f"CASE WHEN {bucket} < {train} THEN 0 WHEN {bucket} < {train + validation} THEN 1 "
            "ELSE 2 END"
        )

    def _times(self, engine: Engine) -> tuple[str, str]:
        """The first times of validation and test; rows of one time stay together."""
        time = name(TIME)
        counts = engine.run(
            f"SELECT {time}, count(*) FROM rows WHERE problem IS NULL GROUP BY 1 ORDER BY 1"
        )
        if len(counts) < 3:
            raise ZooError(
                f"the file holds {len(counts)} distinct times; a split by time needs at least "
                "three: use data.split=hash"
            )
        share = np.cumsum([count for _, count in counts]) / sum(count for _, count in counts)
        train, validation, _ = np.cumsum(self.ratio) / sum(self.ratio)
        # the time at which the wanted share is first reached ends its split
        first = min(int(np.searchsorted(share, train - 1e-9)) + 1, len(counts) - 2)
        second = min(
            max(int(np.searchsorted(share, validation - 1e-9)) + 1, first + 1), len(counts) - 1
        )
        return quote(counts[first][0]), quote(counts[second][0])


def row_hash(row: np.ndarray, seed: int) -> np.ndarray:
    """[n] hash values that split rows: multiplicative congruences with xor-shifts between them,
    the same in SQL and NumPy, on every machine and in every version."""
    mixed = (row.astype(np.int64) * 1_103_515_245 + 1) % 2_147_483_647
    mixed = (mixed ^ (mixed >> 15)) * 1_597_334_677 % 2_147_483_629
    mixed = mixed ^ (mixed >> 13) ^ _seed_bits(seed)
    mixed = mixed * 2_246_822_519 % 4_294_967_291
    return (mixed ^ (mixed >> 16)) * 1_812_433_253 % 2_147_483_587


def _seed_bits(seed: int) -> int:
    """31 bits that differ in about half for neighbouring seeds."""
    return (seed + 1) * 2_654_435_761 % 2_147_483_647


def _hash_statement(seed: int) -> str:
    mixed = "((rows.rowid * 1103515245 + 1) % 2147483647)"
    mixed = f"(xor({mixed}, {mixed} >> 15) * 1597334677 % 2147483629)"
    mixed = f"xor(xor({mixed}, {mixed} >> 13), {_seed_bits(seed)})"
    mixed = f"({mixed} * 2246822519 % 4294967291)"
    return f"(xor({mixed}, {mixed} >> 16) * 1812433253 % 2147483587)"


def prepare(
    folder: Path,
    file: RawFile,
    fields: list[RawField],
    splitting: Splitting,
    *,
    dataset: str,
    encoder_options: dict,
    min_count: int,
    max_bad_rows: float,
    memory_limit: str,
    source: dict,
    options: dict,
) -> None:
    """Fills an empty folder with prepared data: encoder, arrays, manifest.

    Raises:
        ZooError: where the file cannot be used; the message says why.
    """
    if file.label is None:
        raise ZooError(f"{file.path} has no label column: a model cannot be trained on it")
    with Engine(folder / "work", memory_limit) as engine:
        rows = read_rows(engine, file, fields, splitting.extra)
        check_malformed(rows, file, max_bad_rows)
        splitting.assign(engine)
        splits = _count_splits(engine, file)
        fit_vocabulary(engine, fields, min_count)
        schema = fit_schema(engine, fields)
        means = fit_means(engine, schema)
        Encoder(dataset, encoder_options, schema, means).save(engine, folder / "encoder")
        sizes = [(folder / s, splits[s]["rows"]) for s in SPLITS]
        _write_arrays(engine, schema, rows, sizes)
    manifest = Manifest(
        source, options, schema.to_dict(), splits, rows.malformed, rows.examples, checksums(folder)
    )
    manifest.save(folder)


def encode_file(
    folder: Path,
    file: RawFile,
    fields: list[RawField],
    encoder: Path,
    *,
    max_bad_rows: float,
    memory_limit: str,
) -> int:
    """Encodes a raw file by a fitted encoder into `folder`/rows; returns the file's rows."""
    with Engine(folder / "work", memory_limit) as engine:
        rows = read_rows(engine, file, fields, {})
        check_malformed(rows, file, max_bad_rows)
        load_vocabulary(engine, encoder, "field, value, id")
        schema = Encoder.load(encoder).schema
        usable = rows.count - sum(rows.malformed.values())
        _write_arrays(engine, schema, rows, [(folder / "rows", usable)])
    return rows.count


def _count_splits(engine: Engine, file: RawFile) -> dict[str, dict[str, int]]:
    counts = engine.run(
        "SELECT split, count(*), sum(label) FROM rows WHERE problem IS NULL GROUP BY 1"
    )
    found = {SPLITS[s]: {"rows": n, "positives": int(positives)} for s, n, positives in counts}
    total = sum(s["rows"] for s in found.values())
    positives = sum(s["positives"] for s in found.values())
    if positives in (0, total):
        raise ZooError(
            f"{file.path}: every usable label is {int(positives > 0)}; a classifier needs rows "
            "of both classes"
        )
    for s in SPLITS:
        if s not in found:
            raise ZooError(
                f"{file.path}: its {total} usable rows leave the {s} split empty: use a larger "
                "file, or another data.split_ratio or data.split_seed"
            )
    if found["train"]["positives"] in (0, found["train"]["rows"]):
        raise ZooError(
            f"{file.path}: its training rows are all of one class: use a larger file, or another "
            "data.split_seed"
        )
    return {s: found[s] for s in SPLITS}


def _write_arrays(
    engine: Engine, schema: Schema, rows: Rows, sizes: list[tuple[Path, int]]
) -> None:
    with ExitStack() as stack:
        writers = [
            stack.enter_context(ArraysWriter(folder, size, schema)) for folder, size in sizes
        ]
        for chunk in encode(engine, schema):
            file_row = rows.file_row(chunk.row)
            for s, writer in enumerate(writers):
                mine = chunk.split == s
                writer.write(
                    chunk.numerical[mine],
                    chunk.categorical[mine],
                    chunk.label[mine],
                    file_row[mine],
                )
