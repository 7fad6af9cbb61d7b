"""Streaming preparation: raw file -> counts -> vocabulary -> ids -> arrays on disk.

Memory stays bounded whatever the file's size: DuckDB spills to disk, and arrays are appended to
chunk by chunk. The work is that of `datamodules.tabular.tasks`: of one for all files, or of one for
each file, which `datamodules.prepared.workers` do.
"""

import os
import shutil
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from datamodules.prepared.arrays import Arrays, column_means
from datamodules.prepared.carried import carried_file, check_columns
from datamodules.prepared.encoder import Encoder
from datamodules.prepared.engine import Engine, sql_identifier
from datamodules.prepared.folder import SPLITS, Manifest, source_identity
from datamodules.prepared.parts import PARTS, Parts, part_folder
from datamodules.prepared.work import Alone, Found, Kept, Work, Workers
from datamodules.tabular import tasks
from datamodules.tabular.encoder import fit_schema
from datamodules.tabular.file_checks import check_numbers
from datamodules.tabular.files import TableFiles
from datamodules.tabular.read_rows import read_rows
from datamodules.tabular.rows import Rows, column_of, rejected_of
from datamodules.tabular.source import RawField
from datamodules.tabular.split_checks import check_weights, count_splits, left_out
from datamodules.tabular.splitting import Splitting
from datamodules.tabular.tasks import Job, Part
from datamodules.tabular.vocabularies import join_vocabularies, known_numbers, load_vocabulary
from zoo.data.checksums import CHECKSUMS, checksum, checksums
from zoo.data.errors import ZooError
from zoo.data.files import copy_by_links
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
    workers: Workers = 1,
) -> None:
    """Fills an empty folder with prepared data: encoder, arrays, manifest.

    The encoder is fitted on the training rows, or that of a run (`fitted`), which is copied. Rows
    have what `row_columns` says beside fields and label, by its SQL. Several `workers` do a task
    for each file, and keep what they have done in a folder beside the one that is filled, of the
    same name with the suffix `.work`.

    Raises:
        ZooError: where the file cannot be used; the message says why.
    """
    if file.label is None:
        raise ZooError(f"{file.path} has no label column: a model cannot be trained on it")
    job = Job(fields, splitting, row_columns or {}, min_count, fitted is None, count_copies)
    with ExitStack() as stack:
        engine = stack.enter_context(Engine(folder / "work", memory_limit))
        work: Work = Alone(engine)
        if workers != 1:
            file.check()
            work = stack.enter_context(Kept(folder.with_suffix(".work"), engine, workers))
        parts = _read(work, job, file)
        rejected = rejected_of([part.rows() for part in parts])
        rejected.check(max_bad_rows)
        parts, counts = _count(work, job, parts, engine)
        splits = count_splits(counts, file)
        check_weights(counts, file)
        said = {**(notes or {}), **left_out(counts)}
        if count_copies:
            ((_, copies),) = work.run("compare", tasks.compare, [(job, parts, splits)])
            said |= copies
        if fitted:
            encoder = _take_encoder(engine, fitted, folder / "encoder")
            check_numbers(file.files, fields, known_numbers(engine))
        else:
            (folder / "encoder").mkdir()
            edges, scaling = _fit(work, job, parts, engine, folder / "encoder")
            schema = fit_schema(engine, fields)
            encoder = Encoder(dataset, encoder_options, schema, {}, scaling, edges)
        files = _encode(work, job, parts, encoder, folder)
        if not fitted:
            encoder = replace(encoder, means=_means(encoder.schema, folder / "train"))
            encoder.save(folder / "encoder")
    examples = [(example.line, example.reason) for example in rejected.examples]
    plain = encoder.schema.to_dict()
    files |= {f"encoder/{path}": x for path, x in checksums(folder / "encoder").items()}
    Manifest(source, options, plain, splits, rejected.reasons, examples, files, said).save(folder)


def _read(work: Work, job: Job, file: TableFiles) -> list[Part]:
    """The parts of the table, whose rows are on disk."""
    calls = [(job, file, ())]
    if work.is_parted:
        calls = [(job, part, [source_identity(part.path)]) for part in file.singly()]
    parts: list[Part] = []
    start = file_start = 0
    for folder, found in work.run("read", tasks.read, calls):
        parts.append(Part(folder, start, file_start))
        start, file_start = start + found["rows"], file_start + found["total"]
    return parts


def _count(
    work: Work, job: Job, parts: list[Part], engine: Engine
) -> tuple[list[Part], dict[str, np.ndarray]]:
    """The parts, whose rows have splits, and the sums of what `count` says of them."""
    times = [path for part in parts if (path := part.read / tasks.TIMES).exists()]
    bounds = job.splitting.bounds(engine, [pq.read_table(path) for path in times])
    found = work.run("count", tasks.count, [(job, part, bounds) for part in parts])
    total: dict[str, np.ndarray] = {}
    for _, counts in found:
        for name, values in counts.items():
            total[name] = total.get(name, 0) + np.array(values)
    parts = [part._replace(counted=at) for part, (at, _) in zip(parts, found, strict=True)]
    return parts, total


def _fit(
    work: Work, job: Job, parts: list[Part], engine: Engine, folder: Path
) -> tuple[dict[str, list[float]], dict[str, tuple[float, float]]]:
    """Edges and scaling; the vocabulary is in the engine then, and in a folder."""
    wanted = [f for f in job.fields if f.bins or f.standardised or (f.is_text and not f.vocabulary)]
    groups = [[field] for field in wanted] if work.is_parted and wanted else [wanted]
    found = work.run("fit", tasks.fit, [(job, parts, group) for group in groups])
    join_vocabularies(engine, [at for at, _ in found], folder)
    edges = {name: value for _, fitted in found for name, value in fitted["edges"].items()}
    scaling = {n: (mean, sd) for _, fitted in found for n, (mean, sd) in fitted["scaling"].items()}
    return edges, scaling


def _encode(
    work: Work, job: Job, parts: list[Part], encoder: Encoder, folder: Path
) -> dict[str, str]:
    """Writes the arrays of the splits; returns the checksums of their files."""
    calls = [(job, part, encoder, folder / "encoder") for part in parts]
    found = work.run("encode", tasks.encode_part, calls)
    if work.is_parted:
        return _join(found, encoder.schema, folder)
    ((at, made),) = found
    for split in SPLITS:
        os.replace(at / split, folder / split)
    return made["checksums"]


def _join(found: Found, schema: Schema, folder: Path) -> dict[str, str]:
    """Makes splits of the parts that were encoded, whose work is kept until all is done; returns
    the checksums of their files."""
    files: dict[str, str] = {}
    for number, (at, made) in enumerate(found):
        for split in SPLITS:
            copy_by_links(at / split, part_folder(folder / split, number))
        for path, x in made["checksums"].items():
            split, _, name = path.partition("/")
            files[(part_folder(Path(split), number) / name).as_posix()] = x
    optional = next(made["optional"] for _, made in found if sum(made["rows"]))
    for s, split in enumerate(SPLITS):
        rows, values = ([made[key][s] for _, made in found] for key in ("rows", "values"))
        Parts.of(rows, schema, values, optional).save(folder / split)
        files[f"{split}/{PARTS}"] = checksum(folder / split / PARTS)
    return files


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
        keep = bool(columns)
        rows = read_rows(engine, file, fields, _extra(columns), folder / "work" / "rows", keep)
        rows.rejected.check(max_bad_rows)
        fitted = _load(engine, encoder)
        check_numbers(file.files, fields, known_numbers(engine))
        usable = rows.rejected.total - rows.rejected.count
        tasks.write_arrays(engine, fitted, rows, [(folder / "rows", usable)])
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


def _means(schema: Schema, train: Path) -> dict[str, float]:
    """Means of the numerical fields over the training rows, where a missing number is 0."""
    means = column_means(Arrays.open(train).numerical).tolist()
    return {field.name: mean for field, mean in zip(schema.numerical, means, strict=True)}
