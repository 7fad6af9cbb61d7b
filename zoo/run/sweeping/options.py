"""The options of `train.py sweep`, and those that it hands on to `fit`."""

import sys
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from jsonargparse.typing import NonNegativeInt, PositiveInt

from zoo.data.errors import ZooError
from zoo.run.parser import ZooParser

SUMMARY = "Search the options of a fit for the best ones, with Optuna."
SAMPLERS = ("tpe", "random", "grid", "qmc", "gp", "nsgaii")
PRUNERS = ("none", "median", "percentile", "successive_halving", "hyperband")
# each trial is a run of its own, and all are compared by one metric
NOT_OF_TRIALS = {
    "ckpt_path": "each trial is a fit of its own",
    "trainer.fast_dev_run": "it leaves no run, and so no metric",
    "print_config": "the command fit prints it",
}


def parser() -> ZooParser:
    """The options of the subcommand."""
    program = f"{Path(sys.argv[0]).name} sweep"
    made = ZooParser(
        prog=program,
        description=f"{SUMMARY} All options of fit are taken too, such as --config, --name, "
        "--monitor and --trainer.max_epochs: they are those of each trial. An interrupted sweep "
        "goes on where the command is repeated; processes with one storage share its trials.",
    )
    made.add_argument(
        "--space",
        required=True,
        help="YAML file of the options to search, by their names on the command line, such as "
        "`model.learning_rate: {low: 0.001, high: 0.1, log: true}` or "
        "`model.embedding_dim: [8, 16]` (docs/sweep.md)",
    )
    made.add_argument(
        "--trials",
        type=PositiveInt,
        default=50,
        help="number of trials that the study has when the sweep ends: those that were pruned "
        "count, those that failed do not",
    )
    made.add_argument(
        "--sampler",
        choices=SAMPLERS,
        default="tpe",
        help="how options are drawn: tpe and gp (Gaussian processes) learn from the trials "
        "before, nsgaii is a genetic algorithm, qmc spreads evenly, grid takes all combinations",
    )
    made.add_argument(
        "--pruner",
        choices=PRUNERS,
        default="none",
        help="which trials are ended early by their metric after each validation",
    )
    made.add_argument(
        "--study",
        default="sweep",
        help="name of the study; its files lie in RUNS/NAME/STUDY",
    )
    made.add_argument(
        "--storage",
        help="where the trials are noted: the URL of a database, as SQLAlchemy has it, or a file "
        "*.log, which several machines may share; without it study.db beside the study's files",
    )
    made.add_argument(
        "--sampler_seed",
        type=NonNegativeInt,
        default=0,
        help="seed of what is drawn; that of the fits is --seed_everything",
    )
    made.add_argument(
        "--max_failures",
        type=PositiveInt,
        default=5,
        help="number of trials in a row that may fail before the sweep stops",
    )
    return made


def split(arguments: Sequence[str]) -> tuple[Any, list[str]]:
    """The sweep's own options, and the arguments of the fits.

    Raises:
        ZooError: where an option of a fit is one that a trial cannot have.
    """
    made = parser()
    own = {f"--{action.dest}" for action in made._actions} | {"-h"}
    mine, others = list[str](), list[str]()
    for group in _groups(arguments):
        (mine if group[0].partition("=")[0] in own else others).extend(group)
    options = made.parse_args(mine)
    for option in (word.partition("=")[0] for word in others if word.startswith("--")):
        reason = NOT_OF_TRIALS.get(option[2:])
        if reason:
            raise ZooError(f"sweep takes no {option}: {reason}")
        close = get_close_matches(option, own, 1, 0.8)
        if close and "." not in option and option not in ("--name", "--seed_everything"):
            raise ZooError(f"unknown option {option[2:]}; did you mean {close[0][2:]}?")
    return options, others


def _groups(arguments: Sequence[str]) -> Iterator[list[str]]:
    """Options, each with the values that follow it."""
    group: list[str] = []
    for word in arguments:
        if word.startswith("-") and group:
            yield group
            group = []
        group.append(word)
    if group:
        yield group
