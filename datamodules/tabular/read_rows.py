"""Files of a table -> its rows in chunks, in which texts are numbered."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa

from datamodules.prepared.engine import Engine
from datamodules.prepared.rejected import MAX_EXAMPLES, Example
from datamodules.prepared.text import WORKERS
from datamodules.tabular.files import TableFiles
from datamodules.tabular.rows import Rows, chunks_of
from datamodules.tabular.source import RawField
from zoo.data.errors import ZooError


def read_rows(
    engine: Engine,
    files: TableFiles,
    fields: list[RawField],
    extra: dict[str, str],
    folder: Path | None = None,
    keep_malformed: bool = False,
) -> Rows:
    """Reads all rows, and keeps the usable ones.

    Args:
        engine: Reads them.
        files: Where they come from.
        fields: The fields.
        extra: The SQL of further columns, by their names.
        folder: New folder for them; None keeps them in memory.
        keep_malformed: Whether to keep these columns of malformed rows too.

    Raises:
        ZooError: where a file cannot be used, or there are no rows.
    """
    rows = Rows(folder)
    if folder:
        folder.mkdir()
    reasons: Counter[str] = Counter()
    first: list[tuple[int, str]] = []
    for chunk in chunks_of(files.batches(engine, fields, extra)):
        number = np.arange(rows.count, rows.count + len(chunk))
        problems = chunk["problem"].combine_chunks()
        good = problems.is_null()
        malformed, wrong = chunk.slice(0, 0), number[:0]
        if problems.null_count < len(problems):
            bad = problems.drop_null().to_pylist()
            reasons.update(bad)
            wrong = number[~good.to_numpy(zero_copy_only=False)]
            first += zip(wrong[:MAX_EXAMPLES].tolist(), bad[:MAX_EXAMPLES], strict=True)
            malformed = chunk.filter(problems.is_valid())
            chunk, number = chunk.filter(good), number[good.to_numpy(zero_copy_only=False)]
        if keep_malformed:
            rows.malformed.append(malformed.append_column("row", pa.array(wrong)))
        rows.count += len(good)
        rows.add(_numbered(chunk.drop_columns("problem"), number, fields))
    _reject(rows, files, reasons, first)
    return rows


def _numbered(chunk: pa.Table, number: np.ndarray, fields: list[RawField]) -> pa.Table:
    """A chunk with the numbers of its rows, and with the texts of its fields numbered."""
    columns = {"row": pa.array(number)}
    columns |= {name: chunk[name] for name in chunk.column_names}
    texts = [field.name for field in fields if field.is_text]
    with ThreadPoolExecutor(WORKERS) as pool:
        found = pool.map(lambda name: _dictionary(chunk[name]), texts)
        columns |= dict(zip(texts, found, strict=True))
    return pa.table(columns).combine_chunks()


def _dictionary(column: pa.ChunkedArray) -> pa.ChunkedArray | pa.Array:
    if not pa.types.is_list(column.type):
        return column.dictionary_encode()
    lists = column.combine_chunks()
    lengths = lists.value_lengths().fill_null(0).to_numpy()
    offsets = pa.array(np.concatenate(([0], lengths.cumsum())), pa.int32())
    return pa.ListArray.from_arrays(offsets, lists.flatten().dictionary_encode())


def _reject(
    rows: Rows, files: TableFiles, reasons: Counter[str], first: list[tuple[int, str]]
) -> None:
    """Notes the malformed rows, and those of the files that could not be read."""
    rows.unreadable = np.array(list(files.problems), np.int64)
    if not rows.total:
        raise ZooError(f"{files.path} is empty: it holds no rows")
    rows.problems = dict(reasons)
    rows.unread = dict(Counter(files.problems.values()))
    found = [(int(rows.file_row(np.array(row))), problem) for row, problem in first[:MAX_EXAMPLES]]
    found += list(files.problems.items())[:MAX_EXAMPLES]
    rows.examples = [
        Example(*files.place(row), problem) for row, problem in sorted(found)[:MAX_EXAMPLES]
    ]
