"""Which rows of validation and test stand among the training rows too."""

from collections.abc import Iterator, Mapping, Sequence

import pyarrow as pa

from datamodules.prepared.engine import Engine, sql_identifier
from datamodules.prepared.folder import SPLITS
from datamodules.tabular.rows import Rows, column_of
from datamodules.tabular.source import RawField


def copies(
    engine: Engine,
    rows: Rows,
    fields: Sequence[RawField],
    splits: Mapping[str, Mapping[str, int]],
) -> dict[str, int]:
    """How many rows of validation and of test equal a training row in all fields and the label.

    Args:
        engine: An engine.
        rows: The rows, whose splits are known.
        fields: The fields.
        splits: Of each split its number of `rows`.

    Returns:
        Counts by what they count, as notes of `prepare`; of a split without such rows none.
    """
    names = ["label", *(field.name for field in fields)]
    columns = ", ".join(map(sql_identifier, names))
    # hashes first: they are few bytes, and the rows themselves are compared where these are equal
    _stream(engine, rows, names)
    engine.run(
        f"CREATE TABLE shared AS SELECT h FROM (SELECT hash({columns}) AS h, split FROM splits "
        "WHERE split < 3) GROUP BY h HAVING bool_or(split = 0) AND bool_or(split > 0)"
    )
    _stream(engine, rows, names)
    found = engine.run(
        "SELECT sum(n1), sum(n2) FROM (SELECT count(*) FILTER (split = 1) AS n1, "
        "count(*) FILTER (split = 2) AS n2, bool_or(split = 0) AS trained FROM splits "
        f"WHERE split < 3 AND hash({columns}) IN (FROM shared) GROUP BY {columns}) WHERE trained"
    )
    engine.run("DROP TABLE shared")
    notes = {}
    for split, count in zip(SPLITS[1:], found[0], strict=True):
        if count:
            held = splits[split]["rows"]
            equal = (
                f"of the {held:,} {split} rows are equal to training rows, in all fields and the"
            )
            advice = "label: remove them where they are copies, which make metrics too good"
            notes[f"{equal} {advice}"] = int(count)
    return notes


def _stream(engine: Engine, rows: Rows, names: Sequence[str]) -> None:
    """Lets one statement read columns of the rows, and their splits, as the table `splits`."""
    first = next(_batches(rows, names))
    engine.stream("splits", _batches(rows, names), first.schema)


def _batches(rows: Rows, names: Sequence[str]) -> Iterator[pa.RecordBatch]:
    for chunk, split in zip(rows, rows.splits, strict=True):
        columns = [_decoded(column_of(chunk, name)) for name in names]
        yield pa.record_batch([*columns, pa.array(split)], [*names, "split"])


def _decoded(column: pa.Array) -> pa.Array:
    if pa.types.is_list(column.type):
        return pa.ListArray.from_arrays(column.offsets, _decoded(column.flatten()))
    return column.dictionary_decode() if pa.types.is_dictionary(column.type) else column
