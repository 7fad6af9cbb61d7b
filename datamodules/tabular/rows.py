"""The rows of a table, in file order, in chunks on disk; what is fitted on them reads them again.

A chunk is an Arrow file. Texts are numbered within their chunk (a dictionary of Arrow), so that
counting and encoding look at each distinct text of a chunk once, and at numbers for all else.

A table is one `Rows`, or several: parts of it, which different processes read.

Shapes: R usable rows of a chunk.
"""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa

from datamodules.prepared.rejected import MAX_EXAMPLES, Example, Rejected

ROWS_PER_CHUNK = 500_000  # malformed ones included


@dataclass
class Rows:
    """What `datamodules.tabular.read_rows` found.

    Attributes:
        folder: Folder of the chunks; None keeps them in memory.
        unreadable: int64, file rows that no row of the table stands for.
        problems: Number of malformed rows of the table, by reason.
        unread: Number of unreadable rows, by reason.
        examples: The first malformed or unreadable rows.
        count: Number of rows of the table, malformed ones included.
        kept: The chunks that are kept in memory.
        malformed: For each chunk the malformed rows, where asked for: `row` and extra columns.
        splits: int8 [R] for each chunk: 0 for training, 1 for validation, 2 for test; see
            `datamodules.tabular.splitting`.
        start: Number of rows of the table before these.
        file_start: Number of rows of the files before these.
    """

    folder: Path | None
    unreadable: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))
    problems: dict[str, int] = field(default_factory=dict)
    unread: dict[str, int] = field(default_factory=dict)
    examples: list[Example] = field(default_factory=list)
    count: int = 0
    splits: list[np.ndarray] = field(default_factory=list)
    kept: list[pa.Table] = field(default_factory=list)
    malformed: list[pa.Table] = field(default_factory=list)
    start: int = 0
    file_start: int = 0

    def __len__(self) -> int:
        return len(self.splits)

    def __iter__(self) -> Iterator[pa.Table]:
        """The usable rows, chunk by chunk: `row` (its number in the table), `label` (NaN where it
        is not known), fields and extra columns."""
        yield from self.kept
        for number in range(len(self.kept), len(self)):
            with pa.memory_map(self._path(number)) as file:
                yield self._placed(pa.ipc.open_file(file).read_all())

    @property
    def split(self) -> np.ndarray:
        """int8, `splits` of all chunks."""
        return np.concatenate([np.empty(0, np.int8), *self.splits])

    @property
    def total(self) -> int:
        """Number of rows of the files."""
        return self.count + len(self.unreadable)

    @property
    def rejected(self) -> Rejected:
        """The malformed rows, unreadable ones included."""
        return rejected_of([self])

    def file_row(self, row: np.ndarray) -> np.ndarray:
        """Row numbers of the files (from 0) for row numbers of the table."""
        before = self.unreadable - np.arange(len(self.unreadable))
        mine = row - self.start
        return mine + np.searchsorted(before, mine, side="right") + self.file_start

    def add(self, chunk: pa.Table) -> None:
        """Adds rows, in which texts are numbered."""
        if self.folder is None:
            self.kept.append(chunk)
        else:
            with pa.ipc.new_file(self._path(len(self)), chunk.schema) as file:
                file.write_table(chunk)
        self.splits.append(np.zeros(len(chunk), np.int8))

    def save(self) -> None:
        """Writes what `open` reads beside the chunks."""
        np.save(f"{self.folder}/unreadable.npy", self.unreadable)
        content = {
            "count": self.count,
            "rows": [len(split) for split in self.splits],
            "problems": self.problems,
            "unread": self.unread,
            "examples": [[str(e.file), e.line, e.reason] for e in self.examples],
        }
        Path(f"{self.folder}/rows.json").write_text(json.dumps(content))

    @classmethod
    def open(cls, folder: Path, start: int = 0, file_start: int = 0) -> "Rows":
        """Rows that were saved, which are a part of a table.

        Args:
            folder: Folder of the chunks.
            start: Number of rows of the table before these.
            file_start: Number of rows of the files before these.
        """
        content = json.loads((folder / "rows.json").read_text())
        return cls(
            folder,
            np.load(folder / "unreadable.npy"),
            content["problems"],
            content["unread"],
            [Example(Path(file), line, reason) for file, line, reason in content["examples"]],
            content["count"],
            [np.zeros(rows, np.int8) for rows in content["rows"]],
            start=start,
            file_start=file_start,
        )

    def _placed(self, chunk: pa.Table) -> pa.Table:
        """A chunk with the numbers of its rows in the whole table."""
        if not self.start:
            return chunk
        row = pa.array(chunk["row"].to_numpy() + self.start)
        return chunk.set_column(chunk.schema.get_field_index("row"), "row", row)

    def _path(self, number: int) -> str:
        return f"{self.folder}/{number:06}.arrow"


def numbers_of(parts: Sequence[Rows], name: str) -> Iterator[np.ndarray]:
    """The numbers of a field that the training rows have, of `ROWS_PER_CHUNK` rows of the table at
    a time: sums over them are the same to the last bit, wherever the parts of the table begin."""
    piece: list[np.ndarray] = []
    end = ROWS_PER_CHUNK
    for rows in parts:
        for chunk, split in zip(rows, rows.splits, strict=True):
            column, row = column_of(chunk, name), chunk["row"].to_numpy()
            chosen = column.is_valid().to_numpy(zero_copy_only=False) & (split == 0)
            values, row = column.fill_null(0).to_numpy()[chosen], row[chosen]
            while len(row) and row[-1] >= end:
                cut = int(np.searchsorted(row, end))
                yield np.concatenate([*piece, values[:cut]])
                piece, values, row = [], values[cut:], row[cut:]
                end += ROWS_PER_CHUNK
            piece.append(values)
    if piece:
        yield np.concatenate(piece)


def rejected_of(parts: Sequence[Rows]) -> Rejected:
    """The malformed rows of the parts of a table."""
    rejected = Rejected(total=sum(rows.total for rows in parts))
    problems, unread = Counter[str](), Counter[str]()
    for rows in parts:
        problems.update(rows.problems)
        unread.update(rows.unread)
        rejected.examples += rows.examples[: MAX_EXAMPLES - len(rejected.examples)]
    rejected.reasons |= dict(sorted(problems.items(), key=lambda entry: (-entry[1], entry[0])))
    for problem, count in unread.items():
        rejected.reasons[problem] = rejected.reasons.get(problem, 0) + count
    return rejected


def column_of(chunk: pa.Table, name: str) -> pa.Array:
    """A column of a chunk."""
    column = chunk[name]
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


def texts_of(column: pa.Array, rows: np.ndarray | None = None) -> pa.DictionaryArray:
    """The numbered texts of some rows of a column, or of all; those of lists in their order."""
    chosen = column if rows is None else column.filter(pa.array(rows))
    return chosen.flatten() if pa.types.is_list(column.type) else chosen


def codes_of(texts: pa.DictionaryArray) -> np.ndarray:
    """int32 the numbers of texts in their dictionary; -1 where a text is missing."""
    return texts.indices.fill_null(-1).to_numpy()


def chunks_of(batches: Iterator[pa.Table]) -> Iterator[pa.Table]:
    """Rows put together to chunks, which hold the same rows whatever the pieces."""
    rest: list[pa.Table] = []
    count = 0
    for batch in batches:
        rest.append(batch)
        count += len(batch)
        while count >= ROWS_PER_CHUNK:
            table = pa.concat_tables(rest)
            yield table.slice(0, ROWS_PER_CHUNK)
            rest = [table.slice(ROWS_PER_CHUNK)]
            count -= ROWS_PER_CHUNK
    if count:
        yield pa.concat_tables(rest)
