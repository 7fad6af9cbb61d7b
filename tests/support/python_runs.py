"""Short fits from Python."""

from support import tables

import zoo

LABEL = {"column": "rating", "positive": ">= 4"}
MODEL = {"class_path": "DeepFM", "embedding_dim": 4, "hidden_units": [8]}
TRAINER = {
    "max_epochs": 1,
    "accelerator": "cpu",
    "enable_progress_bar": False,
    "enable_model_summary": False,
}
FIELDS = [{"name": "item", "kind": "categorical"}, {"name": "price", "kind": "numerical"}]


def table(rows=tables.ROWS):
    """Of which the label is one column."""
    return tables.table(rows).drop(columns="click")


def fit(rows, label=LABEL, model=MODEL, **options):
    return zoo.fit(rows, label, model, **{"trainer": TRAINER, **options})
