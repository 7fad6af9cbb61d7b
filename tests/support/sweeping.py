"""Sweeps over the demo whose trials compute a formula in place of a fit."""

import os
import time
import traceback
from pathlib import Path

import optuna
import yaml
from support.running import SMALL

from zoo.run.plugins import import_plugins
from zoo.run.sweeping.child import Outcome
from zoo.run.sweeping.options import split
from zoo.run.sweeping.sweep import Sweep
from zoo.run.sweeping.trials import Trials
from zoo.run.trust import restricted_imports

RATES = {
    "model.learning_rate": {"low": 1e-4, "high": 0.1, "log": True},
    "model.embedding_dim": [4, 8],
}


def line_of(*more, space=RATES, file="space.yaml"):
    Path(file).write_text(yaml.safe_dump(space, sort_keys=False))
    return ["--config", "demo", "--space", file, *SMALL, *map(str, more)]


def made(line, fits):
    from zoo.run import configs

    line = configs.resolve(line)
    options, given = split(line)
    return Sweep(options, given, line, fits)


def sweep(line, fits):
    """Runs a sweep in this process."""
    with restricted_imports(line):
        import_plugins()
        made(line, fits).run()


def rate_of(arguments):
    (word,) = (w for w in arguments if w.startswith("--model.learning_rate="))
    return float(word.partition("=")[2])


class Formula:
    """A fit that takes no time: its metric is worst at large learning rates.

    Args:
        before: Called with the number of the trial, from 0, before it.
        steps: Validations that it reports.
    """

    def __init__(self, before=lambda i: None, steps=()):
        self.count, self.before, self.steps = 0, before, steps

    def __call__(self, arguments, line, log, report, found, beat, every):
        self.before(self.count)
        self.count += 1
        rate = rate_of(arguments)
        found(f"runs/demo/version_{self.count}")
        for step in self.steps:
            if report(step, rate + 1 / step):
                return Outcome(pruned=True)
        return Outcome(rate + 1 / 3)


def tried(space, sampler, folder, wanted=99):
    """The trials of a study in memory, whose values are those of `Formula`."""
    study = optuna.create_study()
    trials = Trials(study, space, sampler, 0, folder)
    with trials.working():
        while (found := trials.next(wanted)) is not None:
            assert trials.finish(found[0], found[1]["model.learning_rate"] + 1 / 3, False, None)
    return study.get_trials()


def trials_of(url="sqlite:///runs/demo/sweep/study.db", name="sweep"):
    """The trials of a study, as Optuna has them."""
    storage = optuna.storages.RDBStorage(url)
    found = optuna.load_study(study_name=name, storage=storage).get_trials()
    storage.remove_session()
    storage.engine.dispose()
    return found


def kept(trials):
    """The trials that are finished, and their options."""
    states = (optuna.trial.TrialState.COMPLETE, optuna.trial.TrialState.PRUNED)
    return [t.params for t in trials if t.state in states]


def in_a_fork(function, *arguments):
    """Calls a function in a fork of this process; its process id."""
    child = os.fork()
    if child:
        return child
    try:
        function(*arguments)
        os._exit(0)
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(1)


def ended(child):
    """How a process has ended."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def pause(i):
    time.sleep(0.03)
