"""What is proposed for a table of one's own."""

import numpy as np
import pandas as pd
import pytest
import yaml
from support.preparation import prepared, together
from support.running import command, error_of
from support.tables import FORMATS, declared, table, write

from datamodules import Table
from datamodules.tabular.declared import TableField
from datamodules.tabular.describe import describe
from datamodules.tabular.label import Label
from zoo.data.errors import ZooError

FRAME = table().drop(columns="rating")


def proposal(path, **options):
    """The options of the `Table` that is proposed, and the text."""
    text = describe(str(path), **options)
    return yaml.safe_load(text)["data"]["init_args"], text


@pytest.mark.parametrize("kind", FORMATS)
def test_types_counts_and_missing_values_decide(tmp_path, kind):
    found, text = proposal(write(FRAME, tmp_path / f"clicks.{kind}"))
    standardised = {"kind": "numerical", "transform": "standardise", "missing_indicator": True}
    assert found == {
        "path": str(tmp_path / f"clicks.{kind}"),
        "label": "click",
        "time": "ts",
        "time_fields": ["hour", "weekday"],
        "split": "time",
        "fields": [
            {"name": "user", "kind": "categorical"},
            {"name": "item", "kind": "categorical"},
            {"name": "price", **standardised},
            {"name": "age", **standardised},
            {"name": "stock", "kind": "categorical"},
        ],
    }
    assert f"label: click # {FRAME.click.mean():.1%} are positive" in text
    assert "# referrer is left out: all values are the same" in text
    assert f"; {FRAME.item.isna().mean():.1%} missing" in text
    fields = [TableField(**field) for field in found.pop("fields")]
    made = Table(**found, fields=fields, prepared=str(tmp_path / "prepared"))
    assert len(together(prepared(made))) == len(FRAME)


def columns(**values):
    """A frame with a label."""
    n = len(next(iter(values.values())))
    return pd.DataFrame({"label": np.arange(n) % 2, **values})


@pytest.mark.parametrize(
    ("name", "values", "wanted"),
    [
        ("num", np.arange(500) % 20, "{name: num, kind: categorical}"),
        ("num", np.arange(500) % 21, "{name: num, kind: numerical, transform: standardise}"),
        ("num", 1.3 ** np.arange(60), "{name: num, kind: numerical, transform: log}"),
        ("shop_id", np.arange(500) % 200, "{name: shop_id, kind: categorical, min_count: 2}"),
        ("user", np.arange(500) % 200, "{name: user, kind: categorical, min_count: 2}"),
        # as doubles they are one number
        ("x", 2**62 + np.arange(500) % 200, "{name: x, kind: categorical, min_count: 2} # 200 val"),
        ("x", 1e20 * (np.arange(500) % 200), "{name: x, kind: numerical, transform: standardise}"),
        ("x", [f"v{i % 1500}" for i in range(3000)], "kind: categorical, min_count: 5}"),
        ("yes", ["a", "b"] * 9, '{name: "yes", kind: categorical}'),
        ("a, b: {c}", ["a", "b"] * 9, '{name: "a, b: {c}", kind: categorical}'),
        ("x", [f"v{i}" for i in range(300)], "# x is left out: 300 distinct values in 300"),
        ("x", [None] * 10, "# x is left out: all values are missing"),
        ("x", [["a"], ["b", "c"]] * 9, "{name: x, kind: multi} # lists of up to 2 of 3 values"),
        ("x", [["a"] * 60, []] * 9, "{name: x, kind: multi, max_length: 50} # lists of up to 60"),
        ("x", ["a|b", "b", "a"] * 6, '{name: x, kind: multi, separator: "|"} # lists of up to 2'),
        ("x", ["a, b", "b", "a"] * 6, "{name: x, kind: categorical} # 3 values"),
        ("x", [{"a": 1}] * 10, "# x is left out: objects or bytes"),
    ],
)
def test_a_column(tmp_path, name, values, wanted):
    path = tmp_path / "a.parquet"
    columns(other=["u", "v"] * (len(values) // 2), **{name: values}).to_parquet(path)
    assert wanted in describe(str(path))


@pytest.mark.parametrize(("unit", "size"), [("s", 1), ("ms", 1000), ("us", 1_000_000)])
def test_numbers_that_are_times(tmp_path, unit, size):
    frame = columns(x=["u", "v"] * 50, event_time=(1_700_000_000 + np.arange(100) * 3601) * size)
    found, _ = proposal(write(frame.assign(ts="x"), tmp_path / "a.csv"))
    assert (found["time"], found["time_format"]) == ("event_time", unit)


def test_many_values_are_hashed(tmp_path):
    values = np.arange(250_000) % 110_000
    columns(user_id=values).to_parquet(tmp_path / "a.parquet")
    found, _ = proposal(tmp_path / "a.parquet")
    assert found["fields"] == [{"name": "user_id", "kind": "categorical", "buckets": 100_000}]


def test_labels_that_are_none_as_they_are(tmp_path):
    frame = table().drop(columns="click")
    path = write(frame, tmp_path / "a.csv")
    assert proposal(path)[0]["label"] == "stock"
    assert proposal(path, label="rating")[0]["label"] == {"column": "rating", "positive": ">= 3"}
    rare = frame.assign(answer=np.where(np.arange(len(frame)) % 5, "no", "yes"))
    path = write(rare, tmp_path / "b.csv")
    found, _ = proposal(path, label="answer")
    assert found["label"] == {"column": "answer", "positive": "= yes"}
    made = declared(path, tmp_path / "p", label=Label(**found["label"]), split="hash")
    np.testing.assert_array_equal(together(prepared(made)).label, rare.answer == "yes")


def test_a_label_that_is_not_found_is_left_to_the_user(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = write(FRAME.rename(columns={"click": "one"}), tmp_path / "a.parquet")
    command("describe", path, "--output", "a.yaml")
    assert "label: COLUMN # of stock, one, which is it?" in (tmp_path / "a.yaml").read_text()
    assert "a.parquet has no column 'COLUMN' (data.label): it has ts, user" in error_of(
        "prepare", "--config", "a.yaml"
    )
    assert error_of("describe", path, "--output", "a.yaml").startswith("error: a.yaml (--output)")


def test_the_command_prints(tmp_path, capsys):
    path = write(FRAME, tmp_path / "a.txt.csv")
    command("describe", path)
    assert yaml.safe_load(capsys.readouterr().out)["name"] == "a"


def test_what_cannot_be_described(tmp_path):
    path = write(FRAME, tmp_path / "a.csv")
    with pytest.raises(ZooError, match=r"there is no column 'no' \(--label\): there are ts, user"):
        describe(str(path), label="no")
    with pytest.raises(ZooError, match=r"a\.csv is empty"):
        describe(str(write(FRAME[:0], path)))
    with pytest.raises(ZooError, match="no column that could be a field"):
        describe(str(write(FRAME[["ts", "click"]], path)))
    assert "no such file" in error_of("describe", tmp_path / "none.csv")


def test_names_that_a_field_cannot_have_get_others(tmp_path):
    n = 60
    names = ["row", "hour", "a x b", "", "Big", "big"]
    times = pd.Timestamp("2024-01-01") + pd.to_timedelta(np.arange(n), "h")
    frame = columns(other=["u", "v", "w"] * 20, ts=times)
    for name in names:
        frame[name] = np.arange(n) % 3
    found, text = proposal(write(frame, tmp_path / "a.csv"))
    assert [field["name"] for field in found["fields"]] == [
        *("other", "row_value", "hour_value", "a by b_value")
    ]
    for name in ('""', "Big", "big"):
        assert f"# {name} is left out: it has no name of its own" in text
    fields = [TableField(**field) for field in found.pop("fields")]
    made = prepared(Table(**found, fields=fields, prepared=str(tmp_path / "prepared")))
    assert len(together(made)) == n


def test_many_files_are_described_together(tmp_path):
    for i, name in enumerate(["a.csv", "b.parquet"]):
        write(FRAME[i * 300 : i * 300 + 300], tmp_path / name)
    text = describe([str(tmp_path / "a.csv"), str(tmp_path / "*.parquet")])
    assert "What `describe` made of 600 rows" in text
    write(FRAME.drop(columns="age"), tmp_path / "c.csv")
    with pytest.raises(ZooError, match=r"c\.csv has no column 'age', which .*a\.csv has"):
        describe([str(tmp_path / "a.csv"), str(tmp_path / "c.csv")])


def test_messages_name_the_options_of_the_command(tmp_path):
    (tmp_path / "a.txt").write_text("click,c\n1,x\n0,y\n")
    message = error_of("describe", tmp_path / "a.txt")
    assert message.endswith("does not say its format: give --format (parquet, csv, tsv or jsonl)")
    assert error_of("describe", "none.csv") == "error: no such file: none.csv"
