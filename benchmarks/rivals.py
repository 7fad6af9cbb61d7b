"""Trees, logistic regression and deepctr-torch's models on the prepared rows of a table.

Each function trains on the rows of `train`, stops early by `val` where it can, and returns logits
of the rows of `test`.
"""

import contextlib
import io
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch
from peers import deepctr_model, deepctr_rows, deepctr_torch

import zoo
from datamodules import Table
from datamodules.prepared.arrays import Arrays

ROUNDS = 2000  # at most, of trees


class Rows(NamedTuple):
    """The rows of a table.

    Attributes:
        data: The datamodule.
        splits: The arrays of train, val and test, crosses among the categorical ones.
    """

    data: Table
    splits: dict[str, Arrays]

    @classmethod
    def open(cls, data: Table) -> "Rows":
        """Opens the prepared rows."""
        base, *crosses = data.folders
        splits = {}
        for split in ("train", "val", "test"):
            rows = Arrays.open(base / split, [cross / split for cross in crosses])
            ids = [rows.categorical, *(np.array(ids, np.int32)[:, None] for ids in rows.crosses)]
            splits[split] = replace(rows, categorical=np.concatenate(ids, 1), crosses=())
        return cls(data, splits)


def _frame(rows: Rows, split: str) -> Any:
    """Rows whose categories are categories, as trees take them."""
    import pandas as pd

    arrays, schema = rows.splits[split], rows.data.schema
    columns: dict[str, Any] = {
        field.name: np.array(arrays.numerical[:, i]) for i, field in enumerate(schema.numerical)
    }
    for i, field in enumerate(schema.categorical):
        known = range(field.cardinality)
        columns[field.name] = pd.Categorical.from_codes(arrays.categorical[:, i], categories=known)
    return pd.DataFrame(columns)


def _logits(probabilities: np.ndarray) -> np.ndarray:
    kept = np.clip(probabilities, 1e-7, 1 - 1e-7)
    return np.log(kept / (1 - kept))


def lightgbm(rows: Rows, seed: int, rounds: int = ROUNDS, **options: Any) -> np.ndarray:
    """LightGBM, categories native."""
    import lightgbm

    train, val = (
        lightgbm.Dataset(_frame(rows, split), np.array(rows.splits[split].label))
        for split in ("train", "val")
    )
    val.reference = train
    options |= {"objective": "binary", "seed": seed, "verbose": -1}
    options["num_threads"] = torch.get_num_threads()
    stop = lightgbm.early_stopping(50, verbose=False)
    model = lightgbm.train(options, train, rounds, valid_sets=[val], callbacks=[stop])
    return _logits(np.asarray(model.predict(_frame(rows, "test"))))


def xgboost(rows: Rows, seed: int, rounds: int = ROUNDS, **options: Any) -> np.ndarray:
    """XGBoost by histograms, categories native."""
    import xgboost

    matrices = {
        split: xgboost.DMatrix(_frame(rows, split), arrays.label, enable_categorical=True)
        for split, arrays in rows.splits.items()
    }
    options |= {"objective": "binary:logistic", "tree_method": "hist", "seed": seed}
    options["nthread"] = torch.get_num_threads()
    evaluated = [(matrices["val"], "val")]
    model = xgboost.train(
        options,
        matrices["train"],
        rounds,
        evals=evaluated,
        early_stopping_rounds=50,
        verbose_eval=False,
    )
    best = (0, model.best_iteration + 1)
    return _logits(model.predict(matrices["test"], iteration_range=best))


def logistic_regression(rows: Rows, seed: int, **options: Any) -> np.ndarray:
    """scikit-learn's, on numbers and one-hot categories; its penalty is chosen by validation."""
    from scipy import sparse
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import log_loss

    cardinalities = np.array([field.cardinality for field in rows.data.schema.categorical])
    offsets = np.concatenate(([0], np.cumsum(cardinalities)))

    def matrix(split: str) -> Any:
        arrays = rows.splits[split]
        columns = (arrays.categorical + offsets[:-1]).ravel()
        starts = np.arange(len(arrays) + 1) * len(cardinalities)
        shape = (len(arrays), offsets[-1])
        hot = sparse.csr_matrix((np.ones(len(columns), np.float32), columns, starts), shape)
        return sparse.hstack([sparse.csr_matrix(arrays.numerical), hot], "csr")

    train, val, test = map(matrix, ("train", "val", "test"))
    labels = {split: np.array(arrays.label) for split, arrays in rows.splits.items()}
    found = []
    for strength in options.get("strengths", (0.03, 0.3, 3.0)):
        model = LogisticRegression(C=strength, max_iter=options.get("max_iter", 200))
        model.fit(train, labels["train"])
        loss = log_loss(labels["val"], model.predict_proba(val))
        found.append((loss, model.decision_function(test)))
    return min(found, key=lambda pair: pair[0])[1]


def deepctr(rows: Rows, seed: int, name: str, options: dict, fit: dict) -> np.ndarray:
    """deepctr-torch's model of that name, with the settings of ours as far as it has them.

    Optimizer, learning rate, size of batches, epochs and patience are ours; it has no schedule,
    no embedding dropout and no weight decay of its own for embeddings.
    """

    class BestWeights(deepctr_torch("callbacks").EarlyStopping):
        def on_train_end(self, logs: Any = None) -> None:
            self.model.load_state_dict(self.best_weights)

    ours = getattr(zoo, name)(rows.data.schema, **options)
    model = deepctr_model(ours, seed=seed)
    rate, decay = options["learning_rate"], options.get("weight_decay", 0.0)
    given = options["optimizer"]
    arguments = {} if isinstance(given, str) else given["init_args"]
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=decay, **arguments)
    model.compile(optimizer, "binary_crossentropy", metrics=["logloss"])
    inputs = {split: deepctr_rows(arrays) for split, arrays in rows.splits.items()}
    stop = BestWeights("val_logloss", patience=fit["patience"], restore_best_weights=True)
    with contextlib.redirect_stdout(io.StringIO()):
        model.fit(
            [inputs["train"][0]],
            inputs["train"][1],
            batch_size=rows.data.batch_size,
            epochs=fit["max_epochs"],
            verbose=0,
            validation_data=([inputs["val"][0]], inputs["val"][1]),
            callbacks=[stop],
        )
        return _logits(model.predict([inputs["test"][0]], rows.data.batch_size).ravel())
