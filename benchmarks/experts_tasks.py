"""`experts.py sufficiency`: tasks whose smallest sufficient subset is known for every row."""

import argparse
import logging
import statistics
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from common import console, make_table
from pytorch_lightning.callbacks import EMAWeightAveraging
from rich.progress import track

from datamodules.prepared.arrays import Arrays
from datamodules.prepared.batched import BatchedDataModule
from datamodules.tabular.loader import BatchLoader
from zoo import Field, InterpretableMLP, Schema
from zoo.models.measures import area_under_curve

VALUES = 8  # of each of the categorical fields a .. e
USERS = 5000  # of the field `user`, in no more rows than four each
RUN: Mapping[str, Any] = {"epochs": 12, "batch_size": 512, "decay": 0.99}
NETWORK: Mapping[str, Any] = {
    "hidden_units": [32, 32],
    "embedding_dim": 8,
    "embedding_std": 0.3,
    "learning_rate": 0.005,
}
STEEP = {"gate": "smooth", "normalization": "sample", "inference_power": 16}
SETTINGS: Mapping[str, Mapping[str, Any]] = {
    "sufficiency": {"gate": "sufficiency"},
    "the paper": {},
    "as configs/toy": {**STEEP, "silence": 0.7},
    "as configs/movielens": {**STEEP, "power": 4, "fallback": True, "auxiliary": 1.0},
}


@dataclass(frozen=True)
class Task:
    """Rows whose probabilities are known.

    Attributes:
        subsets: Subsets of the experts.
        irrelevant: Names of those that are sufficient nowhere, and in no other that is.
        numerical: [n, 2] numbers x1 and x2.
        categorical: [n, C] ids.
        probability: [n] P(y = 1).
        right: bool [n, H] which experts are the smallest sufficient ones.
    """

    subsets: dict[str, list[str]]
    irrelevant: tuple[str, ...]
    numerical: np.ndarray
    categorical: np.ndarray
    probability: np.ndarray
    right: np.ndarray


class _Rows:
    """Fields of random rows: x1, x2 numbers, a .. e categories, in an order of a seed."""

    def __init__(self, rows: int, random: np.random.Generator) -> None:
        self.ids = {name: random.integers(VALUES, size=rows) for name in "abcde"}
        # x1 keeps away from zero, where what decides changes
        x1 = random.choice([-1, 1], rows) * random.uniform(0.25, 2, rows)
        self.numbers = np.stack([x1, random.uniform(-2, 2, rows)], 1)

    def sign(self, *names: str) -> np.ndarray:
        """[n] product of the signs of some fields: odd is 1, even is -1."""
        return np.prod([np.where(self.ids[name] % 2, 1, -1) for name in names], 0)

    def task(self, subsets: str, irrelevant: str, p: np.ndarray, right: Mapping[str, Any]) -> Task:
        """A task; subsets are words, `*` is all, and right are masks by name."""
        named = {name: [*name.lower()] for name in subsets.split()}
        named |= {name: [f"x{i}" for i in name[1:]] for name in named if name[0] == "X"}
        named["all"] = ["*"]
        masks = [np.broadcast_to(right.get(name, False), p.shape) for name in named]
        ids = np.stack([*self.ids.values()], 1) + 2
        return Task(named, tuple(irrelevant.split()), self.numbers, ids, p, np.stack(masks, 1))


def _likely(sign: np.ndarray, high: float, low: float) -> np.ndarray:
    return np.where(sign > 0, high, low)


def _alone_or_xor(rows: _Rows, _: np.random.Generator) -> Task:
    alone = rows.ids["a"] < VALUES // 2
    p = _likely(np.where(alone, rows.sign("a"), rows.sign("a", "b")), 0.95, 0.05)
    return rows.task("A B AB CD", "B CD", p, {"A": alone, "AB": ~alone})


def _rare(rows: _Rows, _: np.random.Generator) -> Task:
    p = _likely(rows.sign("a", "b"), 0.48, 0.02)
    return rows.task("AB AC CD", "AC CD", p, {"AB": True})


def _unsure(rows: _Rows, _: np.random.Generator) -> Task:
    return rows.task("A CD", "CD", _likely(rows.sign("a"), 0.75, 0.25), {"A": True})


def _copies(rows: _Rows, fixed: np.random.Generator) -> Task:
    # that a does not decide is known to those alone that see a, or its copy b
    rows.ids["b"] = fixed.permutation(VALUES)[rows.ids["a"]]
    told = rows.ids["a"] < 5
    p = _likely(np.where(told, rows.sign("a"), rows.sign("d", "e")), 0.95, 0.05)
    return rows.task("A B C DE ADE", "C DE", p, {"A": told, "B": told, "ADE": ~told})


def _levels(rows: _Rows, _: np.random.Generator) -> Task:
    level = np.array([0, 0, 0, 1, 1, 2, 2, 2])[rows.ids["a"]]
    signs = np.stack([rows.sign("a"), rows.sign("b"), rows.sign("b", "c")])
    p = _likely(signs[level, np.arange(len(level))], 0.9, 0.1)
    p[rows.ids["a"] == 2] = 0.5  # nothing tells, so a alone is sufficient
    right = {"A": level == 0, "AB": level == 1, "ABC": level == 2}
    return rows.task("A AB ABC DE", "DE", p, right)


def _continuous(rows: _Rows, _: np.random.Generator) -> Task:
    x1, x2 = rows.numbers.T
    logit = np.where(x1 > 0, 2 * np.sin(3 * x1), 3 * np.tanh(3 * x2))
    right = {"X1": x1 > 0, "X12": x1 < 0}
    return rows.task("X1 X2 X12 AB", "X2 AB", 1 / (1 + np.exp(-logit)), right)


def _by_heart(rows: _Rows, _: np.random.Generator) -> Task:
    """`_unsure`, and a field of users, by which the expert of all knows its rows by heart."""
    task = _unsure(rows, _)
    rows.ids["user"] = np.random.default_rng(int(task.categorical[:, 0].sum())).integers(
        USERS, size=len(task.right)
    )
    return rows.task("A CD", "CD", task.probability, {"A": True})


TASKS = {
    "a alone or a XOR b": _alone_or_xor,
    "25 % positives": _rare,
    "p = .75": _unsure,
    "copies": _copies,
    "three levels": _levels,
    "continuous": _continuous,
    "users by heart": _by_heart,
}


class TaskData(BatchedDataModule):
    """The rows of a task, training and test.

    Args:
        task: Name of the task, of `TASKS`.
        rows: Number of rows of each split.
        seed: Seed of the rows and of their order.
        batch_size: Number of rows of a batch.
    """

    def __init__(self, task: str, rows: int, seed: int, batch_size: int = 512) -> None:
        super().__init__(batch_size, seed)
        fixed = np.random.default_rng((seed, 2)).integers(1 << 30)
        self.tasks, self.arrays = {}, {}
        for split in ("train", "test"):
            random = np.random.default_rng((seed, split == "test"))
            found = TASKS[task](_Rows(rows, random), np.random.default_rng(fixed))
            label = (random.random(rows) < found.probability).astype(np.float32)
            ids = found.categorical.astype(np.int32)
            numbers = found.numerical.astype(np.float32)
            self.tasks[split] = found
            self.arrays[split] = Arrays(numbers, ids, label, np.arange(rows))

    @property
    def schema(self) -> Schema:
        """Two numbers, five categories, and the users where there are such."""
        users = self.arrays["train"].categorical.shape[1] > len("abcde")
        fields = [Field(name, "numerical") for name in ("x1", "x2")]
        fields += [Field(name, "categorical", VALUES + 2) for name in "abcde"]
        return Schema((*fields, *[Field("user", "categorical", USERS + 2)] * users))

    def loader(self, split: str, **options: Any) -> BatchLoader:
        """Batches of a split, from memory."""
        device = torch.device("cpu")
        return BatchLoader(self.arrays[split], self.batch_size, device=device, **options)


def fit(data: TaskData, seed: int, options: Mapping[str, Any], control: bool = False) -> Any:
    """A trained model of a task, with averaged weights."""
    pl.seed_everything(seed, verbose=False)
    subsets = None if control else data.tasks["train"].subsets
    model = InterpretableMLP(
        data.schema, subsets=subsets, train_metrics=False, **{**NETWORK, **options}
    )
    logging.getLogger("pytorch_lightning.utilities.rank_zero").setLevel(logging.WARNING)
    trainer = pl.Trainer(
        accelerator="cpu",
        max_epochs=RUN["epochs"],
        callbacks=[EMAWeightAveraging(decay=RUN["decay"])],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        limit_val_batches=0,
    )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*val_dataloader.*|.*many workers.*|.*LeafSpec.*")
        trainer.fit(model, data)
    return model.eval()


@torch.no_grad()
def measured(model: Any, data: TaskData) -> dict[str, float]:
    """What a model says of the test rows.

    Returns:
        `right`, the share of rows in which a smallest sufficient subset has most to say;
        `irrelevant`, the largest mean attribution of an irrelevant subset; `auc`, and `ceiling`,
        that of the true probabilities.
    """
    task = data.tasks["test"]
    parts = [(*model.explain(batch), batch.label) for batch in data.loader("test")]
    logits, said, label = (torch.cat(part) for part in zip(*parts, strict=True))
    truth = torch.from_numpy(task.probability)
    found = {"auc": area_under_curve(logits, label > 0.5).item()}
    found["ceiling"] = area_under_curve(truth, label > 0.5).item()
    if len(model.lattice) > 1:
        right = torch.from_numpy(task.right).gather(1, said.argmax(1, keepdim=True))
        found["right"] = right.double().mean().item()
        others = [list(task.subsets).index(name) for name in task.irrelevant]
        found["irrelevant"] = said[:, others].double().mean(0).max().item()
    return found


def run_sufficiency(options: argparse.Namespace, folder: Path) -> None:
    """Every task with every setting, and with a plain network of all fields."""
    torch.set_num_threads(1)
    columns = ("right", "worst", "irrelevant", "AUC", "plain's", "the truth's")
    for name in options.tasks:
        table = make_table(f"{name}, {options.rows:,} rows, {options.seeds} seeds", "", *columns)
        found: dict[str, list[dict[str, float]]] = {s: [] for s in (*options.settings, "plain")}
        for seed in track(range(options.seeds), name, console=console):
            data = TaskData(name, options.rows, seed, RUN["batch_size"])
            for setting in found:
                given = SETTINGS.get(setting, {})
                found[setting].append(measured(fit(data, seed, given, setting == "plain"), data))
        plain = _mean(found["plain"], "auc")
        for setting in options.settings:
            of = found[setting]
            auc, rights = _mean(of, "auc"), [one["right"] for one in of]
            cells = (statistics.mean(rights), min(rights), max(one["irrelevant"] for one in of))
            cells = (*cells, auc, plain, _mean(of, "ceiling"))
            table.add_row(setting, *(f"{cell:.3f}" for cell in cells[:3]), *map(_fine, cells[3:]))
        console.print(table)


def _mean(found: Sequence[Mapping[str, float]], name: str) -> float:
    return statistics.mean(one[name] for one in found)


def _fine(value: float) -> str:
    return f"{value:.4f}"
