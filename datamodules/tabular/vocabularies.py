"""The vocabularies of fields: counted, ranked, written, and read again, whatever their size.

    counts.parquet        (field, value, n) of a part of the rows, fields beside each other
    vocabulary.parquet    (field, value, id, count), in the order of fields and ids

Nothing here holds all values in memory: DuckDB sums, sorts and writes them within
`data.memory_limit`, in the folder of its engine.
"""

import glob
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from datamodules.prepared.engine import Engine, sql_literal
from datamodules.prepared.vocabulary import sql_ranked
from datamodules.tabular.rows import Rows, codes_of, column_of, texts_of
from datamodules.tabular.source import RawField
from zoo.data.encoder import VOCABULARY
from zoo.data.errors import ZooError

MOST_IN_ENGINE = 4_000_000  # ids that an engine copies; more are read from their file each time
AS_IT_IS = "hive_partitioning=false"  # folders named so say nothing
TEXTS = pa.schema([("value", pa.string()), ("n", pa.int64())])
COUNTS = TEXTS.insert(0, pa.field("field", pa.int32()))
WHOLE, DECIMAL = r"[+-]?\d+", r"[+-]?\d+\.\d+(e[+-]?\d+)?"  # the texts of numbers


def save_vocabulary(engine: Engine, folder: Path, order: str) -> None:
    """Writes the engine's table `vocabulary`."""
    target = sql_literal(folder / VOCABULARY)
    engine.run(f"COPY (SELECT * FROM vocabulary ORDER BY {order}) TO {target}")


def join_vocabularies(engine: Engine, folders: Sequence[Path], folder: Path) -> None:
    """Puts the vocabularies of fields, each in a folder, together: in a folder, and as the engine's
    `vocabulary`."""
    if len(folders) == 1:
        shutil.copyfile(folders[0] / VOCABULARY, folder / VOCABULARY)
    else:  # by a table, so that the file is that of a single one, byte for byte
        files = ", ".join(_literal(path / VOCABULARY) for path in folders)
        _forget(engine)
        source = f"read_parquet([{files}], {AS_IT_IS})"
        engine.run(f"CREATE TABLE vocabulary AS SELECT * FROM {source}")
        save_vocabulary(engine, folder, order="field, id")
    load_vocabulary(engine, folder, "*")


def load_vocabulary(engine: Engine, folder: Path, columns: str) -> None:
    """Lets the engine read these columns of a saved vocabulary as `vocabulary`.

    A small one becomes a table of the engine. A large one stays where it is: the engine of each
    process would write a copy of it to its disk.

    Raises:
        ZooError: where it is damaged.
    """
    path = folder / VOCABULARY
    source = f"SELECT {columns} FROM read_parquet({_literal(path)}, {AS_IT_IS})"
    try:
        large = pq.read_metadata(path).num_rows > MOST_IN_ENGINE
        _forget(engine)
        engine.run(f"CREATE {'VIEW' if large else 'TABLE'} vocabulary AS {source}")
    except (duckdb.Error, pa.ArrowException, OSError) as error:
        raise ZooError(f"{path} is damaged: {str(error).splitlines()[0]}") from error


def _literal(path: Path) -> str:
    return sql_literal(glob.escape(str(path)))


def _forget(engine: Engine) -> None:
    """Removes `vocabulary`, a table or a view."""
    found = engine.run(
        "SELECT table_type FROM information_schema.tables WHERE table_name = 'vocabulary' "
        "AND table_schema = current_schema()"
    )
    for (kind,) in found:
        engine.run(f"DROP {'VIEW' if kind == 'VIEW' else 'TABLE'} vocabulary")


def known_numbers(engine: Engine) -> dict[str, str]:
    """The fields whose values in the engine's table `vocabulary` are all `whole` numbers, or all
    with `decimals`."""
    found = engine.run(
        f"SELECT field, bool_and(regexp_full_match(value, '{WHOLE}')), "
        f"bool_and(regexp_full_match(value, '{DECIMAL}')) FROM vocabulary GROUP BY 1"
    )
    return {f: "whole" if whole else "decimals" for f, whole, other in found if whole or other}


def counted_fields(fields: Sequence[RawField]) -> list[RawField]:
    """The fields that have a vocabulary of their own, whose values are counted."""
    return [field for field in fields if field.is_text and not field.vocabulary]


def write_counts(engine: Engine, rows: Rows, fields: Sequence[RawField], path: Path) -> None:
    """Writes how often the training rows, or those of a part of them, hold each value.

    Args:
        engine: An engine.
        rows: The rows, whose splits are known.
        fields: All fields.
        path: Parquet of `field` (its number among `counted_fields`), `value` and `n`.
    """
    # one field after the other: nothing is left to sort
    counted = list(enumerate(counted_fields(fields)))
    with pq.ParquetWriter(path, COUNTS, use_dictionary=False) as writer:
        for number, field in engine.progress.track(counted, description="count ids"):
            engine.stream("counted", _counts(rows, field), TEXTS)
            summed = "SELECT value, sum(n)::BIGINT AS n FROM counted GROUP BY value"
            for batch in engine.batches(f"SELECT {number}::INTEGER AS field, * FROM ({summed})"):
                writer.write_batch(batch)


def fit_vocabulary(
    engine: Engine,
    counts: Sequence[Path],
    fields: Sequence[RawField],
    chosen: Sequence[RawField],
    min_count: int,
) -> None:
    """Adds fields to the engine's table `vocabulary`, by the rule of
    `datamodules.prepared.vocabulary`; values rarer than `min_count` get no id.

    Args:
        engine: An engine, which has the table (see `new_vocabulary`).
        counts: What `write_counts` wrote of each part of the rows.
        fields: All fields.
        chosen: Those of them to add.
        min_count: Smallest count of a value, where its field names none.
    """
    files = ", ".join(map(_literal, counts))
    source = f"read_parquet([{files}], {AS_IT_IS})"
    numbers = {field.name: number for number, field in enumerate(counted_fields(fields))}
    for field in chosen:
        number, least = numbers[field.name], field.min_count or min_count
        # of one part each value has one count
        count = "n" if len(counts) == 1 else "sum(n)::BIGINT"
        group = "" if len(counts) == 1 else " GROUP BY value"
        found = f"SELECT value, {count} AS count FROM {source} WHERE field = {number}{group}"
        summed = f"(SELECT * FROM ({found}) WHERE count >= {least})"
        ranked = sql_ranked("value", summed, field.max_size)
        engine.run(f"INSERT INTO vocabulary SELECT {sql_literal(field.name)}, * FROM ({ranked})")


def new_vocabulary(engine: Engine) -> None:
    """Makes the engine's table `vocabulary`, without rows."""
    _forget(engine)
    engine.run("CREATE TABLE vocabulary (field VARCHAR, value VARCHAR, id INTEGER, count BIGINT)")


def _counts(rows: Rows, field: RawField) -> Iterator[pa.RecordBatch]:
    """How often the training rows of each chunk hold each value of a field."""
    for chunk, split in zip(rows, rows.splits, strict=True):
        texts = texts_of(column_of(chunk, field.name), split == 0)
        # the first count is that of missing ones
        counts = np.bincount(codes_of(texts) + 1, minlength=len(texts.dictionary) + 1)[1:]
        found = np.flatnonzero(counts)
        values = texts.dictionary.take(pa.array(found))
        yield pa.record_batch([values, pa.array(counts[found])], schema=TEXTS)
