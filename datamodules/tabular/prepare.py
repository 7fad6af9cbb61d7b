"""Streaming preparation: raw file -> counts -> vocabulary -> ids -> arrays on disk.

Memory stays bounded whatever the file's size: DuckDB spills to the folder being built, and
arrays are appended to chunk by chunk.
"""

import shutil
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch

from datamodules.prepared.arrays import Arrays, ArraysWriter, column_means
from datamodules.prepared.carried import carried_file, check_columns
from datamodules.prepared.encoder import Encoder
from datamodules.prepared.engine import Engine, sql_identifier
from datamodules.prepared.folder import SPLITS, Manifest
from datamodules.tabular.bins import fit_bins
from datamodules.tabular.copies import copies
from datamodules.tabular.encoder import (
    encode,
    fit_scaling,
    fit_schema,
    fit_vocabulary,
    known_numbers,
    load_vocabulary,
    save_encoder,
)
from datamodules.tabular.file_checks import check_numbers
from datamodules.tabular.files import TableFiles
from datamodules.tabular.list_ids import count_values
from datamodules.tabular.row_columns import row_arrays
from datamodules.tabular.rows import Rows, column_of, read_rows
from datamodules.tabular.source import RawField
from datamodules.tabular.splitting import LEFT_OUT, Splitting
from zoo.data.checksums import CHECKSUMS, checksums
from zoo.data.errors import ZooError
from zoo.data.schema import Schema


def prepare(
    folder: Path,
    file: TableFiles,
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
    fitted: Path | None = None,
    notes: dict[str, int] | None = None,
    count_copies: bool = False,
    row_columns: Mapping[str, str] | None = None,
) -> None:
    """Fills an empty folder with prepared data: encoder, arrays, manifest.

    The encoder is fitted on the training rows, or that of a run (`fitted`), which is copied. Rows
    have what `row_columns` says beside fields and label, by its SQL.

    Raises:
        ZooError: where the file cannot be used; the message says why.
    """
    if file.label is None:
        raise ZooError(f"{file.path} has no label column: a model cannot be trained on it")
    with Engine(folder / "work", memory_limit) as engine:
        rows = read_rows(engine, file, fields, {**splitting.extra, **(row_columns or {})})
        rows.rejected.check(max_bad_rows)
        splitting.assign(engine, rows)
        splits = _count_splits(rows, file)
        _check_weights(rows, file)
        notes = {**(notes or {}), **_left_out(rows)}
        if count_copies:
            notes |= copies(engine, rows, fields, splits)
        if fitted:
            encoder = _take_encoder(engine, fitted, folder / "encoder")
            check_numbers(file.files, fields, known_numbers(engine))
        else:
            fit_vocabulary(engine, rows, fields, min_count)
            edges, scaling = fit_bins(engine, rows, fields), fit_scaling(rows, fields)
            schema = fit_schema(engine, fields)
            encoder = Encoder(dataset, encoder_options, schema, {}, scaling, edges)
        schema = encoder.schema
        sizes = [(folder / s, splits[s]["rows"]) for s in SPLITS]
        _write_arrays(engine, encoder, rows, sizes)
        if not fitted:
            encoder = replace(encoder, means=_means(schema, folder / "train"))
            save_encoder(engine, encoder, folder / "encoder")
    examples = [(example.line, example.reason) for example in rows.rejected.examples]
    reasons = rows.rejected.reasons
    plain = schema.to_dict()
    files = checksums(folder)
    Manifest(source, options, plain, splits, reasons, examples, files, notes).save(folder)


def encode_file(
    folder: Path,
    file: TableFiles,
    fields: list[RawField],
    encoder: Path,
    *,
    columns: Sequence[str] = (),
    max_bad_rows: float,
    memory_limit: str,
) -> int:
    """Encodes a raw file by a fitted encoder into `folder`/rows; returns its number of rows.

    Its columns that predictions carry along go to a file of `folder`.
    """
    check_columns(columns, file.columns, file.path)
    file.carried = columns
    with Engine(folder / "work", memory_limit) as engine:
        rows = read_rows(engine, file, fields, _extra(columns), keep_malformed=bool(columns))
        rows.rejected.check(max_bad_rows)
        fitted = _load(engine, encoder)
        check_numbers(file.files, fields, known_numbers(engine))
        usable = rows.rejected.total - rows.rejected.count
        _write_arrays(engine, fitted, rows, [(folder / "rows", usable)])
        _write_carried(rows, folder, columns)
    return rows.rejected.total


def _write_carried(rows: Rows, folder: Path, columns: Sequence[str]) -> None:
    with carried_file(folder, columns) as write:
        wanted = ["row", *_extra(columns)]
        for chunk, malformed in zip(rows, rows.malformed, strict=False):
            parts = [chunk.select(wanted), malformed.select(wanted)]
            both = pa.concat_tables(parts).sort_by("row")
            values = (column_of(both, name) for name in wanted[1:])
            write(rows.file_row(both["row"].to_numpy()), *values)


def _extra(columns: Sequence[str]) -> dict[str, str]:
    """The SQL of columns of the rows that no field has the name of."""
    return {f"carried\n{i}": sql_identifier(column) for i, column in enumerate(columns)}


def _load(engine: Engine, encoder: Path) -> Encoder:
    """An encoder, whose vocabulary the engine then holds."""
    load_vocabulary(engine, encoder, "field, value, id")
    return Encoder.load(encoder)


def _take_encoder(engine: Engine, encoder: Path, folder: Path) -> Encoder:
    """Loads an encoder and copies it to a new folder, its crosses left out."""
    shutil.copytree(encoder, folder, ignore=shutil.ignore_patterns("crosses", CHECKSUMS))
    return _load(engine, folder)


def _count_splits(rows: Rows, file: TableFiles) -> dict[str, dict[str, int]]:
    counts, clicks = np.zeros((2, LEFT_OUT + 1), np.int64)
    for chunk, split in zip(rows, rows.splits, strict=True):
        counts += np.bincount(split, minlength=len(counts))
        clicks += np.bincount(split[chunk["label"].to_numpy() == 1], minlength=len(counts))
    found = {
        s: {"rows": int(n), "positives": int(positives)}
        for s, n, positives in zip(SPLITS, counts, clicks, strict=False)
        if n
    }
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


def _check_weights(rows: Rows, file: TableFiles) -> None:
    """Raises `ZooError` where too few rows have a weight."""
    counts, clicks = np.zeros((2, LEFT_OUT + 1), np.int64)
    for chunk, split in zip(rows, rows.splits, strict=True):
        weight = row_arrays(chunk).get("weight")
        if weight is None:
            return
        counts += np.bincount(split[weight > 0], minlength=len(counts))
        positive = (weight > 0) & (chunk["label"].to_numpy() == 1)
        clicks += np.bincount(split[positive], minlength=len(counts))
    for s, count in zip(SPLITS, counts, strict=False):
        if not count:
            raise ZooError(
                f"{file.path}: the weights (data.weight) of all rows of the {s} split are 0, so "
                "that none counts: give some of them a weight, or another data.split"
            )
    if clicks[0] in (0, counts[0]):
        raise ZooError(
            f"{file.path}: the training rows whose weight (data.weight) is more than 0 are all of "
            "one class: give some of the other class a weight"
        )


def _left_out(rows: Rows) -> dict[str, int]:
    """How many training rows are left out, as a note."""
    count = sum(int((split == LEFT_OUT).sum()) for split in rows.splits)
    note = "negatives were left out of the training rows (data.negative_sampling_rate)"
    return {note: count} if count else {}


def _means(schema: Schema, train: Path) -> dict[str, float]:
    """Means of the numerical fields over the training rows, where a missing number is 0."""
    means = column_means(Arrays.open(train).numerical).tolist()
    return {field.name: mean for field, mean in zip(schema.numerical, means, strict=True)}


def _write_arrays(
    engine: Engine, encoder: Encoder, rows: Rows, sizes: list[tuple[Path, int]]
) -> None:
    schema = encoder.schema
    with ExitStack() as stack:
        values = count_values(rows, schema)
        first = next(iter(rows), None)  # none where no row of the files could be read
        further = [] if first is None else [*row_arrays(first)]
        writers = [
            stack.enter_context(ArraysWriter(folder, size, schema, values.get(s, 0), further))
            for s, (folder, size) in enumerate(sizes)
        ]
        for chunk, split in zip(encode(engine, rows, encoder), rows.splits, strict=True):
            file_row = rows.file_row(chunk.row)
            for s, writer in enumerate(writers):
                mine = split == s
                writer.write(
                    numerical=chunk.numerical[mine],
                    categorical=chunk.categorical[mine],
                    label=chunk.label[mine],
                    row=file_row[mine],
                    lists=chunk.lists and chunk.lists.take(torch.from_numpy(mine)),
                    **{name: values[mine] for name, values in chunk.further.items()},
                )
