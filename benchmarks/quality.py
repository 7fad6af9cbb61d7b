"""Test logloss and AUC of our DeepFM and deepctr-torch's, over seeds, on the same splits.

    python benchmarks/quality.py --data criteo --path train_10k.txt --seeds 5

Ours is trained by `train.py fit --config configs/<data>/deepfm.yaml`, and its figures are those
of `metrics.json`. The peer reads its rows from the prepared arrays of that very run, and its
settings from that run's `config.yaml`: sizes, Adagrad and its learning rate, batch size, and
early stopping on the validation logloss with the same patience, the best weights restored; it
has no regularisation, and keeps its own initialisation. A seed decides initialisation and order.

Each row gives mean and sample standard deviation over the seeds; the last one ours minus the
peer's, where a negative logloss and a positive AUC are in our favour.
"""

import argparse
import contextlib
import io
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from common import (
    console,
    deepctr_torch,
    make_table,
    mean_and_deviation,
    peer_deepfm,
    peer_rows,
    print_machine,
)
from rich.progress import track

import datamodules
from datamodules.base import CTRDataModule
from datamodules.store import Arrays

PROJECT = Path(__file__).parent.parent
METRICS = ("test/logloss", "test/auc", "epochs")


def fit_ours(data: str, path: Path, seed: int, folder: Path) -> tuple[dict[str, float], dict]:
    """Metrics and resolved config of one run."""
    command = [sys.executable, str(PROJECT / "train.py"), "fit"]
    command += ["--config", str(PROJECT / "configs" / data / "deepfm.yaml")]
    command += ["--data.path", str(path.resolve()), "--data.prepared", str(folder / "prepared")]
    command += ["--data.shuffle_seed", str(seed), "--seed_everything", str(seed)]
    command += ["--runs", str(folder / "runs"), "--name", f"seed_{seed}"]
    command += ["--trainer.enable_progress_bar", "false"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr)
    run = folder / "runs" / f"seed_{seed}" / "version_0"
    metrics = json.loads((run / "metrics.json").read_text())
    return metrics, yaml.safe_load((run / "config.yaml").read_text())


def open_data(config: dict) -> CTRDataModule:
    """The datamodule of a run, whose data have been prepared."""
    name = config["data"]["class_path"].rpartition(".")[2]
    return getattr(datamodules, name)(**config["data"]["init_args"])


def read(data: CTRDataModule, split: str) -> tuple[list[np.ndarray], np.ndarray]:
    """Rows and labels as the peer takes them."""
    arrays = Arrays.open(data.folder / split)
    return [peer_rows(arrays.numerical, arrays.categorical)], np.array(arrays.label)


class BestWeights(deepctr_torch("callbacks").EarlyStopping):
    """The peer's early stopping; it restores the best weights however the training ends."""

    def on_train_end(self, logs: Any = None) -> None:
        """Restores the best weights."""
        self.model.load_state_dict(self.best_weights)


def fit_peer(config: dict, data: CTRDataModule, seed: int) -> dict[str, float]:
    """Metrics of the peer, trained with the settings of a run."""
    options, trainer = config["model"]["init_args"], config["trainer"]
    (stopping,) = (c["init_args"] for c in trainer["callbacks"] if "Early" in c["class_path"])
    model = peer_deepfm(
        data.schema,
        options["embedding_dim"],
        dnn_hidden_units=tuple(options["hidden_units"]),
        dnn_dropout=options["dropout"],
        dnn_use_bn=options["batch_norm"],
        seed=seed,
    )
    optimizer = torch.optim.Adagrad(model.parameters(), lr=options["learning_rate"])
    model.compile(optimizer, "binary_crossentropy", metrics=["logloss", "auc"])
    best = BestWeights("val_logloss", patience=stopping["patience"], restore_best_weights=True)
    with contextlib.redirect_stdout(io.StringIO()):
        history = model.fit(
            *read(data, "train"),
            batch_size=data.batch_size,
            epochs=trainer["max_epochs"],
            verbose=0,
            validation_data=read(data, "val"),
            callbacks=[best],
        )
    metrics = model.evaluate(*read(data, "test"), data.batch_size)
    metrics = {f"test/{name}": float(value) for name, value in metrics.items()}
    return metrics | {"epochs": len(history.epoch)}


def report(title: str, ours: list[dict[str, float]], peer: list[dict[str, float]]) -> None:
    """Prints the table."""
    table = make_table(title, "", *METRICS)
    for name, found in (("zoo", ours), ("deepctr-torch", peer)):
        table.add_row(name, *(mean_and_deviation([m[metric] for m in found]) for metric in METRICS))
    means = ([statistics.mean(m[metric] for m in f) for metric in METRICS] for f in (ours, peer))
    table.add_row("difference", *(f"{a - b:+.4f}" for a, b in zip(*means, strict=True)))
    console.print(table)


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", choices=["criteo", "avazu"], default="criteo")
    parser.add_argument("--path", type=Path, required=True, help="raw file")
    parser.add_argument("--seeds", type=int, default=5, help="number of seeds")
    options = parser.parse_args()
    print_machine("torch", "pytorch-lightning", "deepctr-torch")
    ours, peer = [], []
    with tempfile.TemporaryDirectory() as folder:
        for seed in track(range(options.seeds), "seeds", console=console):
            metrics, config = fit_ours(options.data, options.path, seed, Path(folder))
            ours.append(metrics)
            peer.append(fit_peer(config, open_data(config), seed))
    report(f"DeepFM on {options.path.name}, {options.seeds} seeds", ours, peer)


if __name__ == "__main__":
    main()
