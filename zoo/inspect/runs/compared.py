"""Runs on the same rows: their metrics, the spread of seeds, and which of them differ.

Shapes: K runs.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from zoo.inspect.runs.contrasts import Contrast, Spread, between_configs, between_seeds, spread
from zoo.inspect.runs.measured import Measured, measure
from zoo.inspect.runs.rows import Rows

FIRST = ("ndcg@10", "logloss")  # that decide which run is best where nothing else is asked for


@dataclass(frozen=True)
class SameRows:
    """Runs that were scored on the same rows.

    Attributes:
        names: [K] names of the runs.
        rows: Number of labelled rows, or of tracks of sessions.
        unit: What is drawn: `row`, `list`, `session` or `group`.
        units: Number of these.
        metric: The metric that decides which config is best.
        measured: The metrics.
        configs: Numbers of the runs of each config, the config's own name first.
        contrasts: Pairs of configs, of each metric; `first` and `second` are numbers of configs.
        seeds: Pairs of runs of one config, of the metric that decides.
        level: Level of the intervals.
    """

    names: tuple[str, ...]
    rows: int
    unit: str
    units: int
    metric: str
    measured: dict[str, Measured]
    configs: tuple[tuple[int, ...], ...]
    contrasts: dict[str, list[Contrast]]
    seeds: dict[int, list[Contrast]]
    level: float

    def spreads(self, metric: str) -> list[Spread]:
        """A metric over the runs of each config."""
        return [spread(self.measured[metric], runs) for runs in self.configs]

    @property
    def best(self) -> int:
        """The number of the config that is best by `metric`."""
        sign = self.measured[self.metric].sign
        means = [sign * of.mean for of in self.spreads(self.metric)]
        return max(range(len(means)), key=lambda i: (means[i] == means[i], means[i]))

    def with_best(self, metric: str) -> Iterator[tuple[int, Contrast]]:
        """Each other config's number, and its pair with the best one."""
        for of in self.contrasts[metric]:
            if self.best in (of.first, of.second):
                yield of.second if of.first == self.best else of.first, of

    def config_name(self, number: int) -> str:
        """A config by its first run, and the number of its seeds."""
        first, *others = (self.names[run] for run in self.configs[number])
        return f"{first} ({1 + len(others)} seeds)" if others else first


def same_rows(
    rows: Rows,
    logits: Mapping[str, Tensor],
    configs: Sequence[Sequence[int]],
    metric: str | None = None,
    level: float = 0.95,
    draws: int = 1000,
    seed: int = 0,
) -> SameRows:
    """Compares runs on the same rows.

    Args:
        rows: The rows.
        logits: [R] logits of each run, by its name.
        configs: Numbers of the runs of each config.
        metric: The metric that decides; None, or one that these rows have not, takes ndcg@10 of
            ranked lists, else the logloss.
        level: Level of intervals and tests.
        draws: Number of draws of the bootstrap.
        seed: Seed of the draws.
    """
    measured = measure(rows, [*logits.values()], level, draws, seed)
    chosen = next(name for name in (metric, *FIRST) if name in measured)
    units = rows.units()
    return SameRows(
        tuple(logits),
        len(rows.labels),
        rows.unit,
        len(rows.labels) if units is None else int(units.max()) + 1,
        chosen,
        measured,
        tuple(map(tuple, configs)),
        {name: between_configs(of, configs, level) for name, of in measured.items()},
        {
            i: between_seeds(measured[chosen], runs, level)
            for i, runs in enumerate(configs)
            if len(runs) > 1
        },
        level,
    )


def plain(found: SameRows) -> dict[str, Any]:
    """As plain data."""
    metrics = {
        name: {
            run: {"value": float(v), "low": float(low), "high": float(high)}
            for run, v, low, high in zip(found.names, of.values, of.low, of.high, strict=True)
        }
        for name, of in found.measured.items()
    }
    return {
        "runs": list(found.names),
        "rows": found.rows,
        "unit": found.unit,
        "units": found.units,
        "metric": found.metric,
        "level": found.level,
        "best": found.config_name(found.best),
        "metrics": metrics,
        "configs": [
            {
                "name": found.config_name(i),
                "runs": [found.names[run] for run in runs],
                "spread": {name: vars(found.spreads(name)[i]) for name in found.measured},
            }
            for i, runs in enumerate(found.configs)
        ],
        "pairs": [
            _pair(of, [found.config_name(i) for i in range(len(found.configs))])
            for contrasts in found.contrasts.values()
            for of in contrasts
        ],
        "seeds": [
            _pair(of, [found.names[run] for run in found.configs[i]])
            for i, contrasts in found.seeds.items()
            for of in contrasts
        ],
    }


def _pair(of: Contrast, names: Sequence[str]) -> dict[str, Any]:
    pair = {"first": names[of.first], "second": names[of.second]}
    return {**vars(of), **pair, "is_noise": of.is_noise}
