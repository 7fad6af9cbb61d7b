"""Which subsets of the fields to take: AUC lost, and fields that a prediction uses, on real tables.

    python -m datamodules.examples flights && python -m datamodules.examples promotions
    python benchmarks/subsets.py --tables flights promotions
    python benchmarks/subsets.py --tables criteo --path train.txt
    python benchmarks/subsets.py --planted

Every model gets the same rows: of flights and promotions every k-th, `--rows` in all. The control
is one network of all fields; mixtures of experts have one expert like it and smaller ones of
subsets that are named by hand (those of `real_tables.py`), proposed from the interactions that
`detect` finds in the control, or learned (`train.py subsets`), with the gate of sufficiency or with
the paper's (abs). The glass box is `zoo.AdditiveNetwork` with the strongest of the same
interactions.

*fields* is the mean over test rows of sum_i a_i |S_i|, a the attribution, and *largest* that of the
size of the expert with most to say. Each run that ends adds a line of JSON to the output; runs
whose line is there are left out. `--show` prints the table of what is there. `--planted` learns
subsets of the tasks of `experts.py sufficiency`, whose right subsets are known.
"""

import argparse
import contextlib
import io
import json
import logging
import tempfile
import time
import warnings
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytorch_lightning as pl
import torch
from common import console, make_table, mean_and_deviation, print_machine
from experts_tasks import TASKS, TaskData
from pytorch_lightning.callbacks import EarlyStopping, ModelCheckpoint
from real_tables import EXPERTS, SUBSETS, about, model_options, read_config, read_lines

import datamodules
import zoo
from datamodules import Table
from datamodules.tabular.declared import TableField
from datamodules.tabular.loader import BatchLoader
from zoo.data.module import ZooDataModule
from zoo.experts.learned import LearnConfig, learn
from zoo.experts.masked import NetworkConfig
from zoo.experts.proposed import resolved
from zoo.glider.command import Detection
from zoo.glider.detector import rows_at
from zoo.glider.settings import settings_of
from zoo.models.measures import click_metrics

OF_TABLES = ("flights", "promotions")
OF_PATHS = {"criteo": "Criteo", "avazu": "Avazu"}
BATCH = 256
WIDE, NARROW = [128, 64], [64, 32]  # of the expert of all, and of the others
SIZE = 6
BOX = "AdditiveNetwork"
PAIRS = 20  # of the glass box
# of Criteo and Avazu
SMALL = {
    "embedding_dim": 8,
    "embedding_dropout": 0.3,
    "dropout": 0.3,
    "optimizer": "adamw",
    "weight_decay": 0.01,
}


def open_data(table: str, seed: int, options: Any) -> ZooDataModule:
    """The prepared rows, prepared where they are not yet."""
    shared = {"prepared": str(options.prepared), "shuffle_seed": seed, "batch_size": BATCH}
    if table in OF_PATHS:
        data = getattr(datamodules, OF_PATHS[table])(path=str(options.path), **shared)
    else:
        given = read_config(table)["data"]["init_args"]
        given["fields"] = [TableField(**field) for field in given["fields"]]
        given["path"] = str(_some(options.data / f"{table}.parquet", options.rows))
        data = Table(**{**given, **shared})
    data.prepare_data()
    data.setup("fit")
    data.setup("validate")
    data.setup("test")
    return data


def _some(path: Path, rows: int) -> Path:
    """A file with every k-th row."""
    file = path.with_name(f"{path.stem}_{rows}.parquet")
    if not file.exists():
        table = pq.read_table(path)
        chosen = np.linspace(0, table.num_rows - 1, min(rows, table.num_rows)).astype(int)
        pq.write_table(table.take(chosen), file)
    return file


def options_of(table: str, name: str) -> dict[str, Any]:
    """The options that all models share, and what only this one has."""
    shared = dict(SMALL)
    if table in OF_TABLES:
        shared = model_options(table, EXPERTS)
        del shared["subsets"]
    shared.pop("hidden_units", None)
    if name == BOX:  # whose encodings are its own
        kept = ("embedding_dim", "optimizer", "learning_rate", "weight_decay", "lr_scheduler")
        kept += ("lr_scheduler_interval", "embedding_weight_decay")
        return {key: value for key, value in shared.items() if key in kept}
    return shared


def fitted(
    data: ZooDataModule, seed: int, name: str, given: Mapping[str, Any], epochs: int, folder: Path
) -> tuple[Any, Path]:
    """A model and the checkpoint of its best epoch."""
    pl.seed_everything(seed, verbose=False)
    model = getattr(zoo, name)(data.schema, train_metrics=False, **given)
    best = ModelCheckpoint(tempfile.mkdtemp(dir=folder), monitor="val/logloss", mode="min")
    trainer = pl.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[best, EarlyStopping("val/logloss", patience=2)],
    )
    trainer.fit(model, datamodule=data)
    path = Path(best.best_model_path)
    model.load_state_dict(torch.load(path, weights_only=True)["state_dict"])
    return model.eval(), path


@torch.inference_mode()
def measured(model: Any, data: ZooDataModule) -> dict[str, Any]:
    """AUC and logloss of the test rows, and how many fields a prediction uses."""
    batches = [*data.batches("test")]
    parts = [(*model.explain(batch), batch.label) for batch in batches]
    logits, said, label = (torch.cat(part) for part in zip(*parts, strict=True))
    found: dict[str, Any] = {k: v.item() for k, v in click_metrics(logits, label).items()}
    terms = getattr(model, "terms", ())
    every = len({name for term in terms for name in term.fields} or data.schema.fields)
    if not model.experts:
        return {**found, "fields": every, "largest": every}
    sizes = torch.tensor([len(fields) for fields in model.lattice.fields], dtype=said.dtype)
    found["fields"] = (said @ sizes).mean().item()
    found["largest"] = sizes[said.argmax(1)].mean().item()
    found["shares"] = dict(zip(model.experts, said.mean(0).tolist(), strict=True))
    found["subsets"] = {n: len(f) for n, f in zip(model.experts, model.lattice.fields, strict=True)}
    return found


def interactions_of(
    data: ZooDataModule, model: Any, checkpoint: Path, rows: int, folder: Path
) -> Path:
    """The interactions that `detect` finds in a model."""
    file = folder / "interactions.json"
    settings = settings_of("walsh", False, 2, 1e-3)
    trainer = pl.Trainer(
        accelerator="cpu", logger=False, enable_progress_bar=False, enable_checkpointing=False
    )
    with contextlib.redirect_stdout(io.StringIO()):  # its table
        Detection(file, settings, instances=rows, permutations=0).run(
            trainer, model, data, checkpoint
        )
    return file


def learned_of(data: ZooDataModule, seed: int, epochs: int, of: Any = None) -> dict[str, list[str]]:
    """The subsets that `train.py subsets` learns."""
    size = data.size("val").rows
    config = LearnConfig(size=SIZE, of=of, seed=seed, network=NetworkConfig(epochs=epochs))
    rows = rows_at(data.batches("val"), np.arange(size))
    found = learn(
        data.schema,
        lambda: data.batches("train"),
        rows,
        config,
        quantiles=data.numerical_quantiles,
    )
    return found.subsets


def runs_of(table: str, seed: int, options: Any, folder: Path) -> Iterator[tuple[str, Any]]:
    """Name and function of each run; those of one seed share the interactions of its control."""
    data = open_data(table, seed, options)
    quick = options.quick
    epochs = (
        1 if quick else (read_config(table)["trainer"]["max_epochs"] if table in OF_TABLES else 8)
    )
    made: dict[str, Any] = {}

    def fit(name: str, **given: Any) -> dict[str, Any]:
        shared = options_of(table, name)
        model, path = fitted(data, seed, name, {**shared, **given}, epochs, folder)
        made["model"], made["path"] = model, path
        return measured(model, data)

    def control() -> dict[str, Any]:
        found = fit(EXPERTS, hidden_units=WIDE)
        made["control"] = made["model"], made["path"]
        return found

    def interactions() -> Path:
        if "interactions" not in made:
            if "control" not in made:
                control()
            rows = 20 if quick else options.instances
            made["interactions"] = interactions_of(data, *made["control"], rows, folder)
        return made["interactions"]

    def subsets(kind: str) -> Mapping[str, Any]:
        if kind not in made:
            start = time.perf_counter()
            if kind == "by hand":
                made[kind] = SUBSETS[table]
            elif kind == "from interactions":
                given = {"from": str(interactions()), "size": SIZE}
                made[kind] = resolved(given, data.schema)  # pyright: ignore[reportArgumentType]
            else:
                of = "fields" if kind.endswith("fields") else None
                made[kind] = learned_of(data, seed, 1 if quick else 10, of)
            made[f"{kind} seconds"] = round(time.perf_counter() - start, 1)
        return made[kind]

    def mixture(kind: str, gate: str) -> dict[str, Any]:
        named = subsets(kind)
        units = {name: WIDE if "*" in fields else NARROW for name, fields in named.items()}
        rate = data.positive_rate or 0.5
        prior = {} if gate == "sufficiency" else {"prior": rate}
        found = fit(EXPERTS, subsets=named, gate=gate, hidden_units=units, **prior)
        return {**found, "proposed_in": made[f"{kind} seconds"], "named": named}

    yield "control", control
    kinds = ["by hand"] * (table in SUBSETS) + ["from interactions", "learned", "learned of fields"]
    for gate in options.gates:
        for kind in kinds:
            yield f"{kind}, {gate}", lambda kind=kind, gate=gate: mixture(kind, gate)
    terms = lambda: {"from": str(interactions()), "pairs": PAIRS}  # noqa: E731
    yield "glass box", lambda: fit(BOX, terms=terms())


def run_all(options: Any) -> None:
    """Runs what is not there yet."""
    for seed in range(1 if options.quick else options.seeds):
        for table in options.tables:
            with tempfile.TemporaryDirectory() as folder:
                for name, run in runs_of(table, seed, options, Path(folder)):
                    key = {"table": table, "run": name, "seed": seed}
                    done = any(key.items() <= line.items() for line in read_lines(options.output))
                    if done or (options.runs and name not in options.runs):
                        continue
                    start = time.perf_counter()
                    found = run()
                    seconds = round(time.perf_counter() - start, 1)
                    line = {**key, **found, "seconds": seconds, **about()}
                    with options.output.open("a") as file:
                        file.write(json.dumps(line) + "\n")
                    console.print(line, highlight=False)


def show(options: Any) -> None:
    """Prints a table in Markdown of all that has been run: mean and deviation over seeds."""
    for table in options.tables:
        found = defaultdict(list)
        control = {}
        for line in read_lines(options.output):
            if line["table"] == table:
                found[line["run"]].append(line)
                if line["run"] == "control":
                    control[line["seed"]] = line["auc"]
        print(f"\n| {table} | seeds | AUC | lost | logloss | fields | largest |")
        print("|---|---|---|---|---|---|---|")
        for run, lines in found.items():
            lost = [
                control[line["seed"]] - line["auc"] for line in lines if line["seed"] in control
            ]
            cells = [run, str(len(lines)), mean_and_deviation([line["auc"] for line in lines])]
            cells += [mean_and_deviation(lost) if lost else ""]
            cells += [f"{np.mean([line[m] for line in lines]):.4f}" for m in ("logloss",)]
            cells += [f"{np.mean([line[m] for line in lines]):.1f}" for m in ("fields", "largest")]
            print("|", " | ".join(cells), "|")


def planted(options: Any) -> None:
    """Prints the subsets that are learned of tasks whose smallest sufficient ones are known."""
    columns = ("learned", "found", "rows", "fields")
    table = make_table(f"planted tasks, {options.seeds} seeds", "", *columns)
    for name in TASKS:
        for seed in range(1 if options.quick else options.seeds):
            data = TaskData(name, 20_000, seed)
            found = learn_task(data, seed)
            wanted = wanted_of(data)
            mine = {frozenset(fields) for fields in found.subsets.values()}
            right = sum(any(one in mine for one in group) for group in wanted)
            shown = ", ".join(key for key in found.subsets if key != "all")
            rows = f"{found.choices[-1].fields:.2f}"
            table.add_row(name, shown, f"{right} of {len(wanted)}", str(found.rows), rows)
    console.print(table)


def learn_task(data: TaskData, seed: int, **options: Any) -> Any:
    """The subsets that are learned of a task, of its single fields."""
    test = data.arrays["test"]
    rows = next(iter(BatchLoader(test, len(test), device=torch.device("cpu"))))
    config = replace(LearnConfig(of="fields", seed=seed), **options)
    return learn(data.schema, lambda: data.loader("train", shuffle=True), rows, config)


def wanted_of(data: TaskData) -> list[set[frozenset[str]]]:
    """The smallest sufficient subsets of a task: in each set, those that say the same."""
    task = data.tasks["test"]
    names = [name for name, right in zip(task.subsets, task.right.T, strict=True) if right.any()]
    groups: dict[bytes, set[frozenset[str]]] = defaultdict(set)
    for name in names:
        rows = task.right[:, list(task.subsets).index(name)].tobytes()
        groups[rows].add(frozenset(task.subsets[name]))
    return [*groups.values()]


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    known = (*OF_TABLES, *OF_PATHS)
    parser.add_argument("--tables", nargs="+", choices=known, default=OF_TABLES)
    parser.add_argument("--runs", nargs="+", help="names of runs; without it, all")
    parser.add_argument("--gates", nargs="+", default=["sufficiency"], help="gates to try")
    parser.add_argument("--seeds", type=int, default=5, help="number of seeds")
    parser.add_argument("--rows", type=int, default=12_000, help="rows of flights and promotions")
    parser.add_argument("--instances", type=int, default=100, help="rows that detect explains")
    parser.add_argument("--data", type=Path, default=Path("data"), help="folder of the tables")
    parser.add_argument("--path", type=Path, help="file of criteo or avazu")
    parser.add_argument("--prepared", type=Path, default=Path("prepared"))
    parser.add_argument("--output", type=Path, default=Path("subsets.jsonl"))
    parser.add_argument("--quick", action="store_true", help="one seed, one epoch")
    parser.add_argument("--show", action="store_true", help="only print what is there")
    parser.add_argument("--planted", action="store_true", help="tasks whose subsets are known")
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    for name in ("pytorch_lightning", "lightning.pytorch", "pytorch_lightning.utilities.rank_zero"):
        logging.getLogger(name).setLevel(logging.ERROR)
    if options.planted:
        print_machine("torch")
        planted(options)
        return
    if not options.show:
        if options.path is None and any(table in OF_PATHS for table in options.tables):
            parser.error("criteo and avazu need --path, one table at a time")
        print_machine("torch", "pytorch-lightning")
        run_all(options)
    show(options)


if __name__ == "__main__":
    main()
