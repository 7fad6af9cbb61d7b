"""Rows in memory -> ids and numbers, by the encoder of a run; no file is written."""

import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from datamodules.prepared.arrays import ARRAYS, Arrays
from datamodules.prepared.encoder import Encoder
from datamodules.prepared.engine import Engine
from datamodules.prepared.lists import ListArrays
from datamodules.prepared.rejected import MAX_EXAMPLES, Rejected
from datamodules.tabular.crosses import Cross, member_columns
from datamodules.tabular.encoder import Encoded, encode
from datamodules.tabular.files import TableFiles
from datamodules.tabular.read_rows import read_rows
from datamodules.tabular.rows import ROWS_PER_CHUNK
from datamodules.tabular.source import RawField
from datamodules.tabular.vocabularies import known_numbers, load_vocabulary


class MemoryEncoder:
    """The encoder of a run, whose vocabularies are kept in memory for rows to come.

    Args:
        encoder: Folder of the encoder.
        crosses: Folders of its crosses.
        memory_limit: Bound of the memory that the engine uses, such as `1GB`.
    """

    def __init__(self, encoder: Path, crosses: Sequence[Path], memory_limit: str) -> None:
        self.fitted = Encoder.load(encoder)
        self.crosses = [Cross.load(cross) for cross in crosses]
        self._lock = threading.Lock()  # of the engine, which has one table of rows
        stack = ExitStack()
        self._engine = stack.enter_context(Engine(None, memory_limit))
        weakref.finalize(self, stack.close)
        load_vocabulary(self._engine, encoder, "field, value, id")
        self.numbers = known_numbers(self._engine)
        for i, (folder, cross) in enumerate(zip(crosses, self.crosses, strict=True)):
            self._engine.run(f"CREATE SCHEMA cross{i}")
            self._engine.run(f"USE cross{i}")
            load_vocabulary(self._engine, folder, f"{member_columns(cross.members)}, id")
        self._engine.run("USE main")

    def encode(
        self, table: pa.Table, source: Callable[[pa.Table], TableFiles], fields: list[RawField]
    ) -> tuple[Arrays, Rejected]:
        """The usable rows of a table, whose `row` is their number in it, and the malformed ones.

        Args:
            table: The rows.
            source: How a part of them is read.
            fields: The fields, without crosses.
        """
        rejected = Rejected(total=len(table))
        with self._lock:
            parts = [
                part
                for start in range(0, len(table), ROWS_PER_CHUNK)
                for part in self._part(table, start, source, fields, rejected)
            ]
            rows = _joined(parts)
            return replace(rows, crosses=tuple(self._crossed(rows))), rejected

    def _part(
        self,
        table: pa.Table,
        start: int,
        source: Callable[[pa.Table], TableFiles],
        fields: list[RawField],
        rejected: Rejected,
    ) -> Iterator[Encoded]:
        """The usable rows from `start` on, so many that the engine holds them."""
        engine = self._engine
        rows = read_rows(engine, source(table.slice(start, ROWS_PER_CHUNK)), fields, {})
        for reason, count in rows.rejected.reasons.items():
            rejected.reasons[reason] = rejected.reasons.get(reason, 0) + count
        found = [replace(e, line=e.line + start) for e in rows.rejected.examples]
        rejected.examples += found[: MAX_EXAMPLES - len(rejected.examples)]
        for chunk in encode(engine, rows, self.fitted):
            yield replace(chunk, row=rows.file_row(chunk.row) + start)

    def _crossed(self, rows: Arrays) -> Iterator[np.ndarray | ListArrays]:
        """The ids of each cross field, or their lists."""
        engine, schema = self._engine, self.fitted.schema
        for i, cross in enumerate(self.crosses):
            engine.run(f"USE cross{i}")
            if cross.is_list:
                yield ListArrays.of([*cross.lists(engine, rows, schema)])
            else:
                ids = [*cross.ids(engine, rows, schema)]
                yield np.concatenate(ids or [np.empty(0, np.int32)])
        self._engine.run("USE main")


def _joined(parts: Sequence[Encoded]) -> Arrays:
    arrays: dict[str, Any] = {
        name: np.concatenate([getattr(part, name) for part in parts]) for name in ARRAYS
    }
    lists = [part.lists for part in parts if part.lists is not None]
    return Arrays(**arrays, lists=ListArrays.of(lists) if lists else None)
