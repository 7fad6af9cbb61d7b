"""What `train.py edit` does."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from zoo.data.errors import ZooError
from zoo.inspect.checkpoint import read
from zoo.run.compare import parted
from zoo.run.directory import checkpoint_of, run_of
from zoo.run.inspect import data_of, plain_of, wide_console
from zoo.run.parser import ZooParser

SUMMARY = "Switch terms of a glass box off or on, and say what that changes."
SPLITS = ("val", "test", "predict", "none")


def parser() -> ZooParser:
    """The options of the subcommand."""
    program = f"{Path(sys.argv[0]).name} edit"
    described = f"{SUMMARY} --data.* change the data of --config, such as --data.path FILE."
    made = ZooParser(prog=program, description=described)
    made.add_argument(
        "--ckpt_path",
        required=True,
        help="the checkpoint, or a run directory, whose best is taken; it stays as it is",
    )
    made.add_argument(
        "--off",
        nargs="+",
        type=str,
        default=[],
        help='terms to switch off, such as C7 "C1 x C2"; `inspect` and --each name them',
    )
    made.add_argument("--on", nargs="+", type=str, default=[], help="terms to switch on again")
    made.add_argument(
        "--output",
        help="where to write the edited model: a file that ends in .ckpt, or a folder that becomes "
        "a run directory, with config and encoder of the run; without it nothing is written",
    )
    made.add_argument(
        "--keep_mean",
        action="store_true",
        help="move the constant so that the mean probability of the rows stays",
    )
    made.add_argument(
        "--each",
        action="store_true",
        help="also say what switching off each of the terms that are on would cost",
    )
    made.add_argument(
        "--split",
        default="val",
        choices=SPLITS,
        help="rows to measure the change on; predict: the labelled rows of --data.predict_path; "
        "none measures nothing, and needs no data",
    )
    made.add_argument("--config", help="config of the data; without it that of the run")
    made.add_argument("--json", action="store_true", help="print JSON, for machines")
    return made


def run(arguments: Sequence[str]) -> None:
    """Edits a checkpoint.

    Raises:
        ZooError: as `zoo.run.editing.edit.edit` does, and where there is no config of the data.
    """
    given, of_data = parted(arguments)
    options = parser().parse_args(given)
    checkpoint = checkpoint_of(options.ckpt_path)
    read(checkpoint)  # which refuses what is none, or could run code
    from zoo.run.editing.edit import Wanted, edit  # which need Lightning

    output = Path(options.output) if options.output else None
    names = (tuple(options.off), tuple(options.on))
    wanted = Wanted(*names, options.keep_mean, options.each, output)
    data = None
    if options.split != "none":
        data = data_of(_config(options.config, checkpoint), checkpoint, of_data)
    elif of_data:
        raise ZooError(f"{of_data[0]} changes data, of which --split none measures none")
    edited = edit(checkpoint, wanted, data, options.split)
    if options.json:
        json.dump(plain_of(edited.to_dict()), sys.stdout, indent=1, allow_nan=False)
        print()
        return
    console = wide_console()
    console.print(edited)
    if output is not None:
        console.print(str(output), soft_wrap=True)
        _say_where(output, checkpoint)


def _config(given: str | None, checkpoint: Path) -> Path:
    if given is not None:
        return Path(given)
    config = run_of(checkpoint) / "config.yaml"
    if not config.is_file():
        raise ZooError(
            f"{checkpoint} lies in no run directory that says what its data are: give --config "
            "FILE, or --split none"
        )
    return config


def _say_where(output: Path, checkpoint: Path) -> None:
    """What a file that lies outside of its run needs beside it."""
    run, encoder = run_of(checkpoint), run_of(checkpoint) / "encoder"
    if output.suffix == ".ckpt" and encoder.is_dir() and run_of(output) != run:
        Console(stderr=True, highlight=False).print(
            f"it lies outside of its run: score rows with --config {run / 'config.yaml'} "
            f"--data.encoder {encoder}",
            soft_wrap=True,
        )
