"""Writes a table of real data: `python -m datamodules.examples flights --to data`."""

import sys
from pathlib import Path
from typing import Literal

from rich.console import Console

from datamodules.examples import flights, promotions
from datamodules.prepared.engine import Engine, sql_literal
from zoo.data.errors import ZooError
from zoo.data.files import atomic_file

TABLES = {"flights": flights, "promotions": promotions}
MEMORY_LIMIT = "4GB"


def write(name: Literal["flights", "promotions"], to: str = "data") -> Path:
    """Write a table of real data, NAME.parquet; `configs/examples/NAME.yaml` trains on it.

    The packages that hold the data come with `pip install "interpretable-zoo[examples]"`.

    Args:
        name: Name of the table: flights (is a flight more than 15 minutes late?) or promotions
            (does a household buy a product on promotion?).
        to: Folder of the file.

    Returns:
        The file.
    """
    target = Path(to) / f"{name}.parquet"
    source = TABLES[name].source()
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        spill = target.with_name(f".{name}.spill")
        with Engine(spill, MEMORY_LIMIT) as engine, atomic_file(target) as partial:
            TABLES[name].register(engine, source)
            file = f"{sql_literal(partial)} (FORMAT parquet, COMPRESSION zstd)"
            engine.run(f"COPY ({TABLES[name].SQL}) TO {file}", f"writing {target.name}")
    except OSError as error:
        raise ZooError(f"cannot write {target}: {error.strerror or error}") from error
    return target


def main() -> None:
    """Runs the command line; what a user can correct is reported in one sentence."""
    from jsonargparse import auto_cli

    try:
        target = auto_cli(write)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)
    except ZooError as error:
        sys.exit(f"error: {error}")
    Console().print(str(target), soft_wrap=True, highlight=False)


if __name__ == "__main__":
    main()
