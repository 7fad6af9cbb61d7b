"""Which rows train, validate and test: by a hash of their number or group, or by time."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from datamodules.prepared.engine import Engine, sql_identifier, sql_literal
from datamodules.tabular.encoder import ROWS_PER_CHUNK
from zoo.data.errors import ZooError

# extra columns of the table `rows` where the split is by time, or by group
TIME, GROUP = "time of the row", "group of the row"
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
        columns = {"time": {TIME: self.time}, "group": {GROUP: self.group}}.get(self.by, {})
        return {name: sql for name, sql in columns.items() if sql}

    def assign(self, engine: Engine) -> None:
        """Sets `split` of the table `rows`: 0 for training, 1 for validation, 2 for test.

        Training rows that are left out, as their negatives are sampled, get 3.
        """
        ((count,),) = engine.run("SELECT count(*) FROM rows")
        split = self._expression(engine)
        for start in range(0, count, ROWS_PER_CHUNK):
            chunk = f"rowid >= {start} AND rowid < {start + ROWS_PER_CHUNK}"
            engine.run(f"UPDATE rows SET split = {split} WHERE {chunk}")
            if self.negatives < 1:
                drawn = f"split = 0 AND label = 0 AND {self._is_left_out()}"
                engine.run(f"UPDATE rows SET split = {LEFT_OUT} WHERE {chunk} AND {drawn}")

    def _expression(self, engine: Engine) -> str:
        if self.by == "time":
            validation, test = self._times(engine)
            time = sql_identifier(TIME)
            return f"CASE WHEN {time} < {validation} THEN 0 WHEN {time} < {test} THEN 1 ELSE 2 END"
        bucket = f"{self._hash()} % {sum(self.ratio)}"
        train, validation, _ = self.ratio
        return (
            f"CASE WHEN {bucket} < {train} THEN 0 WHEN {bucket} < {train + validation} THEN 1 "
            "ELSE 2 END"
        )

    def _hash(self) -> str:
        row = _hash_statement(self.seed)
        if self.by == "hash":
            return row
        group = sql_identifier(GROUP)
        # not DuckDB's own hash, which another version may change
        own = f"md5_number_lower('{self.seed}:' || {group})"
        return f"(CASE WHEN {group} IS NULL THEN ({row})::UBIGINT ELSE {own} END)"

    def _is_left_out(self) -> str:
        # of another seed than the split: that one's hash decides which rows are of training
        return f"{_hash_statement(self.seed + SAMPLING)} >= {self.negatives} * {HASHES}"

    def _times(self, engine: Engine) -> tuple[str, str]:
        """The first times of validation and test; rows of one time stay together."""
        time = sql_identifier(TIME)
        found = engine.arrays(
            f"SELECT {time} AS t, count(*) AS n FROM rows WHERE problem IS NULL "
            "GROUP BY 1 ORDER BY 1"
        )
        times, counts = found["t"], found["n"]
        if len(times) < 3:
            raise ZooError(
                f"the file holds {len(times)} distinct times; a split by time needs at least "
                "three: use data.split=hash"
            )
        share = np.cumsum(counts) / counts.sum()
        train, validation, _ = np.cumsum(self.ratio) / sum(self.ratio)
        # the time at which the wanted share is first reached ends its split
        first = min(int(np.searchsorted(share, train - 1e-9)) + 1, len(times) - 2)
        second = min(
            max(int(np.searchsorted(share, validation - 1e-9)) + 1, first + 1), len(times) - 1
        )
        return sql_literal(times[first]), sql_literal(times[second])


def row_hash(row: np.ndarray, seed: int) -> np.ndarray:
    """[n] hash values that split rows: multiplicative congruences with xor-shifts between them,
    the same in SQL and NumPy, on every machine and in every version."""
    mixed = (row.astype(np.int64) * 1_103_515_245 + 1) % 2_147_483_647
    mixed = (mixed ^ (mixed >> 15)) * 1_597_334_677 % 2_147_483_629
    mixed = mixed ^ (mixed >> 13) ^ _seed_bits(seed)
    mixed = mixed * 2_246_822_519 % 4_294_967_291
    return (mixed ^ (mixed >> 16)) * 1_812_433_253 % 2_147_483_587


def _seed_bits(seed: int) -> int:
    """31 bits that differ in about half for neighbouring seeds."""
    return (seed + 1) * 2_654_435_761 % 2_147_483_647


def _hash_statement(seed: int) -> str:
    mixed = "((rows.rowid * 1103515245 + 1) % 2147483647)"
    mixed = f"(xor({mixed}, {mixed} >> 15) * 1597334677 % 2147483629)"
    mixed = f"xor(xor({mixed}, {mixed} >> 13), {_seed_bits(seed)})"
    mixed = f"({mixed} * 2246822519 % 4294967291)"
    return f"(xor({mixed}, {mixed} >> 16) * 1812433253 % 2147483587)"
