"""The key figures of a checkpoint, with what they stand between: chance, and what is possible."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

from zoo.inspect.inspection import Inspection
from zoo.inspect.page.parts import Scale, Tile, Tiles
from zoo.inspect.scores import Scores
from zoo.inspect.with_data.quality import Quality

Z_95 = 1.96  # standard errors of a 95 % interval
FEW = 4  # figures without data
FIRST = ("auc", "logloss")


def key_figures(found: Inspection, scores: Scores | None) -> list[Tiles]:
    """The figures as tiles; none where nothing was measured."""
    metrics = _metrics(found)
    if scores is None:
        tiles = [*_saved(metrics)]
    else:
        tiles = [*_measured(scores, metrics), *_monitored(found, metrics)]
    return [Tiles(tiles)] if tiles else []


def row_name(found: Inspection) -> str:
    """What a scored label is of."""
    sessions = any(each.field.past_only for each in found.fields)
    return "tracks" if sessions else "rows"


def _metrics(found: Inspection) -> dict[str, float]:
    """The metrics of the run, and those at save that it does not have."""
    known: Mapping[str, Any] = (found.run and found.run.metrics) or {}
    numbers = {k: float(v) for k, v in known.items() if isinstance(v, int | float)}
    return {**found.training.metrics, **numbers}


# With data


def _measured(scores: Scores, metrics: Mapping[str, float]) -> Iterator[Tile]:
    overall = scores.overall
    if overall.auc is not None:
        best = metrics.get("ceiling/auc")
        scale = _scale(0.5, overall.auc, best, 1.0, overall.auc_error, "chance")
        notes = _elsewhere("auc", scores.split, metrics)
        yield Tile("AUC", f"{overall.auc:.4f}", _plus_minus(overall.auc_error), notes, scale)
    if overall.gauc is not None:
        yield Tile("AUC within groups", f"{overall.gauc:.4f}")
    if math.isfinite(overall.logloss):
        yield _logloss(overall, scores.split, metrics)
    ratio = overall.predicted / overall.observed if overall.observed else math.nan
    if math.isfinite(ratio):
        notes = [f"{overall.predicted:.2%} predicted, {overall.observed:.2%} observed"]
        yield Tile("predicted / observed", f"{ratio:.3f}", "1 is right", notes)


def _logloss(overall: Quality, split: str, metrics: Mapping[str, float]) -> Tile:
    share = entropy(overall.observed)
    best = metrics.get("ceiling/logloss")
    scale = _scale(share, overall.logloss, best, 0.0, overall.logloss_error, "share alone")
    notes = _elsewhere("logloss", split, metrics)
    if share > 0:
        less = 1 - overall.logloss / share
        notes.append(f"{abs(less):.1%} {'less' if less >= 0 else 'more'} than by the share alone")
    beside = _plus_minus(overall.logloss_error)
    return Tile("logloss", f"{overall.logloss:.4f}", beside, notes, scale)


def entropy(share: float) -> float:
    """The logloss of the share of positives as the prediction of all rows."""
    return -sum(p * math.log(p) for p in (share, 1 - share) if p > 0)


def _scale(
    start: float, value: float, best: float | None, perfect: float, error: float | None, name: str
) -> Scale:
    end = perfect if best is None else best
    far = f"perfect {perfect:g}" if best is None else f"possible {best:.4g}"
    return Scale(start, end, value, Z_95 * (error or 0.0), (f"{name} {start:.4g}", far))


def _plus_minus(error: float | None) -> str:
    return f"± {Z_95 * error:.4f} (95 %)" if error else ""


def _elsewhere(metric: str, split: str, metrics: Mapping[str, float]) -> list[str]:
    """What the metric is on other rows."""
    names = {"train": "training", "val": "validation", "test": "test"}
    known = [
        f"{name} rows {metrics[f'{side}/{metric}']:.4f}"
        for side, name in names.items()
        if side != split and f"{side}/{metric}" in metrics
    ]
    return [", ".join(known)] if known else []


def _monitored(found: Inspection, metrics: Mapping[str, float]) -> Iterator[Tile]:
    """What decided which checkpoint was kept, where that is none of the above."""
    for monitor in found.training.monitors[:1]:
        side, _, metric = monitor.name.partition("/")
        if metric not in FIRST and monitor.value is not None:
            best = metrics.get(f"ceiling/{metric}")
            notes = _elsewhere(metric, side, metrics)
            notes += [f"possible {best:.4g}"] if best is not None else []
            yield Tile(monitor.name, f"{monitor.value:.4f}", "at save", notes)


# Without


def _saved(metrics: Mapping[str, float]) -> Iterator[Tile]:
    wanted = [f"{side}/{metric}" for side in ("val", "test") for metric in FIRST]
    others = [name for name in metrics if name.startswith(("val/", "test/"))]
    for name in [*dict.fromkeys(n for n in (*wanted, *others) if n in metrics)][:FEW]:
        best = metrics.get(f"ceiling/{name.partition('/')[2]}")
        notes = [f"possible {best:.4g}"] if best is not None else []
        yield Tile(name, f"{metrics[name]:.4f}", "", notes)
