"""A sweep: trials one after the other, each a fit, until there are as many as wanted."""

import re
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import optuna
import yaml
from filelock import FileLock
from jsonargparse import Namespace
from optuna.study import StudyDirection
from optuna.trial import Trial
from rich.console import Console

from zoo.data.errors import ZooError
from zoo.data.files import write_text
from zoo.run import cli
from zoo.run.directory import check_name
from zoo.run.early_stopping import mode_of
from zoo.run.fit import RaisingParser
from zoo.run.inspect import wide_console
from zoo.run.record import config_text
from zoo.run.sweeping.child import Outcome, run_trial
from zoo.run.sweeping.shown import Results
from zoo.run.sweeping.space import arguments_of, read_space, shown
from zoo.run.sweeping.storage import open_study, plain_options, stored
from zoo.run.sweeping.trials import BEAT, OPTIONS, Trials, pruner_of


class Parsing(cli.ZooCLI):
    """The command line of a fit, which is parsed and checked, and not run."""

    def parse_arguments(self, parser: Any, args: Any) -> None:
        """Parses nothing yet."""
        self.config = Namespace(subcommand=None)

    def _set_seed(self) -> None:
        """Leaves the random numbers of this process alone."""

    def before_instantiate_classes(self) -> None:
        """Checks nothing yet."""

    def instantiate_classes(self) -> None:
        """Makes nothing."""

    def parse(self, arguments: Sequence[str]) -> Any:
        """The options of a fit.

        Raises:
            ZooError: where one is wrong.
        """
        self.config = self.parser.parse_args(["fit", *arguments])
        self.subcommand = "fit"
        super().before_instantiate_classes()
        return self.options

    def text(self) -> str:
        """The config of the fit that was parsed last, as its run has it."""
        return config_text(self._parser("fit"), self.options)


class Sweep:
    """What the command `sweep` does.

    Args:
        options: Its own options; see `options.parser`.
        given: Arguments of the fits.
        line: What the user has typed.
        fits: Runs a trial.
    """

    def __init__(
        self,
        options: Any,
        given: Sequence[str],
        line: Sequence[str],
        fits: Callable[..., Outcome] = run_trial,
    ) -> None:
        self.options, self.given, self.line, self.fits = options, [*given], line, fits
        self.console = Console(highlight=False, soft_wrap=True, markup=False)
        self.parsing = cli.made_of(Parsing, [], RaisingParser)
        self.space = read_space(Path(options.space))
        unlisted = self.space.infinite()
        if options.sampler == "grid" and unlisted:
            raise ZooError(
                f"{self.space.path}: {unlisted} may be any number between low and high, of which "
                "--sampler grid cannot take all: give it a step or a list of values"
            )
        self.space.check(lambda words: self.parsing.parse([*self.given, *words]))
        first = arguments_of(self.space.first())
        self.config = self.parsing.parse([*self.given, *first])
        self.common = plain_options(yaml.safe_load(self.parsing.text()))
        self.folder = Path(self.config.runs) / self.config.name / self._name()

    def _name(self) -> str:
        name = self.options.study
        check_name(name, "--study")
        if re.fullmatch(r"version_\d+", name):
            raise ZooError(f"--study: {name} is the name of a run: choose another one")
        return name

    def run(self) -> None:
        """Searches until there are as many trials as wanted, and shows what was found."""
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        (self.folder / "trials").mkdir(parents=True, exist_ok=True)
        about = {
            "monitor": self.config.monitor,
            "space": self.space.plain(),
            "config": self.common,
        }
        with ExitStack() as open_:
            with FileLock(self.folder / ".trials.lock"):  # or two processes make its tables
                storage = open_.enter_context(stored(self.options.storage, self.folder))
                study = open_study(storage, self.options.study, self._direction(), about)
            study.pruner = pruner_of(self.options.pruner)
            o = self.options
            trials = Trials(study, self.space, o.sampler, o.sampler_seed, self.folder)
            self._greet(study)
            try:
                with trials.working():
                    self._search(trials)
            finally:  # of what there is, where a signal or failures end it
                self._show(study)

    def _direction(self) -> StudyDirection:
        lowest = mode_of(self.config.monitor) == "min"
        return StudyDirection.MINIMIZE if lowest else StudyDirection.MAXIMIZE

    def _greet(self, study: optuna.Study) -> None:
        results = Results(study, self.config.monitor)
        if results.finished:
            self.console.print(
                f"the study {study.study_name} goes on: {len(results.finished)} of "
                f"{self.options.trials} trials are finished"
            )
        self.console.print(f"logs of the trials: {self.folder / 'trials'}")

    def _search(self, trials: Trials) -> None:
        failures = 0
        while (found := trials.next(self.options.trials)) is not None:
            trial, options = found
            try:
                outcome = self._try(trials, trial, options)
            except KeyboardInterrupt:
                trials.give_back(trial)
                raise
            failures = failures + 1 if outcome.reason else 0
            if failures >= self.options.max_failures:
                raise ZooError(
                    f"{failures} trials in a row have failed (--max_failures), the last: "
                    f"{outcome.reason}"
                )

    def _try(self, trials: Trials, trial: Trial, options: dict[str, Any]) -> Outcome:
        begun = time.monotonic()
        text = ", ".join(f"{name}={shown(value)}" for name, value in options.items())
        self.console.print(f"trial {trial.number}: {text}")
        outcome = self.fits(
            ["fit", *self.given, *self._unreported(), *arguments_of(options)],
            self.line,
            self.folder / "trials" / f"{trial.number}.log",
            partial(_report, trial),
            partial(trial.set_user_attr, "run"),
            partial(trials.beat, trial),
            BEAT,
        )
        noted = trials.finish(trial, outcome.value, outcome.pruned, outcome.reason)
        said = f"{self.config.monitor} {outcome.value:.6g}" if outcome.value is not None else ""
        said = said or ("pruned" if outcome.pruned else f"failed: {outcome.reason}")
        if not noted:
            said += "; not noted, as another process has taken this one for dead"
        seconds = time.monotonic() - begun
        self.console.print(f"trial {trial.number}: {said} ({seconds:,.0f} s)")
        return outcome

    def _unreported(self) -> list[str]:
        """A page for each trial takes longer than many a fit: only where it is asked for here."""
        asked = any(word.partition("=")[0] == "--report" for word in self.given)
        return [] if asked else ["--report=false"]

    def _show(self, study: optuna.Study) -> None:
        results = Results(study, self.config.monitor)
        if not results.trials:
            return
        wide_console().print(results)
        best = results.best
        if best is not None:
            path = self.folder / "best.yaml"
            self.parsing.parse([*self.given, *arguments_of(best.user_attrs[OPTIONS])])
            head = (
                f"# Trial {best.number} of the study {study.study_name}: "
                f"{self.config.monitor} {best.value}.\n"
            )
            write_text(path, head + self.parsing.text())
            self.console.print(f"{path}: fit --config on it repeats the best trial")
        page = self.folder / "sweep.html"
        write_text(page, results.page())
        self.console.print(str(page))


def _report(trial: Trial, step: int, value: float) -> bool:
    """Whether to end a trial after a validation."""
    try:
        trial.report(value, step)
        return bool(trial.should_prune())  # of numpy, which is sent as JSON
    except optuna.exceptions.UpdateFinishedTrialError:  # this process was taken for dead
        return True
