"""What `train.py compare` does."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from jsonargparse.typing import PositiveInt, restricted_number_type

from zoo.data.errors import ZooError
from zoo.inspect.runs.overview import Overview
from zoo.run.found_runs import facts_of, runs_of
from zoo.run.inspect import plain_of, wide_console, write_report
from zoo.run.parser import ZooParser

SUMMARY = "Say in what runs differ, and which differences are more than noise."
SPLITS = ("test", "val", "predict", "none")
Level = restricted_number_type("Level", float, [(">", 0.5), ("<", 1)])


def parser() -> ZooParser:
    """The options of the subcommand."""
    program = f"{Path(sys.argv[0]).name} compare"
    described = f"{SUMMARY} --data.* change the data of all runs, such as --data.path FILE."
    made = ZooParser(prog=program, description=described)
    made.add_argument(
        "runs",
        nargs="+",
        help="run directories, folders that hold such, or checkpoints in them, such as runs/*; of "
        "a run its best.ckpt is taken",
    )
    made.add_argument(
        "--split",
        choices=SPLITS,
        help="rows to score: those of the split test (the default, where all runs have one) or "
        "val of each run's data; predict: the labelled rows of --data.predict_path; none scores "
        "nothing, and shows what the runs recorded",
    )
    made.add_argument(
        "--metric",
        help="metric that says which run is best, such as auc; without it the one that the runs "
        "monitor, else the logloss (of ranked lists ndcg@10)",
    )
    made.add_argument("--level", type=Level, default=0.95, help="level of intervals and tests")
    made.add_argument(
        "--draws", type=PositiveInt, default=1000, help="number of draws of the bootstrap"
    )
    made.add_argument(
        "--fresh", action="store_true", help="score anew what earlier comparisons have kept"
    )
    made.add_argument("--html", help="also write a page, one HTML file that opens offline")
    made.add_argument("--json", action="store_true", help="print JSON, for machines")
    return made


def run(arguments: Sequence[str]) -> None:
    """Compares runs.

    Raises:
        ZooError: where there are none, or one cannot be scored.
    """
    given, of_data = parted(arguments)
    options = parser().parse_args(given)
    if options.html is not None and not Path(options.html).absolute().parent.is_dir():
        raise ZooError(f"--html: there is no folder {Path(options.html).absolute().parent}")
    runs, notes = runs_of(options.runs)
    facts = tuple(map(facts_of, runs))
    if options.split == "none":
        if of_data:
            raise ZooError(f"{of_data[0]} changes data, of which --split none scores none")
        found = Overview(facts, None, (), tuple(notes))
    else:
        from zoo.run.compare_rows import compared  # which needs Lightning

        parts, split, more = compared(runs, facts, of_data, options)
        found = Overview(facts, split, parts, (*notes, *more))
    if options.html is not None:
        write_report(Path(options.html), found)
    if options.json:
        json.dump(plain_of(found.to_dict()), sys.stdout, indent=1, default=str, allow_nan=False)
        print()
    else:
        wide_console().print(found)


def parted(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """The options of this command, and those of data with their values."""
    mine, of_data, follows = list[str](), list[str](), False
    for argument in arguments:
        is_option = argument.startswith("-")
        if argument.startswith("--data.") or argument.partition("=")[0] == "--data":
            of_data.append(argument)
            follows = "=" not in argument
        elif follows and not is_option:
            of_data.append(argument)
            follows = False
        else:
            mine.append(argument)
            follows = False
    return mine, of_data
