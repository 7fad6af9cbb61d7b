"""Which rows train, validate and test: by a hash of their number or group, or by time."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa

from datamodules.prepared.arrow import compute as pc
from datamodules.prepared.engine import Engine
from datamodules.tabular.rows import Rows, column_of
from zoo.data.errors import ZooError

# extra columns of the rows where the split is by time, or by group
TIME, GROUP = "time\nof the row", "group\nof the row"
LEFT_OUT = 3  # the split of training rows that no split holds
SAMPLING = 1_000_003  # added to the seed of the splits
HASHES = 2_147_483_587  # of a row: 0 to one less


@dataclass(frozen=True)
class Splitting:
    """How rows are dealt to training, validation and test.

    Attributes:
        by: `hash` of the row number, `time`, or `group`, all rows of which stay together.
        ratio: Relative sizes of training, validation and test.
        seed: Seed of the hash.
        time: With `time`, an SQL expression over the raw columns that sorts as time does.
        group: With `group`, one of its text; a row without it is a group of its own.
        negatives: Share of the negatives that are kept among the training rows.
    """

    by: Literal["hash", "time", "group"]
    ratio: Sequence[int]
    seed: int = 0
    time: str | None = None
    group: str | None = None
    negatives: float = 1.0

    def __post_init__(self) -> None:
        if len(self.ratio) != 3 or min(self.ratio) < 1:
            raise ZooError(f"data.split_ratio needs three positive numbers, got {list(self.ratio)}")
        if self.by == "time" and self.time is None:
            raise ZooError("these rows have no time to be split by: use data.split=hash")
        if not 0 < self.negatives <= 1:
            raise ZooError(
                "data.negative_sampling_rate must be more than 0 and at most 1, got "
                f"{self.negatives}"
            )

    @property
    def extra(self) -> dict[str, str]:
        """Columns that the split needs beside the fields."""
        if self.by == "time" and self.time:
            return {TIME: self.time}
        if self.by == "group" and self.group:
            # not DuckDB's own hash, which another version may change
            return {GROUP: f"md5_number_lower('{self.seed}:' || {self.group})"}
        return {}

    def assign(self, rows: Rows, bounds: Sequence[pa.Scalar]) -> None:
        """Sets the `splits` of rows.

        Training rows that are left out, as their negatives are sampled, get 3.

        Args:
            rows: Rows, all or a part of them.
            bounds: See `bounds`.
        """
        rows.splits = [self._split(chunk, bounds) for chunk in rows]

    def times(self, engine: Engine, rows: Rows) -> pa.Table | None:
        """How many (`n`) of the rows have each `time`; None where the split needs none."""
        first = next(iter(rows), None)
        if self.by != "time" or first is None:
            return None
        counted = (pc.value_counts(column_of(chunk, TIME)).flatten() for chunk in rows)
        schema = pa.schema([("time", first.schema.field(TIME).type), ("n", pa.int64())])
        engine.stream("times", (pa.record_batch(c, schema) for c in counted), schema)
        return engine.table("SELECT time, sum(n)::BIGINT AS n FROM times GROUP BY 1")

    def bounds(self, engine: Engine, times: Sequence[pa.Table]) -> list[pa.Scalar]:
        """The first times of validation and test; rows of one time stay together.

        Args:
            engine: An engine.
            times: What `times` found in each part of the rows; none where the split needs none.
        """
        if not times:
            return []
        engine.connection.register("times", pa.concat_tables(times))
        found = engine.table("SELECT time, sum(n)::BIGINT AS n FROM times GROUP BY 1 ORDER BY 1")
        moments, counts = found["time"], found["n"].to_numpy()
        if len(moments) < 3:
            raise ZooError(
                f"the file holds {len(moments)} distinct times; a split by time needs at least "
                "three: use data.split=hash"
            )
        share = np.cumsum(counts) / counts.sum()
        train, validation, _ = np.cumsum(self.ratio) / sum(self.ratio)
        # the time at which the wanted share is first reached ends its split
        first = min(int(np.searchsorted(share, train - 1e-9)) + 1, len(moments) - 2)
        second = min(
            max(int(np.searchsorted(share, validation - 1e-9)) + 1, first + 1), len(moments) - 1
        )
        return [moments[first], moments[second]]

    def _split(self, chunk: pa.Table, bounds: Sequence[pa.Scalar]) -> np.ndarray:
        if self.by == "time":
            split = np.zeros(len(chunk), np.int8)
            for bound in bounds:
                reached = pc.greater_equal(column_of(chunk, TIME), bound)
                split += reached.to_numpy(zero_copy_only=False)
        else:
            bucket = self._hash(chunk) % np.uint64(sum(self.ratio))
            ends = np.cumsum(self.ratio)[:-1]
            split = np.searchsorted(ends, bucket, side="right").astype(np.int8)
        if self.negatives < 1:
            split[(split == 0) & self._is_left_out(chunk)] = LEFT_OUT
        return split

    def _hash(self, chunk: pa.Table) -> np.ndarray:
        """uint64 [R] of the number of a row, or of its group where it has one."""
        of_row = row_hash(chunk["row"].to_numpy(), self.seed).astype(np.uint64)
        if self.by == "hash":
            return of_row
        group = column_of(chunk, GROUP)
        own = group.fill_null(0).to_numpy()
        return np.where(group.is_null().to_numpy(zero_copy_only=False), of_row, own)

    def _is_left_out(self, chunk: pa.Table) -> np.ndarray:
        # of another seed than the split: that one's hash decides which rows are of training
        drawn = row_hash(chunk["row"].to_numpy(), self.seed + SAMPLING)
        return (chunk["label"].to_numpy() == 0) & (drawn >= self.negatives * HASHES)


def row_hash(row: np.ndarray, seed: int) -> np.ndarray:
    """[n] hash values that split rows: multiplicative congruences with xor-shifts between them,
    the same on every machine and in every version."""
    mixed = (row.astype(np.int64) * 1_103_515_245 + 1) % 2_147_483_647
    mixed = (mixed ^ (mixed >> 15)) * 1_597_334_677 % 2_147_483_629
    mixed = mixed ^ (mixed >> 13) ^ _seed_bits(seed)
    mixed = mixed * 2_246_822_519 % 4_294_967_291
    return (mixed ^ (mixed >> 16)) * 1_812_433_253 % 2_147_483_587


def _seed_bits(seed: int) -> int:
    """31 bits that differ in about half for neighbouring seeds."""
    return (seed + 1) * 2_654_435_761 % 2_147_483_647
