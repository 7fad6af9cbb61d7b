"""Quantile bins of numbers, fitted on training rows.

A number lies in the first bin whose upper edge it does not exceed, and beyond all edges in the
last one. Bins hold about equally many training rows: edge k of `bins` is the smallest value that at
least k / `bins` of the rows do not exceed (numpy's `inverted_cdf`), equal edges are merged, and the
largest value is no edge: beyond it lies no training row.

Shapes: R rows.
"""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from datamodules.prepared.engine import Engine, sql_literal
from datamodules.prepared.vocabulary import FIRST_ID
from datamodules.tabular.rows import Rows, numbers_of
from datamodules.tabular.source import RawField
from zoo.data.encoder import interval
from zoo.data.schema import MISSING


def quantile_edges(engine: Engine, bins: int) -> list[float]:
    """The edges of the numbers that the engine's table `counts` (value, n) holds, ascending."""
    # value is the k-th quantile for all k up to `part` that a smaller value has not reached
    found = engine.run(
        "SELECT min(value) AS edge FROM (SELECT value, "
        f"(sum(n) OVER (ORDER BY value))::BIGINT * {bins} // (sum(n) OVER ())::BIGINT AS part "
        "FROM (SELECT value, sum(n)::BIGINT AS n FROM counts GROUP BY value)) "
        f"WHERE part BETWEEN 1 AND {bins - 1} GROUP BY part ORDER BY edge"
    )
    return [edge for (edge,) in found]


def bins_of(numbers: np.ndarray, edges: Sequence[float]) -> np.ndarray:
    """int32 [R] the bin of each number, from 0."""
    return np.searchsorted(np.array(edges, np.float32), numbers).astype(np.int32)


def bin_ids(numbers: np.ndarray, edges: Sequence[float]) -> np.ndarray:
    """int32 [R] the id of each number's bin, that of missing where it is NaN."""
    return np.where(np.isnan(numbers), MISSING, FIRST_ID + bins_of(numbers, edges)).astype(np.int32)


def fit_bins(
    engine: Engine, parts: Sequence[Rows], fields: Sequence[RawField]
) -> dict[str, list[float]]:
    """The edges of the fields that are binned, which get their place in the table `vocabulary`.

    Their ids are in the order of the numbers, as names of values in that of their intervals.
    """
    found = {}
    for field in fields:
        numbers = (pa.record_batch([x], ["value"]) for x in numbers_of(parts, field.name))
        engine.stream("numbers", numbers, pa.schema({"value": pa.float32()}))
        # -0 and 0 are one number, and which of them is met first is chance
        engine.run(
            "CREATE OR REPLACE TABLE counts AS SELECT value + 0::FLOAT AS value, count(*) AS n "
            "FROM numbers GROUP BY 1"
        )
        found[field.name] = edges = quantile_edges(engine, field.bins or 0)
        _name_bins(engine, field.name, edges)
        engine.run("DROP TABLE counts")
    return found


def _name_bins(engine: Engine, name: str, edges: Sequence[float]) -> None:
    codes = np.arange(len(edges) + 1)
    upper = np.array([*edges, np.inf], np.float32)
    names = [interval([_shortest(edge) for edge in edges], code) for code in codes.tolist()]
    engine.view("bins", {"upper": upper, "value": np.array(names), "id": FIRST_ID + codes})
    engine.run(
        f"INSERT INTO vocabulary SELECT {sql_literal(name)}, bins.value, bins.id, "
        "coalesce(sum(n), 0) FROM bins LEFT JOIN (SELECT b.id, counts.n FROM counts ASOF JOIN "
        "bins AS b ON counts.value <= b.upper) AS mine USING (id) GROUP BY ALL"
    )


def _shortest(edge: float) -> str:
    """The shortest text that is this number of 32 bits and no other."""
    return f"{float(str(np.float32(edge))):.9g}"
