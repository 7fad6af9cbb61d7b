"""What `train.py inspect` does."""

import argparse
import json
import math
import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jsonargparse.typing import NonNegativeInt
from rich.console import Console
from rich.text import Text

from zoo.data.errors import ZooError
from zoo.data.plain import read_yaml
from zoo.inspect.comparison import Comparison
from zoo.inspect.inspection import ROWS_EXPLAINED, Inspection, load
from zoo.inspect.interactions import DetectedInteractions, interactions_in
from zoo.inspect.shown import Shown
from zoo.run.parser import ZooParser, check_nulls
from zoo.run.trust import refusal, restricted_imports

if TYPE_CHECKING:  # which need Lightning, which takes seconds to import
    from zoo.data.module import ZooDataModule

WIDE = 120  # columns of an output that is no terminal
ROWS_OF_A_PAGE, MOST_ROWS = 40, 60  # that are explained one by one
SUMMARY = "Say what a checkpoint holds, or what differs between two, with no need of data."


# Options


def parser(data: bool = True, config: str | None = None) -> ZooParser:
    """The options of the subcommand.

    Args:
        data: Whether `--data` is among them, which takes Lightning, and seconds, to import.
        config: File whose section `data` is the default of `--data`.
    """
    program = f"{Path(sys.argv[0]).name} inspect"
    made = ZooParser(prog=program, description=SUMMARY, parser_mode="omegaconf")
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
        default=ROWS_EXPLAINED,
        help="rows of the split on which the importance of fields, attention and examples are "
        "computed, at most; 0 leaves these out",
    )
    made.add_argument(
        "--explain",
        type=NonNegativeInt | None,  # pyright: ignore[reportOperatorIssue]  # a class, when run
        default=None,
        help="rows of the split that are explained: of one checkpoint, each by itself, to choose "
        f"from in the report (default with --html: {ROWS_OF_A_PAGE}); of two, which interactions "
        "of fields appeared, vanished, grew; 0 leaves this out",
    )
    made.add_argument(
        "--interactions",
        help="file of the interactions that were found in the model: the output of "
        "`train.py detect`",
    )
    made.add_argument("--html", help="also write a report, one HTML file that opens offline")
    made.add_argument("--json", action="store_true", help="print JSON, for machines")
    if data:
        add_data(made, config)
    return made


def add_data(parser: ZooParser, config: str | None = None) -> None:
    """Adds `--data` and `--data.*`, as `fit` has them.

    Args:
        parser: Parser to add them to.
        config: File whose section `data` has the defaults, such as a run's `config.yaml`.

    Raises:
        ZooError: where the file has no such section, or cannot be read.
    """
    from zoo.data.module import ZooDataModule
    from zoo.run.plugins import import_plugins

    import_plugins()  # whose bare names `fit` takes too
    parser.bases = {"data": ZooDataModule}
    parser.add_subclass_arguments(
        ZooDataModule,
        "data",
        required=False,
        help="data to score with the checkpoint; --data.* change those of --config",
    )
    if config is not None:
        try:
            parser.set_defaults({"data": _section(Path(config))})
        except (AttributeError, ImportError, TypeError, ValueError) as error:
            named = f"{config}: section data names no class: {' '.join(str(error).split())}"
            raise ZooError(refusal(str(error), "data") or named) from error


def _section(config: Path) -> Any:
    content = read_yaml(config)
    if not isinstance(content, dict) or content.get("data") is None:
        raise ZooError(f"{config} has no section data")
    return content["data"]


def data_of(
    config: str | Path, checkpoint: Path | None = None, arguments: Sequence[str] = ()
) -> "ZooDataModule":
    """The datamodule of a config file, such as a run's `config.yaml`; for notebooks.

    Args:
        config: The file.
        checkpoint: Checkpoint whose run has the encoder of the data; None takes that of the config.
        arguments: Options `--data.*` of a command line, in place of those of the file.

    Raises:
        ZooError: where the file has no section `data`, or cannot be read.
    """
    from zoo.run.directory import use_encoder

    with restricted_imports(("--config", str(config), *arguments)):
        made = ZooParser(prog="train.py inspect", parser_mode="omegaconf")
        add_data(made, str(config))
        options = made.parse_args([*arguments])
        if checkpoint is not None:
            use_encoder(options.data, checkpoint)
        check_nulls(options.data, "data")
        return made.instantiate_classes(options)["data"]


def _parse(arguments: Sequence[str]) -> tuple[ZooParser, Any]:
    """The parser and its options; with `--data` only where a part of the arguments asks for it."""
    first = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    first.add_argument("--config")
    config = first.parse_known_args(arguments)[0].config
    made = parser(_needs_data(arguments), config)
    return made, made.parse_args(list(arguments))


def _needs_data(arguments: Sequence[str]) -> bool:
    """Whether a part of the arguments asks for the options `--data`."""
    named = {argument.partition("=")[0] for argument in arguments}
    of_data = {name for name in named if name.startswith("--data.")}
    if of_data - {"--data.help"} and named.isdisjoint(("--config", "--data")):
        raise ZooError("--data.* change data: give --config RUN/config.yaml, or --data CLASS")
    return bool(of_data) or not named.isdisjoint(("--config", "--data", "--help", "-h"))


def _check(options: Any) -> None:
    """Refuses options that do not go together."""
    if len(options.checkpoints) > 2:
        raise ZooError(f"inspect takes one or two checkpoints, got {len(options.checkpoints)}")
    plain_values = {"by": None, "split": "val", "sample": ROWS_EXPLAINED, "explain": None}
    for option, plain in plain_values.items():
        if options.get("data") is None and options[option] != plain:
            raise ZooError(f"--{option} needs data: give --config RUN/config.yaml, or --data")
    if options.html is not None and not Path(options.html).absolute().parent.is_dir():
        raise ZooError(f"--html: there is no folder {Path(options.html).absolute().parent}")
    if options.interactions is not None and len(options.checkpoints) == 2:
        raise ZooError("--interactions shows those of one checkpoint, not of two")
    if options.html is not None and len(options.checkpoints) == 1:
        if (options.explain or 0) > MOST_ROWS:
            raise ZooError(
                f"--explain: a report shows {MOST_ROWS} rows at most, got {options.explain}; the "
                "command explain writes any number of them into a file"
            )
        options.explain = ROWS_OF_A_PAGE if options.explain is None else options.explain


# What it does


def run(arguments: Sequence[str]) -> None:
    """Prints an inspection, or a comparison of two.

    Raises:
        ZooError: as `zoo.inspect.load` does.
    """
    files = [path for path in map(Path, arguments) if path.suffix == ".ckpt"]
    with restricted_imports(arguments, files) if _needs_data(arguments) else nullcontext():
        _run(arguments)


def _run(arguments: Sequence[str]) -> None:
    made, options = _parse(arguments)
    asked = options.explain is not None  # before --html asks for rows of its own
    _check(options)
    loaded = [load(path) for path in options.checkpoints]
    found: Inspection | Comparison = loaded[0] if len(loaded) == 1 else Comparison(*loaded)
    more: dict[str, Shown | None] = {"scores": None, "interactions": None}
    if options.interactions is not None:
        more["interactions"] = _interactions(Path(options.interactions), loaded[0])
    if options.get("data") is not None:
        from zoo.run.inspect_data import add_data_facts  # which needs Lightning

        add_data_facts(more, loaded, made, options)
    if options.html is not None:
        write_report(Path(options.html), found, *more.values())
    if options.json:
        plain = found.to_dict() | {name: part.to_dict() for name, part in more.items() if part}
        json.dump(plain_of(plain), sys.stdout, indent=1, default=str, allow_nan=False)
        print()
    else:
        if not asked:  # in the report alone
            more.pop("rows", None)
        wide_console().print(found, *(part for part in more.values() if part))


def wide_console() -> Console:
    """What prints tables; a file or a pipe has no width, and the usual 80 columns fold them."""
    width = None if sys.stdout.isatty() or "COLUMNS" in os.environ else WIDE
    return Console(highlight=False, width=width)


def _interactions(path: Path, found: Inspection) -> DetectedInteractions:
    if found.schema is None:
        raise ZooError(f"--interactions: {found.file} holds no model of this project")
    return interactions_in(path, found.schema)


def write_report(path: Path, *found: Shown | None) -> None:
    """Writes what was found as a page, and says where."""
    from zoo.inspect.report import write

    try:
        write(path, *found)
    except OSError as error:
        raise ZooError(f"--html: {path} cannot be written: {error.strerror}") from error
    Console(stderr=True, highlight=False).print(Text(f"report: {path}"), soft_wrap=True)


def plain_of(value: Any) -> Any:
    """As JSON has it: names are text, and a number that is not finite is null."""
    if isinstance(value, Mapping):
        return {str(key): plain_of(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain_of(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
