"""The tasks of preparation: what one process, several, or a cluster do, each for a part of a table.

    read      a part of the files -> its rows in chunks on disk (`datamodules.tabular.rows`)
    count     a part of the rows -> their splits, and how often they hold each value
    fit       some fields -> their vocabularies, bins, means and deviations, of all parts
    compare   all parts -> how many rows of validation and test are copies of training rows
    encode    a part of the rows -> arrays of its splits

One process does all with a single part that holds all files. A task gets an engine and a new folder
for what it makes, and returns plain data, as JSON knows it.
"""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from datamodules.prepared.arrays import ArraysWriter
from datamodules.prepared.encoder import Encoder
from datamodules.prepared.engine import Engine
from datamodules.prepared.folder import SPLITS, source_identity
from datamodules.tabular.bins import fit_bins
from datamodules.tabular.copies import copies, row_hashes
from datamodules.tabular.encoder import encode, fit_scaling
from datamodules.tabular.files import TableFiles
from datamodules.tabular.list_ids import count_values
from datamodules.tabular.read_rows import read_rows
from datamodules.tabular.row_columns import row_arrays
from datamodules.tabular.rows import Rows
from datamodules.tabular.source import RawField
from datamodules.tabular.splitting import LEFT_OUT, Splitting
from datamodules.tabular.vocabularies import (
    counted_fields,
    fit_vocabulary,
    load_vocabulary,
    new_vocabulary,
    save_vocabulary,
    write_counts,
)
from zoo.data.checksums import checksums
from zoo.data.errors import ZooError

ROWS, TIMES = "rows", "times.parquet"  # of the task `read`
SPLIT, COUNTS, HASHES = "split.npy", "counts.parquet", "hashes.npy"  # of the task `count`


@dataclass(frozen=True)
class Job:
    """What the tasks of a preparation share.

    Attributes:
        fields: The fields.
        splitting: How rows are dealt to the splits.
        row_columns: The SQL of what rows have beside fields and label, by its name.
        min_count: Smallest count of a value that gets an id.
        fits: Whether an encoder is fitted, or a given one used.
        counts_copies: Whether rows are compared with training rows.
    """

    fields: Sequence[RawField]
    splitting: Splitting
    row_columns: Mapping[str, str]
    min_count: int
    fits: bool
    counts_copies: bool


class Part(NamedTuple):
    """A part of a table.

    Attributes:
        read: Folder of the task `read`.
        start: Number of rows of the table before it.
        file_start: Number of rows of the files before it.
        counted: Folder of the task `count`, once it is done.
    """

    read: Path
    start: int
    file_start: int
    counted: Path | None = None

    def rows(self) -> Rows:
        """Its rows, with their splits once these are known."""
        rows = Rows.open(self.read / ROWS, self.start, self.file_start)
        if self.counted:
            ends = np.cumsum([len(split) for split in rows.splits])
            rows.splits = np.split(np.load(self.counted / SPLIT, "r"), ends)[:-1]
        return rows


def read(
    engine: Engine, folder: Path, job: Job, files: TableFiles, expected: Sequence[Any]
) -> dict[str, int]:
    """Reads files.

    Args:
        engine: An engine.
        folder: Its folder.
        job: What all tasks share.
        files: The files.
        expected: What identifies them (see `source_identity`); none where nothing else reads files
            at other times.

    Returns:
        Numbers of `rows` of the table and of all rows of the files, `total`.
    """
    extra = {**job.splitting.extra, **job.row_columns}
    rows = read_rows(engine, files, list(job.fields), extra, folder / ROWS)
    for file, identity in zip(files.files, expected, strict=False):
        if source_identity(file.path) != identity:
            raise ZooError(f"{file.path} was changed while it was read: repeat the command")
    rows.save()
    times = job.splitting.times(engine, rows)
    if times is not None:
        pq.write_table(times, folder / TIMES)
    return {"rows": rows.count, "total": rows.total}


def count(
    engine: Engine, folder: Path, job: Job, part: Part, bounds: Sequence[pa.Scalar]
) -> dict[str, list[int]]:
    """Deals the rows of a part to the splits, and counts what they hold.

    Args:
        engine: An engine.
        folder: Its folder.
        job: What all tasks share.
        part: The part.
        bounds: See `Splitting.bounds`.

    Returns:
        Of each split, and of the rows that none holds, the number of `rows`, of `positives`, and
        where rows have a weight of those `weighted` by more than 0, and of their positives
        (`weighted_positives`).
    """
    rows = part.rows()
    job.splitting.assign(rows, bounds)
    np.save(folder / SPLIT, rows.split)
    if job.fits and counted_fields(job.fields):
        write_counts(engine, rows, job.fields, folder / COUNTS)
    if job.counts_copies:
        np.save(folder / HASHES, row_hashes(engine, rows, job.fields))
    return {name: found.tolist() for name, found in _split_counts(rows).items()}


def _split_counts(rows: Rows) -> dict[str, np.ndarray]:
    """int64 [4] counts of rows; see `count`."""
    found: dict[str, np.ndarray] = {}
    for chunk, split in zip(rows, rows.splits, strict=True):
        positive = chunk["label"].to_numpy() == 1
        chosen = {"rows": slice(None), "positives": positive}
        weight = row_arrays(chunk).get("weight")
        if weight is not None:
            chosen |= {"weighted": weight > 0, "weighted_positives": (weight > 0) & positive}
        for name, which in chosen.items():
            counts = np.bincount(split[which], minlength=LEFT_OUT + 1)
            found[name] = found.get(name, 0) + counts
    return found


def fit(
    engine: Engine, folder: Path, job: Job, parts: Sequence[Part], fields: Sequence[RawField]
) -> dict[str, Any]:
    """Fits fields on the training rows of all parts: writes their vocabulary.

    Args:
        engine: An engine.
        folder: Its folder.
        job: What all tasks share.
        parts: All parts.
        fields: The fields to fit.

    Returns:
        `edges` of bins, and mean and deviation of standardised fields (`scaling`).
    """
    counts = [part.counted / COUNTS for part in parts if part.counted]
    new_vocabulary(engine)
    fit_vocabulary(engine, counts, job.fields, counted_fields(fields), job.min_count)
    binned, standardised = ([f for f in fields if f.bins], [f for f in fields if f.standardised])
    rows = [part.rows() for part in parts] if binned or standardised else []
    edges, scaling = fit_bins(engine, rows, binned), fit_scaling(rows, standardised)
    save_vocabulary(engine, folder, order="field, id")
    return {"edges": edges, "scaling": scaling}


def compare(
    engine: Engine, folder: Path, job: Job, parts: Sequence[Part], splits: dict[str, dict[str, int]]
) -> dict[str, int]:
    """Counts copies of training rows in the other splits, as notes; see `copies`."""
    rows = [part.rows() for part in parts]
    hashes = [np.load(part.counted / HASHES, "r") for part in parts if part.counted]
    return copies(engine, rows, hashes, job.fields, splits)


def encode_part(
    engine: Engine, folder: Path, job: Job, part: Part, encoder: Encoder, vocabulary: Path
) -> dict[str, Any]:
    """Encodes the rows of a part into `folder`/train, val and test.

    Args:
        engine: An engine.
        folder: Its folder.
        job: What all tasks share.
        part: The part.
        encoder: What was fitted.
        vocabulary: Folder of its vocabulary.

    Returns:
        Of each split the number of `rows` and of `values` of lists; the names of `optional` arrays;
        and the `checksums` of all files.
    """
    load_vocabulary(engine, vocabulary, "field, value, id")
    rows = part.rows()
    sizes = np.bincount(rows.split, minlength=LEFT_OUT)
    targets = [(folder / s, int(size)) for s, size in zip(SPLITS, sizes, strict=False)]
    values, optional = write_arrays(engine, encoder, rows, targets)
    sums = {f"{s}/{path}": x for s in SPLITS for path, x in checksums(folder / s).items()}
    sizes = [size for _, size in targets]
    return {"rows": sizes, "values": values, "optional": optional, "checksums": sums}


def write_arrays(
    engine: Engine, encoder: Encoder, rows: Rows, targets: Sequence[tuple[Path, int]]
) -> tuple[list[int], list[str]]:
    """Writes the arrays of rows by an encoder, whose vocabulary the engine holds.

    Args:
        engine: An engine.
        encoder: What was fitted.
        rows: The rows.
        targets: Of each split a new folder, and its number of rows.

    Returns:
        Number of values of the lists of each split, and the names of `OPTIONAL` arrays.
    """
    schema = encoder.schema
    counts = count_values(rows, schema)
    values = [counts.get(s, 0) for s, _ in enumerate(targets)]
    first = next(iter(rows), None)  # none where no row of the files could be read
    further = [] if first is None else [*row_arrays(first)]
    with ExitStack() as stack:
        writers = [
            stack.enter_context(ArraysWriter(folder, size, schema, values[s], further))
            for s, (folder, size) in enumerate(targets)
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
                    **{name: array[mine] for name, array in chunk.further.items()},
                )
    return values, further
