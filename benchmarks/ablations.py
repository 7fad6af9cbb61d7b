"""The ablations of the GLIDER paper (ICLR 2020) on generated rows, each a table.

    python benchmarks/ablations.py k           # number of crosses, logloss (figure 3)
    python benchmarks/ablations.py buckets     # bins of numbers: sizes (figure 5), logloss
    python benchmarks/ablations.py embeddings  # larger ones in place of crosses (tables 6, 7)
    python benchmarks/ablations.py orders      # orders of interactions (figures 7, 8), logloss

Rows, detection and gains are those of planted.py, whose results and folders are used where they are
there; so are the runs of an ablation that was interrupted. Logloss is that of test rows; a gain is
what it lost against the same seed without crosses, with its standard error over the seeds.
"""

import argparse
import json
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
import yaml
from common import console, make_table, mean_and_deviation, open_data, print_machine
from planted import BINS, MODELS, Line, Results, Seed, significant

import zoo
from zoo.glider.gains.command import base

NUMBERS = (1, 3, 5, 7, 10, 20)
BUCKETS = (2, 5, 10, 20, 50, 100, 200)
FITTED_BUCKETS = (5, 10, 30, 100)
ORDERS = {
    2: [["C6", "C14"], ["I2", "C17"]],
    3: [["C9", "C14", "C23"], ["C9", "C20", "C22"]],
    4: [["C6", "C9", "C17", "C20"]],
}
ENCODED_ORDERS = ((2,), (3,), (4,), (2, 3), (2, 3, 4))
QUICK = {"seeds": 1, "rows": 20_000, "instances": 20, "models": ["wide_deep"]}

Variants = dict[str, list[Line]]


def write(file: Path, sets: Sequence[Sequence[str]]) -> str:
    """A file of interactions; its path."""
    content = {"format": 1, "interactions": [{"fields": list(fields)} for fields in sets]}
    file.write_text(json.dumps(content))
    return str(file)


def crosses(file: str, *options: object) -> list[str]:
    """The options for cross fields of a file."""
    return ["--data.crosses", file, "--data.cross_bins", str(BINS), *map(str, options)]


def collected(given: argparse.Namespace, model: str, variants: Sequence[str]) -> Variants:
    """The results of each variant, those without crosses first."""
    results = Results(given.output)
    seeds = range(given.first, given.first + given.seeds)
    return {
        variant: [
            line
            for seed in seeds
            for line in results.of(rows=given.rows, seed=seed, model=model, variant=variant)
        ]
        for variant in variants
    }


def figures(plain: Sequence[Line], lines: Sequence[Line]) -> list[str]:
    """Logloss, the gain against the plain model, its standard error, and parameters."""
    before = {line["seed"]: line["test/logloss"] for line in plain}
    gains = [before[line["seed"]] - line["test/logloss"] for line in lines]
    error = statistics.stdev(gains) / len(gains) ** 0.5 if len(gains) > 1 else float("nan")
    return [
        mean_and_deviation([line["test/logloss"] for line in lines]),
        f"{statistics.mean(gains):+.4f}",
        f"{error:.4f}",
        f"{statistics.mean(line['parameters'] for line in lines):,.0f}",
    ]


def compared(title: str, first: str, plain: Sequence[Line], rows: dict[str, list[Line]]) -> object:
    """A table of variants against the model without crosses."""
    table = make_table(title, first, "seeds", "logloss", "gain", "error", "parameters")
    for name, lines in rows.items():
        if lines:
            table.add_row(name, str(len(lines)), *figures(plain, lines))
    return table


# K


def number_of_crosses(given: argparse.Namespace, seeds: Sequence[Seed]) -> None:
    """The first K as they were detected, and by their gain."""
    for model in given.models:
        for seed in seeds:
            seed.fit(model, "without")
            seed.measure()
            for how, file in ranked(seed).items():
                for k in given.numbers:
                    seed.fit(model, f"k {how} {k}", *crosses(file, "--data.top_k", k))
        names = {f"{k}, {how}": f"k {how} {k}" for how in ("count", "gain") for k in given.numbers}
        found = collected(given, model, ["without", *names.values()])
        rows = {"0": found["without"]} | {name: found[names[name]] for name in names}
        console.print(compared(f"{model}, {given.rows:,} rows", "K", found["without"], rows))


def ranked(seed: Seed) -> dict[str, str]:
    """Files of the interactions as they were detected, and by the gains of their crosses."""
    detected = json.loads(seed.file.read_text())["interactions"]
    measured = json.loads(seed.gains.read_text())["interactions"]
    gains = sorted((row for row in measured if "gain" in row), key=lambda row: -row["gain"])
    return {
        how: write(seed.folder / f"by_{how}.json", [row["fields"] for row in rows])
        for how, rows in {"count": detected, "gain": gains}.items()
    }


# Buckets


def number_of_buckets(given: argparse.Namespace, seeds: Sequence[Seed]) -> None:
    """Sizes of the crosses of numbers that pay, their gain by the second stage, and logloss."""
    for seed in seeds:
        seed.measure()
    console.print(bucket_table(seeds[0]))
    for model in given.models:
        for seed in seeds:
            seed.fit(model, "without")
            for bins in given.buckets:
                options = ["--data.crosses", str(seed.gains), "--data.cross_bins", str(bins)]
                seed.fit(model, f"buckets {bins}", *options)
        names = {str(bins): f"buckets {bins}" for bins in given.buckets}
        found = collected(given, model, ["without", *names.values()])
        rows = {name: found[variant] for name, variant in names.items()}
        title = f"{model}, {given.rows:,} rows, crosses that pay"
        console.print(compared(title, "bins", found["without"], rows))


def bucket_table(seed: Seed) -> object:
    """Ids of each cross with a number that pays, and its gain, by the number of bins."""
    data = open_data(yaml.safe_load((seed.source / "config.yaml").read_text()))
    data.prepare_data()
    data.setup("fit")
    rows = data.cross_rows(1_000_000)
    stage = base(rows, data.schema, max(BUCKETS), None, 1.0)
    numerical = {field.name for field in data.schema.numerical}
    found = json.loads(seed.gains.read_text())["interactions"]
    paying = [row["fields"] for row in found if row.get("pays")]
    wanted = [fields for fields in paying if numerical.intersection(fields)]
    names = [" x ".join(fields) for fields in wanted]
    title = f"ids of crosses of numbers (gain by the second stage, 1e-4), seed {seed.number}"
    table = make_table(title, "bins", *names, "mean")
    for bins in BUCKETS if wanted else ():
        found = [rows.ids(fields, bins) for fields in wanted]
        sizes = [ids.cardinality for ids in found]
        gains = [f"{1e4 * stage.gain(ids).value:.0f}" for ids in found]
        cells = (f"{size} ({gain})" for size, gain in zip(sizes, gains, strict=True))
        table.add_row(str(bins), *cells, f"{statistics.mean(sizes):.0f}")
    return table


# Embeddings


def larger_embeddings(given: argparse.Namespace, seeds: Sequence[Seed]) -> None:
    """Embeddings so large that there are at least as many parameters as with crosses."""
    for model in given.models:
        for seed in seeds:
            seed.fit(model, "without")
            seed.with_those_that_pay(model)
            for line in seed.results.of(**seed.key, model=model, variant="pays"):
                size = str(embedding_dim(seed, model, line["parameters"]))
                seed.fit(model, "larger", "--model.embedding_dim", size)
        found = collected(given, model, ["without", "larger", "pays"])
        console.print(compared(f"{model}, {given.rows:,} rows", "", found["without"], found))


def embedding_dim(seed: Seed, model: str, parameters: int) -> int:
    """The smallest with which a model has so many parameters."""
    run = seed.folder / "without" / "runs" / f"{model}_{seed.number}" / "version_0"
    options = torch.load(run / "checkpoints/best.ckpt", weights_only=True)["hyper_parameters"]
    config = yaml.safe_load((run / "config.yaml").read_text())["model"]["class_path"]
    kind: Any = getattr(zoo, config.rpartition(".")[2])
    size = options["embedding_dim"]
    while count(kind(**{**options, "embedding_dim": size})) < parameters:
        size += 1
    return size


def count(model: torch.nn.Module) -> int:
    """Parameters and buffers of a model, as planted.py counts them in checkpoints."""
    return sum(value.numel() for value in model.state_dict().values())


# Orders


def orders(given: argparse.Namespace, seeds: Sequence[Seed]) -> None:
    """What was detected, by order, and crosses of some orders, of rows where they are planted."""
    for seed in seeds:
        seed.detect()
    console.print(detected_orders(seeds))
    planted = [fields for sets in ORDERS.values() for fields in sets]
    truth = ["--data.synthetic.crosses", json.dumps(planted)]
    names = {"none": "orders none"}
    for seed in seeds:
        seed.folder = seed.folder.with_name(f"orders_{seed.folder.name}")
        seed.folder.mkdir(exist_ok=True)
    for model in given.models:
        for seed in seeds:
            seed.fit(model, "orders none", *truth)
            for chosen in ENCODED_ORDERS:
                name = "+".join(map(str, chosen))
                sets = [fields for order in chosen for fields in ORDERS[order]]
                file = write(seed.folder / f"{name}.json", sets)
                names[name] = f"orders {name}"
                seed.fit(model, names[name], *truth, *crosses(file))
        found = collected(given, model, [*names.values()])
        rows = {name: found[variant] for name, variant in names.items()}
        title = f"{model}, {given.rows:,} rows with two pairs, two threes and a four"
        console.print(compared(title, "orders", rows["none"], rows))


def detected_orders(seeds: Sequence[Seed]) -> object:
    """Sets that were found in some row, those that are significant, and counts, by order."""
    table = make_table(
        "detected in AutoInt, mean over seeds", "order", "sets", "significant", "count"
    )
    found = [json.loads(seed.file.read_text())["interactions"] for seed in seeds]
    for order in sorted({len(row["fields"]) for rows in found for row in rows}):
        mine = [[row for row in rows if len(row["fields"]) == order] for rows in found]
        numbers = (len, lambda rows: len(significant(rows)), lambda r: sum(x["count"] for x in r))
        means = (statistics.mean(number(rows) for rows in mine) for number in numbers)
        table.add_row(str(order), *(f"{mean:.1f}" for mean in means))
    return table


ABLATIONS: dict[str, Callable[[argparse.Namespace, Sequence[Seed]], None]] = {
    "k": number_of_crosses,
    "buckets": number_of_buckets,
    "embeddings": larger_embeddings,
    "orders": orders,
}


def main() -> None:
    """Runs an ablation."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("ablation", choices=ABLATIONS)
    parser.add_argument("--first", type=int, default=0, help="seed")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--instances", type=int, default=100)
    parser.add_argument("--models", nargs="+", choices=MODELS, default=["deepfm"])
    parser.add_argument("--numbers", nargs="+", type=int, default=NUMBERS, help="K")
    parser.add_argument("--buckets", nargs="+", type=int, default=FITTED_BUCKETS)
    parser.add_argument("--quick", action="store_true", help="a few rows, in a few minutes")
    parser.add_argument("--output", type=Path, default=Path("planted.jsonl"))
    parser.add_argument("--folder", type=Path, default=Path("planted"), help="of rows and runs")
    parser.add_argument("--tables", action="store_true", help="only of what has been fitted")
    given = parser.parse_args()
    for name, value in QUICK.items() if given.quick else ():
        setattr(given, name, value)
    if given.quick:
        given.numbers, given.buckets = (1, 3), (5, 10)
    print_machine("torch", "pytorch-lightning")
    results = Results(given.output)
    seeds = range(given.first, given.first + given.seeds)
    ABLATIONS[given.ablation](given, [Seed(number, given, results) for number in seeds])


if __name__ == "__main__":
    main()
