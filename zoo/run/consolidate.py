"""What `train.py consolidate` does."""

import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from zoo.data.consolidated import write_consolidated
from zoo.data.errors import ZooError
from zoo.inspect.checkpoint import read
from zoo.run.directory import checkpoint_of
from zoo.run.parser import ZooParser

SUMMARY = "Write a checkpoint whose tables lie in parts as one file."


def parser() -> ZooParser:
    """The options of the subcommand."""
    program = f"{Path(sys.argv[0]).name} consolidate"
    made = ZooParser(prog=program, description=SUMMARY)
    made.add_argument("checkpoint", help="the checkpoint, or a run directory, whose best is taken")
    made.add_argument("--output", help="file to write; without it, best.ckpt gives best.whole.ckpt")
    return made


def run(arguments: Sequence[str]) -> None:
    """Writes the file.

    Raises:
        ZooError: where the checkpoint cannot be read, or has no parts, or the file exists.
    """
    options = parser().parse_args([*arguments])
    path = checkpoint_of(options.checkpoint)
    output = Path(options.output or path.with_suffix(".whole.ckpt"))
    if output.exists():
        raise ZooError(f"{output} (--output) exists: delete it, or name another file")
    content = read(path)
    if "shards" not in content:
        raise ZooError(f"{path} is one file already: its tables do not lie in parts")
    write_consolidated(content, path, output)
    size = output.stat().st_size / 1e6
    Console(highlight=False).print(f"{output}: {size:,.1f} MB", soft_wrap=True)
