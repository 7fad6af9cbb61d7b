"""How often all six letters of CACGTG are found together in a network of DNA, and in decoys.

    pip install -c constraints.txt -e ".[domains]"
    python benchmarks/motifs.py

Networks of `examples/domains/dna.py`, each with its own sequences, are explained around held-out
sequences that hold the site, and around decoys by the number of their letters in its place that are
others. What is in the place of the site is *found* where the interactions that raise the logit, of
which those that overlap are joined (`merged`), leave one set that holds all six positions.

It takes the sign: with one letter wrong, another letter there is the right one in a third of the
neighbours in which that position is off. So all six positions do interact around that decoy too,
but its wrong letter lowers the logit. The second table is without the sign.

Walsh regression and NID see random masks; of NID's interactions the sign is that of their product
with the scores. NID takes a third of the sequences. Mixed differences see pairs of positions that
are off while all others are on, with one other letter drawn for each position; those of a fifth of
the largest one count.
"""

import argparse
import importlib
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from common import PROJECT, console, make_table, print_machine
from scipy import stats

from zoo.glider.domains.merged import merged
from zoo.glider.domains.sequences import Replaced
from zoo.glider.mixed import mixed_differences
from zoo.glider.perturb import bernoulli_masks, generator
from zoo.glider.scoring import score
from zoo.glider.surrogates.madex import MadexConfig, explain
from zoo.glider.walsh import SharedMasks, WalshConfig

SIX = 6  # letters of the site
HELD_OUT = 499  # masks of Walsh regression that are not fitted
LARGE = 0.2  # of the largest mixed difference
FEWER = 3  # times fewer sequences for NID
Found = Sequence[tuple[tuple[int, ...], float]]  # features, and a number with the sign


class Walsh:
    """Walsh regression with so many calls, on masks that all sequences of a model share."""

    def __init__(self, calls: int) -> None:
        self.calls, self._masks = calls, dict[int, SharedMasks]()

    def __call__(self, instance: Any, seed: int) -> Found:
        """The interactions around a sequence."""
        if seed not in self._masks:
            config = WalshConfig(masks=self.calls - 1 - HELD_OUT, held_out=HELD_OUT)
            self._masks = {seed: SharedMasks(len(instance.x), config, seed)}
        shared = self._masks[seed]
        y = shared.scores(instance.scores, instance.x, instance.switches)
        return [(c.features, c.value) for c in shared.explain(y).interactions]


@dataclass(frozen=True)
class Nid:
    """NID with so many calls, a twelfth of which are validation samples, and as many test ones."""

    calls: int

    def __call__(self, instance: Any, seed: int) -> Found:
        """The interactions around a sequence."""
        part = self.calls // 12
        random = generator(seed, instance.switches.seed)
        masks = bernoulli_masks(self.calls, len(instance.x), random)
        y = score(instance.scores, instance.switches.apply(instance.x, masks))
        config = MadexConfig("nid", samples=(self.calls - 2 * part, part, part))
        centre = torch.ones(1, len(instance.x))
        (found,) = explain(masks[None], y[None], centre, config, [random])
        z, centred = 2 * masks - 1, y - y.mean()
        return [
            (c.features, float((z[:, list(c.features)].prod(1) * centred).mean()))
            for c in found.interactions
        ]


@dataclass(frozen=True)
class Mixed:
    """Mixed differences of all pairs while all others are on."""

    calls: int

    def __call__(self, instance: Any, seed: int) -> Found:
        """The pairs around a sequence."""
        length = len(instance.x)
        drawn = torch.randint(1, 4, (length,), generator=generator(seed, instance.switches.seed))
        other = Replaced((instance.x + drawn) % 4)
        context = torch.ones(1, length)
        (found,) = mixed_differences(instance.scores, instance.x, other, context)
        pairs = [(i, j) for i in range(length) for j in range(i + 1, length)]
        least = LARGE * max(abs(found[pair]) for pair in pairs)
        large = [(pair, float(found[pair])) for pair in pairs if abs(found[pair]) > least]
        return sorted(large, key=lambda one: -abs(one[1]))


METHODS: dict[str, Walsh | Nid | Mixed] = {
    "Walsh": Walsh(3500),  # as the example has it
    "Walsh, default masks": Walsh(2000),
    "Walsh, more masks": Walsh(6000),
    "NID": Nid(3500),
    "mixed differences": Mixed(1 + 36 + 36 * 35 // 2),
}


@dataclass
class Counts:
    """What was found, by the distance of the six letters from those of the site.

    Attributes:
        found: Distance to what was found in each sequence: with the sign, and without.
        exact: Distance to whether the set has no other position.
        seconds: Seconds of a processor that each sequence took.
    """

    found: dict[int, list[tuple[bool, bool]]] = field(default_factory=dict)
    exact: dict[int, list[bool]] = field(default_factory=dict)
    seconds: list[float] = field(default_factory=list)

    def add(self, distance: int, start: int, interactions: Found) -> None:
        """Adds what was found around a sequence."""
        raising = [(features, value) for features, value in interactions if value > 0]
        whole, exact = holds(raising, start)
        self.found.setdefault(distance, []).append((whole, holds(interactions, start)[0]))
        self.exact.setdefault(distance, []).append(exact)

    def of(self, distances: Sequence[int], signed: bool) -> list[bool]:
        """Whether it was found in the sequences of some distances."""
        return [one[not signed] for d in distances for one in self.found.get(d, [])]


def holds(interactions: Found, start: int) -> tuple[bool, bool]:
    """Whether a joined set holds the six positions from one on, and whether it holds no other."""
    six = {*range(start, start + SIX)}
    sets = [s for s in merged(features for features, _ in interactions) if six <= {*s}]
    return bool(sets), bool(sets) and len(sets[0]) == SIX


def measure(counts: dict[str, Counts], example: Any, model: Any, seed: int, count: int) -> None:
    """Adds what the methods find around the sequences of a model."""
    distances = model.held_out.distances
    for distance in range(SIX + 1):
        rows = np.flatnonzero(distances == distance)[: 2 * count if not distance else count]
        for name, of in counts.items():
            fewer = FEWER if name.startswith("NID") else 1
            for row in rows[: len(rows) // fewer].tolist():
                instance = example.instance_of(model, row)
                begun = time.process_time()
                interactions = METHODS[name](instance, seed)
                of.seconds.append(time.process_time() - begun)
                of.add(distance, int(model.held_out.starts[row]), interactions)


def decided(instance: Any) -> float:
    """Share of the variance of the scores that the masks decide, not which letters are drawn.

    It is the correlation of the scores of two draws on the same masks: what the R^2 of no function
    of the masks can exceed.
    """
    masks = bernoulli_masks(3000, len(instance.x), generator(instance.switches.seed))
    draws = (replace(instance.switches, seed=seed) for seed in (1, 2))
    one, other = (score(instance.scores, draw.apply(instance.x, masks)).numpy() for draw in draws)
    return float(np.corrcoef(one, other)[0, 1])


def main() -> None:
    """Prints the shares with the sign of interactions, and without."""
    parser = argparse.ArgumentParser(description="Finds CACGTG in networks of DNA.")
    parser.add_argument("--models", type=int, default=5, help="number of networks")
    parser.add_argument("--count", type=int, default=60, help="decoys of each distance, a network")
    parser.add_argument("--only", nargs="*", choices=[*METHODS], help="some of the methods")
    parser.add_argument("--quick", action="store_true", help="small networks")
    given = parser.parse_args()
    torch.set_num_threads(1)
    print_machine("torch", "numpy", "pyjaspar")
    sys.path.insert(0, str(PROJECT / "examples" / "domains"))
    dna = importlib.import_module("dna")
    counts = {name: Counts() for name in given.only or METHODS}
    accuracies, by_masks = [], []
    for seed in range(1, given.models + 1):
        model = dna.trained(given.quick, seed)
        accuracies.append(f"{model.accuracy:.2%}")
        sites = np.flatnonzero(model.held_out.distances == 0)[: given.count].tolist()
        by_masks += [decided(dna.instance_of(model, row)) for row in sites]
        measure(counts, dna, model, seed, given.count)
    console.print(f"accuracy of the networks: {', '.join(accuracies)}", highlight=False)
    said = f"share of the variance around sites that masks decide: {np.mean(by_masks):.1%}"
    console.print(said, highlight=False)
    for signed in (True, False):
        _print(counts, signed)


def _print(counts: dict[str, Counts], signed: bool) -> None:
    what = "that raise the logit" if signed else "of any sign"
    title = f"found by interactions {what}, by the number of other letters"
    columns = ("calls", "CACGTG", "no other position", *map(str, range(1, SIX + 1)), "decoys", "s")
    table = make_table(title, "", *columns)
    decoys = [*range(1, SIX + 1)]
    for name, of in counts.items():
        calls = f"{METHODS[name].calls:,}"
        exact = f"{np.mean(of.exact[0]):.1%}" if signed else ""
        shares = [f"{np.mean(of.of([d], signed)):.1%}" for d in decoys]
        sites, others = _interval(of.of([0], signed)), _interval(of.of(decoys, signed))
        table.add_row(name, calls, sites, exact, *shares, others, f"{np.mean(of.seconds):.2f}")
    console.print(table)


def _interval(found: Sequence[bool]) -> str:
    """The share, with its exact interval of 95 %, and of how many."""
    low, high = stats.binomtest(sum(found), len(found)).proportion_ci()
    return f"{np.mean(found):.1%} ({low:.1%} .. {high:.1%}) of {len(found):,}"


if __name__ == "__main__":
    main()
