"""What tests of cross fields share."""

import math
from fractions import Fraction

import numpy as np
import pandas as pd
from support.preparation import ready

from datamodules.prepared.folder import SPLITS

CRITEO = [["C6", "C14"], ["C17", "I2"], ["I8", "C9", "C22"], ["C1", "C20"], ["I1", "I5"]]
AVAZU = [["hour", "site_id"], ["C14", "device_type", "app_id"]]
SHARE = 1e-3  # of the 16,000 training rows of `criteo_file`: more than 16


def opened(datamodule):
    """{split: Arrays} of a datamodule."""
    ready(datamodule).setup("fit")
    return datamodule._arrays


def folders(tmp_path):
    """The folders of cross fields."""
    return {p for p in (tmp_path / "prepared").iterdir() if p.is_dir() and "-cross-" in p.name}


def slow_edges(values, bins):
    """Quantiles k / bins, that is the ceil(k n / bins)-th smallest value; not the largest."""
    ascending = sorted(values)
    ranks = [math.ceil(Fraction(k * len(ascending), bins)) for k in range(1, bins)]
    return sorted({ascending[rank - 1] for rank in ranks} - {ascending[-1]})


def slow_members(splits, schema, members, bins):
    """{split: one tuple of member ids or bins for each row}"""
    columns = {split: [] for split in splits}
    for member in members:
        for kind in ("numerical", "categorical"):
            names = [field.name for field in getattr(schema, kind)]
            if member not in names:
                continue
            found = {
                s: getattr(a, kind)[:, names.index(member)].tolist() for s, a in splits.items()
            }
            if kind == "numerical":
                edges = slow_edges(found["train"], bins)
                found = {s: [sum(e < x for e in edges) for x in v] for s, v in found.items()}
            for split, values in found.items():
                columns[split].append(values)
    return {split: list(zip(*values, strict=True)) for split, values in columns.items()}


def slow_ids(splits, schema, members, share, bins=100):
    """{split: ids of the cross of these members, in the order of the schema}"""
    rows = slow_members(splits, schema, members, bins)
    frame = pd.DataFrame(rows["train"], columns=[str(i) for i in range(len(members))])
    counts = frame.groupby(list(frame), as_index=False).size()
    kept = counts[counts["size"] > share * len(frame)]
    kept = kept.sort_values(["size", *frame], ascending=[False] + [True] * len(members))
    vocabulary = {tuple(row): 2 + i for i, row in enumerate(kept[list(frame)].to_numpy().tolist())}
    return {split: [vocabulary.get(row, 0) for row in found] for split, found in rows.items()}


def in_schema_order(members, schema):
    return [field.name for field in schema.fields if field.name in members]


def assert_slow(datamodule, interactions, share, bins=100):
    """The cross columns of all splits are those of the slow way."""
    splits, schema = opened(datamodule), datamodule.schema
    for i, members in enumerate(interactions):
        expected = slow_ids(splits, schema, in_schema_order(members, schema), share, bins)
        cardinality = 2 + len(set(expected["train"]) - {0})
        assert schema.categorical[i - len(interactions)].cardinality == cardinality
        for split in SPLITS:
            np.testing.assert_array_equal(splits[split].crosses[i], expected[split])
