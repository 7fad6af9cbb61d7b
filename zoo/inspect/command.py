"""What `train.py inspect` does."""

import json
import math
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console

from zoo.inspect.compare import Comparison
from zoo.inspect.facts import load
from zoo.parser import ZooParser
from zoo.schema import ZooError

SUMMARY = "Say what a checkpoint holds, or compare two, without data and without a config."


def parser() -> ZooParser:
    """The options of the subcommand."""
    made = ZooParser(prog="train.py inspect", description=SUMMARY)
    made.add_argument(
        "checkpoints",
        nargs="+",
        help="the checkpoint; of two, what differs between them is shown side by side",
    )
    made.add_argument("--json", action="store_true", help="print JSON, for machines")
    return made


def run(arguments: Sequence[str]) -> None:
    """Prints an inspection, or a comparison of two.

    Raises:
        ZooError: as `zoo.inspect.load` does.
    """
    options = parser().parse_args(list(arguments))
    if len(options.checkpoints) > 2:
        raise ZooError(f"inspect takes one or two checkpoints, got {len(options.checkpoints)}")
    loaded = [load(path) for path in options.checkpoints]
    found = loaded[0] if len(loaded) == 1 else Comparison(*loaded)
    if options.json:
        json.dump(_plain(found.to_dict()), sys.stdout, indent=1, default=str, allow_nan=False)
        print()
    else:
        Console(highlight=False).print(found)


def _plain(value: Any) -> Any:
    """As JSON has it: names are text, and a number that is not finite is null."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
