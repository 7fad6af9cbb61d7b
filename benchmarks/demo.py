"""Test metrics of every model on the demo's data, beside logistic regression and the ceiling.

    python benchmarks/demo.py --seeds 3

Our models are trained by `train.py fit --config configs/demo/<model>.yaml`. Logistic regression
is scikit-learn's, with its default penalty, on the same training rows: one-hot ids and
standardised numbers. The ceiling are the metrics of the probabilities that the labels were
drawn from. Mean and sample standard deviation over the seeds, which decide initialisation and
order; the rows are the same. Options that are not the benchmark's own, such as
`--data.synthetic.rows=200000`, go to `fit`.
"""

import argparse
import statistics
import tempfile
from pathlib import Path

import numpy as np
from common import (
    PROJECT,
    console,
    fit_ours,
    make_table,
    mean_and_deviation,
    open_data,
    print_machine,
)
from rich.progress import track
from scipy import sparse
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss, roc_auc_score

from datamodules.prepared.arrays import Arrays
from datamodules.tabular.module import CTRDataModule

MODELS = ("wide_deep", "deepfm", "dcn", "xdeepfm", "autoint", "fibinet", "interhat")


def one_hot(data: CTRDataModule, split: str) -> tuple[sparse.csr_array, np.ndarray]:
    """Rows [n, N + ids] and labels of a split."""
    train, arrays = (Arrays.open(data.folder / s) for s in ("train", split))
    numbers = np.asarray(train.numerical)
    numbers = (arrays.numerical - numbers.mean(0)) / (numbers.std(0) + 1e-9)
    sizes = [field.cardinality for field in data.schema.categorical]
    columns = arrays.categorical + np.cumsum([0, *sizes[:-1]])
    start = np.arange(len(arrays) + 1) * len(sizes)
    ones = np.ones(columns.size, np.float32)
    ids = sparse.csr_array((ones, columns.ravel(), start), (len(arrays), sum(sizes)))
    return sparse.hstack((sparse.csr_array(numbers), ids), "csr"), np.array(arrays.label)


def logistic_regression(data: CTRDataModule) -> dict[str, float]:
    """Test metrics of scikit-learn's."""
    model = LogisticRegression(max_iter=200).fit(*one_hot(data, "train"))
    rows, labels = one_hot(data, "test")
    p = model.predict_proba(rows)[:, 1]
    return {"test/auc": roc_auc_score(labels, p), "test/logloss": log_loss(labels, p)}


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=3, help="number of seeds")
    parser.add_argument("--models", nargs="+", choices=MODELS, default=MODELS)
    options, of_fit = parser.parse_known_args()
    print_machine("torch", "pytorch-lightning", "scikit-learn")
    table = make_table(f"test rows of the demo, {options.seeds} seeds", "", "AUC", "logloss", "s")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "train.txt"
        for model in options.models:
            file = PROJECT / "configs" / "demo" / f"{model}.yaml"
            seeds = track(range(options.seeds), model, console=console)
            runs = [fit_ours(file, path, seed, Path(folder), *of_fit) for seed in seeds]
            cells = [
                mean_and_deviation([metrics[f"test/{name}"] for metrics, _ in runs])
                for name in ("auc", "logloss")
            ]
            seconds = statistics.mean(metrics["seconds"] for metrics, _ in runs)
            table.add_row(runs[0][1]["model"]["class_path"], *cells, f"{seconds:.0f}")
        metrics, config = runs[0]
        linear = logistic_regression(open_data(config))
        for name, found, prefix in (
            ("logistic regression", linear, "test"),
            ("ceiling", metrics, "ceiling"),
        ):
            table.add_row(
                name, f"{found[f'{prefix}/auc']:.4f}", f"{found[f'{prefix}/logloss']:.4f}"
            )
    console.print(table)


if __name__ == "__main__":
    main()
