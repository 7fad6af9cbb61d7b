"""The k-threshold of MADEX on a trained model: as the paper has it, and with pure terms.

    python train.py fit --config configs/demo/deepfm.yaml
    python benchmarks/detection_threshold.py runs/demo_deepfm/version_0

Around validation rows of a run: precision and recall of the pairs that NID's k-threshold keeps,
with candidates that may fail in turn (`patience`), and of the larger groups it keeps how many have
a term of their own. The truth is least squares on 6,000 masks: a pair is one from 0.1 % of the
variance of the scores on, those from 0.08 to 0.125 % count as either; a larger group has a term of
its own from 0.05 % on. All thresholds see the same networks, of NID's defaults.
"""

import argparse
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from common import console, make_table, print_machine

import zoo
from zoo.data.batch import Batch, take
from zoo.glider.perturb import OnOff, generator
from zoo.glider.scoring import score
from zoo.glider.surrogates.madex import MadexConfig
from zoo.glider.surrogates.networks import NID
from zoo.glider.surrogates.nid import Candidate, nid
from zoo.glider.surrogates.threshold import threshold
from zoo.glider.surrogates.training import Samples, fit, standardise
from zoo.glider.walsh import SharedMasks
from zoo.glider.walsh.search import WalshConfig

SURE, MAYBE, OWN = 1.25e-3, 8e-4, 5e-4
Shares = dict[tuple[int, ...], float]


@dataclass
class Score:
    """What a threshold finds in all rows."""

    right: int = 0
    false: int = 0
    missed: int = 0
    larger: int = 0
    own: int = 0
    r2: list[float] = field(default_factory=list)

    def add(self, found: list[Candidate], shares: Shares, r2: float) -> None:
        """Adds what it finds in a row."""
        sets = [candidate.features for candidate in found]
        pairs = {s for s in sets if len(s) == 2}
        self.right += sum(shares.get(s, 0) >= SURE for s in pairs)
        self.false += sum(shares.get(s, 0) < MAYBE for s in pairs)
        self.missed += sum(len(s) == 2 and v >= SURE and s not in pairs for s, v in shares.items())
        self.larger += sum(len(s) > 2 for s in sets)
        self.own += sum(len(s) > 2 and shares.get(s, 0) >= OWN for s in sets)
        self.r2.append(r2)

    def cells(self) -> list[str]:
        """Precision, recall, larger groups and R^2."""
        precision = self.right / max(self.right + self.false, 1)
        recall = self.right / max(self.right + self.missed, 1)
        return [f"{precision:.2f}", f"{recall:.2f}", f"{self.own} of {self.larger}"]


def sampled(run: Path, count: int) -> tuple[list[Shares], Samples]:
    """The shares of all sets around rows, and [K, N] samples of NID."""
    loaded = zoo.load(run)
    loaded.data.prepare_data()
    loaded.data.setup("validate")
    batch = next(iter(loaded.data.val_dataloader()))
    assert isinstance(batch, Batch)
    means = torch.from_numpy(loaded.data.numerical_means())
    neighbours = OnOff.of(loaded.model.schema, means)
    rows = [take(batch, slice(i, i + 1)) for i in range(count)]
    masks = SharedMasks(len(neighbours.centre(rows[0])), WalshConfig(masks=6000), 1)
    truths, drawn = [], []
    for i, row in enumerate(rows):
        found = masks.fits(masks.scores(loaded.model, row, neighbours)[None])[0]
        parts = [(s, v**2 - e**2) for s, v, e in found.fit.rows() if len(s) > 1]
        truths.append({s: max(square, 0) / found.variance for s, square in parts})
        x, neighbour_rows = neighbours.draw(row, 6000, generator(2, i))
        drawn.append((x, score(loaded.model, neighbour_rows)))
    x, y = map(torch.stack, zip(*drawn, strict=True))
    return truths, Samples(x, y)


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path, help="run directory of a model of rows")
    parser.add_argument("--rows", type=int, default=24)
    parser.add_argument("--patience", type=int, nargs="+", default=[1, 5, 20])
    options = parser.parse_args()
    print_machine("torch")
    truths, samples = sampled(options.run, options.rows)
    train, val, test = standardise(*samples.split(MadexConfig().samples))
    networks, _ = fit(train, val, NID, [generator(3, i) for i in range(options.rows)])
    rankings = [[*islice(ranking, 50)] for ranking in nid(networks)]
    columns = ("precision", "recall", "larger with a term", "R^2")
    table = make_table(f"{options.run}, {options.rows} rows", "", *columns)
    for pure in (False, True):
        for patience in options.patience:
            total = Score()
            for k, (ranking, shares) in enumerate(zip(rankings, truths, strict=True)):
                parts = train.of(k), val.of(k), test.of(k)
                found, _, r2 = threshold(
                    *parts, ranking, min_gain=1e-3, patience=patience, pure=pure
                )
                total.add(found, shares, r2)
            name = f"{'pure' if pure else 'paper'}, patience {patience}"
            table.add_row(name, *total.cells(), f"{np.mean(total.r2):.3f}")
    console.print(table)


if __name__ == "__main__":
    main()
