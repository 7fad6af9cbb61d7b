"""What `train.py inspect` does."""

import argparse
import json
import math
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jsonargparse.typing import NonNegativeInt
from rich.console import Console
from rich.text import Text

from zoo.data.errors import ZooError
from zoo.inspect.compare import Comparison
from zoo.inspect.facts import EXPLAINED, Inspection, load
from zoo.inspect.interactions import Interactions, read_interactions
from zoo.run.parser import ZooParser

if TYPE_CHECKING:
    from zoo.inspect.disagreement import Disagreement
    from zoo.inspect.scores import Scores

WIDE = 120  # columns of an output that is no terminal
SUMMARY = "Say what a checkpoint holds, or what differs between two, with no need of data."


def parser(data: bool = True, config: str | None = None) -> ZooParser:
    """The options of the subcommand.

    Args:
        data: whether `--data` is among them, which takes Lightning, and seconds, to import.
        config: file whose section `data` is the default of `--data`.
    """
    made = ZooParser(prog="train.py inspect", description=SUMMARY, parser_mode="omegaconf")
    made.add_argument(
        "checkpoints",
        nargs="+",
        help="the checkpoint; of two, what differs between them is shown side by side",
    )
    made.add_argument(
        "--config",
        help="config of data to score with the checkpoint, such as RUN/config.yaml: its quality, "
        "its calibration, and what the experts of a mixture have to say; with two, where their "
        "predictions differ most",
    )
    made.add_argument(
        "--split",
        default="val",
        choices=["val", "test", "predict"],
        help="split of the data to score; predict: the labelled rows of --data.predict_path",
    )
    made.add_argument(
        "--by", help="categorical field: show its values alone, in place of those of all fields"
    )
    made.add_argument(
        "--sample",
        type=NonNegativeInt,
        default=EXPLAINED,
        help="rows of the split on which the importance of fields, attention and examples are "
        "computed, at most; 0 leaves these out",
    )
    made.add_argument(
        "--interactions",
        help="file of the interactions that were found in the model: the output of "
        "`train.py detect`",
    )
    made.add_argument("--html", help="also write a report, one HTML file that opens offline")
    made.add_argument("--json", action="store_true", help="print JSON, for machines")
    if data:
        from zoo.inspect.data import add_data

        add_data(made, config)
    return made


def _parse(arguments: Sequence[str]) -> tuple[ZooParser, Any]:
    """The parser and its options; with `--data` only where a part of the arguments asks for it."""
    first = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    first.add_argument("--config")
    config = first.parse_known_args(arguments)[0].config
    named = {argument.partition("=")[0] for argument in arguments}
    of_data = {name for name in named if name.startswith("--data.")}
    if of_data - {"--data.help"} and named.isdisjoint(("--config", "--data")):
        raise ZooError("--data.* change data: give --config RUN/config.yaml, or --data CLASS")
    wanted = of_data or not named.isdisjoint(("--config", "--data", "--help", "-h"))
    made = parser(bool(wanted), config)
    return made, made.parse_args(list(arguments))


def run(arguments: Sequence[str]) -> None:
    """Prints an inspection, or a comparison of two.

    Raises:
        ZooError: as `zoo.inspect.load` does.
    """
    made, options = _parse(arguments)
    if len(options.checkpoints) > 2:
        raise ZooError(f"inspect takes one or two checkpoints, got {len(options.checkpoints)}")
    given = options.get("data") is not None
    for option, plain in (("by", None), ("split", "val"), ("sample", EXPLAINED)):
        if not given and options[option] != plain:
            raise ZooError(f"--{option} needs data: give --config RUN/config.yaml, or --data")
    if options.html is not None and not Path(options.html).absolute().parent.is_dir():
        raise ZooError(f"--html: there is no folder {Path(options.html).absolute().parent}")
    if options.interactions is not None and len(options.checkpoints) == 2:
        raise ZooError("--interactions shows those of one checkpoint, not of two")
    loaded = [load(path) for path in options.checkpoints]
    found = loaded[0] if len(loaded) == 1 else Comparison(*loaded)
    interactions = None
    if options.interactions is not None:
        interactions = _interactions(Path(options.interactions), loaded[0])
    scores = _score(loaded, made, options) if given else None
    if options.html is not None:
        _write_report(Path(options.html), found, scores, interactions)
    if options.json:
        more = {"scores": scores, "interactions": interactions}
        plain = found.to_dict() | {name: part.to_dict() for name, part in more.items() if part}
        json.dump(_plain(plain), sys.stdout, indent=1, default=str, allow_nan=False)
        print()
    else:
        # a file or a pipe has no width of its own, and the usual 80 columns would fold tables
        width = None if sys.stdout.isatty() or "COLUMNS" in os.environ else WIDE
        console = Console(highlight=False, width=width)
        console.print(*filter(None, (found, scores, interactions)))


def _interactions(path: Path, found: Inspection) -> Interactions:
    if found.schema is None:
        raise ZooError(f"--interactions: {found.file} holds no model of this project")
    return read_interactions(path, found.schema)


def _score(loaded: Sequence[Inspection], made: ZooParser, options: Any) -> "Scores | Disagreement":
    from zoo.inspect.disagreement import disagree  # which need Lightning, as does the last
    from zoo.inspect.scores import score
    from zoo.run.directory import use_encoder

    asked, given = options.split == "predict", options.data.init_args.get("predict_path")
    if asked and not given:
        raise ZooError("--split predict scores a file: give --data.predict_path FILE")
    if given and not asked:
        raise ZooError("--data.predict_path is scored with --split predict")
    if asked:
        richest = max(loaded, key=lambda found: len(found.fields))  # with its crosses
        use_encoder(options.data.init_args, Path(richest.file))
    data = made.instantiate_classes(options).data
    if len(loaded) == 2:
        return disagree(*loaded, data, options.split, options.by)
    return score(*loaded, data, options.split, options.by, options.sample)


def _write_report(
    path: Path,
    found: Inspection | Comparison,
    scores: "Scores | Disagreement | None",
    interactions: Interactions | None,
) -> None:
    from zoo.inspect import pair_report, report  # which need plotly

    try:
        if isinstance(found, Comparison):
            pair_report.write(path, found, scores)
        else:
            report.write(path, found, scores, interactions)
    except OSError as error:
        raise ZooError(f"--html: {path} cannot be written: {error.strerror}") from error
    Console(stderr=True, highlight=False).print(Text(f"report: {path}"), soft_wrap=True)


def _plain(value: Any) -> Any:
    """As JSON has it: names are text, and a number that is not finite is null."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
