"""Fields of many values and of ordered values, against what Python makes of them."""

import json
from collections import Counter
from itertools import product

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.preparation import ready

from datamodules import Table
from datamodules.prepared.arrays import Arrays
from datamodules.prepared.engine import Engine
from datamodules.prepared.lists import ListArrays
from datamodules.tabular.crosses import fit_cross
from datamodules.tabular.declared import TableField
from datamodules.tabular.label import Label
from zoo import Field, Schema, ZooError
from zoo.data.lists import Lists

FORMATS = ("parquet", "jsonl", "csv")
FIELDS = [
    TableField("item", "categorical", min_count=2),
    TableField("genres", "multi", max_length=2, min_count=3),
    TableField("history", "sequence", vocabulary="item", max_length=3),
    TableField("bucketed", "multi", column="genres", buckets=3),
]


def frame(rows=300, seed=0):
    random = np.random.default_rng(seed)
    names = ["drama", "film noir", "comedy", "ü", "crime"]
    genres = [
        [names[min(j, 4)] for j in random.geometric(0.4, k)] for k in random.integers(0, 4, rows)
    ]
    return pd.DataFrame(
        {
            "item": random.geometric(0.1, rows),
            "genres": [None if i % 10 == 3 else mine for i, mine in enumerate(genres)],
            "history": [random.geometric(0.1, k).tolist() for k in random.integers(0, 6, rows)],
            "click": random.integers(0, 2, rows),
        }
    )


def written(frame, path):
    """A file of the format that its name says; in text, lists have a separator."""
    if path.suffix == ".parquet":
        frame.to_parquet(path)
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(r) + "\n" for r in frame.to_dict("records")))
    else:
        text = frame.assign(
            **{
                name: ["" if mine is None else sep.join(map(str, mine)) for mine in frame[name]]
                for name, sep in (("genres", " | "), ("history", " "))
            }
        )
        text.to_csv(path, index=False)
    return path


def fields_of(path):
    if path.suffix != ".csv":
        return FIELDS
    separators = {"genres": "|", "history": " "}
    return [TableField(**{**vars(f), "separator": separators.get(f.source)}) for f in FIELDS]


def table(path, **options):
    given = {"label": "click", "fields": fields_of(path), "prepared": str(path.parent / "prepared")}
    return Table(str(path), **given | options)


def lists_of(arrays):
    """[row][field] lists of ids."""
    lists = arrays.lists.rows([slice(None)])
    pairs = zip(lists.offsets.tolist(), lists.lengths.tolist(), strict=True)
    return [[lists.values[o : o + n].tolist() for o, n in zip(*p, strict=True)] for p in pairs]


def expected(frame, train, rows):
    """What the encoding of some rows is, by Python's own means."""

    def vocabulary(values, least):
        counts = pd.Series(values, dtype=str).value_counts()
        order = sorted(counts[counts >= least].items(), key=lambda pair: (-pair[1], pair[0]))
        return {value: i for i, (value, _) in enumerate(order, 2)}

    item = vocabulary([str(x) for x in frame.item[train]], 2)
    genres = vocabulary([g for mine in frame.genres[train] for g in mine or []][:], 3)
    found = []
    for i in rows:
        mine = (frame.genres[i] or [])[:2]
        history = [str(x) for x in frame.history[i]][-3:]
        found.append([[genres.get(g, 0) for g in mine], [item.get(x, 0) for x in history]])
    return found


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    folder = tmp_path_factory.mktemp("lists")
    rows = frame()
    found = {s: ready(table(written(rows, folder / f"t.{s}"))) for s in FORMATS}
    for data in found.values():
        data.setup("fit")
    return rows, found


def test_lists_are_those_of_python(prepared):
    rows, by_format = prepared
    data = by_format["parquet"]
    train = data._arrays["train"].row
    # counts are of the values that are kept
    kept = rows.assign(genres=[None if m is None else m[:2] for m in rows.genres])
    for split in ("train", "val", "test"):
        arrays = data._arrays[split]
        assert [row[:2] for row in lists_of(arrays)] == expected(kept, train, arrays.row)
    kinds = [(f.name, f.kind, f.vocabulary) for f in data.schema.fields]
    assert kinds == [
        ("item", "categorical", ""),
        ("genres", "multi", ""),
        ("history", "sequence", "item"),
        ("bucketed", "multi", ""),
    ]
    assert data.schema.lists[1].cardinality == data.schema.categorical[0].cardinality


def test_all_formats_give_the_same_lists(prepared):
    _, by_format = prepared
    first = by_format["parquet"]
    for other in by_format.values():
        assert other.schema == first.schema
        for split in ("train", "val", "test"):
            assert lists_of(other._arrays[split]) == lists_of(first._arrays[split])


@pytest.mark.parametrize("resident", [True, False])
@pytest.mark.parametrize("shuffle", [True, False])
def test_batches_bring_each_row_its_lists(prepared, resident, shuffle):
    data = prepared[1]["parquet"]
    arrays = data._arrays["train"]
    wanted = dict(zip(arrays.row.tolist(), lists_of(arrays), strict=True))
    data.resident = resident
    seen = {}
    for batch in data.loader("train", shuffle=shuffle, with_row=True):
        if not resident and shuffle:
            assert len(batch.lists.values) == int(batch.lists.lengths.sum())
        pairs = zip(batch.lists.offsets.tolist(), batch.lists.lengths.tolist(), strict=True)
        found = [
            [batch.lists.values[o : o + n].tolist() for o, n in zip(*p, strict=True)] for p in pairs
        ]
        seen |= dict(zip(batch.row.tolist(), found, strict=True))
    assert seen == wanted


def test_new_rows_get_the_lists_of_the_encoder(prepared, tmp_path):
    rows, by_format = prepared
    data = by_format["parquet"]
    data.save_encoder(tmp_path / "encoder")
    new = frame(50, seed=1)
    new.at[0, "genres"] = ["never seen", "drama"]
    path = written(new, tmp_path / "new.jsonl")
    scored = table(path, encoder=str(tmp_path / "encoder"), predict_path=str(path))
    scored.prepare_data()
    scored.setup("predict")
    (batch,) = scored.predict_dataloader()
    arrays = data._arrays["train"]
    kept = rows.assign(genres=[None if m is None else m[:2] for m in rows.genres])
    both = pd.concat(
        [kept, new.assign(genres=[m and m[:2] for m in new.genres])], ignore_index=True
    )
    wanted = expected(both, arrays.row, range(300, 350))
    found = [
        [batch.lists.columns([m]).take(torch.tensor([b])).flat()[0].tolist() for m in (0, 1)]
        for b in range(50)
    ]
    assert found == wanted
    assert found[0][0][0] == 0


@given(
    st.lists(
        st.tuples(
            st.integers(0, 3),
            st.lists(st.integers(0, 3), max_size=3),
            st.lists(st.integers(0, 2), max_size=3),
        ),
        min_size=1,
        max_size=8,
    ),
    st.sampled_from([("x", "m"), ("c", "s"), ("m", "s"), ("c", "m", "s")]),
    st.integers(1, 3),
)
@settings(max_examples=25, deadline=None)
def test_a_cross_of_lists_is_of_all_combinations(tmp_path_factory, rows, members, min_count):
    schema = Schema(
        (
            Field("x", "numerical"),
            Field("c", "categorical", 4),
            Field("m", "multi", 4),
            Field("s", "sequence", 3),
        )
    )
    lengths = torch.tensor([[len(m), len(s)] for _, m, s in rows])
    flat = torch.tensor([v for _, m, s in rows for v in (*m, *s)], dtype=torch.int32)
    offsets = lengths.flatten().cumsum(0).view_as(lengths) - lengths
    n = len(rows)
    c = np.array([[row[0]] for row in rows], np.int32)
    arrays = Arrays(
        c.astype(np.float32),
        c,
        np.zeros(n, np.float32),
        np.arange(n),
        lists=ListArrays.of([Lists(flat, offsets, lengths)]),
    )
    folder = tmp_path_factory.mktemp("cross")
    with Engine(folder / "work", "1GB") as engine:
        cross = fit_cross(engine, arrays, schema, members, bins=100, min_count=min_count)
        cross.write(engine, arrays, schema, folder / "ids")
    found = ListArrays.open(folder / "ids", n).rows([slice(None)])
    distinct = sorted({row[0] for row in rows})
    parts = [
        {"x": [distinct.index(row[0])], "c": [row[0]], "m": row[1], "s": row[2]} for row in rows
    ]
    combos = [[*product(*(part[name] for name in members))] for part in parts]
    counts = Counter(combo for mine in combos for combo in mine)
    order = sorted((-k, combo) for combo, k in counts.items() if k >= min_count)
    ids = {combo: i for i, (_, combo) in enumerate(order, 2)}
    assert cross.field.kind == "multi"
    assert cross.cardinality == 2 + len(ids)
    for b, mine in enumerate(combos):
        values = found.take(torch.tensor([b])).flat()[0].tolist()
        assert sorted(values) == sorted(ids.get(combo, 0) for combo in mine)


def test_a_cross_of_long_lists_is_refused(tmp_path):
    long = Lists(torch.zeros(400, dtype=torch.int32), *torch.tensor([[[0, 0]], [[400, 400]]]))
    schema = Schema((Field("m", "multi", 4), Field("s", "sequence", 3)))
    row = np.zeros((1, 0), np.float32), np.zeros((1, 0), np.int32), np.ones(1, np.float32)
    arrays = Arrays(*row, np.zeros(1, np.int64), lists=ListArrays.of([long]))
    with Engine(tmp_path / "work", "1GB") as engine, pytest.raises(ZooError) as caught:
        fit_cross(engine, arrays, schema, ("m", "s"), bins=2, min_count=1)
    assert str(caught.value) == (
        "the cross m x s has 160,000 combinations of values in a row, more than 100,000: give its "
        "fields of lists a smaller max_length, or leave it out of data.crosses"
    )


def test_a_table_is_declared_by_mappings_too(tmp_path):
    path = written(frame(), tmp_path / "a.parquet")
    fields = [{"name": "item", "kind": "categorical"}, TableField("genres", "multi")]
    data = Table(str(path), {"column": "click"}, fields)
    assert data.fields[0] == TableField("item", "categorical")
    assert data.label == Label("click")
    with pytest.raises(ZooError, match=r"data.fields: .* unexpected keyword argument 'knd'"):
        Table(str(path), "click", [{"name": "item", "knd": "categorical"}])
    with pytest.raises(ZooError, match=r"data.fields: .* an int, not a mapping or a TableField"):
        Table(str(path), "click", [3])


def data_of(path, *fields, **options):
    folder = str(path.parent / "p")
    return Table(str(path), label="click", fields=[*fields], prepared=folder, **options)


def message(path, *fields, **options):
    with pytest.raises(ZooError) as caught:
        data_of(path, *fields, **options).prepare_data()
    return str(caught.value).replace(f"{path.parent}/", "")


def test_messages_of_columns_that_are_no_lists(tmp_path):
    rows = frame(40)
    csv, parquet = (written(rows, tmp_path / name) for name in ("a.csv", "a.parquet"))
    assert message(csv, TableField("genres", "multi")) == (
        "a.csv: its column 'genres' (field genres) holds text, not lists: give the field a "
        "separator"
    )
    assert message(parquet, TableField("item", "multi")) == (
        "a.parquet: its column 'item' (field item) holds whole numbers, not lists: declare it as "
        "categorical"
    )
    assert message(parquet, TableField("genres", "categorical")) == (
        "a.parquet: its column 'genres' (field genres) holds lists, where one value is needed: "
        "declare it as multi or sequence"
    )
    rows["genres"] = [{"a": 1}, *rows.genres.tolist()[1:]]
    json_lines = written(rows, tmp_path / "a.jsonl")
    assert "holds objects or lists of such, which no field reads" in message(
        json_lines, TableField("genres", "multi")
    )
    rows["genres"] = [["a"], "", *rows.genres.tolist()[2:]]  # which is missing
    empty = written(rows, tmp_path / "c.jsonl")
    ready(data_of(empty, TableField("genres", "multi"), max_bad_rows=0))
    rows["genres"] = [["a"], {"a": 1}, "text", 3, ["a", ["b"]], *rows.genres.tolist()[5:]]
    json_lines = written(rows, tmp_path / "b.jsonl")
    assert message(json_lines, TableField("genres", "multi")) == (
        "4 of 40 rows are malformed, more than data.max_bad_rows allows (0.100%); the first is "
        "line 2 of b.jsonl: genres is not a list of values"
    )
    assert message(json_lines, TableField("genres", "multi", separator=","), max_bad_rows=0) == (
        "2 of 40 rows are malformed, more than data.max_bad_rows allows (0.000%); the first is "
        "line 2 of b.jsonl: genres is not a list of values"
    )


@pytest.mark.parametrize(
    ("field", "said"),
    [
        (TableField("g", "multi", separator=""), "separator is empty"),
        (TableField("g", "multi", max_length=0), "max_length must be at least 1, got 0"),
        (TableField("g", "multi", transform="log"), "is multi, which has no transform"),
        (TableField("g", "categorical", max_length=3), "is categorical, which has no max_length"),
        (TableField("g", "multi", vocabulary="q"), "the vocabulary of 'q', which is no field"),
        (TableField("g", "multi", vocabulary="p"), "'p', which has none of its own"),
        (
            TableField("g", "multi", vocabulary="c", min_count=2),
            "min_count, max_size and buckets are those of 'c': leave them out",
        ),
        (TableField("g", "list"), "numerical, categorical, multi or sequence"),
    ],
)
def test_message_of_a_wrong_declaration(field, said):
    others = [TableField("p", "numerical"), TableField("c", "categorical")]
    with pytest.raises(ZooError) as caught:
        Table("a.csv", label="click", fields=[*others, field])
    assert said in str(caught.value)


def test_lists_in_memory_have_numbers_as_those_of_the_fit(tmp_path):
    rows = pd.DataFrame({"click": [0, 1] * 20, "item": [1, 2] * 20, "seen": [[1, 2], [2]] * 20})
    made = Table(
        str(written(rows, tmp_path / "a.parquet")),
        label="click",
        fields=[
            TableField("item", "categorical"),
            TableField("seen", "sequence", vocabulary="item"),
            TableField("other", "categorical", column="item", vocabulary="item"),
        ],
        prepared=str(tmp_path / "prepared"),
    )
    made.prepare_data()
    new = {"item": [1, 2], "seen": pa.array([[1, None], [2]])}
    made.encode_table(pa.table(new))
    made.encode_table(pa.table({**new, "seen": pa.array([[], []], pa.list_(pa.float64()))}))
    with pytest.raises(ZooError) as caught:
        made.encode_table(pa.table({**new, "seen": [[1.0, None], [2.0]]}))
    assert str(caught.value) == (
        "the DataFrame: its column 'seen' (field seen) holds lists of numbers, while the run knows "
        "values such as 1, so that all would be unknown: give it as lists of whole numbers, "
        "without NaN"
    )
