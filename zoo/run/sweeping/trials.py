"""The trials of a study, which several processes, on several machines, may share.

A trial that is running belongs to a process, whose name it has. The process writes into it every
few seconds, and holds a lock in the study's folder; a trial whose process has ended is failed, and
begun again with the same options. No trial is taken for dead whose process may be alive.
"""

import json
import platform
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import optuna
from filelock import FileLock, Timeout
from optuna.trial import FrozenTrial, Trial, TrialState
from rich.console import Console

from zoo.data.errors import ZooError
from zoo.run.sweeping.space import Space

BEAT = 20.0  # seconds between signs of life
DEAD = 180.0  # seconds without one, after which a process of another machine is taken for dead
POLL = 1.0  # seconds between looks at the trials of other processes
MOST_DEATHS = 3  # of processes in one trial, after which it is not begun again
REPEATS = 5  # of an earlier trial in a row, after which any new combination is taken
# attributes of trials
OPTIONS, BEGUN_AGAIN, WITHDRAWN = "options", "begun again", "withdrawn"
RUNNING, WAITING = TrialState.RUNNING, TrialState.WAITING
FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)


class Trials:
    """What is left to try of a study.

    Args:
        study: The study.
        space: What it searches.
        sampler: How options are drawn; see `options.SAMPLERS`.
        seed: Seed of what is drawn.
        folder: Folder of the study's files.
    """

    def __init__(
        self, study: optuna.Study, space: Space, sampler: str, seed: int, folder: Path
    ) -> None:
        self.study, self.space, self.sampler, self.seed = study, space, sampler, seed
        self.lock = FileLock(folder / ".trials.lock")
        self.own = folder.absolute() / f".process-{uuid4().hex}.lock"

    @contextmanager
    def working(self) -> Iterator[None]:
        """While it lasts, this process is known to be alive."""
        with FileLock(self.own):
            try:
                yield
            finally:
                self.own.unlink(missing_ok=True)

    def next(self, wanted: int) -> tuple[Trial, dict[str, Any]] | None:
        """The next trial and its options; None where there are as many as wanted, or all there are.

        Waits for the trials of other processes, where their failure would leave something to do.

        Args:
            wanted: Number of trials that are to be finished, by all processes together.
        """
        told = False
        while True:
            with self.lock:
                self._retire()
                trials = self.study.get_trials(deepcopy=False)
                done, running = (_count(trials, *s) for s in (FINISHED, (RUNNING,)))
                waiting = _count(trials, WAITING)
                if done >= wanted or not (running or waiting or self._has_more(trials)):
                    return None
                if done + running < wanted and (waiting or self._has_more(trials)):
                    found = self._draw(wanted)
                    if found is not None:
                        return found
                    continue
            if not told:
                told = True
                said = f"waiting for trials of other processes ({running})"
                Console().print(said, highlight=False)
            time.sleep(POLL)

    def _has_more(self, trials: Sequence[FrozenTrial]) -> bool:
        """Whether there is a combination of options that no trial has had."""
        tried = len({_key(t.params) for t in _drawn(trials)})
        return self.space.count(tried + 1) > tried

    def _draw(self, wanted: int) -> tuple[Trial, dict[str, Any]] | None:
        """A new trial; None where another process was quicker."""
        for repeats in range(1000):
            self.study.sampler = self._sampler(repeats)
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
                    trial = self.study.ask()
                    self.beat(trial)
                    options = self.space.suggest(trial)
                    trial.set_user_attr(OPTIONS, options)
            finally:
                self.study.sampler = optuna.samplers.RandomSampler(0)  # which takes no part
            others = [t for t in self._counted() if t.number != trial.number]
            if (
                sum(t.number < trial.number and t.state != TrialState.FAIL for t in others)
                >= wanted
            ):
                self._withdraw(trial, "there are enough trials")
                return None
            again = BEGUN_AGAIN in trial.user_attrs
            if again or all(_key(t.params) != _key(trial.params) for t in others):
                return trial, options
            self._withdraw(trial, "it repeats another trial")
        raise ZooError(
            f"--sampler {self.sampler} draws what has been tried, a thousand times in a row: try "
            "another one, or a larger space"
        )

    def _counted(self) -> list[FrozenTrial]:
        trials = self.study.get_trials(deepcopy=False)
        return [t for t in trials if WITHDRAWN not in t.user_attrs and t.state != WAITING]

    def _withdraw(self, trial: Trial, reason: str) -> None:
        trial.set_user_attr(WITHDRAWN, reason)
        self.study.tell(trial, state=TrialState.FAIL)

    def _sampler(self, repeats: int) -> optuna.samplers.BaseSampler:
        """A sampler whose random numbers depend on how many trials there are, and on no process.

        So a sweep that was interrupted draws what it would have drawn, and processes that share it
        draw different options.
        """
        drawn = len(_drawn(self.study.get_trials(deepcopy=False)))
        others = int(self.own.stem[-8:], 16) if repeats else 0  # as two may have drawn the same
        words = np.random.SeedSequence([self.seed, drawn, repeats, others]).generate_state(1)
        finite = self.space.infinite() is None
        name = "grid" if repeats >= REPEATS and finite else self.sampler
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            return _make_sampler(name, int(words[0]), self.seed)

    # Life and death

    def beat(self, trial: Trial) -> None:
        """Says that this process is alive."""
        me = {"host": platform.node(), "lock": str(self.own), "time": time.time()}
        # another process may have taken it for dead: `finish` says so
        with suppress(optuna.exceptions.UpdateFinishedTrialError):
            trial.set_user_attr("process", me)

    def _retire(self) -> None:
        """Fails trials whose processes have ended, and begins them again."""
        for trial in self.study.get_trials(deepcopy=False, states=(RUNNING,)):
            if _is_dead(trial):
                self._again(trial, deaths=1)

    def give_back(self, trial: Trial) -> None:
        """Leaves a trial that was interrupted for later."""
        frozen = self.study.get_trials(deepcopy=False)[trial.number]
        self._again(frozen, deaths=0)

    def _again(self, trial: FrozenTrial, deaths: int) -> None:
        deaths += trial.user_attrs.get("deaths", 0)
        drawn = OPTIONS in trial.user_attrs
        try:
            if not drawn:  # its process was killed before it had all of its options
                Trial(self.study, trial._trial_id).set_user_attr(WITHDRAWN, "it had not begun")
            self.study.tell(trial.number, state=TrialState.FAIL)
        except (ValueError, optuna.exceptions.OptunaError):
            return  # another process was quicker
        if deaths < MOST_DEATHS and WITHDRAWN not in trial.user_attrs and drawn:
            self.study.enqueue_trial(trial.params, {BEGUN_AGAIN: trial.number, "deaths": deaths})

    def finish(self, trial: Trial, value: float | None, pruned: bool, reason: str | None) -> bool:
        """Notes how a trial has ended; False where another process has taken this one for dead.

        Args:
            trial: The trial.
            value: Its metric.
            pruned: Whether it was ended early.
            reason: Why it has failed.
        """
        failed = TrialState.FAIL if value is None else TrialState.COMPLETE
        state = TrialState.PRUNED if pruned else failed
        try:
            if reason is not None:
                trial.set_user_attr("reason", reason)
            self.study.tell(trial, value if state == TrialState.COMPLETE else None, state)
        except (ValueError, optuna.exceptions.UpdateFinishedTrialError):
            return False
        return True


def _count(trials: Sequence[FrozenTrial], *states: TrialState) -> int:
    return sum(t.state in states and WITHDRAWN not in t.user_attrs for t in trials)


def _drawn(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """The trials whose options were drawn, each once."""
    return [t for t in trials if not {BEGUN_AGAIN, WITHDRAWN} & {*t.user_attrs}]


def _key(params: dict[str, Any]) -> str:
    return json.dumps(params, sort_keys=True)


def _is_dead(trial: FrozenTrial) -> bool:
    """Whether the process of a trial has ended, as far as can be known."""
    process = trial.user_attrs.get("process")
    if process is None:  # it was killed when it had just begun, or has just begun
        since = trial.datetime_start
        return since is not None and time.time() - since.timestamp() > DEAD
    if time.time() - process["time"] > DEAD:
        return True
    lock = Path(process["lock"])
    if process["host"] != platform.node() or not lock.is_file():
        return False
    try:
        with FileLock(lock, timeout=0):
            lock.unlink()
            return True
    except Timeout:
        return False


def _make_sampler(name: str, seed: int, common: int) -> optuna.samplers.BaseSampler:
    samplers = optuna.samplers
    if name == "tpe":
        return samplers.TPESampler(seed=seed, constant_liar=True)
    if name == "random":
        return samplers.RandomSampler(seed)
    if name == "grid":
        return samplers.BruteForceSampler(seed)
    if name == "qmc":  # whose sequence is that of the study
        return samplers.QMCSampler(seed=common, scramble=True, warn_independent_sampling=False)
    if name == "gp":
        return samplers.GPSampler(seed=seed, warn_independent_sampling=False)
    return samplers.NSGAIISampler(seed=seed)


def pruner_of(name: str) -> optuna.pruners.BasePruner:
    """The pruner of a name; see `options.PRUNERS`."""
    pruners = optuna.pruners
    made = {
        "none": pruners.NopPruner,
        "median": pruners.MedianPruner,
        "percentile": lambda: pruners.PercentilePruner(25.0),
        "successive_halving": pruners.SuccessiveHalvingPruner,
        "hyperband": pruners.HyperbandPruner,
    }
    return made[name]()
