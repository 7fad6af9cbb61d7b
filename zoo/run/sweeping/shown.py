"""What a sweep has found: a table, the best trial first, and a page of Optuna's plots."""

import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState
from rich.console import Group

from zoo.inspect.page import Figure, Section, page
from zoo.inspect.table import TextTable, number, text_table
from zoo.run.sweeping.space import shown
from zoo.run.sweeping.trials import BEGUN_AGAIN, FINISHED, OPTIONS, WITHDRAWN

MOST_SHOWN = 30  # trials of the table in a terminal
STATES = {
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
    TrialState.RUNNING: "running",
    TrialState.WAITING: "waiting",
}


class Results:
    """The trials of a study.

    Args:
        study: The study.
        monitor: Metric that its trials are compared by.
    """

    def __init__(self, study: optuna.Study, monitor: str) -> None:
        self.study, self.monitor = study, monitor
        found = [t for t in study.get_trials(deepcopy=False) if WITHDRAWN not in t.user_attrs]
        replaced = {t.user_attrs.get(BEGUN_AGAIN) for t in found}
        self.trials = [t for t in found if OPTIONS in t.user_attrs and t.number not in replaced]
        self.finished = [t for t in self.trials if t.state in FINISHED]
        self.complete = [t for t in self.trials if t.state == TrialState.COMPLETE]

    @property
    def best(self) -> FrozenTrial | None:
        """The best trial that was not pruned; of equal ones the first."""
        return min(self.complete, key=self._rank, default=None)

    def _rank(self, trial: FrozenTrial) -> tuple[bool, float, int]:
        sign = 1 if self.study.direction == optuna.study.StudyDirection.MINIMIZE else -1
        return (
            trial.state != TrialState.COMPLETE,
            sign * (trial.value or 0.0) if trial.state in FINISHED else 0.0,
            trial.number,
        )

    def table(self, most: int | None = None) -> TextTable:
        """All trials, the best first.

        Args:
            most: Largest number of rows.
        """
        ordered = sorted(self.trials, key=self._rank)
        names = list(dict.fromkeys(name for t in ordered for name in t.user_attrs[OPTIONS]))
        left = f", the first {most} of {len(ordered)}" if most and len(ordered) > most else ""
        return text_table(
            f"trials of {self.study.study_name}, the best first{left}",
            ("trial", "state", "run", *_short(names), self.monitor, "seconds"),
            (self._row(t, names) for t in ordered[:most]),
            3 + len(names),
        )

    def _row(self, trial: FrozenTrial, names: list[str]) -> Iterator[Any]:
        yield str(trial.number)
        yield STATES[trial.state]
        yield Path(trial.user_attrs.get("run", "-")).name
        options = trial.user_attrs[OPTIONS]
        yield from (shown(options[name]) if name in options else "-" for name in names)
        value = trial.value if trial.state in FINISHED else None
        yield "-" if value is None else f"{value:.6f}"
        yield "-" if trial.duration is None else number(round(trial.duration.total_seconds(), 1))

    def failures(self) -> list[str]:
        """Why trials have failed."""
        return [
            f"trial {t.number} has failed: {t.user_attrs.get('reason', 'its process has ended')}"
            for t in self.trials
            if t.state == TrialState.FAIL
        ]

    def __rich__(self) -> Group:
        return Group(self.table(MOST_SHOWN))

    def page(self) -> str:
        """The page, one HTML file that opens offline."""
        name = self.study.study_name
        return page(f"{name}: trials by {self.monitor}", self.failures(), self._sections())

    def _sections(self) -> Iterator[Section]:
        best = self.best
        counts = ", ".join(
            f"{sum(t.state == state for t in self.trials)} {word}"
            for state, word in STATES.items()
            if any(t.state == state for t in self.trials)
        )
        found = f"{counts or 'no'} trials."
        if best is not None:
            options = ", ".join(f"{k}={shown(v)}" for k, v in best.user_attrs[OPTIONS].items())
            found += (
                f" The best is trial {best.number}, with {self.monitor} {best.value:.6g}: {options}"
            )
        yield Section("trials", [found, self.table()])
        yield from self._plots()

    def _plots(self) -> Iterator[Section]:
        plots = optuna.visualization
        if len(self.complete) < 2:
            return
        yield self._plot(
            "history",
            lambda: plots.plot_optimization_history(self.study, target_name=self.monitor),
            "A point for each trial; the line is the best so far.",
        )
        varied = [n for n, d in self._distributions().items() if not d.single()]
        evaluator = _silent(optuna.importance.PedAnovaImportanceEvaluator)
        if len({t.value for t in self.complete}) > 1 and varied:
            yield self._plot(
                "importances",
                lambda: plots.plot_param_importances(
                    self.study, evaluator=evaluator, target_name=self.monitor
                ),
                "How much of what sets the best trials apart from the others each option says "
                "(PED-ANOVA); with few trials a guess.",
            )
        if varied:
            yield self._plot(
                "parallel coordinates",
                lambda: plots.plot_parallel_coordinate(self.study, target_name=self.monitor),
                "A line for each trial, through the values of its options.",
            )
            yield Section("slices", [self._slice(name) for name in varied])
        if any(len(t.intermediate_values) > 1 for t in self.finished):
            yield self._plot(
                "validations",
                lambda: plots.plot_intermediate_values(self.study),
                "The metric after each validation of each trial; lines that end early were pruned.",
            )

    def _distributions(self) -> dict[str, Any]:
        return {name: d for t in self.complete for name, d in t.distributions.items()}

    def _slice(self, name: str) -> Figure:
        def draw() -> Any:
            plot = optuna.visualization.plot_slice(self.study, [name], target_name=self.monitor)
            return plot.update_layout(width=None)  # that of the page

        return Figure(
            lambda: _silent(draw),
            f"The metric against {name} by itself; darker points are later trials.",
        )

    def _plot(self, title: str, draw: Callable[[], Any], reading: str) -> Section:
        return Section(title, [Figure(lambda: _silent(draw), reading)])


def _short(names: Sequence[str]) -> list[str]:
    """The last words of options, where these tell them apart."""
    last = [name.rpartition(".")[2] for name in names]
    return [word if last.count(word) == 1 else name for word, name in zip(last, names, strict=True)]


def _silent(call: Callable[[], Any]) -> Any:
    """What a call gives, without Optuna's warnings of what is experimental."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return call()
