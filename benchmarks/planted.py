"""From planted interactions to better models: detection, then cross fields, where all is known.

    python benchmarks/planted.py --seeds 5

For each seed, clicks in Criteo's format are drawn with 7 planted interactions, one of them of
three fields (the truth, the rows, the split's order and the weights all change). An AutoInt learns
them, `train.py detect` explains validation rows of it, and every model is trained twice: without
and with cross fields for the interactions that are significant (q < 0.05), at most 10, their
numbers in 10 bins.

- recall@10: share of the planted interactions among the ten most frequent.
- false: significant pairs, and larger sets, that neither are planted nor lie inside a planted one.
- gap closed: share of the difference in test logloss between the model without crosses and the
  true probabilities.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from common import PROJECT, console, fit_ours, make_table, mean_and_deviation, print_machine
from rich.progress import track

from datamodules.synthetic.clicks import CROSSES

MODELS = ("wide_deep", "deepfm", "dcn", "xdeepfm", "autoint")
TOP = 10
LEVEL = 0.05


def fit(model: str, seed: int, rows: int, folder: Path, *options: str) -> tuple[dict, Path, str]:
    """Metrics, run directory and class of a model on the rows of a seed."""
    config = PROJECT / "configs" / "demo" / f"{model}.yaml"
    here = folder / ("encoded" if options else "plain")
    same = ["--data.prepared", str(folder / "prepared")]
    same += ["--data.synthetic.rows", str(rows), "--data.synthetic.seed", str(seed)]
    metrics, resolved = fit_ours(config, folder / "train.txt", seed, here, *same, *options)
    run = here / "runs" / f"{model}_{seed}" / "version_0"
    return metrics, run, resolved["model"]["class_path"]


def detect(run: Path, instances: int, output: Path) -> list[dict]:
    """The interactions of a run's model, most frequent first."""
    command = [sys.executable, str(PROJECT / "train.py"), "detect"]
    command += ["--config", str(run / "config.yaml"), "--output", str(output)]
    command += ["--ckpt_path", str(run / "checkpoints" / "best.ckpt")]
    command += ["--instances", str(instances), "--trainer.enable_progress_bar", "false"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr)
    return json.loads(output.read_text())["interactions"]


def count_parameters(run: Path) -> int:
    """Of the best checkpoint."""
    checkpoint = torch.load(run / "checkpoints" / "best.ckpt", weights_only=True)
    return sum(value.numel() for value in checkpoint["state_dict"].values())


def judge(found: list[dict]) -> tuple[float, int, int, int]:
    """Recall@10 of the planted interactions, numbers of significant sets, false pairs and sets."""
    planted = [frozenset(cross) for cross in CROSSES]
    top = {frozenset(row["fields"]) for row in found[:TOP]}
    significant = [frozenset(row["fields"]) for row in found if row["q_permutation"] < LEVEL]
    false = [s for s in significant if not any(s <= cross for cross in planted)]
    pairs = sum(len(s) == 2 for s in false)
    recall = sum(cross in top for cross in planted) / len(planted)
    return recall, len(significant), pairs, len(false) - pairs


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--rows", type=int, default=600_000)
    parser.add_argument("--instances", type=int, default=100)
    parser.add_argument("--models", nargs="+", choices=MODELS, default=MODELS)
    parser.add_argument("--detection_only", action="store_true", help="no models with crosses")
    options = parser.parse_args()
    print_machine("torch", "pytorch-lightning")
    title = f"interactions of AutoInt, {options.rows:,} rows, {options.instances} instances"
    detections = make_table(
        title, "seed", "recall@10", "significant", "false pairs", "false larger sets"
    )
    runs: dict[str, list[tuple[dict, dict, int, int]]] = {model: [] for model in options.models}
    classes: dict[str, str] = {}
    for seed in track(range(options.seeds), "seeds", console=console):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            plain = {"autoint": fit("autoint", seed, options.rows, folder)}
            file = folder / "interactions.json"
            found = detect(plain["autoint"][1], options.instances, file)
            recall, significant, *false = judge(found)
            detections.add_row(str(seed), f"{recall:.2f}", str(significant), *map(str, false))
            console.print(seed, [(*row["fields"], row["count"]) for row in found[:TOP]])
            if options.detection_only:
                continue
            top_k = str(max(1, min(significant, TOP)))
            crosses = [
                "--data.crosses",
                str(file),
                "--data.top_k",
                top_k,
                "--data.cross_bins",
                "10",
            ]
            for model in options.models:
                if model not in plain:
                    plain[model] = fit(model, seed, options.rows, folder)
                without, run, classes[model] = plain[model]
                encoded, run_encoded, _ = fit(model, seed, options.rows, folder, *crosses)
                sizes = count_parameters(run), count_parameters(run_encoded)
                runs[model].append((without, encoded, *sizes))
                both = [f"{metrics['test/logloss']:.4f}" for metrics in (without, encoded)]
                console.print(seed, classes[model], "logloss", *both, highlight=False)
    console.print(detections)
    if not options.detection_only:
        console.print(encoding_table(runs, classes))


def encoding_table(
    runs: dict[str, list[tuple[dict, dict, int, int]]], classes: dict[str, str]
) -> object:
    """The models with and without crosses."""
    columns = ("logloss", "with crosses", "AUC", "with crosses", "better in", "gap closed")
    table = make_table("test rows", "", *columns, "parameters", "more")
    for model, results in runs.items():
        cells = []
        for metric in ("logloss", "auc"):
            for which in (0, 1):
                values = [result[which][f"test/{metric}"] for result in results]
                cells.append(mean_and_deviation(values))
        better = [a["test/logloss"] > b["test/logloss"] for a, b, _, _ in results]
        closed = [
            (a["test/logloss"] - b["test/logloss"]) / (a["test/logloss"] - a["ceiling/logloss"])
            for a, b, _, _ in results
        ]
        before, after = (sum(result[i] for result in results) / len(results) for i in (2, 3))
        table.add_row(
            classes[model],
            *cells,
            f"{sum(better)} of {len(better)}",
            mean_and_deviation(closed),
            f"{before:,.0f}",
            f"{after / before - 1:.0%}",
        )
    return table


if __name__ == "__main__":
    main()
