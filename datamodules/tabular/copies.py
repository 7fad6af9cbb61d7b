"""Which rows of validation and test stand among the training rows too.

Shapes: R rows of a chunk.
"""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pyarrow as pa

from datamodules.prepared.engine import Engine, sql_identifier
from datamodules.prepared.folder import SPLITS
from datamodules.tabular.rows import Rows, codes_of, column_of, texts_of
from datamodules.tabular.source import RawField
from datamodules.tabular.splitting import LEFT_OUT

MIXERS = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBF58476D1CE4E5B9)  # of splitmix64
MISSING = np.uint64(1)
Columns = dict[str, np.ndarray | pa.Array]


def copies(
    engine: Engine,
    parts: Sequence[Rows],
    hashes: Sequence[np.ndarray],
    fields: Sequence[RawField],
    splits: Mapping[str, Mapping[str, int]],
) -> dict[str, int]:
    """How many rows of validation and of test equal a training row in all fields and the label.

    Args:
        engine: An engine.
        parts: The parts of a table, whose splits are known.
        hashes: `row_hashes` of each part.
        fields: The fields.
        splits: Of each split its number of `rows`.

    Returns:
        Counts by what they count, as notes of `prepare`; of a split without such rows none.
    """
    # hashes first: they are few bytes, and rows are compared where these are equal
    _collect(engine, "hashes", _hashes(parts, hashes))
    shared = engine.arrays(
        "SELECT DISTINCT h FROM hashes WHERE split = 0 "
        "AND h IN (SELECT h FROM hashes WHERE split > 0)"
    )["h"]
    engine.run("DROP TABLE hashes")
    if not len(shared):
        return {}
    names = _compared(fields)
    _collect(engine, "candidates", _candidates(parts, hashes, names, shared))
    found = engine.run(
        "SELECT sum(n1), sum(n2) FROM (SELECT count(*) FILTER (split = 1) AS n1, "
        "count(*) FILTER (split = 2) AS n2, bool_or(split = 0) AS trained FROM candidates "
        f"GROUP BY {', '.join(map(sql_identifier, names))}) WHERE trained"
    )
    engine.run("DROP TABLE candidates")
    return _notes(found[0], splits)


def row_hashes(engine: Engine, rows: Rows, fields: Sequence[RawField]) -> np.ndarray:
    """uint64 hashes of rows, equal where these are equal in all fields and the label."""
    found = [_hash(engine, chunk, _compared(fields)) for chunk in rows]
    return np.concatenate([np.empty(0, np.uint64), *found])


def _compared(fields: Sequence[RawField]) -> list[str]:
    return ["label", *(field.name for field in fields)]


def _notes(counts: Sequence[int | None], splits: Mapping[str, Mapping[str, int]]) -> dict[str, int]:
    notes = {}
    for split, count in zip(SPLITS[1:], counts, strict=True):
        if count:
            held = splits[split]["rows"]
            equal = (
                f"of the {held:,} {split} rows are equal to training rows, in all fields and the"
            )
            advice = "label: remove them where they are copies, which make metrics too good"
            notes[f"{equal} {advice}"] = int(count)
    return notes


def _collect(engine: Engine, table: str, parts: Iterator[Columns]) -> None:
    """Makes a table of rows of training, validation and test, which may spill to disk."""
    for number, columns in enumerate(parts):
        engine.view("part", columns)
        into = f"INSERT INTO {table}" if number else f"CREATE TABLE {table} AS"
        engine.run(f"{into} SELECT * FROM part WHERE split < {LEFT_OUT}")


def _hashes(parts: Sequence[Rows], hashes: Sequence[np.ndarray]) -> Iterator[Columns]:
    for rows, h in zip(parts, hashes, strict=True):
        yield {"h": h, "split": rows.split}


def _candidates(
    parts: Sequence[Rows], hashes: Sequence[np.ndarray], names: Sequence[str], shared: np.ndarray
) -> Iterator[Columns]:
    """The rows whose hash is that of a training row and of another one, and their splits."""
    for rows, h in zip(parts, hashes, strict=True):
        start = 0
        for chunk, split in zip(rows, rows.splits, strict=True):
            chosen = np.isin(h[start : start + len(split)], shared)
            start += len(split)
            part = chunk.filter(pa.array(chosen))
            found: Columns = {name: _decoded(column_of(part, name)) for name in names}
            yield found | {"split": split[chosen]}


def _hash(engine: Engine, chunk: pa.Table, names: Sequence[str]) -> np.ndarray:
    """uint64 [R] hashes of the rows, equal where these are."""
    found = np.zeros(len(chunk), np.uint64)
    for name in names:
        found = (found ^ _hash_column(engine, column_of(chunk, name))) * MIXERS[0]
        found ^= found >> np.uint64(29)
    return found


def _hash_column(engine: Engine, column: pa.Array) -> np.ndarray:
    if pa.types.is_list(column.type):
        return _hash_lists(engine, column)
    if pa.types.is_dictionary(column.type):
        engine.view("texts", {"text": column.dictionary})
        texts = engine.arrays("SELECT hash(text) AS h FROM texts")["h"]
        return np.append(texts, MISSING)[codes_of(column)]  # -1 is the last one
    # 0 and -0 are one number
    bits = (column.fill_null(0).to_numpy().astype(np.float64) + 0.0).view(np.uint64)
    found = (bits ^ (bits >> np.uint64(32))) * MIXERS[1]
    return np.where(column.is_null().to_numpy(zero_copy_only=False), MISSING, found)


def _hash_lists(engine: Engine, column: pa.ListArray) -> np.ndarray:
    lengths = column.value_lengths().fill_null(0).to_numpy()
    values = _hash_column(engine, texts_of(column))
    ends = lengths.cumsum()
    place = np.arange(len(values)) - np.repeat(ends - lengths, lengths)
    weighed = values * (2 * place.astype(np.uint64) + np.uint64(1))
    sums = np.append(np.uint64(0), weighed.cumsum(dtype=np.uint64))
    return sums[ends] - sums[ends - lengths] + lengths.astype(np.uint64) * MIXERS[0]


def _decoded(column: pa.Array) -> pa.Array:
    if pa.types.is_list(column.type):
        return pa.ListArray.from_arrays(column.offsets, _decoded(column.flatten()))
    return column.dictionary_decode() if pa.types.is_dictionary(column.type) else column
