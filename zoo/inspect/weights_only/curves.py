"""How the metrics of a run went, step by step, from its metrics.csv."""

import csv
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from zoo.inspect.chapters import TRAINING
from zoo.inspect.page import Figure, Section
from zoo.inspect.table import TextTable, escaped, text_table

Curve = list[tuple[int, float]]  # steps, and the value after each
LARGEST = 2**24  # bytes of a file that is read
LONGEST = 1000  # points of a curve that are kept
SPLITS = ("train", "val")
FIRST = ("logloss", "auc")  # metrics that are drawn, with that by which the run is monitored
DRAWN = 3


def curves_of(path: Path) -> dict[str, Curve]:
    """The values of each metric of training and validation by step; none without such a file.

    A line that cannot be read is passed over: a fit that was killed leaves half of one.
    """
    if not path.is_file() or path.stat().st_size > LARGEST:
        return {}
    found: dict[str, dict[int, float]] = {}
    with open(path, encoding="utf-8", errors="replace", newline="") as file:
        lines = csv.DictReader(line.replace("\0", "") for line in file)
        try:
            for line in lines:
                _add(found, line)
        except csv.Error:
            pass
    return {
        name: _thinned(_while_trained(sorted(values.items()))) for name, values in found.items()
    }


def _while_trained(curve: Curve) -> Curve:
    """Without the last point where that is of the best checkpoint: `fit` validates it at its end,
    which is logged one step after the last."""
    again = len(curve) > 2 and curve[-1][0] == curve[-2][0] + 1
    return curve[:-1] if again else curve


def _add(found: dict[str, dict[int, float]], line: Mapping[Any, Any]) -> None:
    try:
        step = int(line["step"])
    except (KeyError, TypeError, ValueError):
        return
    for name, text in line.items():
        if isinstance(name, str) and name.partition("/")[0] in SPLITS and text:
            try:
                value = float(text)
            except (TypeError, ValueError):
                continue
            if math.isfinite(value):
                found.setdefault(name, {})[step] = value


def _thinned(curve: Curve) -> Curve:
    every = math.ceil(len(curve) / LONGEST) or 1
    return [*curve[:-1:every], curve[-1]] if len(curve) > LONGEST else curve


def sections(curves: Mapping[str, Curve], monitors: list[str]) -> Iterator[Section]:
    """A plot of each of the first metrics, and a table of them.

    Args:
        curves: The curves by name, such as `val/auc`.
        monitors: Names of the metrics that decided which checkpoint was kept.
    """
    named = {name.partition("/")[2] for name, curve in curves.items() if len(curve) > 1}
    wanted = [*(name.partition("/")[2] for name in monitors), *FIRST, *sorted(named)]
    drawn = [name for name in dict.fromkeys(wanted) if name in named][:DRAWN]
    if drawn:
        figures = [_figure(name, curves) for name in drawn]
        page = [*figures, _table(drawn, curves)]
        yield Section("curves", [], TRAINING, page=page)


def _figure(name: str, curves: Mapping[str, Curve]) -> Figure:
    sides = {side: curves.get(f"{side}/{name}", []) for side in SPLITS}
    reading = f"{name} over the steps of the training, of training rows and of validation rows."
    return Figure(lambda: _draw(name, sides), reading)


def _draw(name: str, sides: Mapping[str, Curve]) -> Any:
    from zoo.inspect import plots

    plot = plots.new()
    for (side, curve), colour in zip(sides.items(), (plots.ORANGE, plots.BLUE), strict=True):
        if curve:
            steps, values = zip(*curve, strict=True)
            style = {"mode": "lines+markers", "line_color": colour}
            plot.add_scatter(x=list(steps), y=list(values), name=side, **style)
    plot.update_xaxes(title="step", rangemode="tozero")
    plot.update_yaxes(title=escaped(name))
    plot.update_layout(height=280)
    return plot


def _table(drawn: list[str], curves: Mapping[str, Curve]) -> TextTable:
    names = [f"{side}/{name}" for name in drawn for side in SPLITS if f"{side}/{name}" in curves]
    columns = {name: dict(curves[name]) for name in names}
    steps = sorted({step for curve in columns.values() for step in curve})
    rows = ((step, *(columns[name].get(step) for name in names)) for step in steps)
    return text_table("values of the curves", ("step", *names), rows, 0)
