"""Sweeps: trials in any number of processes, however these end."""

import json
import multiprocessing
import os
import platform
import shutil
import signal
import time
from collections import Counter
from pathlib import Path

import optuna
import pytest
import yaml
from filelock import FileLock
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState
from support.running import QUIET, ROOT, SMALL, command, error_of
from support.sweeping import (
    RATES,
    Formula,
    ended,
    in_a_fork,
    kept,
    line_of,
    pause,
    sweep,
    trials_of,
    tried,
)

from zoo.data.errors import ZooError
from zoo.run.plugins import import_plugins
from zoo.run.sweeping.child import Outcome, run_trial
from zoo.run.sweeping.options import PRUNERS, SAMPLERS
from zoo.run.sweeping.space import read_space
from zoo.run.sweeping.sweep import _report
from zoo.run.sweeping.trials import Trials, _is_dead, pruner_of

pytestmark = pytest.mark.usefixtures("workplace")
COMPLETE, PRUNED = TrialState.COMPLETE, TrialState.PRUNED
DISCRETE = {"model.learning_rate": [0.1 / 2**i for i in range(6)], "model.embedding_dim": [2, 4, 8]}


@pytest.fixture(autouse=True, scope="module")
def _plugins():
    import_plugins()


def kill_after(count):
    def kill(i):
        if i == count:
            os.kill(os.getpid(), signal.SIGKILL)

    return kill


def test_a_sweep_that_was_killed_goes_on_to_the_trials_of_one_that_was_not(capsys, tmp_path):
    line = line_of("--trials=20")
    assert ended(in_a_fork(sweep, line, Formula(kill_after(7)))) == -signal.SIGKILL
    assert len(kept(trials_of())) == 7
    capsys.readouterr()
    sweep(line, Formula())
    assert "the study sweep goes on: 7 of 20 trials are finished" in capsys.readouterr().out
    trials = trials_of()
    assert Counter(t.state for t in trials) == {TrialState.COMPLETE: 20, TrialState.FAIL: 1}
    assert (trials[7].state, trials[8].params) == (TrialState.FAIL, trials[7].params)
    undisturbed = tried(read_space(Path("space.yaml")), "tpe", tmp_path, 20)
    assert kept(trials) == kept(undisturbed)
    sweep(line, Formula(kill_after(0)))  # nothing is left to do
    assert list(Path("runs/demo/sweep").glob(".process-*")) == []


@pytest.mark.parametrize("storage", [[], ["--storage=trials.log"]], ids=["SQLite", "journal"])
def test_two_processes_share_the_trials_and_repeat_none(storage, capfd):
    line = line_of("--trials=16", "--sampler=random", *storage, space=DISCRETE)
    both = [in_a_fork(sweep, line, Formula(pause)) for _ in range(2)]
    assert [ended(child) for child in both] == [0, 0], capfd.readouterr()
    if storage:
        journal = optuna.storages.JournalStorage(JournalFileBackend("trials.log"))
        trials = optuna.load_study(study_name="sweep", storage=journal).get_trials()
    else:
        trials = trials_of()
    found = [json.dumps(params) for params in kept(trials)]
    assert len(found) == len(set(found)) == 16
    done = [t for t in trials if t.state == TrialState.COMPLETE]
    assert len({t.user_attrs["process"]["lock"] for t in done}) == 2
    assert not any("begun again" in t.user_attrs for t in trials)


def written(space):
    line_of(space=space)
    return read_space(Path("space.yaml"))


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_each_sampler_repeats_nothing_and_ends_where_the_space_does(sampler, tmp_path):
    trials = tried(written(DISCRETE), sampler, tmp_path)
    found = [json.dumps(params) for params in kept(trials)]
    assert len(found) == len(set(found)) == 18
    conditional = written(
        {
            "model": ["DeepFM", "DCN"],
            "model.learning_rate": {"low": 0.1, "high": 0.3, "step": 0.1},
            "model.cross_layers": {"low": 1, "high": 2, "when": {"model": "DCN"}},
        }
    )
    found = [json.dumps(params) for params in kept(tried(conditional, sampler, tmp_path))]
    assert len(found) == len(set(found)) == 3 + 3 * 2


def test_another_seed_draws_other_options(tmp_path):
    space = written(RATES)

    def rates(seed):
        trials = Trials(optuna.create_study(), space, "random", seed, tmp_path)
        return [trials.next(9)[1]["model.learning_rate"] for _ in range(3)]

    one = rates(0)
    assert len({*one, *rates(1)}) == 6
    assert one == rates(0)


def test_a_trial_is_dead_where_its_process_is(tmp_path):
    """By its lock on this machine, by the time of its last sign of life on another one."""

    def is_dead(host, lock, age):
        process = {"host": host, "lock": str(lock), "time": time.time() - age}
        trial = optuna.trial.create_trial(state=TrialState.RUNNING, user_attrs={"process": process})
        return _is_dead(trial)

    here, lock = platform.node(), tmp_path / "lock"
    with FileLock(lock):
        assert not is_dead(here, lock, 10)
        assert is_dead(here, lock, 999)  # it hangs
    lock.touch()
    assert not is_dead("elsewhere", lock, 10)
    assert is_dead("elsewhere", lock, 999)
    assert is_dead(here, lock, 10)
    assert not lock.exists()
    assert not is_dead(here, lock, 10)  # in a container that has other files


def test_a_trial_that_takes_its_process_along_is_given_up(tmp_path):
    study, space = optuna.create_study(), written(RATES)
    drawn = []
    for _ in range(4):
        trials = Trials(study, space, "random", 0, tmp_path)
        drawn.append(trials.next(9)[1])
        trials.own.touch()  # as a process leaves it that was killed
    assert drawn[0] == drawn[1] == drawn[2] != drawn[3]


def test_a_trial_that_was_taken_for_dead_is_not_noted(tmp_path):
    study = optuna.create_study()
    trials = Trials(study, written(RATES), "random", 0, tmp_path)
    trial, _ = trials.next(9)
    study.tell(trial.number, state=TrialState.FAIL)
    trials.beat(trial)
    assert _report(trial, 1, 0.5)  # the fit ends
    assert not trials.finish(trial, 0.5, False, None)


@pytest.mark.parametrize("pruner", [p for p in PRUNERS if p != "none"])
def test_pruners_end_trials_that_are_worse(pruner):
    study = optuna.create_study(pruner=pruner_of(pruner))
    for value in (0.1, 0.2, 0.3, 0.1, 0.2, 0.3, 0.1, 0.9, 0.9, 0.9, 0.9, 0.05):
        trial = study.ask()
        answers = [_report(trial, step, value + 1 / step) for step in range(1, 10)]
        pruned = True in json.loads(json.dumps(answers))  # as the process of the trial gets them
        study.tell(trial, value if not pruned else None, state=PRUNED if pruned else COMPLETE)
    states = [t.state for t in study.trials]
    assert PRUNED in states[7:11]
    assert COMPLETE in (states[0], states[-1])


def test_ctrl_c_leaves_the_trial_for_later():
    def interrupt(i):
        if i == 2:
            raise KeyboardInterrupt

    line = line_of("--trials=5")
    with pytest.raises(KeyboardInterrupt):
        sweep(line, Formula(interrupt))
    assert yaml.safe_load(Path("runs/demo/sweep/best.yaml").read_text())["name"] == "demo"
    sweep(line, Formula())
    trials = trials_of()
    assert len(kept(trials)) == 5
    assert trials[3].params == trials[2].params


def test_failures_are_noted_and_too_many_in_a_row_end_the_sweep(capsys):
    def fails(arguments, line, log, report, found, beat, every):
        fails.count += 1
        return Outcome(reason=f"no luck {fails.count}") if fails.count != 2 else Outcome(0.5)

    fails.count = 0
    with pytest.raises(ZooError, match=r"^3 trials in a row have failed .*, the last: no luck 5$"):
        sweep(line_of("--max_failures=3"), fails)
    assert "failed: no luck 1" in capsys.readouterr().out
    page = Path("runs/demo/sweep/sweep.html").read_text()
    assert "trial 0 has failed: no luck 1" in page
    trials = trials_of()
    assert [t.user_attrs.get("reason") for t in trials][:3] == ["no luck 1", None, "no luck 3"]


def test_another_space_config_or_metric_is_not_that_of_the_study():
    sweep(line_of("--trials=1"), Formula())
    another = {**RATES, "model.embedding_dim": [4, 16]}
    with pytest.raises(ZooError) as error:
        sweep(line_of(space=another), Formula())
    assert str(error.value).startswith("the study sweep has another space of model.embedding_dim: ")
    with pytest.raises(
        ZooError, match=r"has another model.dropout: 0.0 there, 0.5 here; give --st"
    ):
        sweep(line_of("--model.dropout=0.5"), Formula())
    with pytest.raises(ZooError, match="has another --monitor: val/logloss there, val/auc here"):
        sweep(line_of("--monitor=val/auc"), Formula())
    sweep(line_of("--trials=2", "--trainer.enable_progress_bar=false"), Formula())  # of no effect
    assert len(kept(trials_of())) == 2


def test_the_best_is_the_highest_of_any_metric_but_a_logloss():
    sweep(line_of("--trials=4", "--monitor=val/auc"), Formula(steps=(1, 2)))
    best = max(kept(trials_of()), key=lambda params: params["model.learning_rate"])
    config = yaml.safe_load(Path("runs/demo/sweep/best.yaml").read_text())
    assert config["model"]["init_args"]["learning_rate"] == best["model.learning_rate"]
    page = Path("runs/demo/sweep/sweep.html").read_text()
    titles = ["trials", "history", "importances", "parallel coordinates", "slices", "validations"]
    assert all(f">{title}</h2>" in page for title in titles)


# with fits

TINY = ["--data.synthetic.rows=1000", "--data.min_count=10", "--trainer.max_epochs=1", *QUIET]


@pytest.mark.slow
def test_trials_are_fits_and_the_best_one_repeats_its_metric(capsys):
    space = {"model.learning_rate": [0.02, 1e30], "model": ["DeepFM", "DCN"]}
    line = line_of("--sampler=grid", *TINY, space=space)
    command("sweep", *line)
    shown = capsys.readouterr().out
    trials = trials_of()
    assert Counter(t.state.name for t in trials) == {"COMPLETE": 2, "FAIL": 2}
    reasons = [t.user_attrs["reason"] for t in trials if t.state == TrialState.FAIL]
    assert all("the training diverged" in reason for reason in reasons)
    assert all(f"failed: {reason}" in shown for reason in reasons)
    runs = {t.number: Path(t.user_attrs["run"]) for t in trials if t.state == TrialState.COMPLETE}
    for trial in trials:
        if trial.number in runs:
            config = yaml.safe_load((runs[trial.number] / "config.yaml").read_text())
            assert config["model"]["class_path"] == f"zoo.{trial.params['model']}"
            metrics = json.loads((runs[trial.number] / "metrics.json").read_text())
            assert metrics["val/logloss"] == trial.value
    before = {*Path("runs/demo").glob("version_*")}
    command("fit", "--config", "runs/demo/sweep/best.yaml", "--report=false")
    (again,) = {*Path("runs/demo").glob("version_*")} - before
    best = min(t.value for t in trials if t.number in runs)
    assert json.loads((again / "metrics.json").read_text())["val/logloss"] == best
    # a trial that dies, or is pruned, ends alone
    given = ["fit", "--config", str(ROOT / "configs/demo.yaml"), *SMALL, *TINY, "--report=false"]
    found = []

    def die(step, value):
        (child,) = multiprocessing.active_children()
        os.kill(child.pid, signal.SIGKILL)
        return False

    def fit(report):
        return run_trial(given, given, Path("log"), report, found.append, lambda: None, 20.0)

    assert "ended by SIGKILL" in fit(die).reason
    assert fit(lambda step, value: True) == Outcome(pruned=True)
    assert len(found) == 2
    assert not (Path(found[1]) / "metrics.json").exists()
    shutil.rmtree("prepared")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--trails=3"], "unknown option trails; did you mean trials?"),
        (["--sampler=cma"], "sampler"),
        (["--ckpt_path=x.ckpt"], "sweep takes no --ckpt_path: each trial is a fit of its own"),
        (["--model.dropot=1"], "unknown option model.dropot; did you mean model.dropout?"),
        (["--study=a/b"], "--study: 'a/b' is no name of a folder"),
        (["--study=version_3"], "--study: version_3 is the name of a run"),
        (["--storage=study.db"], "--storage: study.db is neither the URL of a database"),
        (["--storage=nowhere://x"], "--storage: nowhere://x cannot be opened"),
        (["--sampler=grid"], "space.yaml: model.learning_rate may be any number between low"),
    ],
)
def test_a_wrong_option_is_named(options, message):
    assert message in error_of("sweep", *line_of(*options))
