"""Test logloss and AUC of our models and deepctr-torch's, over seeds, on the same splits.

    python benchmarks/quality.py --data criteo --path train_10k.txt --seeds 5

Ours are trained by `train.py fit --config configs/<data>/<model>.yaml`, and their figures are
those of `metrics.json`. The peer reads its rows from the prepared arrays of that very run, and its
settings from that run's `config.yaml`: sizes, Adagrad and its learning rate, batch size, and
early stopping on the validation logloss with the same patience, the best weights restored; it
has no regularisation, and keeps its own initialisation. Its AutoInt attends to categorical fields
alone, in the embedding's width. A seed decides split, initialisation and order.

Options that are not the benchmark's own, such as `--data.scaling=floor_log_squared`, go to `fit`.

Each cell gives mean and sample standard deviation over the seeds. The difference is ours minus
the peer's, seed by seed: a negative logloss is in our favour.
"""

import argparse
import contextlib
import io
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import (
    PROJECT,
    console,
    fit_ours,
    make_table,
    mean_and_deviation,
    open_data,
    print_machine,
)
from peers import deepctr_model, deepctr_rows, deepctr_torch
from rich.progress import track

import zoo
from datamodules.prepared.arrays import Arrays
from datamodules.tabular.module import CTRDataModule

MODELS = ("wide_deep", "deepfm", "dcn", "xdeepfm", "autoint", "fibinet")
METRICS = ("test/logloss", "test/auc")


def read(data: CTRDataModule, split: str) -> tuple[list[np.ndarray], np.ndarray]:
    """Rows and labels as the peer takes them."""
    rows, labels = deepctr_rows(Arrays.open(data.folder / split))
    return [rows], labels


class BestWeights(deepctr_torch("callbacks").EarlyStopping):
    """The peer's early stopping; it restores the best weights however the training ends."""

    def on_train_end(self, logs: Any = None) -> None:
        """Restores the best weights."""
        self.model.load_state_dict(self.best_weights)


def fit_peer(config: dict, data: CTRDataModule, seed: int) -> dict[str, float]:
    """Metrics of the peer, trained with the settings of a run."""
    options, trainer = config["model"]["init_args"], config["trainer"]
    patience = config["early_stopping"]["patience"]
    name = config["model"]["class_path"].rpartition(".")[2]
    model = deepctr_model(getattr(zoo, name)(data.schema, **options), seed=seed)
    optimizer = torch.optim.Adagrad(model.parameters(), lr=options["learning_rate"])
    model.compile(optimizer, "binary_crossentropy", metrics=["logloss", "auc"])
    best = BestWeights("val_logloss", patience=patience, restore_best_weights=True)
    with contextlib.redirect_stdout(io.StringIO()):
        model.fit(
            *read(data, "train"),
            batch_size=data.batch_size,
            epochs=trainer["max_epochs"],
            verbose=0,
            validation_data=read(data, "val"),
            callbacks=[best],
        )
    metrics = model.evaluate(*read(data, "test"), data.batch_size)
    return {f"test/{metric}": float(value) for metric, value in metrics.items()}


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", choices=["criteo", "avazu"], default="criteo")
    parser.add_argument("--path", type=Path, required=True, help="raw file")
    parser.add_argument("--models", nargs="+", choices=MODELS, default=MODELS)
    parser.add_argument("--seeds", type=int, default=5, help="number of seeds")
    options, of_fit = parser.parse_known_args()
    print_machine("torch", "pytorch-lightning", "deepctr-torch")
    columns = ("logloss", "deepctr-torch's", "difference", "AUC", "deepctr-torch's")
    table = make_table(f"{options.path.name}, {options.seeds} seeds", "", *columns)
    with tempfile.TemporaryDirectory() as folder:
        for model in options.models:
            ours, peer = [], []
            for seed in track(range(options.seeds), model, console=console):
                config_file = PROJECT / "configs" / options.data / f"{model}.yaml"
                split = f"--data.split_seed={seed}"
                found, config = fit_ours(
                    config_file, options.path, seed, Path(folder), split, *of_fit
                )
                ours.append(found)
                peer.append(fit_peer(config, open_data(config), seed))
            logloss, auc = (([f[m] for f in ours], [f[m] for f in peer]) for m in METRICS)
            difference = [a - b for a, b in zip(*logloss, strict=True)]
            cells = (*logloss, difference, *auc)
            table.add_row(config["model"]["class_path"], *map(mean_and_deviation, cells))
    console.print(table)


if __name__ == "__main__":
    main()
