"""What is said of tables and declarations that cannot be used."""

import gzip
import re

import numpy as np
import pandas as pd
import pytest
from support.preparation import predicted, prepared, together
from support.tables import FORMATS, declared, table, write

from datamodules import Table
from datamodules.tabular.declared import TableField
from datamodules.tabular.label import Label
from zoo.data.errors import ZooError

FRAME = table(200)
ITEM = [TableField("item", "categorical")]
PRICE = [TableField("price", "numerical")]
SMALL = {"fields": ITEM, "time": None, "time_fields": [], "split": "hash"}


def error(path, folder, **options):
    with pytest.raises(ZooError) as raised:
        declared(path, folder / "prepared", **{**SMALL, **options}).prepare_data()
    message = str(raised.value).replace(f"{folder}/", "")
    assert "\n" not in message
    return message


@pytest.fixture
def frames(tmp_path):
    """Writes frames to files and gives their folder."""

    def make(**files):
        for name, frame in files.items():
            stem, _, kind = name.partition("_")
            write(frame, tmp_path / f"{stem}.{kind}")
        return tmp_path

    return make


@pytest.mark.parametrize("kind", FORMATS)
def test_a_missing_column(frames, kind):
    folder = frames(**{f"a_{kind}": FRAME.drop(columns="item")})
    assert error(folder / f"a.{kind}", folder) == (
        f"a.{kind} has no column 'item' (field item): it has ts, user, price, age, stock, "
        "referrer, rating, click"
    )
    assert error(folder / f"a.{kind}", folder, label="lable", fields=PRICE).startswith(
        f"a.{kind} has no column 'lable' (data.label): it has ts,"
    )


def test_a_column_that_is_missing_in_one_of_many_files(frames):
    folder = frames(a_csv=FRAME, b_csv=FRAME.drop(columns="item"))
    assert error(folder / "*.csv", folder).startswith("b.csv has no column 'item' (field item)")


def test_a_column_of_another_type_in_one_file(frames):
    other = FRAME.assign(price=FRAME.price.astype(str), age=FRAME.age.astype("float"))
    folder = frames(a_parquet=FRAME, b_parquet=other)
    assert error(folder / "*.parquet", folder, fields=PRICE) == (
        "b.parquet: its column 'price' holds text, that of a.parquet numbers: write it with one "
        "type in all files"
    )
    age = [TableField("age", "categorical")]
    assert "'age' holds numbers, that of a.parquet whole numbers" in error(
        folder / "*.parquet", folder, fields=age
    )
    number = [TableField("age", "numerical")]  # whole or not
    made = declared(folder / "*.parquet", folder / "p", **{**SMALL, "fields": number})
    assert len(together(prepared(made))) == 400


def test_lists_of_another_type_in_one_file(tmp_path):
    lists = [TableField("items", "multi", column="item")]
    values = {"a": [[1, 2]], "b": [[1.0]], "c": [[]]}
    for name, of in values.items():
        write(FRAME.assign(item=of * 200), tmp_path / f"{name}.parquet")
    assert error(str(tmp_path / "*.parquet"), tmp_path, fields=lists) == (
        "b.parquet: its column 'item' holds lists of numbers, that of a.parquet lists of whole "
        "numbers: write it with one type in all files"
    )
    (tmp_path / "b.parquet").unlink()
    made = declared(str(tmp_path / "*.parquet"), tmp_path / "p", **{**SMALL, "fields": lists})
    made.prepare_data()


def test_a_file_of_missing_values_fits_any_type(frames):
    folder = frames(a_parquet=FRAME.assign(price=None), b_parquet=FRAME)
    made = declared(folder / "*.parquet", folder / "p", **{**SMALL, "fields": PRICE})
    assert (together(prepared(made)).numerical[:200] == 0).all()


@pytest.mark.parametrize("kind", FORMATS)
def test_a_label_of_three_values(frames, kind):
    folder = frames(**{f"a_{kind}": FRAME.assign(click=np.arange(200) % 3)})
    first = 3 + {"parquet": 0, "csv": 1, "tsv": 1, "jsonl": 0}[kind]
    assert error(folder / f"a.{kind}", folder, label="click") == (
        "66 of 200 rows are malformed, more than data.max_bad_rows allows (0.100%); the first is "
        f"line {first} of a.{kind}: its label (click) is not 0, 1, false or true: say what is "
        'positive, as in data.label={column: click, positive: ">= 4"}'
    )


def test_other_labels(frames):
    folder = frames(a_csv=FRAME.assign(click=None), b_csv=FRAME.assign(click=1))
    assert error(folder / "a.csv", folder, label="click") == (
        "no usable row; the first is line 2 of a.csv: its label (click) is missing"
    )
    assert "every usable label is 1" in error(folder / "b.csv", folder, label="click")
    assert "its label (item) is not a number" in error(
        folder / "a.csv", folder, label=Label("item", ">= 4"), fields=PRICE
    )
    for rule in ("4", ">= many", "", "like 4"):
        assert error(folder / "a.csv", folder, label=Label("rating", rule)) == (
            f"data.label: positive must be a comparison such as '>= 4' or '= yes', got {rule!r}"
        )


def test_a_list_is_no_categorical_value(frames):
    folder = frames(**{f"a_{k}": FRAME.assign(item=[["x", "y"]] * 200) for k in FORMATS[::3]})
    for kind in FORMATS[::3]:
        assert error(folder / f"a.{kind}", folder) == (
            f"a.{kind}: its column 'item' (field item) holds lists, where one value is needed: "
            "declare it as multi or sequence"
        )


def test_a_list_is_no_single_value_beside_a_field_of_lists(frames):
    folder = frames(**{f"a_{k}": FRAME.assign(item=[["x", "y"]] * 200) for k in FORMATS[::3]})
    lists = TableField("items", "multi", column="item")
    for kind in FORMATS[::3]:
        wanted = "holds lists, where one value is needed: declare it as multi or sequence"
        assert error(folder / f"a.{kind}", folder, fields=[lists, *ITEM]) == (
            f"a.{kind}: its column 'item' (field item) {wanted}"
        )
        assert error(folder / f"a.{kind}", folder, fields=[lists], group="item") == (
            f"a.{kind}: its column 'item' (data.group) {wanted}"
        )


def test_a_list_in_one_row_of_json_is_malformed(frames):
    items = FRAME["item"].astype(object).tolist()
    items[1] = [1, 2]
    folder = frames(a_jsonl=FRAME.assign(item=items))
    assert error(folder / "a.jsonl", folder) == (
        "1 of 200 rows are malformed, more than data.max_bad_rows allows (0.100%); the first is "
        "line 2 of a.jsonl: item is a list or an object, not one value"
    )


def test_times_that_do_not_parse(frames):
    frame = FRAME.assign(ts=FRAME.ts.dt.strftime("%d.%m.%Y"), number=5.0, yes=True)
    folder = frames(a_csv=frame, a_parquet=frame)
    assert error(folder / "a.csv", folder, time="ts") == (
        "no usable row; the first is line 2 of a.csv: its time (ts) is not of the form "
        "YYYY-MM-DD HH:MM:SS (data.time_format)"
    )
    assert "is not of the form %d/%m/%Y (data.time_format)" in error(
        folder / "a.csv", folder, time="ts", time_format="%d/%m/%Y"
    )
    assert error(folder / "a.parquet", folder, time="number") == (
        "a.parquet: its column 'number' (data.time) holds numbers, not times: of numbers, "
        "data.time_format says s, ms or us"
    )
    assert "not times" in error(folder / "a.parquet", folder, time="yes")
    assert error(folder / "a.csv", folder, time_format="%Q") == (
        "data.time_format '%Q' is neither s, ms or us nor a format such as '%d/%m/%Y %H:%M'"
    )


def test_a_missing_time_and_words_that_are_none(frames):
    text = FRAME.ts.astype(str)
    text[0], text[1] = None, "epoch"
    folder = frames(a_csv=FRAME.assign(ts=text))
    message = error(folder / "a.csv", folder, time="ts")
    assert "2 of 200 rows" in message
    assert message.endswith("line 2 of a.csv: its time (ts) is missing")


@pytest.mark.parametrize("kind", FORMATS)
def test_an_empty_file_and_an_empty_partition(frames, kind):
    folder = frames(**{f"a_{kind}": FRAME[:0], f"b_{kind}": FRAME})
    empty = f"a.{kind} is empty"
    assert error(folder / f"a.{kind}", folder).startswith(empty)
    assert error([folder / f"b.{kind}", folder / f"a.{kind}"], folder).startswith(empty)
    (folder / f"c.{kind}").touch()
    assert error(folder / f"c.{kind}", folder).startswith(f"c.{kind} ")


def test_files_that_are_not_there(tmp_path):
    (tmp_path / "none").mkdir()
    assert error(tmp_path / "*.csv", tmp_path) == "no file matches: *.csv (data.path)"
    assert error(tmp_path / "a.csv", tmp_path) == "no such file: a.csv (data.path)"
    assert error(tmp_path / "none", tmp_path) == "the folder holds no files: none (data.path)"
    assert error([], tmp_path).startswith("data.path names no file")


def test_files_that_are_named_twice_or_are_of_no_format(frames):
    folder = frames(a_csv=FRAME)
    assert "a.csv is named twice" in error([folder / "a.csv", folder / "*.csv"], folder)
    (folder / "a.csv").rename(folder / "a.txt")
    assert error(folder / "a.txt", folder) == (
        "a.txt: its name does not say its format: give data.format (parquet, csv, tsv or jsonl)"
    )
    made = declared(folder / "a.txt", folder / "p", **SMALL, format="csv")
    assert len(together(prepared(made))) == 200


def test_another_delimiter(frames):
    folder = frames(a_csv=FRAME)
    FRAME.to_csv(folder / "s.csv", sep=";", index=False)
    assert error(folder / "s.csv", folder) == (
        "s.csv: its columns are separated by ';': say so by data.delimiter"
    )
    made = declared(folder / "s.csv", folder / "p", **SMALL, delimiter=";")
    assert len(together(prepared(made))) == 200
    assert error(folder / "s.csv", folder, delimiter="||").startswith("data.delimiter must be one")


FIELDS = {
    "two of one name": ([*ITEM, *ITEM], "data.fields: two fields are named 'item'"),
    "of an indicator": (
        [
            TableField("price", "numerical", missing_indicator=True),
            TableField("price missing", "numerical", column="age"),
        ],
        "data.fields: two fields are named 'price missing'",
    ),
    "capitals": ([*ITEM, TableField("Item", "categorical", column="user")], "two fields are named"),
    "reserved": (
        [TableField("Row", "categorical")],
        "no field can be named 'Row'",
    ),
    "none": ([], "data.fields names no field"),
    "the label": ([TableField("x", "numerical", column="rating")], "it would tell the answer"),
    "a transform": ([TableField("item", "categorical", transform="log")], "has no transform"),
    "a count": ([TableField("price", "numerical", min_count=2)], "has no min_count: leave it out"),
    "too few": ([TableField("item", "categorical", buckets=0)], "buckets must be at least 1"),
    "both": ([TableField("item", "categorical", buckets=2, max_size=2)], "not both"),
    "a cross": ([TableField("a x b", "categorical", column="item")], "as crosses alone do"),
}


@pytest.mark.parametrize("name", FIELDS)
def test_declarations_that_contradict_themselves(frames, name):
    folder = frames(a_csv=FRAME)
    assert FIELDS[name][1] in error(folder / "a.csv", folder, fields=FIELDS[name][0])


@pytest.mark.parametrize("option", ["missing_values", "time_fields"])
def test_a_text_is_no_list_of_texts(frames, option):
    assert error(frames(a_csv=FRAME) / "a.csv", frames(), **{option: "hour"}) == (
        f"data.{option} must be a list of texts, got 'hour': ['hour']"
    )


def test_options_that_need_others(frames):
    folder = frames(a_csv=FRAME)
    path = folder / "a.csv"
    assert "give data.time" in error(path, folder, time_fields=["hour"])
    assert "give data.group" in error(path, folder, split="group")
    assert "choose by data.split" in error(path, folder, split=None, time="ts", group="user")
    assert "no time to be split by" in error(path, folder, split="time")


def test_malformed_rows_of_csv_keep_the_numbers_of_the_others(tmp_path):
    lines = [f"{i % 2},x{i}" for i in range(100)]
    lines[3] = "1,a,b"
    lines[5] = "1"
    lines[7] = '0,"two\nlines"'
    lines[20] = "2,x"
    content = "\n".join(["label,item", *lines]).encode() + b"\n0,\xff\n1,x\n"
    (tmp_path / "a.csv").write_bytes(content)
    options = SMALL | {"label": "label", "max_bad_rows": 1}
    made = declared(tmp_path / "a.csv", tmp_path / "p", **options)
    rows = together(prepared(made))
    np.testing.assert_array_equal(rows.row, [i for i in range(102) if i not in (3, 5, 20, 100)])
    assert made.manifest.rejected == {
        "it has 3 columns, not 2": 1,
        "it has 1 columns, not 2": 1,
        "it is not UTF-8 text": 1,
        "its label (label) is not 0, 1, false or true: say what is positive, as in "
        'data.label={column: label, positive: ">= 4"}': 1,
    }
    assert [line for line, _ in made.manifest.rejected_examples] == [5, 7, 22, 102]
    scored = declared(
        tmp_path / "a.csv",
        tmp_path / "p",
        **options,
        predict_path=str(tmp_path / "a.csv"),
    )
    np.testing.assert_array_equal(predicted(scored).row, rows.row)
    assert scored.predict_rows == 102


def test_malformed_lines_of_json(tmp_path):
    lines = [f'{{"label": {i % 2}, "item": "x{i % 9}"}}' for i in range(100)]
    lines[4], lines[6], lines[8] = "{", "[1]", '{"label": 1, "item": {"a": 1}}'
    (tmp_path / "a.jsonl").write_text("\n".join(lines))
    made = declared(
        tmp_path / "a.jsonl", tmp_path / "p", **SMALL | {"label": "label"}, max_bad_rows=0.1
    )
    rows = together(prepared(made))
    np.testing.assert_array_equal(rows.row, [i for i in range(100) if i not in (4, 6, 8)])
    assert made.manifest.rejected == {
        "it is no JSON object": 2,
        "item is a list or an object, not one value": 1,
    }


@pytest.mark.parametrize("text", ["1_000", "many", "inf", "nan", "1e99", "3.45e38", "0x10"])
def test_what_is_no_number(frames, text):
    price = FRAME.price.astype(str).where(FRAME.price.notna(), None)
    price[10] = text
    folder = frames(**{f"a_{kind}": FRAME.assign(price=price) for kind in FORMATS})
    for kind in FORMATS:
        for fields in (PRICE, [TableField("price", "numerical", transform="quantile")]):
            assert "price is not a number" in error(folder / f"a.{kind}", folder, fields=fields)


def test_booleans_are_no_numbers(frames):
    folder = frames(a_parquet=FRAME)
    stock = [TableField("stock", "numerical")]
    assert error(folder / "a.parquet", folder, fields=stock) == (
        "a.parquet: its column 'stock' (field stock) holds true and false, not numbers: declare "
        "it as categorical"
    )


def test_a_quote_without_end(tmp_path):
    rows = [f'{i % 2},"x{i}"' for i in range(50)]
    (tmp_path / "a.csv").write_text("\n".join(["label,item", *rows, '1,"x', "0,y", ""]))
    message = error(tmp_path / "a.csv", tmp_path, label="label")
    assert message.startswith("a.csv: its quotes do not pair")


def test_a_header_that_names_a_column_twice(tmp_path):
    (tmp_path / "a.csv").write_text("label,item,item\n1,2,3\n")
    assert error(tmp_path / "a.csv", tmp_path) == "a.csv: its header names the column 'item' twice"


@pytest.mark.parametrize("name", ["a.parquet", "a.csv.gz", "a.jsonl.gz", "a.csv.zst", "a.tsv.zst"])
def test_damaged_files(tmp_path, name):
    path = write(pd.concat([FRAME] * 50), tmp_path / name)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    assert name in error(path, tmp_path)
    path.write_bytes(b"\x89PNG" + bytes(range(256)))
    assert name in error(path, tmp_path)


def test_a_parquet_file_whose_data_are_damaged(tmp_path):
    path = write(FRAME, tmp_path / "a.parquet")
    data = bytearray(path.read_bytes())
    end = len(data) - int.from_bytes(data[-8:-4], "little") - 8  # where the footer begins
    data[4:end] = b"\xff" * (end - 4)
    path.write_bytes(data)
    assert error(path, tmp_path).startswith("a.parquet cannot be read")


def test_json_that_is_no_lines(tmp_path):
    FRAME[["item", "rating"]].to_json(tmp_path / "a.json", orient="records", indent=2)
    assert error(tmp_path / "a.json", tmp_path) == (
        "a.json: none of its first lines is a JSON object: write one on each line"
    )
    with gzip.open(tmp_path / "b.csv", "wb") as file:
        file.write(b"label,item\n")
    assert "compressed by gzip" in error(tmp_path / "b.csv", tmp_path)


def test_another_declaration_than_that_of_the_run(frames):
    folder = frames(a_csv=FRAME)
    made = declared(folder / "a.csv", folder / "p", **SMALL)
    made.prepare_data()
    given = {"encoder": str(made.encoder_folder), "predict_path": str(folder / "a.csv")}
    for fields, there, here in (
        ([TableField("item", "categorical", buckets=3)], {"buckets": None}, {"buckets": 3}),
        ([TableField("price", "categorical")], {"name": "item"}, {"name": "price"}),
        ([*ITEM, *PRICE], None, PRICE[0].plain()),
    ):
        name = {"name": "item"} if there and "buckets" in there else {}
        wanted = f"{name | there if there else there}, this config has {name | here}: use the conf"
        other = Table(str(folder / "a.csv"), Label("rating", ">= 4"), fields, **given)
        with pytest.raises(ZooError, match=re.escape(f"was fitted with data.fields = {wanted}")):
            other.setup("predict")


def test_numbers_of_another_type_than_those_of_the_run(tmp_path):
    for name, dtype in (("a", "int64"), ("b", "float64"), ("c", "int8")):
        write(FRAME.assign(item=np.arange(200.0).astype(dtype) % 5), tmp_path / f"{name}.parquet")
    given = {"label": Label("rating", ">= 4"), "fields": ITEM}
    made = Table(str(tmp_path / "a.parquet"), **given, prepared=str(tmp_path / "p"))
    made.prepare_data()
    given |= {"encoder": str(made.encoder_folder), "prepared": str(tmp_path / "p")}
    wanted = "holds numbers, while the run knows values such as 1, so that all would be unknown"
    path = str(tmp_path / "b.parquet")
    with pytest.raises(ZooError, match=wanted):
        Table(path, **given).prepare()
    with pytest.raises(ZooError, match=wanted):
        Table(path, **given, predict_path=path).setup("predict")
    Table(str(tmp_path / "c.parquet"), **given).prepare()


@pytest.mark.parametrize("kind", FORMATS)
def test_columns_that_differ_in_capitals_alone(frames, kind):
    folder = frames(**{f"a_{kind}": FRAME.assign(Item="x")})
    assert error(folder / f"a.{kind}", folder) == (
        f"a.{kind}: the names of its columns item and Item differ in capitals alone: rename one"
    )
