"""From planted interactions to better models: detection, then cross fields, where all is known.

    python benchmarks/planted.py --seeds 5
    python benchmarks/planted.py --quick

For each seed, clicks in Criteo's format are drawn with 7 planted interactions, one of them of
three fields (the truth, the rows, the split's order and the weights all change). An AutoInt learns
them, `train.py detect` explains validation rows of it, and every model is trained

- without cross fields;
- with `all`: cross fields for the significant interactions, at most 10, their numbers in 10 bins;
- with those that `train.py gains` finds to `pay`, in the bins that it chooses.

The tables:

- recall@10: share of the planted interactions among the first ten.
- false: significant pairs, and larger sets, that neither are planted nor lie inside a planted one.
- missed, false: planted interactions that do not pay, and others that do.
- gain: logloss of the test rows without crosses less that with them; its standard error over seeds.
- gap closed: share of the difference in test logloss between the model without crosses and the
  true probabilities.

Each result is a line of `--output`, written when it is there; lines that are there already are not
made again, so that an interrupted benchmark goes on, and more seeds or models join the others.
"""

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch
from common import PROJECT, console, fit_ours, make_table, mean_and_deviation, print_machine

from datamodules.synthetic.clicks import CROSSES

MODELS = ("wide_deep", "deepfm", "dcn", "xdeepfm", "autoint")
SOURCE = "autoint"  # whose interactions are detected
VARIANTS = ("without", "all", "pays")
TOP = 10
BINS = 10
LEVEL = 0.05
QUICK = {"seeds": 1, "rows": 20_000, "instances": 20, "models": ["wide_deep"]}

Line = dict[str, Any]


class Results:
    """Lines of JSON, one for each result, that a benchmark goes on with."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def add(self, line: Line) -> None:
        """Writes a line."""
        with open(self.file, "a") as file:
            file.write(json.dumps(line) + "\n")

    def of(self, **wanted: Any) -> list[Line]:
        """The lines that hold these values, those of other processes too."""
        found = self.file.read_text().splitlines() if self.file.exists() else []
        lines = [json.loads(line) for line in found]
        return [line for line in lines if all(line.get(k) == v for k, v in wanted.items())]


def fit(model: str, seed: int, rows: int, folder: Path, variant: str, *options: str) -> Line:
    """Metrics and parameters of a model on the rows of a seed."""
    config = PROJECT / "configs" / "demo" / f"{model}.yaml"
    same = ["--data.prepared", str(folder / "prepared")]
    same += ["--data.synthetic.rows", str(rows), "--data.synthetic.seed", str(seed)]
    train = folder / "train.txt"
    shutil.rmtree(_run(folder, variant, model, seed).parent, ignore_errors=True)  # interrupted
    metrics, resolved = fit_ours(config, train, seed, folder / variant, *same, *options)
    checkpoint = torch.load(
        _run(folder, variant, model, seed) / "checkpoints/best.ckpt", weights_only=True
    )
    parameters = sum(value.numel() for value in checkpoint["state_dict"].values())
    name = resolved["model"]["class_path"].rpartition(".")[2]
    return {"class": name, "parameters": parameters, **metrics}


def _run(folder: Path, variant: str, model: str, seed: int) -> Path:
    return folder / variant / "runs" / f"{model}_{seed}" / "version_0"


def command(name: str, run: Path, output: Path, *options: str) -> list[Line]:
    """The interactions that a command on a run's model writes."""
    arguments = [sys.executable, str(PROJECT / "train.py"), name]
    arguments += ["--config", str(run / "config.yaml"), "--output", str(output)]
    arguments += ["--ckpt_path", str(run / "checkpoints" / "best.ckpt"), *options]
    arguments += ["--trainer.enable_progress_bar", "false"]
    done = subprocess.run(arguments, capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr)
    return json.loads(output.read_text())["interactions"]


def significant(found: list[Line]) -> list[Line]:
    """Those of a file's interactions that are."""
    return [row for row in found if row["q_permutation" if row.get("q") is None else "q"] < LEVEL]


def judge(found: list[Line]) -> Line:
    """Recall@10 of the planted interactions, numbers of significant sets, false pairs and sets."""
    planted = [frozenset(cross) for cross in CROSSES]
    top = {frozenset(row["fields"]) for row in found[:TOP]}
    sets = [frozenset(row["fields"]) for row in significant(found)]
    false = [s for s in sets if not any(s <= cross for cross in planted)]
    pairs = sum(len(s) == 2 for s in false)
    return {
        "recall": sum(cross in top for cross in planted) / len(planted),
        "significant": len(sets),
        "false_pairs": pairs,
        "false_sets": len(false) - pairs,
        "first": [row["fields"] for row in found[:TOP]],
    }


def judge_gains(found: list[Line]) -> Line:
    """What pays, and how much of it is planted."""
    planted = {frozenset(cross) for cross in CROSSES}
    pays = [row for row in found if row.get("pays")]
    sets = {frozenset(row["fields"]) for row in pays}
    return {
        "pays": [[*row["fields"], row["bins"]] for row in pays],
        "missed": len(planted - sets),
        "false": len(sets - planted),
    }


class Seed:
    """What is made of one seed, in a folder that is kept."""

    def __init__(self, number: int, options: argparse.Namespace, results: Results) -> None:
        self.number, self.options, self.results = number, options, results
        self.key = {"rows": options.rows, "seed": number}
        self.folder = options.folder / f"{options.rows}_{number}"
        self.folder.mkdir(parents=True, exist_ok=True)
        self.file = self.folder / "interactions.json"
        self.gains = self.folder / "gains.json"
        self.source = _run(self.folder, "without", SOURCE, number)

    def fit(self, model: str, variant: str, *options: str) -> None:
        """Trains a model, unless that has been done."""
        mine = {**self.key, "model": model, "variant": variant}
        if not self.options.tables and not self.results.of(**mine):
            line = fit(model, self.number, self.options.rows, self.folder, variant, *options)
            self.results.add({**mine, **line})
            console.print(*mine.values(), f"{line['test/logloss']:.4f}", highlight=False)

    def detect(self) -> None:
        """Detects the interactions of the source model, unless that has been done."""
        self.fit(SOURCE, "without")
        mine = {**self.key, "model": SOURCE, "variant": "detect"}
        if not self.results.of(**mine):
            instances = ["--instances", str(self.options.instances), "--detector", "walsh"]
            line = judge(command("detect", self.source, self.file, *instances))
            self.results.add({**mine, **line})
            console.print(self.number, line["first"], highlight=False)

    def with_all(self, model: str) -> None:
        """Trains a model with cross fields for what is significant."""
        count = len(significant(json.loads(self.file.read_text())["interactions"]))
        if not count:
            self.as_without(model, "all")
            return
        top_k = ["--data.top_k", str(min(count, TOP))]
        crosses = ["--data.crosses", str(self.file), "--data.cross_bins", str(BINS)]
        self.fit(model, "all", *crosses, *top_k)

    def measure(self) -> None:
        """Measures which of the interactions pay, unless that has been done."""
        self.detect()
        mine = {**self.key, "model": SOURCE, "variant": "gains"}
        if not self.results.of(**mine):
            start = time.perf_counter()
            found = command("gains", self.source, self.gains, "--interactions", str(self.file))
            line = judge_gains(found) | {"seconds": time.perf_counter() - start}
            self.results.add({**mine, **line})
            console.print(self.number, "pays", line["pays"], highlight=False)

    def with_those_that_pay(self, model: str) -> None:
        """Trains a model with cross fields that pay."""
        self.measure()
        (line,) = self.results.of(**self.key, model=SOURCE, variant="gains")
        if line["pays"]:
            self.fit(model, "pays", "--data.crosses", str(self.gains))
        else:
            self.as_without(model, "pays")

    def as_without(self, model: str, variant: str) -> None:
        """The result of a variant that adds no cross field."""
        self.fit(model, "without")
        mine = {**self.key, "model": model, "variant": variant}
        if not self.results.of(**mine):
            (line,) = self.results.of(**self.key, model=model, variant="without")
            self.results.add({**line, **mine})

    def run(self, model: str) -> None:
        """Trains a model in all variants."""
        if "without" in self.options.variants:
            self.fit(model, "without")
        if "all" in self.options.variants:
            self.with_all(model)
        if "pays" in self.options.variants:
            self.with_those_that_pay(model)


def detection_table(results: Results, rows: int) -> object:
    """What was detected."""
    columns = ("recall@10", "significant", "false pairs", "false larger sets")
    columns += ("pay", "missed", "false", "seconds")
    table = make_table(f"interactions of AutoInt, {rows:,} rows", "seed", *columns)
    for line in results.of(rows=rows, variant="detect"):
        numbers = [line[name] for name in ("significant", "false_pairs", "false_sets")]
        for gains in results.of(rows=rows, seed=line["seed"], variant="gains"):
            numbers += len(gains["pays"]), gains["missed"], gains["false"], round(gains["seconds"])
        table.add_row(str(line["seed"]), f"{line['recall']:.2f}", *map(str, numbers))
    return table


def encoding_table(results: Results, rows: int, variant: str) -> object:
    """The models without crosses and in a variant, over the seeds that have both."""
    columns = ("seeds", "logloss", "with crosses", "gain", "error", "better in", "gap closed")
    table = make_table(f"{variant}, {rows:,} rows", "", *columns, "parameters", "more")
    for model in MODELS:
        pairs = _pairs(results, rows, model, variant)
        if pairs:
            table.add_row(pairs[0][0]["class"], *_cells(pairs))
    return table


def _pairs(results: Results, rows: int, model: str, variant: str) -> list[tuple[Line, Line]]:
    plain = results.of(rows=rows, model=model, variant="without")
    with_crosses = {x["seed"]: x for x in results.of(rows=rows, model=model, variant=variant)}
    return [(a, with_crosses[a["seed"]]) for a in plain if a["seed"] in with_crosses]


def _cells(pairs: list[tuple[Line, Line]]) -> list[str]:
    before, after = ([pair[i]["test/logloss"] for pair in pairs] for i in (0, 1))
    gains = [a - b for a, b in zip(before, after, strict=True)]
    error = statistics.stdev(gains) / len(gains) ** 0.5 if len(gains) > 1 else float("nan")
    left = [before[i] - pair[0]["ceiling/logloss"] for i, pair in enumerate(pairs)]
    closed = [gain / gap for gain, gap in zip(gains, left, strict=True)]
    sizes = [statistics.mean(pair[i]["parameters"] for pair in pairs) for i in (0, 1)]
    return [
        str(len(pairs)),
        mean_and_deviation(before),
        mean_and_deviation(after),
        f"{statistics.mean(gains):+.4f}",
        f"{error:.4f}",
        f"{sum(gain > 0 for gain in gains)}",
        mean_and_deviation(closed),
        f"{sizes[0]:,.0f}",
        f"{sizes[1] / sizes[0] - 1:.0%}",
    ]


def options() -> argparse.Namespace:
    """The options of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first", type=int, default=0, help="seed")
    parser.add_argument("--rows", type=int, default=600_000)
    parser.add_argument("--instances", type=int, default=100)
    parser.add_argument("--models", nargs="+", choices=MODELS, default=MODELS)
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=VARIANTS)
    parser.add_argument("--detection_only", action="store_true", help="no models with crosses")
    parser.add_argument("--quick", action="store_true", help="a few rows, in a minute")
    parser.add_argument("--output", type=Path, default=Path("planted.jsonl"))
    parser.add_argument("--folder", type=Path, default=Path("planted"), help="of rows and runs")
    parser.add_argument("--tables", action="store_true", help="only print what output holds")
    found = parser.parse_args()
    for name, value in QUICK.items() if found.quick else ():
        setattr(found, name, value)
    return found


def main() -> None:
    """Runs the benchmark."""
    given = options()
    print_machine("torch", "pytorch-lightning")
    results = Results(given.output)
    if not given.tables:
        seeds = [
            Seed(number, given, results) for number in range(given.first, given.first + given.seeds)
        ]
        for seed in seeds:
            seed.detect()
            for model in given.models if not given.detection_only else ():
                seed.run(model)
    console.print(detection_table(results, given.rows))
    for variant in VARIANTS[1:]:
        console.print(encoding_table(results, given.rows, variant))


if __name__ == "__main__":
    main()
