"""What `train.py gains` does: interactions in, the gain of each as a cross field out."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.utilities import move_data_to_device
from rich.console import Console
from rich.progress import track
from rich.table import Table
from scipy.special import logit

from zoo.data.batch import Batch
from zoo.data.crossing import CrossRows
from zoo.data.errors import ZooError
from zoo.data.interactions import read_interactions, write_interactions
from zoo.data.module import ZooDataModule
from zoo.data.plain import read_json
from zoo.data.schema import Schema
from zoo.glider.command import load_weights
from zoo.glider.gains.measure import Candidate, GainConfig, measure, with_larger
from zoo.glider.gains.second_stage import SecondStage
from zoo.glider.perturb import features_of

Beyond = Literal["fields", "model"]
GAINS = ("gain", "gain_error", "bins", "pays")


@dataclass(frozen=True)
class GainStep:
    """Measures the gains of a file's interactions; see `ZooTrainer.gains` for the options."""

    interactions: Path
    output: Path
    config: GainConfig
    beyond: Beyond = "fields"

    def run(
        self,
        trainer: Trainer,
        model: LightningModule,
        datamodule: ZooDataModule,
        checkpoint: Path,
    ) -> None:
        """Measures them in the first process of the trainer."""
        datamodule.prepare_data()
        datamodule.setup("fit")
        datamodule.setup("validate")
        schema = datamodule.schema
        names = features_of(schema)
        file = read_interactions(self.interactions, names, "interactions")
        rows = datamodule.cross_rows(self.config.rows)
        if not trainer.is_global_zero:
            return
        device = trainer.strategy.root_device
        if self.beyond == "model":
            load_weights(model, checkpoint, datamodule)
        scorer = model.eval().to(device) if self.beyond == "model" else None
        rate = datamodule.negative_sampling_rate
        stage = base(rows, schema, max(self.config.bins), scorer, rate)
        before = stage.logloss
        order = {name: place for place, name in enumerate(names)}
        sets = [tuple(sorted(i.fields, key=order.__getitem__)) for i in file.interactions]
        numerical = [field.name for field in schema.numerical]
        wanted = with_larger(sets, self.config.most)
        found = measure(stage, rows, wanted, numerical, self.config, _shown)
        content = merged(read_json(self.interactions, "is not JSON"), found, order)
        checksums = datamodule.checksums()
        content["gains"] = {
            "beyond": self.beyond,
            "errors": self.config.errors,
            "rows": {split: len(labels) for split, labels in rows.labels.items()},
            "logloss": before,
            "logloss_with_crosses": stage.logloss,
            "data": {k: v for k, v in checksums.items() if k in ("train", "val")},
        }
        write_interactions(self.output, content)
        report(content)
        Console(highlight=False).print(str(self.output), soft_wrap=True)


def base(
    rows: CrossRows, schema: Schema, bins: int, model: LightningModule | None, rate: float
) -> SecondStage:
    """What all fields say by themselves, on top of the logits of a model or of the click rate.

    Args:
        rows: The rows.
        schema: Their fields.
        bins: Number of bins of a numerical field by itself.
        model: The model, in evaluation; None starts from the click rate.
        rate: Share of the negatives that are among the training rows.
    """
    if model is None:
        share = np.average(rows.labels["train"], weights=rows.weights["train"])
        start = logit(np.clip(share, 1e-6, 1 - 1e-6)) + math.log(rate)
        offsets = {split: np.full(len(labels), start) for split, labels in rows.labels.items()}
    else:
        offsets = {split: _logits(model, rows, split) for split in rows.labels}
    offsets["train"] -= math.log(rate)  # of the negatives there, and only there, some are left out
    stage = SecondStage(rows.labels, rows.weights, offsets)
    stage.keep([rows.ids([name], bins) for name in features_of(schema)])
    return stage


@torch.inference_mode()
def _logits(model: LightningModule, rows: CrossRows, split: str) -> np.ndarray:
    parts = []
    for batch in rows.batches(split):
        moved: Batch = move_data_to_device(batch, model.device)
        parts.append(model(moved).double().cpu().numpy())
    found = np.concatenate(parts)
    if found.ndim != 1 or not np.isfinite(found).all():
        raise ZooError("the model gives NaN or infinite logits: are there NaN in its weights?")
    return found


def merged(
    content: Mapping[str, Any], found: Sequence[Candidate], order: Mapping[str, int]
) -> dict[str, Any]:
    """The content of a file of interactions with the gains; new sets stand at its end.

    Args:
        content: What the file held.
        found: The gains.
        order: Place of each field.
    """
    gains = {frozenset(candidate.fields): candidate for candidate in found}
    rows = []
    for row in content["interactions"]:
        plain = {key: value for key, value in row.items() if key not in GAINS}
        candidate = gains.pop(frozenset(row["fields"]), None)
        rows.append({**plain, **(_plain(candidate) if candidate else {})})
    further = [gains[key] for key in gains if gains[key].pays]
    for candidate in sorted(further, key=lambda c: (-c.gain, c.fields)):
        fields = sorted(candidate.fields, key=order.__getitem__)
        rows.append({"fields": fields, "order": len(fields), **_plain(candidate)})
    return {**{k: v for k, v in content.items() if k != "format"}, "interactions": rows}


def _plain(candidate: Candidate) -> dict[str, Any]:
    values = (candidate.gain, candidate.error, candidate.bins, candidate.pays)
    return dict(zip(GAINS, values, strict=True))


def report(content: Mapping[str, Any]) -> None:
    """Prints the gains of those that pay, and the names of the others."""
    console = Console(highlight=False)
    measured = [row for row in content["interactions"] if "gain" in row]
    paying = sorted((r for r in measured if r["pays"]), key=lambda r: -r["gain"])
    table = Table(title="cross fields that pay, on validation rows", title_justify="left")
    table.add_column("fields", overflow="fold")
    for column in ("logloss", "error", "bins"):
        table.add_column(column, justify="right")
    for row in paying:
        numbers = (f"{-row['gain']:.5f}", f"{row['gain_error']:.5f}")
        table.add_row(" x ".join(row["fields"]), *numbers, f"{row['bins'] or ''}")
    console.print(table)
    gains = content["gains"]
    console.print(
        f"{len(paying)} of {len(measured):,} pay; logloss of {gains['rows']['val']:,} validation "
        f"rows by the second stage: {gains['logloss']:.4f} without cross fields, "
        f"{gains['logloss_with_crosses']:.4f} with those"
    )
    others = [" x ".join(row["fields"]) for row in measured if not row["pays"]]
    if others:
        console.print(f"no gain: {', '.join(others)}", soft_wrap=True)


def _shown(sets: Sequence[tuple[str, ...]]) -> Any:
    console = Console(stderr=True)  # in a notebook a bar would need ipywidgets
    return track(sets, "gains", console=console, transient=True, disable=console.is_jupyter)
