"""Many runs side by side, as tables, a page or plain data."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.text import Text

from zoo.inspect.page import Figure, Section
from zoo.inspect.runs.compared import SameRows, plain
from zoo.inspect.runs.settings import differing, seeds_of
from zoo.inspect.runs.words import sentences
from zoo.inspect.shown import Shown
from zoo.inspect.table import TextTable, clean, short, text_table

WIDEST = 6  # runs that have a column each; more have a row each
MOST_PAIRS = 30


@dataclass(frozen=True)
class RunFacts:
    """What is known of a run without data.

    Attributes:
        name: Its name among the runs.
        folder: Its directory.
        settings: Options of its config by name.
        metrics: Content of its `metrics.json`; empty without it.
        parameters: Number of trained weights.
        bytes: Size of the checkpoint, with the parts beside it.
    """

    name: str
    folder: str
    settings: dict[str, Any]
    metrics: Mapping[str, Any]
    parameters: int
    bytes: int


@dataclass(frozen=True)
class Overview(Shown):
    """Runs side by side; in a notebook and in `rich.print` it shows as tables.

    Attributes:
        runs: The runs.
        split: Name of the split that they were scored on; None where they were not.
        parts: Runs on the same rows, for each kind of rows.
        notes: What else a reader should know, each one sentence.
    """

    runs: tuple[RunFacts, ...]
    split: str | None
    parts: tuple[SameRows, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        """The title of a page that begins with it."""
        return f"{len(self.runs)} runs compared"

    @property
    def settings(self) -> dict[str, list[Any]]:
        """The settings that differ, with the value of each run."""
        return differing([run.settings for run in self.runs])

    def sentences(self) -> list[str]:
        """What is better, and what is noise."""
        return [sentence for part in self.parts for sentence in sentences(part)]

    def to_dict(self) -> dict[str, Any]:
        """As plain data."""
        return {
            "runs": [{**vars(run), "metrics": dict(run.metrics)} for run in self.runs],
            "split": self.split,
            "settings": self.settings,
            "sentences": self.sentences(),
            "notes": list(self.notes),
            "rows": [plain(part) for part in self.parts],
        }

    def heading(self) -> Iterator[Text]:
        """What the comparison says."""
        for sentence in self.sentences():
            yield Text(clean(f"{sentence}\n"))

    def labelled_warnings(self) -> Iterator[tuple[str, str]]:
        """The notes, without a label."""
        return (("", note) for note in self.notes)

    def sections(self) -> Iterator[Section]:
        """What the rows say, the settings, and what the runs cost."""
        for part in self.parts:
            yield Section("metrics", [*sentences(part), *_figures(part), *self._of_rows(part)])
        if not self.parts:
            yield Section("metrics", [self._recorded()])
        yield Section("settings", [*self._settings()])
        yield Section("cost", [self._cost()])

    def _of_rows(self, part: SameRows) -> Iterator[TextTable]:
        drawn = "" if part.unit == "row" else f", in {part.units:,} {part.unit}s"
        title = (
            f"metrics on {part.rows:,} {self.split} rows{drawn}, ± half of their {part.level:.0%} "
            "intervals"
        )
        found = part.measured.values()
        cells = [map(_with_half, of.values, of.low, of.high) for of in found]
        rows = zip(part.names, *cells, strict=True)
        yield text_table(title, ("run", *part.measured), rows)
        if part.seeds:
            yield _of_configs(part)
        if len(part.configs) > 1:
            yield _of_pairs(part)

    def _recorded(self) -> TextTable:
        """The metrics of the splits that the runs recorded, those of experts left out."""
        names = [name for run in self.runs for name in run.metrics if name.count("/") == 1]
        columns = [*dict.fromkeys(names)]
        rows = ((run.name, *map(run.metrics.get, columns)) for run in self.runs)
        title = "metrics of best.ckpt as each run recorded them on its own rows"
        return text_table(title, ("run", *columns), rows)

    def _settings(self) -> Iterator[str | TextTable]:
        found = {name: [*map(_cell, values)] for name, values in self.settings.items()}
        names = [run.name for run in self.runs]
        title = "settings that differ"
        if not found:
            yield "The configs of the runs are equal."
        elif len(names) <= WIDEST:
            rows = [(name, *values) for name, values in found.items()]
            yield text_table(title, ("setting", *names), rows, 1 + len(names))
        else:
            rows = [(name, *values) for name, *values in zip(names, *found.values(), strict=True)]
            yield text_table(title, ("run", *found), rows, 1 + len(found))

    def _cost(self) -> TextTable:
        columns = ("run", "seed", "parameters", "MB", "epochs", "seconds", "samples/s")
        rows, apart = [], self.settings
        for run in self.runs:
            seeds = seeds_of(run.settings)
            named = {name: seed for name, seed in seeds.items() if name in apart} or seeds
            seeds = ", ".join(str(seed) for seed in dict.fromkeys(named.values()))
            kept = ("epochs", "seconds", "samples_per_second")
            of_fit = (_number(run.metrics.get(name)) for name in kept)
            rows.append(
                (run.name, seeds or "-", run.parameters, f"{run.bytes / 1e6:,.1f}", *of_fit)
            )
        title = "size, and training as each run recorded it on its own machine"
        return text_table(title, columns, rows, 2)


def _number(value: Any) -> str:
    if not isinstance(value, int | float):
        return "-"
    return f"{value:,.0f}" if value >= 100 or value == int(value) else f"{value:.1f}"


def _with_half(value: float, low: float, high: float) -> str:
    """A metric and half of its interval: four metrics with both ends are wider than a terminal."""
    if value != value:
        return "-"
    return f"{value:.5f}" if low != low else f"{value:.5f} ± {(high - low) / 2:.5f}"


def _with_interval(value: float, low: float, high: float) -> str:
    if value != value:
        return "-"
    return f"{value:.5f}" if low != low else f"{value:.5f} ({low:.5f} to {high:.5f})"


def _cell(value: Any) -> str:
    return "-" if value is None else short(value)


def _of_configs(part: SameRows) -> TextTable:
    """The mean and spread of each config over its seeds."""
    spreads = {name: part.spreads(name) for name in part.measured}
    rows = []
    for i, runs in enumerate(part.configs):
        cells = []
        for of in (found[i] for found in spreads.values()):
            apart = "" if of.deviation is None else f" ± {of.deviation:.5f}"
            cells.append(f"{of.mean:.5f}{apart}")
        rows.append((part.names[runs[0]], len(runs), *cells))
    title = "configs over their seeds: mean ± standard deviation between seeds"
    return text_table(title, ("config", "seeds", *part.measured), rows)


def _of_pairs(part: SameRows) -> TextTable:
    """The differences from the best config."""
    rows = []
    for metric in part.measured:
        for other, pair in part.with_best(metric):
            sign = 1 if pair.second == part.best else -1
            low, high = sorted((sign * pair.low, sign * pair.high))
            told = "noise" if pair.is_noise else "differs"
            rows.append(
                (
                    part.config_name(other),
                    metric,
                    told,
                    _with_interval(sign * pair.difference, low, high),
                    f"{pair.p:.2g}",
                    f"{pair.adjusted:.2g}",
                    f"{pair.detectable:.5f}",
                )
            )
    title = f"differences from {part.config_name(part.best)}, the best by {part.metric}"
    if len(part.configs) > 2:
        title += f"; p adjusted for all {len(part.configs) * (len(part.configs) - 1) // 2} pairs"
    columns = ("config", "metric", "", "difference", "p", "adjusted p", "detectable")
    return text_table(title, columns, rows, 3)


def _figures(part: SameRows) -> Iterator[Figure]:
    """The metric that decides, with its intervals."""
    if len(part.names) > 1:
        reading = (
            f"Each point is the {part.metric} of a run; the line is its interval, as other rows "
            "would move it. Runs are scored on the same rows, so that differences are surer than "
            "intervals that overlap suggest."
        )
        yield Figure(lambda: _draw(part), reading)


def _draw(part: SameRows) -> Any:
    from zoo.inspect import plots

    of = part.measured[part.metric]
    plot = plots.new()
    names = plots.names(plots.short(name) for name in part.names)
    places = [*range(len(names))]
    ends = [*zip(map(float, of.low), map(float, of.high), strict=True)]
    plot.add_scatter(
        x=of.values,
        y=places,
        mode="markers",
        marker={"color": plots.BLUE, "size": 9},
        error_x=plots.error_bars(map(float, of.values), ends),
        hovertext=names,
        showlegend=False,
    )
    plot.update_yaxes(autorange="reversed", tickvals=places, ticktext=names, zeroline=False)
    plot.update_xaxes(title=part.metric, zeroline=False)
    plot.update_layout(height=120 + 26 * len(names))
    return plot


def joined(names: Sequence[str]) -> str:
    """Names in a sentence, of many the first."""
    shown = ", ".join(names[:3])
    return shown if len(names) <= 3 else f"{shown} and {len(names) - 3} more"
