"""What `train.py describe` does."""

import re
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from zoo.data.errors import ZooError
from zoo.data.files import write_text
from zoo.run.parser import ZooParser

SUMMARY = "Write a first config for a table of your own, from what its columns hold."


def parser() -> ZooParser:
    """The options of the subcommand."""
    program = f"{Path(sys.argv[0]).name} describe"
    made = ZooParser(prog=program, description=SUMMARY)
    made.add_argument(
        "path",
        nargs="+",
        help="a file, a folder of files, or a pattern: Parquet, CSV, TSV or JSON lines",
    )
    made.add_argument("--label", help="column of the label; without it, one is looked for")
    made.add_argument(
        "--format",
        choices=["parquet", "csv", "tsv", "jsonl"],
        help="format of files whose names do not say it",
    )
    made.add_argument("--delimiter", help="character between the columns of text")
    made.add_argument("--output", help="file to write, such as mine.yaml; without it, it is shown")
    return made


def run(arguments: Sequence[str]) -> None:
    """Writes a config.

    Raises:
        ZooError: where the table cannot be read, or the file exists.
    """
    options = parser().parse_args([*arguments])
    output = Path(options.output) if options.output else None
    if output and output.exists():
        raise ZooError(f"{output} (--output) exists: delete it, or name another file")
    path = options.path[0] if len(options.path) == 1 else options.path
    # by its name: no room of zoo knows a dataset
    describe = import_module("datamodules.tabular.describe").describe
    try:
        text = describe(path, options.label, options.format, options.delimiter)
    except ZooError as error:  # which names the options of the datamodule
        said = re.sub(r"\bdata\.(format|delimiter|label)\b", r"--\1", str(error))
        raise ZooError(said.removesuffix(" (data.path)")) from error
    if output is None:
        sys.stdout.write(text)
    else:
        write_text(output, text)
