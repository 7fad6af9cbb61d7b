"""How readers of exported folders take values: as preparation does, Criteo's and Avazu's too."""

import csv
import json
import random
import re
from datetime import datetime, timedelta, timezone
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.running import QUIET, ROOT, command
from support.served import served

from datamodules.tabular.criteo import CATEGORICAL, NUMERICAL, SCALINGS
from zoo.export.folder import reader_text
from zoo.export.readers.rows import NUMBER, TIME, TRANSFORMS, Model, bucket_of

engine = duckdb.connect()  # not the one that all of a process share
RUNS = ROOT / "tests/legacy/runs"
ODD = ["", "abc", "1e3", " 7", "+5", "-.5", "1_000", "nan", "-3", "1e400", "99999999", "14102199"]
SIGNS = "0123456789.eE+- \t"


@pytest.mark.parametrize("dataset", ["Criteo", "Avazu"])
def test_criteo_and_avazu(dataset, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = next((RUNS / dataset).glob("rows.*"))
    sign = "\t" if dataset == "Criteo" else ","
    names = ["label", *NUMERICAL, *CATEGORICAL] if dataset == "Criteo" else None
    draw = random.Random(0)
    with open(path) as file:
        read = csv.DictReader(file, names, delimiter=sign, quoting=csv.QUOTE_NONE)
        rows = [row for row in read if None not in row and None not in row.values()]
    expected = json.loads((RUNS / dataset / "expected.json").read_text())["probability"]
    odd = [{**row, draw.choice([*row][1:]): draw.choice(ODD)} for row in rows * 30]
    header = [] if names else [sign.join(rows[0])]
    lines = [*header, *(sign.join(row.values()) for row in rows + odd)]
    Path("odd.txt").write_text("\n".join(lines) + "\n")
    command(
        *("predict", f"--config={RUNS / dataset}/config.yaml", "--data.predict_path=odd.txt"),
        *("--data.predict_output=odd.parquet", "--data.max_bad_rows=1.0", *QUIET),
    )
    of_odd = pq.read_table("odd.parquet")["probability"].to_numpy()
    command("export", f"--ckpt_path={RUNS / dataset}", "--output=model")
    (found,) = served(["model"], rows + odd, tmp_path)
    assert len(rows) == len(expected)
    np.testing.assert_allclose(found["probability"][: len(rows)], expected, atol=1e-5)
    np.testing.assert_allclose(found["probability"], of_odd, atol=1e-5)
    assert 20 < np.isnan(of_odd).sum() < len(odd) / 2


@pytest.mark.parametrize("scaling", SCALINGS)
def test_criteos_scalings_are_those_of_the_sql(scaling):
    x = np.r_[-2000:200_000, 2.5, -10.5, 1e7, 3e8, 1e20].astype("f4")
    numbers = pa.table({"x": x})  # which the query names
    sql = SCALINGS[scaling].format(x="x")
    expected = engine.sql(f"SELECT ({sql})::FLOAT AS y FROM numbers").fetchnumpy()["y"]
    del numbers
    name = "log_of_positive" if scaling == "log" else scaling
    found = TRANSFORMS[name](x.astype(float)).astype("f4")
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_a_text_is_a_number_where_it_is_one_for_duckdb():
    draw = random.Random(1)
    texts = ["".join(draw.choices(SIGNS, k=draw.randint(1, 7))) for _ in range(20_000)]
    texts += [
        "inf",
        "1e400",
        "0x10",
        "1d",
        "\u0661",
        "\uff15",
        "\u00a05",
        "5\v",
        "5\f",
        "'5'",
        "5%",
        "true",
    ]
    found = [NUMBER.fullmatch(text) for text in texts]
    mine = [match and float(match[1]) for match in found]
    query = "SELECT try_cast(x AS DOUBLE) AS y FROM (SELECT unnest(?::VARCHAR[]) AS x)"
    theirs = [number for (number,) in engine.execute(query, [texts]).fetchall()]
    finite = [None if number is None or abs(number) > 3.4e38 else number for number in theirs]
    assert [None if n is None or abs(n) > 3.4e38 else n for n in mine] == finite
    assert 5000 < finite.count(None) < 19_000


def test_hours_and_weekdays_are_those_of_duckdb():
    ends = ["", " 10:00", "T23:59:05", " 10:00:05.25", "T10:00:05Z", " 10:00+02", " 23:30-03:30"]
    texts = [f"{day}{end}" for day in ("2024-01-05", "2023-12-31", "1969-07-20") for end in ends]
    texts += ["2024-02-30", "2024-01-05 ", "2024-01-05x", "05/01/2024", "2024-1-5", "1704448800"]
    reader, seen = object.__new__(Model), {"hour": [], "weekday": []}
    reader.plan = {"missing": [""]}
    for text in texts:
        for part, values in seen.items():
            field = {"form": None, "digits": None, "part": part}
            try:
                values.append(reader.time(text, field))
            except ValueError:
                values.append(None)
    engine.execute("SET TimeZone = 'UTC'")
    time = "CASE WHEN x LIKE '____-__-__%' THEN try_cast(x AS TIMESTAMPTZ)::TIMESTAMP END"
    query = f"SELECT strftime({time}, '%H'), strftime({time}, '%a') FROM (SELECT unnest(?) AS x)"
    hours, days = zip(*engine.execute(query, [texts]).fetchall(), strict=True)
    assert (seen["hour"], seen["weekday"]) == ([*hours], [*days])
    assert seen["hour"].count(None) == 6
    assert TIME.fullmatch("2024-01-05 10:00:05.123456789")


def test_buckets_are_those_of_duckdb():
    texts = ["", "a", "héllo", "x" * 1000, "\n"]
    query = "SELECT 'bucket ' || (md5_number_lower(x) % 97) FROM (SELECT unnest(?) AS x)"
    expected = [bucket for (bucket,) in engine.execute(query, [texts]).fetchall()]
    assert [bucket_of(text, 97) for text in texts] == expected


def test_the_text_of_a_time_is_that_of_duckdb():
    moments = [datetime(2024, 1, 5, 10), datetime(2024, 1, 5, 23, 59, 5, 120_300)]
    zoned = [moment.replace(tzinfo=timezone(timedelta(hours=5))) for moment in moments]
    reader = object.__new__(Model)
    reader.plan = {"missing": [""]}
    engine.execute("SET TimeZone = 'UTC'")
    for given in (moments, zoned):
        query = "SELECT x::VARCHAR FROM (SELECT unnest(?) AS x)"
        expected = [text for (text,) in engine.execute(query, [given]).fetchall()]
        assert [reader.text(moment) for moment in given] == expected
        assert [reader.text(pd.Timestamp(moment)) for moment in given] == expected
    assert reader.text(np.datetime64("2024-01-05T10:00:00.000000000")) == "2024-01-05 10:00:00"
    missing = [None, np.nan, pd.NA, pd.NaT, np.datetime64("NaT"), ""]
    assert {reader.text(value) for value in missing} == {None}


def test_rows_are_dicts_a_dict_of_columns_or_a_frame():
    reader = object.__new__(Model)
    reader.plan = {"columns": ["a", "b"]}
    rows = [{"a": 1, "b": [1, 2]}, {"a": 2, "b": [], "c": None}]
    for given in (rows, iter(rows), {"a": [1, 2], "b": [[1, 2], []]}, pd.DataFrame(rows)):
        columns, problem = reader.columns(given)
        assert ([*columns["a"]], [*columns["b"]]) == ([1, 2], [[1, 2], []])
        assert problem == [None, None]
    for given, said in (
        ([], "there are no rows"),
        (rows[0], r"a row is \[row\]"),
        ({"a": "x", "b": "y"}, r"a row is \[row\]"),
        ({"a": [], "b": []}, "at least one"),
        ({"a": [1, 2], "b": [[]]}, "as many values each"),
    ):
        with pytest.raises(ValueError, match=said):
            reader.columns(given)
    with pytest.raises(KeyError, match="no row has the column 'b'"):
        reader.columns(pd.DataFrame({"a": [1]}))


@pytest.mark.parametrize("name", ["rows", "pairs", "sessions"])
def test_readers_are_short_and_need_numpy_alone(name):
    text = reader_text(name)
    compile(text, "reader.py", "exec")
    imported = set(re.findall(r"^(?:import|from) (\w+)", text, re.M))
    standard = {
        "collections",
        "datetime",
        "hashlib",
        "itertools",
        "json",
        "pathlib",
        "re",
        "typing",
    }
    assert imported <= standard | {"numpy"}
