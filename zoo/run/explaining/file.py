"""Files of explained predictions: JSON and Parquet of any number, a page of a few."""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from zoo.data.errors import ZooError
from zoo.data.files import atomic_file
from zoo.inspect.explained_row import INTERCEPT, REST, ExplainedRow
from zoo.inspect.report import write

FORMAT = 1
MOST_ON_A_PAGE = 20  # predictions
LINES_AT_ONCE = 50_000  # of a Parquet file
SCHEMA = pa.schema(
    [
        ("row", pa.int64()),
        ("position", pa.int64()),
        ("fields", pa.string()),
        ("contribution", pa.float64()),
        ("error", pa.float64()),
        ("share", pa.float64()),
        ("probability", pa.float64()),
    ]
)
Add = Callable[[ExplainedRow], None]


@contextmanager
def explanation_file(output: Path, head: Mapping[str, Any], sessions: bool) -> Iterator[Add]:
    """What adds explained predictions to a file, which appears when all are there.

    Args:
        output: The file; its suffix says its format.
        head: What JSON says before the rows.
        sessions: Whether a prediction is of a track of a session, so that lines say which.
    """
    output.parent.mkdir(parents=True, exist_ok=True)
    if output.suffix == ".html":
        found: list[ExplainedRow] = []

        def keep(row: ExplainedRow) -> None:
            if len(found) == MOST_ON_A_PAGE:
                raise ZooError(
                    f"output: a page shows {MOST_ON_A_PAGE} predictions at most: give --row N (and "
                    "--position K of sessions), or a file that ends in .json or .parquet"
                )
            found.append(row)

        yield keep
        write(output, *found)
        return
    made = _json_rows if output.suffix == ".json" else _parquet_lines
    with atomic_file(output) as partial, made(partial, head, sessions) as add:
        yield add


def check_output(output: Path) -> None:
    """Raises `ZooError` where a file cannot be an explanation."""
    if output.suffix not in (".json", ".parquet", ".html") or output.is_dir():
        raise ZooError(f"output: {output} must name a file that ends in .json, .parquet or .html")


@contextmanager
def _json_rows(file: Path, head: Mapping[str, Any], sessions: bool) -> Iterator[Add]:
    before = json.dumps({"format": FORMAT, **head}, indent=1).removesuffix("\n}")
    with open(file, "w", encoding="utf-8") as out:
        out.write(f'{before},\n "rows": [')
        comma = ""

        def add(row: ExplainedRow) -> None:
            nonlocal comma
            out.write(f"{comma}\n{json.dumps(row.to_dict(), allow_nan=False, ensure_ascii=False)}")
            comma = ","

        yield add
        out.write("\n]}\n")


@contextmanager
def _parquet_lines(file: Path, head: Mapping[str, Any], sessions: bool) -> Iterator[Add]:
    """Lines as `zoo.load(run).explain` gives them, each with its row and its probability."""
    schema = SCHEMA if sessions else SCHEMA.remove(SCHEMA.get_field_index("position"))
    metadata = {"explain": json.dumps(dict(head))}
    waiting: list[dict[str, Any]] = []
    with pq.ParquetWriter(file, schema.with_metadata(metadata)) as out:

        def flush() -> None:
            out.write_table(pa.Table.from_pylist(waiting, out.schema))
            waiting.clear()

        def add(row: ExplainedRow) -> None:
            waiting.extend(_lines(row))
            if len(waiting) >= LINES_AT_ONCE:
                flush()

        yield add
        flush()


def _lines(row: ExplainedRow) -> Iterator[dict[str, Any]]:
    for c in row.all_lines():
        yield {
            "row": row.row,
            "position": row.position,
            "fields": c.name or INTERCEPT,
            "contribution": c.contribution,
            "error": None if c.name == REST else c.error,
            "share": c.share,
            "probability": row.probability,
        }
