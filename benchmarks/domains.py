"""Table 5 of GLIDER on texts, images, graphs and DNA: what interactions add to a linear model.

    pip install -c constraints.txt -e ".[domains]"
    python benchmarks/domains.py --data FOLDER

Around instances that the models of `examples/domains` have not been trained on, a linear
regression learns the scores from 5,000 perturbations (k = 0, LIME), then with the strongest
interaction (k = 1), then with all that a detector keeps (k = L). Overlapping interactions are one
(`merged`); an interaction is any function of its features, all their products, or where 500
validation perturbations prefer it, those alone that the detector named. Shown is the mean squared
error on 500 fresh perturbations, and its share of the variance of the scores: means over instances,
with the deviation over trials of fresh perturbations. NID with its k-threshold and Walsh regression
see the same 5,500 scores.

Perturbations weigh alike; `--lime` weighs them as LIME does, as the paper has it, in the
regressions, in NID and in the error.

`--data` is a folder with the files that the examples would download.
"""

import argparse
import importlib
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import combinations, islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import PROJECT, console, make_table, print_machine
from scipy import stats

from zoo.data.errors import ZooError
from zoo.glider.domains.merged import merged
from zoo.glider.perturb import bernoulli_masks, generator, lime_weights
from zoo.glider.scoring import score
from zoo.glider.surrogates.madex import MadexConfig, explain
from zoo.glider.surrogates.threshold import PARTS_OF
from zoo.glider.walsh import SharedMasks
from zoo.glider.walsh.fit import products
from zoo.glider.walsh.search import WalshConfig

EXAMPLES = {"dna": "dna", "text": "sentiment", "image": "image", "graph": "graph"}
FITTED, CONFIRMED, FRESH = 5000, 500, 500
WHOLE = 8  # features of an interaction up to which all of its products are tried
DETECTORS = ("NID", "Walsh")
Set = tuple[int, ...]


@dataclass(frozen=True)
class Interaction:
    """Products of an interaction: those that a detector named, and all of its features."""

    named: Sequence[Set]
    every: Sequence[Set]


@dataclass(frozen=True)
class Perturbed:
    """An instance's perturbations of a trial: masks [6000, d], scores and weights [6000]."""

    masks: torch.Tensor
    y: np.ndarray
    weight: np.ndarray

    def error(self, interactions: Sequence[Interaction]) -> float:
        """Mean squared error on the fresh perturbations of a regression with some interactions."""
        named = [*dict.fromkeys(s for one in interactions for s in one.named)]
        every = [*dict.fromkeys(s for one in interactions for s in one.every)]
        errors = [self._errors(sets) for sets in ((named, every) if named != every else (named,))]
        return min(errors)[1]  # as the validation perturbations prefer

    def _errors(self, sets: Sequence[Set]) -> tuple[float, float]:
        """Of a regression with products of some sets on validation and fresh perturbations."""
        z = 2 * self.masks.double().numpy() - 1
        x = products(z, [(), *((i,) for i in range(z.shape[1])), *sets])
        root, fit = np.sqrt(self.weight), slice(FITTED)
        left, right = x[fit] * root[fit, None], self.y[fit] * root[fit]
        squares = np.square(self.y - x @ np.linalg.lstsq(left, right, rcond=None)[0])
        return self._mean(squares, slice(FITTED, -FRESH)), self._mean(squares, slice(-FRESH, None))

    @property
    def variance(self) -> float:
        """Variance of the scores of the fresh perturbations."""
        fresh = slice(-FRESH, None)
        mean = self._mean(self.y, fresh)
        return self._mean(np.square(self.y - mean), fresh)

    def _mean(self, values: np.ndarray, of: slice) -> float:
        return float(np.average(values[of], weights=self.weight[of]))


def interactions_of(sets: Sequence[Set]) -> list[Interaction]:
    """The sets that a detector has found, those joined that overlap."""
    found = []
    for joined in merged(sets):
        named = [s for s in sets if {*s} <= {*joined}]
        orders = range(2, len(joined) + 1) if len(joined) <= WHOLE else ()
        every = [s for order in orders for s in combinations(joined, order)]
        found.append(Interaction(named, every or named))
    return found


@lru_cache(1)  # those of many features are large
def _shared(features: int, trial: int, min_gain: float) -> SharedMasks:
    config = WalshConfig(masks=FITTED, held_out=CONFIRMED, min_gain=min_gain)
    return SharedMasks(features, config, trial)


def perturbed(instance: Any, trial: int, number: int, given: argparse.Namespace) -> Perturbed:
    """The perturbations of an instance, fresh ones for each trial."""
    shared = _shared(len(instance.names), trial, given.min_gain).masks[1:]
    fresh = bernoulli_masks(FRESH, shared.shape[1], generator(trial, number))
    masks = torch.cat((shared, fresh))
    y = score(instance.scores, instance.switches.apply(instance.x, masks)).double().numpy()
    weight = lime_weights(masks).double().numpy() if given.lime else np.ones(len(y))
    return Perturbed(masks, y, weight)


def varies(instance: Any) -> bool:
    """Whether the model does not say the same of all perturbations of an instance."""
    masks = bernoulli_masks(100, len(instance.names), generator(0))
    y = score(instance.scores, instance.switches.apply(instance.x, masks))
    return bool(y.max() - y.min() > 1e-6 * y.abs().max())


def by_walsh(p: Perturbed, trial: int, own: float, min_gain: float) -> list[Set]:
    """What Walsh regression keeps, the largest share first."""
    y = np.concatenate(([own], p.y[: FITTED + CONFIRMED]))
    (found,) = _shared(p.masks.shape[1], trial, min_gain).fits(y[None])
    return [c.features for c in found.shown.interactions]


def by_nid(p: Perturbed, trial: int, given: argparse.Namespace) -> list[Set]:
    """What NID's k-threshold keeps, the strongest first."""
    samples, gain = (FITTED, CONFIRMED, FRESH), given.min_gain
    config = MadexConfig("nid", samples=samples, min_gain=gain, lime_weights=given.lime)
    y = torch.from_numpy(p.y).float()
    centre = torch.ones(1, p.masks.shape[1])
    (found,) = explain(p.masks[None], y[None], centre, config, [generator(trial)])
    return [s for c in found.interactions for s in _with_parts(c.features)]


def _with_parts(features: Set) -> list[Set]:
    """A set with its parts, with which the k-threshold has measured it."""
    least = 1 if len(features) <= PARTS_OF else len(features) - 1
    return [s for order in range(len(features), least, -1) for s in combinations(features, order)]


@dataclass
class Errors:
    """Errors of a black box: [trial][instance], by detector and k."""

    of: dict[tuple[str, str], list[list[float]]] = field(default_factory=dict)
    shares: dict[tuple[str, str], list[list[float]]] = field(default_factory=dict)
    found: dict[str, list[int]] = field(default_factory=dict)
    seconds: dict[str, list[float]] = field(default_factory=dict)

    def add(self, key: tuple[str, str], trial: int, error: float, variance: float) -> None:
        """Adds the error around an instance."""
        for table, value in ((self.of, error), (self.shares, error / variance)):
            rows = table.setdefault(key, [])
            rows += [[] for _ in range(trial + 1 - len(rows))]
            rows[trial].append(value)

    def instance(self, instance: Any, trial: int, number: int, given: argparse.Namespace) -> None:
        """Adds an instance."""
        start = time.process_time()
        p = perturbed(instance, trial, number, given)
        variance = p.variance
        self.seconds.setdefault("scores", []).append(time.process_time() - start)
        one = instance.switches.apply(instance.x, torch.ones(1, p.masks.shape[1]))
        own = float(score(instance.scores, one)[0])
        self.add(("linear (LIME)", "0"), trial, p.error([]), variance)
        for name in DETECTORS:
            start = time.process_time()
            if name == "NID":
                sets = by_nid(p, trial, given)
            else:
                sets = by_walsh(p, trial, own, given.min_gain)
            self.seconds.setdefault(name, []).append(time.process_time() - start)
            found = interactions_of(sets)
            self.found.setdefault(name, []).append(len(found))
            self.add((name, "1"), trial, p.error(found[:1]), variance)
            self.add((name, "L"), trial, p.error(found), variance)


def main() -> None:
    """Prints a table for each black box."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, help="folder with the files of the examples")
    parser.add_argument("--only", nargs="*", choices=[*EXAMPLES], help="some of the domains")
    parser.add_argument("--models", nargs="*", help="some of their models, such as GCN")
    parser.add_argument("--instances", type=int, help="number of instances")
    parser.add_argument("--trials", type=int, help="number of trials")
    parser.add_argument("--lime", action="store_true", help="weigh perturbations as LIME does")
    parser.add_argument(
        "--min_gain", type=float, default=1e-3, help="share of the variance of an interaction"
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of the models")
    parser.add_argument("--quick", action="store_true", help="small models, 6 instances, 1 trial")
    given = parser.parse_args()
    instances = given.instances or (6 if given.quick else 40)
    trials = given.trials or (1 if given.quick else 5)
    torch.set_num_threads(1)
    print_machine("torch", "numpy")
    sys.path.insert(0, str(PROJECT / "examples" / "domains"))
    for name in given.only or EXAMPLES:
        example = importlib.import_module(EXAMPLES[name])
        for box in example.black_boxes(quick=given.quick, seed=given.seed, data=given.data):
            if given.models and box.name not in given.models:
                continue
            errors, chosen = Errors(), [*islice(filter(varies, box.instances), instances)]
            chosen.sort(key=lambda instance: len(instance.names))  # which share their masks
            for trial in range(trials):
                for number, instance in enumerate(chosen):
                    errors.instance(instance, trial, number, given)
            _print(box, errors, chosen)


def _print(box: Any, errors: Errors, instances: Sequence[Any]) -> None:
    features = np.mean([len(instance.names) for instance in instances])
    title = f"{box.name}: accuracy {box.accuracy:.3f}, {len(instances)} instances, "
    columns = ("k", "error", "share of the variance", "to linear, p", "instances with any", "s")
    table = make_table(f"{title}{features:.0f} features", "", *columns)
    base = np.mean(errors.shares["linear (LIME)", "0"], axis=0)
    for (name, k), rows in errors.of.items():
        shares = errors.shares[name, k]
        own = np.mean(shares, axis=0)
        p = "" if k == "0" else f"{own.mean() / base.mean():.2f}, {_p(own, base)}"
        found = errors.found.get(name, [])
        any_, seconds = "", ""
        if k == "L":
            any_, seconds = f"{np.mean(np.array(found) > 0):.0%}", _mean(errors.seconds[name])
        table.add_row(name, k, _spread(rows), _spread(shares), p, any_, seconds)
    console.print(table)
    nid, walsh = (np.mean(errors.shares[name, "L"], axis=0) for name in DETECTORS)
    console.print(
        f"Walsh to NID at k = L: {walsh.mean() / nid.mean():.2f}, p {_p(walsh, nid)}; "
        f"scores take {_mean(errors.seconds['scores'])} s an instance",
        highlight=False,
    )


def _mean(values: Sequence[float]) -> str:
    return f"{np.mean(values):.2f}"


def _spread(rows: Sequence[Sequence[float]]) -> str:
    means = [float(np.mean(row)) for row in rows]
    spread = f" ± {np.std(means, ddof=1):.1g}" if len(means) > 1 else ""
    return f"{np.mean(means):.3g}{spread}"


def _p(one: np.ndarray, other: np.ndarray) -> str:
    """One-sided p-value of Wilcoxon's test over instances that the first is smaller."""
    if not (one != other).any():
        return "1"
    return f"{stats.wilcoxon(one, other, alternative='less').pvalue:.1g}"


if __name__ == "__main__":
    try:
        main()
    except ZooError as error:
        sys.exit(f"error: {error}")
