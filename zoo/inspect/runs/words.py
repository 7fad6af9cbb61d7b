"""What a comparison of runs says, in sentences."""

import math
from collections.abc import Iterator

from zoo.inspect.runs.compared import SameRows
from zoo.inspect.runs.contrasts import Contrast


def sentences(found: SameRows) -> Iterator[str]:
    """What is better, what is noise, and what seeds do; the best config first."""
    if len(found.names) == 1:
        return
    pairs = [*found.with_best(found.metric)]
    best = found.config_name(found.best)
    for other, pair in pairs:
        yield _of_pair(found, best, found.config_name(other), pair)
    for number, contrasts in found.seeds.items():
        yield _of_seeds(found, number, contrasts)
    if pairs and not found.seeds:
        yield (
            "each config has one seed here: the intervals are of the rows alone, and another seed "
            "moves a metric too; fit each config with several seeds (--seed_everything) to know by "
            "how much"
        )


def _of_pair(found: SameRows, best: str, other: str, pair: Contrast) -> str:
    """The best config, beside another one."""
    if not math.isfinite(pair.difference) or math.isnan(pair.p):
        return f"{best} and {other} cannot be compared: {found.metric} has no finite difference"
    # as best less other, whichever comes first in the table
    is_first = found.config_name(pair.first) == best
    ends = (pair.low, pair.high) if is_first else (-pair.high, -pair.low)
    difference = pair.difference if is_first else -pair.difference
    told = (
        f"{found.metric} {difference:+.5f} ({pair.level:.0%} interval {ends[0]:+.5f} to "
        f"{ends[1]:+.5f}, p {_p(pair.adjusted)})"
    )
    noise = f"{found.unit}s and seeds" if pair.with_seeds else f"{found.unit}s"
    if pair.is_noise:
        return (
            f"no difference between {best} and {other}: {told} is noise of {noise}; "
            f"{found.units:,} {found.unit}s would show one of {pair.detectable:.5f} or more"
        )
    unknown = "" if pair.with_seeds else "; by that of seeds it is not tested"
    return f"{best} is better than {other}: {told}, more than the noise of {noise}{unknown}"


def _of_seeds(found: SameRows, number: int, contrasts: list[Contrast]) -> str:
    """What the seeds of one config do."""
    runs = [found.names[run] for run in found.configs[number]]
    of = found.spreads(found.metric)[number]
    told = (
        f"no difference between {_listed(runs)} but that of their seeds: {found.metric} "
        f"{of.mean:.5f} on average, {of.deviation:.5f} standard deviation"
    )
    apart = [pair for pair in contrasts if not pair.is_noise]
    if not apart:
        least = max(pair.detectable for pair in contrasts)
        return (
            f"{told}; the rows do not tell them apart either: they would show {least:.5f} or more"
        )
    largest = max(abs(pair.difference) for pair in apart)
    return (
        f"{told}; the rows do tell them apart (by {largest:.5f}): compare this config with others "
        "by several seeds, never by one"
    )


def _listed(names: list[str]) -> str:
    return f"{', '.join(names[:-1])} and {names[-1]}"


def _p(p: float) -> str:
    return "< 0.0001" if p < 0.0001 else f"= {p:.2g}"
