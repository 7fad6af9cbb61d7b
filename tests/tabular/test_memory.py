"""Rows in memory get the ids and numbers that the same rows have as Parquet."""

import json

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from support.preparation import predicted, ready
from support.tables import declared, table, write

from datamodules import Table
from datamodules.prepared.arrays import ARRAYS
from datamodules.tabular import vocabularies
from datamodules.tabular.declared import TableField
from zoo.data.errors import ZooError

CROSSED = [["price", "item"], ["stock", "hour"]]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    """The encoder of a table, with two crosses, and the folder that it lies in."""
    folder = tmp_path_factory.mktemp("memory")
    found = {"format": 1, "interactions": [{"fields": fields} for fields in CROSSED]}
    (folder / "found.json").write_text(json.dumps(found))
    path = write(table(), folder / "rows.parquet")
    given = {"crosses": str(folder / "found.json"), "cross_min_share": 0.001}
    ready(data := declared(path, folder / "prepared", **given)).setup("fit")
    data.save_encoder(folder / "encoder")
    return folder / "encoder"


def as_parquet(frame, encoder, folder):
    frame.to_parquet(folder / "new.parquet", index=False)
    given = {"encoder": str(encoder), "predict_path": str(folder / "new.parquet")}
    data = declared("gone.parquet", folder / "prepared", max_bad_rows=1.0, **given)
    return predicted(data), [np.array(x) for x in data._arrays["predict"].crosses]


def in_memory(frame, encoder, folder="nowhere"):
    data = declared("gone.parquet", folder, encoder=str(encoder))
    rows = pa.table({name: pa.array(frame[name], from_pandas=True) for name in frame})
    return data.encode_table(rows)


def arrow(frame):
    return frame.convert_dtypes(dtype_backend="pyarrow")


def test_a_large_vocabulary_is_read_from_its_file(encoder, tmp_path, monkeypatch):
    frame = table(300)
    expected, crosses = as_parquet(frame, encoder, tmp_path)
    monkeypatch.setattr(vocabularies, "MOST_IN_ENGINE", 1)
    for found, mine in (
        as_parquet(frame, encoder, tmp_path),
        ((rows := in_memory(frame, encoder).batches.arrays), rows.crosses),
    ):
        np.testing.assert_array_equal(found.categorical, expected.categorical)
        np.testing.assert_array_equal(mine, crosses)


FORMS = {
    "pandas": lambda frame: frame,
    "categories": lambda frame: frame.assign(
        item=frame["item"].astype("category"), user=frame.user.astype("category")
    ),
    "nullable": lambda frame: frame.convert_dtypes(),
    "arrow": arrow,
    "zone": lambda frame: frame.assign(ts=frame.ts.dt.tz_localize("Asia/Tokyo")),
    "nanoseconds": lambda frame: frame.assign(ts=frame.ts.astype("datetime64[ns]")),
    "seconds": lambda frame: frame.assign(ts=frame.ts.astype("datetime64[s]")),
    "text": lambda frame: frame.assign(
        ts=frame.ts.astype(str), price=frame.price.map("{:.2f}".format)
    ),
    "float32": lambda frame: frame.assign(price=frame.price.astype("float32")),
    "float16": lambda frame: frame.assign(price=frame.price.astype("float16")),
    "objects": lambda frame: frame.astype({"item": object, "stock": object}),
    "shuffled": lambda frame: frame.sample(frac=1, random_state=1)[frame.columns[::-1]],
}


@pytest.mark.parametrize("form", FORMS)
def test_rows_in_memory_are_those_of_parquet(encoder, tmp_path, form):
    frame = FORMS[form](table(900))  # of whose values training has not seen all
    expected, crosses = as_parquet(frame, encoder, tmp_path)
    found = in_memory(frame, encoder).batches.arrays
    for array in ARRAYS:
        if array != "label":
            np.testing.assert_array_equal(getattr(found, array), getattr(expected, array), array)
    for mine, theirs in zip(found.crosses, crosses, strict=True):
        np.testing.assert_array_equal(mine, theirs)
    assert len(crosses) == 2
    assert max(ids.max() for ids in crosses) > 2


def test_rows_without_a_time_are_left_out_and_counted(encoder, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("datamodules.tabular.memory.ROWS_PER_CHUNK", 4)  # of three parts
    frame = table(10)
    frame.loc[[2, 9], "ts"] = None
    found = in_memory(frame, encoder)
    assert found.batches.arrays.row.tolist() == [0, 1, 3, 4, 5, 6, 7, 8]
    assert found.rejected == {"its time (ts) is missing": 2}
    assert [row for row, _ in found.rejected_examples] == [3, 10]
    whole = in_memory(frame.drop(columns=["rating", "click", "referrer"]), encoder)
    np.testing.assert_array_equal(found.batches.arrays.numerical, whole.batches.arrays.numerical)
    assert [*tmp_path.iterdir()] == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"price": True}, "its column 'price' (field price) holds true and false, not numbers"),
        ({"ts": 3}, "its column 'ts' (data.time) holds whole numbers, not times"),
        ({"user": [[1]] * 10}, "its column 'user' (field user) holds lists, where one value"),
    ],
)
def test_another_type_is_refused(encoder, change, message):
    with pytest.raises(ZooError) as error:
        in_memory(table(10).assign(**change), encoder)
    assert str(error.value).startswith(f"the DataFrame: {message}")


@pytest.mark.parametrize("form", ["objects", "arrow"])
def test_lists_in_memory_are_those_of_parquet(tmp_path, monkeypatch, form):
    random = np.random.default_rng(0)
    lists = [[f"t{t}" for t in random.integers(0, 9, n)] for n in random.integers(0, 5, 300)]
    frame = pd.DataFrame({"tags": lists, "click": random.integers(0, 2, 300)})
    frame["text"] = frame.tags.str.join("|")
    frame.loc[::7, ["tags", "text"]] = None
    path = str(write(frame, tmp_path / "rows.parquet"))
    fields = [
        TableField("tags", "multi", max_length=3),
        TableField("text", "sequence", separator="|", vocabulary="tags"),
    ]
    given = {"prepared": str(tmp_path / "prepared")}
    ready(Table(path, "click", fields, **given)).save_encoder(tmp_path / "encoder")
    data = Table("gone.parquet", "click", fields, encoder=str(tmp_path / "encoder"), **given)
    data.predict_path = path
    data.setup("predict")
    expected = data._arrays["predict"].lists
    if form == "arrow":
        types = {"tags": pd.ArrowDtype(pa.list_(pa.string())), "text": "string[pyarrow]"}
        frame = frame.astype(types)
    monkeypatch.setattr("datamodules.tabular.memory.ROWS_PER_CHUNK", 128)
    rows = pa.table({name: pa.array(frame[name], from_pandas=True) for name in frame})
    found = data.encode_table(rows).batches.arrays.lists
    for part in ("values", "offsets", "lengths"):
        mine, theirs = getattr(found, part), getattr(expected, part)
        np.testing.assert_array_equal(mine, theirs)
    assert len(found.values) > 500


@pytest.mark.parametrize("known", ["int64", "float64"])
def test_whole_numbers_are_no_numbers_with_decimals(tmp_path, known):
    """As pandas makes of whole numbers one of which is missing; each would be unknown."""
    numbers = np.arange(60) % 7
    frame = pd.DataFrame({"shop": numbers, "click": numbers > 3}).astype({"shop": known})
    path = str(write(frame, tmp_path / "rows.parquet"))
    fields = [TableField("shop", "categorical")]
    data = ready(Table(path, "click", fields, prepared=str(tmp_path / "prepared")))
    whole, decimals = pa.table({"shop": [1, 2]}), pa.table({"shop": [1.0, 2.0]})
    right, wrong = (whole, decimals) if known == "int64" else (decimals, whole)
    ids = data.encode_table(right).batches.arrays.categorical
    assert ids.min() > 1
    with pytest.raises(ZooError, match=r"all would be unknown: give it as .astype"):
        data.encode_table(wrong)
