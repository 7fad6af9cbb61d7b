"""What Python says of a table: where its rows are, and what its columns hold."""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, is_dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from zoo.data.checksums import checksum
from zoo.data.errors import ZooError, causes
from zoo.data.files import partial_file
from zoo.run.frames import checked_frame, table_of
from zoo.run.mistakes import sentence_of

if TYPE_CHECKING:
    import pandas as pd

SAVED = r"frame-[0-9a-f]{16}\.parquet"  # the rows of a DataFrame


def describe(
    rows: "pd.DataFrame | str | Path | Sequence[str | Path]",
    label: str | Mapping[str, Any] | Any = None,
    *,
    prepared: str | Path = "prepared",
) -> dict[str, Any]:
    """What `fit` makes of the columns of a table, to be looked at and changed.

    `zoo.fit(rows, **zoo.describe(rows))` is `zoo.fit(rows)` with what is found in the columns, as
    the command `describe` finds it.

    Args:
        rows: The table: a DataFrame, or the path of `datamodules.Table`.
        label: The label, as `fit` takes it; None looks for a column that could be one.
        prepared: Folder of the prepared data, where the rows of a DataFrame are kept as Parquet.

    Returns:
        The arguments `label`, `fields` and `data` of `fit`.

    Raises:
        ZooError: where the table cannot be read, or has no such column.
    """
    with sentences(Path(prepared)):
        found = inferred({"path": path_of(rows, Path(prepared)), "label": label})
        others = {k: v for k, v in found.items() if k not in ("path", "label", "fields")}
        return {"label": label or found["label"], "fields": found["fields"], "data": others}


def path_of(rows: Any, prepared: Path) -> Any:
    """The path of a table; of a DataFrame, that of a file among the prepared data."""
    if isinstance(rows, str | Path):
        return str(rows)
    if isinstance(rows, Sequence):
        return [*map(str, rows)]
    return str(_saved(checked_frame(rows), prepared))


def _saved(frame: "pd.DataFrame", folder: Path) -> Path:
    """A Parquet file of the rows, in a folder; equal rows are one file."""
    table = table_of(frame)
    folder.mkdir(parents=True, exist_ok=True)
    with partial_file(folder / "frame.parquet") as partial:
        try:
            pq.write_table(table, partial)
        except pa.ArrowException as error:
            reason = str(error).splitlines()[0]
            raise ZooError(f"the DataFrame cannot be written as Parquet: {reason}") from error
        path = folder / f"frame-{checksum(partial)[:16]}.parquet"
        if not path.is_file():
            with open(partial, "r+b") as file:
                os.fsync(file.fileno())
            os.replace(partial, path)
    return path.resolve()


def inferred(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options of the data that `describe` makes of a table whose path and label are known."""
    label = options["label"]
    plain = asdict(label) if is_dataclass(label) and not isinstance(label, type) else label
    column = plain.get("column") if isinstance(plain, Mapping) else plain
    # by its name: no room of zoo knows a dataset
    describe = import_module("datamodules.tabular.describe").describe
    text = describe(options["path"], column, options.get("format"), options.get("delimiter"))
    found = yaml.safe_load(text)["data"]["init_args"]
    weight = options.get("weight")
    found["fields"] = [f for f in found["fields"] if f.get("column", f["name"]) != weight]
    return found


@contextmanager
def sentences(prepared: Path) -> Iterator[None]:
    """Reports in one sentence what a user can correct, as the command line does.

    Args:
        prepared: Folder of the file that holds the rows of a DataFrame, of which a user knows
            nothing.
    """
    try:
        yield
    except (Exception, SystemExit) as error:
        # into which Lightning turns Ctrl-C
        if any(isinstance(cause, KeyboardInterrupt) for cause in causes(error)):
            raise KeyboardInterrupt from error
        sentence = sentence_of(error)
        if sentence is None:
            raise
        saved = f"{re.escape(str(prepared.resolve()))}/{SAVED}"
        named = re.sub(saved, "the DataFrame", sentence).replace("(--label)", "(label)")
        raise ZooError(named) from error
