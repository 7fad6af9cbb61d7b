"""Ours, trees, logistic regression and deepctr-torch on real tables: AUC, logloss, GAUC.

    python -m datamodules.examples flights && python -m datamodules.examples promotions
    python benchmarks/real_tables.py --output real_tables.jsonl

Every model gets the same prepared rows of `configs/examples/<table>.yaml`. Ours are trained as
`train.py fit` on that config is, with the model exchanged: its optimizer, schedule, dropout and
hidden layers are those of all, and SPECIFIC says what only one model has. A seed decides
initialisation and order; splits stay. `<model> + <name>` has the crosses of
`configs/examples/<table>_<name>.json`.

Each run that ends adds a line of JSON to the output; runs whose line is there are left out, so that
the command can be stopped and started again. `--show` prints the table of what is there, with the
number of seeds in brackets. Logistic regression, and trees that draw no columns, do not depend on a
seed: they run once. `--quick` is one seed, an epoch, and trees of 20 rounds.
"""

import argparse
import json
import logging
import subprocess
import tempfile
import time
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import rivals
import torch
import yaml
from common import PROJECT, console, mean_and_deviation, print_machine
from pytorch_lightning.callbacks import EarlyStopping, ModelCheckpoint
from rivals import Rows

import zoo
from datamodules import Table
from datamodules.tabular.declared import TableField
from zoo.models.measures import click_metrics

CONFIGS = PROJECT / "configs/examples"
TABLES = ("flights", "flights_by_time", "promotions")
MODELS = ("WideDeep", "DeepFM", "DCN", "xDeepFM", "AutoInt")
TREES = ("LightGBM", "XGBoost")
EXPERTS = "InterpretableMLP"
SPECIFIC = {"xDeepFM": {"cin_layers": [32, 32]}, "AutoInt": {"attention_layers": 2}}
OF_DCN = ("cross_layers", "parameterization")
SUBSETS = {
    "flights": {
        "time": ["time"],
        "flight": ["flight", "route"],
        "weather": ["time", "route", "weather"],
        "all": ["*"],
    },
    "promotions": {
        "product": ["product", "promotion"],
        "household": ["household", "history", "time"],
        "all": ["*"],
    },
}
# of a few trials on the validation rows: docs/real_tables.md
SMOOTHED = {
    "num_leaves": 31,
    "learning_rate": 0.05,
    "min_data_in_leaf": 1000,
    "feature_fraction": 0.5,
    "cat_smooth": 300,
    "cat_l2": 500,
    "max_cat_threshold": 128,
}
LIGHTGBM: dict[str, dict[str, Any]] = {
    "flights": SMOOTHED,
    "flights_by_time": SMOOTHED | {"num_leaves": 127},
    "promotions": SMOOTHED,
}
DEPTH_8 = {
    "max_depth": 8,
    "learning_rate": 0.1,
    "min_child_weight": 10,
    "colsample_bytree": 0.5,
}
XGBOOST: dict[str, dict[str, Any]] = dict.fromkeys(TABLES, DEPTH_8)


def read_config(table: str) -> dict[str, Any]:
    """The shipped config."""
    return yaml.safe_load((CONFIGS / f"{table}.yaml").read_text())


def open_rows(table: str, run: str, crosses: str | None, seed: int, options: Any) -> Rows:
    """The prepared rows, prepared where they are not yet; trees find bins of numbers themselves."""
    given = read_config(table)["data"]["init_args"]
    fields = [TableField(**field) for field in given["fields"]]
    if run.startswith(TREES):
        fields = [field for field in fields if field.transform != "quantile"]
    given["fields"] = fields
    if crosses:
        given["crosses"] = str(CONFIGS / f"{table.removesuffix('_by_time')}_{crosses}.json")
    given["path"] = str(options.data / Path(given["path"]).name)
    data = Table(**given, prepared=str(options.prepared), shuffle_seed=seed)
    data.prepare_data()
    return Rows.open(data)


def model_options(table: str, model: str) -> dict[str, Any]:
    """The arguments of a model: those of the config, and what only this one has."""
    options = read_config(table)["model"]["init_args"]
    if model != "DCN":
        options = {name: value for name, value in options.items() if name not in OF_DCN}
    if model == EXPERTS:
        options.pop("first_order", None)  # experts have none
        options["subsets"] = SUBSETS[table.removesuffix("_by_time")]
    return options | SPECIFIC.get(model, {})


def fit_settings(table: str, quick: bool) -> dict[str, int]:
    """Epochs and patience."""
    config = read_config(table)
    epochs = 1 if quick else config["trainer"]["max_epochs"]
    return {"max_epochs": epochs, "patience": config["early_stopping"]["patience"]}


def fit_ours(rows: Rows, seed: int, name: str, options: dict, fit: dict) -> np.ndarray:
    """Logits of the test rows by the best epoch of a fit."""
    pl.seed_everything(seed, verbose=False)
    model = getattr(zoo, name)(rows.data.schema, **options)
    with tempfile.TemporaryDirectory() as folder:
        best = ModelCheckpoint(folder, monitor="val/logloss", mode="min")
        trainer = pl.Trainer(
            max_epochs=fit["max_epochs"],
            accelerator="cpu",
            logger=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            callbacks=[best, EarlyStopping("val/logloss", patience=fit["patience"])],
        )
        trainer.fit(model, datamodule=rows.data)
        state = torch.load(best.best_model_path, weights_only=True)["state_dict"]
    model.load_state_dict(state)
    model.eval()
    with torch.inference_mode():
        return torch.cat([model(batch) for batch in rows.data.test_dataloader()]).numpy()


Run = Callable[[Rows, int], np.ndarray]


def all_runs(table: str, variants: list[str], quick: bool) -> Iterator[tuple[str, str | None, Run]]:
    """Name, crosses and function of each run, the quick ones first."""
    fit = fit_settings(table, quick)
    rounds = {"rounds": 20} if quick else {}
    for crosses in (None, *variants):
        suffix = f" + {crosses}" if crosses else ""
        for model in (*MODELS, EXPERTS):
            options = model_options(table, model)
            yield model + suffix, crosses, partial(fit_ours, name=model, options=options, fit=fit)
        yield f"LightGBM{suffix}", crosses, partial(rivals.lightgbm, **LIGHTGBM[table], **rounds)
        yield f"XGBoost{suffix}", crosses, partial(rivals.xgboost, **XGBOOST[table], **rounds)
        regression = {"strengths": [0.3], "max_iter": 5} if quick else {}
        run = partial(rivals.logistic_regression, **regression)
        yield f"logistic regression{suffix}", crosses, run
    for model in MODELS:
        options = model_options(table, model)
        run = partial(rivals.deepctr, name=model, options=options, fit=fit)
        yield f"deepctr-torch {model}", None, run


def measure(rows: Rows, logits: np.ndarray) -> dict[str, float]:
    """AUC, logloss and GAUC of the test rows; a group is a household, or the flights of a day."""
    test = rows.splits["test"]
    label, group = torch.from_numpy(np.array(test.label)), torch.from_numpy(np.array(test.group))
    found = click_metrics(torch.from_numpy(logits).float(), label, group=group)
    return {name: float(value) for name, value in found.items()}


def read_lines(file: Path) -> list[dict[str, Any]]:
    """What has been run."""
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def run_all(options: Any) -> None:
    """Runs what is not there yet."""
    for seed in range(1 if options.quick else options.seeds):
        for table in options.tables:
            for name, crosses, fit in all_runs(table, options.crosses, options.quick):
                key = {"table": table, "run": name, "seed": seed}
                done = any(key.items() <= line.items() for line in read_lines(options.output))
                once = name.startswith("logistic") and seed > 0
                if done or once or (options.runs and name not in options.runs):
                    continue
                rows = open_rows(table, name, crosses, seed, options)
                start = time.perf_counter()
                found = measure(rows, fit(rows, seed))
                seconds = round(time.perf_counter() - start, 1)
                with options.output.open("a") as file:
                    file.write(json.dumps({**key, **found, "seconds": seconds, **about()}) + "\n")
                console.print(table, name, seed, found, seconds, highlight=False)


def about() -> dict[str, Any]:
    """Which code ran, on how many threads."""
    command = ["git", "-C", str(PROJECT), "rev-parse", "--short", "HEAD"]
    commit = subprocess.run(command, capture_output=True, text=True).stdout.strip()
    return {"commit": commit, "threads": torch.get_num_threads()}


def show(options: Any) -> None:
    """Prints a table in Markdown of all that has been run: mean and deviation over seeds."""
    for table in options.tables:
        found = defaultdict(list)
        for line in read_lines(options.output):
            if line["table"] == table and (not options.runs or line["run"] in options.runs):
                found[line["run"]].append(line)
        print(f"\n| {table} | seeds | AUC | logloss | GAUC | seconds |\n|---|---|---|---|---|---|")
        order = sorted(found, key=lambda run: np.mean([line["logloss"] for line in found[run]]))
        for run in order:
            lines = found[run]
            cells = [
                mean_and_deviation([line[metric] for line in lines])
                for metric in ("auc", "logloss", "gauc")
            ]
            seconds = f"{np.mean([line['seconds'] for line in lines]):.0f}"
            print("|", " | ".join([run, str(len(lines)), *cells, seconds]), "|")


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tables", nargs="+", choices=TABLES, default=TABLES)
    parser.add_argument("--runs", nargs="+", help="names of runs, such as DCN; without it, all")
    parser.add_argument("--crosses", nargs="*", default=["crosses", "detected"], help="variants")
    parser.add_argument("--seeds", type=int, default=5, help="number of seeds")
    parser.add_argument("--data", type=Path, default=Path("data"), help="folder of the tables")
    parser.add_argument("--prepared", type=Path, default=Path("prepared"))
    parser.add_argument("--output", type=Path, default=Path("real_tables.jsonl"))
    parser.add_argument("--quick", action="store_true", help="one seed, one epoch, 20 rounds")
    parser.add_argument("--show", action="store_true", help="only print what is there")
    options = parser.parse_args()
    if not options.show:
        print_machine("torch", "pytorch-lightning", "deepctr-torch", "lightgbm", "xgboost-cpu")
        warnings.filterwarnings("ignore")
        logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
        logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
        run_all(options)
    show(options)


if __name__ == "__main__":
    main()
