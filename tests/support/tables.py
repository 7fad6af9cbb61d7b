"""A table of one's own in all formats, and what its encoding is by pandas."""

import gzip
import hashlib
import json
import math
from collections import Counter

import numpy as np
import pandas as pd
import pyarrow as pa

from datamodules import Table
from datamodules.prepared.folder import SPLITS
from datamodules.tabular.declared import TableField
from datamodules.tabular.label import Label

ROWS = 600
FIELDS = [
    TableField("price", "numerical", transform="log", missing_indicator=True, group="item"),
    TableField("age", "numerical", transform="standardise"),
    TableField("plain", "numerical", column="age"),
    TableField("item", "categorical", min_count=3),
    TableField("top", "categorical", column="item", max_size=4),
    TableField("user", "categorical", buckets=7),
    TableField("stock", "categorical"),
]
FORMATS = ("parquet", "csv", "tsv", "jsonl")


def table(rows=ROWS):
    """A frame of clicks."""
    random = np.random.default_rng(3)
    items = random.pareto(0.7, rows).astype(int) % 60
    frame = pd.DataFrame(
        {
            "ts": pd.Timestamp("2024-03-01") + pd.to_timedelta(random.permutation(rows) * 977, "s"),
            "user": [f"u{u}" for u in random.integers(0, 80, rows)],
            "item": [f'the "{i}", boxed\nset é' if i % 3 else f"i{i}" for i in items],
            "price": random.lognormal(2, 1, rows).round(2) - 3,
            "age": pd.array(random.integers(18, 80, rows), "Int64"),
            "stock": random.random(rows) < 0.5,
            "referrer": "nobody",
            "rating": random.integers(1, 6, rows),
        }
    )
    frame["click"] = (frame.rating >= 4).astype(int)
    for column, share in (("price", 0.1), ("age", 0.05), ("item", 0.04), ("user", 0.03)):
        frame.loc[random.random(rows) < share, column] = None
    return frame


def write(frame, path):
    """Writes a frame in the format that the name says."""
    name = path.name.removesuffix(".gz").removesuffix(".zst")
    if name.endswith(".parquet"):
        frame.to_parquet(path, index=False)
        return path
    text = frame.copy()
    if "ts" in text:
        text["ts"] = text.ts.astype(str)
    if "stock" in text:
        text["stock"] = text.stock.map({True: "true", False: "false"})
    if name.endswith(".jsonl"):
        rows = json.loads(text.to_json(orient="records"))
        content = "".join(json.dumps(row, ensure_ascii=len(row) % 2 == 0) + "\n" for row in rows)
    else:
        content = text.to_csv(index=False, sep="\t" if name.endswith(".tsv") else ",")
    data = content.encode()
    if path.suffix == ".gz":
        data = gzip.compress(data)
    elif path.suffix == ".zst":
        data = pa.compress(data, "zstd", asbytes=True)
    path.write_bytes(data)
    return path


def declared(path, folder, **options):
    """A `Table` of the fields above."""
    given = {"label": Label("rating", ">= 4"), "fields": FIELDS, "time": "ts", "split": "hash"}
    given |= {"time_fields": ["hour", "weekday"], "prepared": str(folder)}
    return Table([*map(str, path)] if isinstance(path, list) else str(path), **{**given, **options})


def ids(values, training, *, min_count=1, max_size=None):
    """The ids of text values, None where missing, by the rule of vocabularies."""
    counts = Counter(value for value, is_mine in zip(values, training, strict=True) if is_mine)
    counts.pop(None, None)
    order = sorted((-n, value) for value, n in counts.items() if n >= min_count)[:max_size]
    number = {value: i for i, (_, value) in enumerate(order, 2)}
    return [1 if value is None else number.get(value, 0) for value in values]


def bucket(value, buckets):
    """The bucket of a text."""
    lower = int.from_bytes(hashlib.md5(value.encode()).digest()[8:], "little")
    return f"bucket {lower % buckets}"


def expected(frame, training):
    """The numbers and ids of `FIELDS` and of hour and weekday, by pandas.

    Args:
        frame: The rows.
        training: bool [n], which of them train.
    """
    training = np.asarray(training)

    def text(column):
        return [None if pd.isna(value) else str(value) for value in frame[column]]

    price = frame.price.astype(float).to_numpy()
    age = frame.age.astype("Float64").to_numpy(float, na_value=math.nan)
    known = age[training & ~np.isnan(age)]
    numbers = [
        np.sign(price) * np.log1p(np.abs(price)),
        np.isnan(price).astype(float),
        (age - known.mean()) / known.std(),
        age,
    ]
    users = [None if user is None else bucket(user, 7) for user in text("user")]
    categories = [
        ids(text("item"), training, min_count=3),
        ids(text("item"), training, max_size=4),
        ids(users, training),
        ids([str(bool(value)).lower() for value in frame.stock], training),
        ids(frame.ts.dt.strftime("%H").tolist(), training),
        ids(frame.ts.dt.strftime("%a").tolist(), training),
    ]
    return np.nan_to_num(np.array(numbers)).T.astype(np.float32), np.array(categories).T


def split_of(splits):
    """int [n], the split of each row in file order."""
    rows = np.concatenate([splits[s].row for s in SPLITS])
    numbers = np.repeat(np.arange(3), [len(splits[s]) for s in SPLITS])
    return numbers[np.argsort(rows)]
