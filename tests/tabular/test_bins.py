"""Quantile bins of numbers in a table, against numpy and pandas."""

import json
from itertools import pairwise

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.preparation import predicted, prepared, together
from support.tables import split_of, write

from datamodules import Table
from datamodules.prepared.encoder import Encoder
from datamodules.prepared.engine import Engine
from datamodules.tabular.bins import quantile_edges
from datamodules.tabular.declared import TableField
from zoo.data.encoder import value_names
from zoo.data.errors import ZooError

ROWS = 400
PRICE = TableField("bin", "numerical", column="price", transform="quantile", bins=7)
FIELDS = [PRICE, TableField("price", "numerical"), TableField("item", "categorical")]


def frame():
    random = np.random.default_rng(0)
    price = np.where(random.random(ROWS) < 0.5, 2.5, random.normal(0, 9, ROWS)).round(1)
    return pd.DataFrame(
        {
            "price": np.where(random.random(ROWS) < 0.1, np.nan, price),
            "item": [f"i{i}" for i in random.integers(0, 4, ROWS)],
            "click": random.integers(0, 2, ROWS),
        }
    )


FRAME = frame()


def declared(path, folder, **options):
    given = {"label": "click", "fields": FIELDS, "prepared": str(folder), **options}
    return Table(str(path), **given)


def edges_of(numbers, bins):
    """By numpy: the quantiles, each once, without the largest number."""
    found = np.quantile(numbers, np.arange(1, bins) / bins, method="inverted_cdf")
    return [edge for edge in np.unique(found) if edge < numbers.max()]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bins")
    data = declared(write(FRAME, folder / "clicks.csv"), folder / "prepared")
    data.prepare_data()
    return data


@pytest.fixture(scope="module")
def edges(made):
    price = FRAME.price.astype(np.float32)
    return edges_of(price[(split_of(prepared(made)) == 0) & price.notna()].to_numpy(), 7)


def test_a_number_becomes_its_quantile_bin(made, edges):
    bins = pd.cut(FRAME.price.astype(np.float32), [-np.inf, *edges, np.inf], labels=False)
    wanted = np.where(bins.isna(), 1, bins + 2)
    rows = together(prepared(made))
    assert 2 < len(edges) < 6  # equal ones are merged
    np.testing.assert_array_equal(rows.categorical[:, 0], wanted)
    np.testing.assert_array_equal(rows.numerical[:, 0], np.nan_to_num(FRAME.price).astype("f4"))
    field = made.schema.categorical[0]
    assert (field.name, field.cardinality) == ("bin", len(edges) + 3)


def test_all_formats_give_the_same_bins(made, tmp_path):
    path = write(FRAME, tmp_path / "clicks.parquet")
    rows = together(prepared(declared(path, tmp_path / "prepared")))
    np.testing.assert_array_equal(rows.categorical, together(prepared(made)).categorical)


@settings(deadline=None, max_examples=40)
@given(
    numbers=st.lists(
        st.floats(-1e6, 1e6, width=32).map(abs) | st.integers(-3, 3).map(float), min_size=1
    ),
    bins=st.integers(2, 12),
)
def test_edges_are_the_quantiles_of_numpy(engine, numbers, bins):
    numbers = np.array(numbers, np.float32)
    engine.view("numbers", {"value": numbers})
    engine.run("CREATE OR REPLACE TABLE counts AS SELECT value, 1 AS n FROM numbers")
    assert quantile_edges(engine, bins) == edges_of(numbers, bins)


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    with Engine(tmp_path_factory.mktemp("engine") / "work", "200MB") as found:
        yield found


def test_bins_have_names_and_counts_in_the_order_of_numbers(made, edges):
    names = value_names(made.encoder_folder, {"bin": None})["bin"]
    shown = [f"{edge:g}" for edge in edges]
    between = [f"({a}, {b}]" for a, b in pairwise(shown)]
    wanted = ["(unknown)", "(missing)", f"<= {shown[0]}", *between, f"> {shown[-1]}"]
    assert [names[i] for i in range(len(names))] == wanted
    table = pq.read_table(made.encoder_folder / "vocabulary.parquet").to_pandas()
    ids = prepared(made)["train"].categorical[:, 0]
    counts = table[table.field == "bin"].set_index("id")["count"]
    np.testing.assert_array_equal(counts, np.bincount(ids)[2:])
    assert counts.index.tolist() == [*range(2, len(wanted))]


def test_predict_and_other_data_take_the_bins_of_the_run(made, tmp_path):
    other = FRAME.assign(price=FRAME.price * 3)
    options = {"encoder": str(made.encoder_folder), "prepared": str(tmp_path / "again")}
    path = write(other, tmp_path / "other.jsonl")
    again = declared(path, "", predict_path=str(path), **options)
    again.setup("fit")
    found = together(prepared(again)).categorical
    edges = Encoder.load(made.encoder_folder).edges["bin"]
    bins = pd.cut(other.price.astype(np.float32), [-np.inf, *edges, np.inf], labels=False)
    np.testing.assert_array_equal(found[:, 0], np.where(bins.isna(), 1, bins + 2))
    np.testing.assert_array_equal(predicted(again).categorical, found)


def test_bins_are_crossed(made, tmp_path, crosses_file):
    crosses = crosses_file([["bin", "item"]])
    crossed = declared(made.path, tmp_path, crosses=crosses)
    crossed.prepare_data()
    folder = tmp_path / "encoder"
    crossed.save_encoder(folder)
    assert crossed.schema.fields[-1].name == "bin x item"
    names = value_names(folder, {"bin x item": None})["bin x item"].values()
    assert any(name.startswith("(missing) x i") for name in names)
    assert any(name.startswith("<= ") and " x i" in name for name in names)


def test_numbers_that_are_close_have_bins_of_different_names(tmp_path):
    near = FRAME.assign(price=1_709_251_200 + 128.0 * np.arange(ROWS))
    made = declared(write(near, tmp_path / "near.csv"), tmp_path / "prepared")
    made.prepare_data()
    names = value_names(made.encoder_folder, {"bin": None})["bin"]
    assert len({*names.values()}) == len(names) == 9


def test_of_numbers_that_all_miss_one_bin_is_left(tmp_path):
    none = FRAME.assign(price=None)
    made = declared(write(none, tmp_path / "none.csv"), tmp_path / "prepared")
    assert {*together(prepared(made)).categorical[:, 0]} == {1}
    assert value_names(made.encoder_folder, {"bin": [2]})["bin"][2] == "any"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"bins": 5}, "bins are those of transform: quantile: give both"),
        ({"bins": 5, "transform": "log"}, "bins are those of transform: quantile: give both"),
        ({"bins": 1, "transform": "quantile"}, "bins must be at least 2, got 1"),
        (
            {"transform": "quantile", "missing_indicator": True},
            "of its quantile bins missing is one already: leave missing_indicator out",
        ),
    ],
)
def test_declarations_that_contradict_themselves(options, message):
    with pytest.raises(ZooError) as raised:
        declared("none.csv", "none", fields=[TableField("price", "numerical", **options)])
    assert str(raised.value) == f"data.fields: the field 'price': {message}"


def test_a_category_has_no_bins():
    with pytest.raises(ZooError, match="'item' is categorical, which has no bins: leave it out"):
        declared("none.csv", "none", fields=[TableField("item", "categorical", bins=3)])


@pytest.mark.parametrize("damaged", [{"bin": [2.0, 1.0]}, {"other": [1.0]}, {"bin": "none"}])
def test_edges_that_do_not_fit_are_refused(made, tmp_path, damaged):
    folder = tmp_path / "encoder"
    made.save_encoder(folder)
    content = json.loads((folder / "encoder.json").read_text())
    (folder / "encoder.json").write_text(json.dumps(content | {"edges": damaged}))
    with pytest.raises(ZooError, match=r"encoder\.json is damaged: "):
        Encoder.load(folder)
