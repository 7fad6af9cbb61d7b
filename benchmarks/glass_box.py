"""The glass box beside the truth, InterpretML's EBM and the black box that it was found in.

    python benchmarks/glass_box.py --folder glass_box
    python benchmarks/glass_box.py --planted --quick

Clicks in Criteo's format are drawn with 39 main effects and 7 planted interactions, six of two
fields and one of three. A DeepFM learns them, `train.py detect` explains rows of it, and an
`AdditiveNetwork` of all fields and of what was detected is trained: from the labels alone, and
distilled, from the DeepFM's probabilities too. The tables:

- effects: over test rows, the correlation of what each term adds with the planted effect; and with
  the mean of the planted effect over rows that look the same to the model, as preparing joins rare
  categories, and missing numbers with zeros.
- models: test metrics, and seconds of CPU of the whole fit, reading included. EBM is given the raw
  values of the training and validation rows, categories as they are, numbers with NaN where
  missing; it finds its pairs itself (`--pairs` of them), with one job and `--bags` bags of its 14.
- fidelity: correlation of the logits with those of the DeepFM, and the mean divergence
  KL(DeepFM || model) of the probabilities, in nats.
"""

import argparse
import json
import resource
import subprocess
import sys
import time
import warnings
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from common import PROJECT, console, fit_ours, make_table, open_data, print_machine

import zoo
from datamodules.prepared.arrays import Arrays
from datamodules.synthetic.click_truth import ClickTruth
from datamodules.synthetic.clicks import CROSSES, PlantedClicks
from datamodules.tabular.criteo import CATEGORICAL, NUMERICAL
from zoo.data.batch import Batch
from zoo.data.schema import JOINER
from zoo.models.measures import click_metrics

PIECE = 20_000  # rows that are scored at once
LINE = 0.95  # correlation that a term should reach
QUICK = {"rows": 20_000, "instances": 20, "bags": 1}
Effects = dict[tuple[str, ...], np.ndarray]


class Clicks:
    """The generated rows, and the test rows as models take them.

    Args:
        rows: Number of rows.
        seed: Seed of truth and rows.
        config: Resolved config of a run on them.
    """

    def __init__(self, rows: int, seed: int, config: dict[str, Any]) -> None:
        self.planted = PlantedClicks(rows=rows, seed=seed)
        parts = zip(*self.planted.chunks(), strict=True)
        self.label, self.logit, self.numbers, self.ids = map(np.concatenate, parts)
        data = open_data(config)
        self.schema = data.schema
        self.test = Arrays.open(data.folder / "test")
        self.rows = np.asarray(self.test.row)

    def batches(self) -> list[Batch]:
        """The test rows."""
        columns = (self.test.numerical, self.test.categorical, self.test.label)
        numerical, categorical, label = (torch.from_numpy(np.array(c)) for c in columns)
        parts = (x.split(PIECE) for x in (numerical.float(), categorical.int(), label.float()))
        return [Batch(*part) for part in zip(*parts, strict=True)]

    def raw(self, rows: np.ndarray) -> Any:
        """Rows as they were drawn, for a model that reads a DataFrame."""
        import pandas as pd

        numbers = np.where(self.numbers[rows] < 0, np.nan, self.numbers[rows]).astype(float)
        frame = pd.DataFrame(numbers, columns=[*NUMERICAL])
        ids = self.ids[rows].astype(str)
        return frame.join(pd.DataFrame(ids, columns=[*CATEGORICAL], index=frame.index))

    @cached_property
    def effects(self) -> Effects:
        """[R] the planted effects in the test rows, by their fields."""
        p = self.planted
        truth = ClickTruth(p.seed, p.crosses, p.cross_strength, p.main_strength, p.bias)
        numbers, ids = self.numbers[self.rows], self.ids[self.rows]
        standard = (np.log(np.maximum(numbers, 0) + 0.5) - truth.location) / truth.spread
        standard = np.where(numbers < 0, 0.0, np.clip(standard, -2, 2))
        signs = {name: np.tanh(1.5 * standard[:, i]) / 0.75 for i, name in enumerate(NUMERICAL)}
        signs |= {name: truth.sign[name][ids[:, c]] for c, name in enumerate(CATEGORICAL)}
        found: Effects = {(n,): standard[:, i] * truth.slope[i] for i, n in enumerate(NUMERICAL)}
        for c, name in enumerate(CATEGORICAL):
            effect = truth.effect[c]
            found[name,] = effect[np.minimum(ids[:, c], len(effect) - 1)]
        for cross in p.crosses:
            found[tuple(cross)] = p.cross_strength * np.prod([signs[n] for n in cross], axis=0)
        return found

    def as_encoded(self, fields: Sequence[str]) -> np.ndarray:
        """[R] the mean of a planted effect over test rows that are alike in its encoded fields."""
        places = [f.name for f in self.schema.numerical], [f.name for f in self.schema.categorical]
        columns = [
            self.test.numerical[:, places[0].index(name)]
            if name in places[0]
            else self.test.categorical[:, places[1].index(name)]
            for name in fields
        ]
        keys = np.stack([np.unique(column, return_inverse=True)[1] for column in columns])
        _, groups = np.unique(keys, axis=1, return_inverse=True)
        effect = self.effects[tuple(fields)]
        return (np.bincount(groups, effect) / np.bincount(groups))[groups]


class Bench:
    """What is made of one seed, in a folder that is kept; runs that are there are not made again.

    Args:
        options: Those of the command line.
    """

    def __init__(self, options: argparse.Namespace) -> None:
        self.options, self.folder = options, options.folder
        self.folder.mkdir(parents=True, exist_ok=True)
        self.file = self.folder / "interactions.json"

    def fit(self, name: str, config: str, *more: str) -> Path:
        """The run directory of a config of the demo."""
        folder = self.folder / name
        run = folder / "runs" / f"{config}_{self.options.seed}" / "version_0"
        if not (run / "seconds.json").exists():
            rows, seed = self.options.rows, self.options.seed
            data = f"--data.synthetic.rows={rows}", f"--data.synthetic.seed={seed}"
            data = *data, f"--data.min_count={max(10, rows // 4000)}"
            path = PROJECT / "configs" / "demo" / f"{config}.yaml"
            data = *data, "--data.prepared", str(self.folder / "prepared")
            start = children()
            fit_ours(path, self.folder / "train.txt", self.options.seed, folder, *data, *more)
            (run / "seconds.json").write_text(json.dumps(children() - start))
        return run

    def detect(self, run: Path) -> None:
        """Writes the interactions of a run's model."""
        if self.file.exists():
            return
        command = [sys.executable, str(PROJECT / "train.py"), "detect"]
        command += ["--config", str(run / "config.yaml"), "--output", str(self.file)]
        command += ["--ckpt_path", str(run / "checkpoints" / "best.ckpt")]
        command += ["--instances", str(self.options.instances), "--detector", "walsh"]
        start = children()
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            sys.exit(done.stderr)
        console.print(f"detect: {children() - start:.0f} s of CPU", highlight=False)

    def ebm(self, clicks: Clicks) -> Any:
        """What EBM adds in the test rows; None where it is left out."""
        file = self.folder / f"ebm_{self.options.bags}_{self.options.pairs}.npz"
        if self.options.bags and not file.exists():
            np.savez(file, **ebm(clicks, self.options))
        return np.load(file) if self.options.bags else None

    def boxes(self, black: Path | None) -> dict[str, Path]:
        """The glass boxes: of what is planted, or of what was detected in the DeepFM."""
        if black is None:
            found = [{"fields": [*cross]} for cross in CROSSES]
            self.file.write_text(json.dumps({"format": 1, "interactions": found}))
        else:
            self.detect(black)
        file = {"from": str(self.file), "pairs": self.options.pairs, "triples": 2}
        terms = f"--model.terms={json.dumps(file)}"
        runs = {"glass box": self.fit("glass", "additive_network", terms)}
        if black is None:
            return runs
        runs["single fields"] = self.fit("singles", "additive_network", "--model.terms=null")
        teacher = f"--model.teacher={black / 'checkpoints' / 'best.ckpt'}"
        for share in self.options.shares:
            more = terms, teacher, f"--model.teacher_share={share}"
            runs[f"distilled, share {share}"] = self.fit(
                f"distilled_{share}", "additive_network", *more
            )
        return runs


def children() -> float:
    """Seconds of CPU that child processes have taken."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@torch.inference_mode()
def scored(model: Any, clicks: Clicks) -> np.ndarray:
    """[R] logits of the test rows."""
    return torch.cat([model(batch) for batch in clicks.batches()]).double().numpy()


@torch.inference_mode()
def added_by(model: Any, clicks: Clicks) -> tuple[list[str], np.ndarray]:
    """Names of the terms of a glass box, and [R, Q] what each adds in the test rows."""
    added = torch.cat([model.contributions(batch) for batch in clicks.batches()])
    return [term.name for term in model.terms], added.numpy()


def effects_table(title: str, names: list[str], added: np.ndarray, clicks: Clicks) -> object:
    """How what each term adds goes with what was planted."""
    columns = ("planted std", "std", "correlation", "as encoded")
    table = make_table(f"effects of the {title} in test rows", "term", *columns)
    reached: list[float] = []
    for name, values in zip(names, added.T, strict=True):
        fields = {*name.split(JOINER)}
        planted = next((each for each in clicks.effects if {*each} == fields), None)
        if planted is None:
            table.add_row(name, "-", f"{values.std():.3f}", "", "")
            continue
        truth, told = clicks.effects[planted], clicks.as_encoded(planted)
        found = [float(np.corrcoef(values, x)[0, 1]) for x in (truth, told)]
        reached.append(found[1])
        cells = (f"{truth.std():.3f}", f"{values.std():.3f}", *(f"{r:.3f}" for r in found))
        table.add_row(name, *cells)
    console.print(f"{title}: {sum(r >= LINE for r in reached)} of {len(reached)} reach {LINE}")
    return table


def ebm(clicks: Clicks, options: argparse.Namespace) -> dict[str, Any]:
    """Logits [R] of the test rows, what its terms add there, and seconds of CPU of the fit."""
    from interpret.glassbox import ExplainableBoostingClassifier

    train = np.setdiff1d(np.arange(len(clicks.label)), clicks.rows)
    frame, label, test = clicks.raw(train), clicks.label[train], clicks.raw(clicks.rows)
    kinds = ["continuous"] * len(NUMERICAL) + ["nominal"] * len(CATEGORICAL)
    model = ExplainableBoostingClassifier(
        feature_types=kinds, interactions=options.pairs, outer_bags=options.bags, n_jobs=1
    )
    start = time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of categories with many values
        model.fit(frame, label)
        seconds = time.process_time() - start
        added: Any = model.eval_terms(test)
    names = [name.replace(" & ", JOINER) for name in model.term_names_]
    logits = added.sum(1) + float(np.asarray(model.intercept_).ravel()[0])
    return {"logits": logits, "seconds": seconds, "names": names, "added": added}


class Tables:
    """The table of models, with their fidelity to the DeepFM.

    Args:
        clicks: The rows.
        black: [R] logits of the DeepFM; None where there is none.
    """

    def __init__(self, clicks: Clicks, black: np.ndarray | None) -> None:
        self.label = torch.from_numpy(clicks.label[clicks.rows].astype(np.float64))
        self.black = black
        columns = ("auc", "logloss", "seconds of CPU", "correlation", "KL")
        self.table = make_table("test rows, and fidelity to the DeepFM", "", *columns)

    def add(self, name: str, logits: np.ndarray, seconds: float | None) -> None:
        """Adds a model."""
        found = click_metrics(torch.from_numpy(np.asarray(logits, np.float64)), self.label)
        cells = [f"{float(found['auc']):.4f}", f"{float(found['logloss']):.4f}"]
        cells += ["" if seconds is None else f"{seconds:,.0f}"]
        if self.black is not None:
            p, q = (1 / (1 + np.exp(-x)) for x in (self.black, logits))
            divergence = (p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q))).mean()
            correlation = np.corrcoef(self.black, logits)[0, 1]
            cells += [f"{correlation:.4f}", f"{divergence:.4f}"]
        self.table.add_row(name, *cells)


def options() -> argparse.Namespace:
    """The options of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=400_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--instances", type=int, default=100, help="rows that detect explains")
    parser.add_argument("--pairs", type=int, default=10, help="of the glass box and of EBM")
    parser.add_argument("--bags", type=int, default=14, help="of EBM; 0 leaves EBM out")
    parser.add_argument("--shares", nargs="*", default=["0.5", "1.0"], help="of the teacher")
    parser.add_argument(
        "--planted", action="store_true", help="terms are what was planted: no DeepFM, no detection"
    )
    parser.add_argument("--quick", action="store_true", help="a few rows, in some minutes")
    parser.add_argument("--folder", type=Path, default=Path("glass_box"), help="of rows and runs")
    found = parser.parse_args()
    for name, value in QUICK.items() if found.quick else ():
        setattr(found, name, value)
    return found


def main() -> None:
    """Runs the benchmark."""
    given = options()
    print_machine("torch", "pytorch-lightning", "interpret-core")
    bench = Bench(given)
    black = None if given.planted else bench.fit("deepfm", "deepfm")
    runs = bench.boxes(black)
    config = yaml.safe_load((runs["glass box"] / "config.yaml").read_text())
    clicks = Clicks(given.rows, given.seed, config)
    trees = bench.ebm(clicks)
    runs = ({} if black is None else {"DeepFM": black}) | runs
    models = {name: zoo.load(run).model for name, run in runs.items()}
    tables = Tables(clicks, scored(models["DeepFM"], clicks) if black else None)
    tables.add("true logits", clicks.logit[clicks.rows], None)
    for name, run in runs.items():
        seconds = json.loads((run / "seconds.json").read_text())
        tables.add(name, scored(models[name], clicks), seconds)
    boxes = {"glass box": added_by(models["glass box"], clicks)}
    if trees is not None:
        boxes["EBM"] = [str(name) for name in trees["names"]], trees["added"]
        tables.add(f"EBM, {given.bags} bags", trees["logits"], float(trees["seconds"]))
    for title, (names, added) in boxes.items():
        console.print(effects_table(title, names, added, clicks))
    console.print(tables.table)


if __name__ == "__main__":
    main()
