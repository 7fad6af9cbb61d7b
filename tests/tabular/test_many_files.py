"""Criteo and Avazu in other formats than text, and in many files: rows as those of one text."""

import json
import re

import pandas as pd
import pytest
from support.preparation import assert_same, predicted, prepared, ready, together

from datamodules import Avazu, Criteo
from datamodules.tabular.avazu import COLUMNS
from datamodules.tabular.criteo import CATEGORICAL, NUMERICAL
from zoo.data.errors import ZooError

NAMES = ("label", *NUMERICAL, *CATEGORICAL)


def criteo_frame(lines):
    """Rows of Criteo as a Parquet of somebody else has them: numbers are numbers."""
    frame = pd.DataFrame([line.split("\t") for line in lines], columns=NAMES)
    frame = frame.replace("", None)
    numbers = {c: pd.to_numeric(frame[c]).astype("Int64") for c in NUMERICAL}
    return frame.assign(label=frame.label.astype(int), **numbers)


def avazu_frame(lines):
    """Rows of Avazu, whose hours are whole numbers, from lines below a header."""
    frame = pd.DataFrame([line.split(",") for line in lines[1:]], columns=COLUMNS)
    whole = ("click", "hour")
    return frame.assign(**{column: frame[column].astype(int) for column in whole})


def halves(lines, folder, suffix, write):
    """Two files of a folder that hold the lines in order."""
    folder.mkdir()
    paths = [folder / f"part-{i}{suffix}" for i in range(2)]
    write(lines[: len(lines) // 3], paths[0])
    write(lines[len(lines) // 3 :], paths[1])
    return paths


def as_text(lines, path):
    path.write_text("".join(f"{line}\n" for line in lines))


def as_parquet(lines, path):
    criteo_frame(lines).to_parquet(path, row_group_size=100)


@pytest.mark.parametrize("suffix", [".parquet", ".pq"])
def test_criteo_in_parquet_equals_its_text(criteo, criteo_lines, prepared_lines, tmp_path, suffix):
    path = tmp_path / f"train{suffix}"
    as_parquet(criteo_lines, path)
    assert_same(prepared(criteo(path)), prepared_lines)


def test_avazu_in_parquet_and_json_equals_its_text(avazu, avazu_lines, prepared_avazu, tmp_path):
    frame = avazu_frame(avazu_lines)
    frame.to_parquet(tmp_path / "train.parquet")
    assert_same(prepared(avazu(tmp_path / "train.parquet")), prepared_avazu)
    rows = frame.astype(str).to_dict("records")
    (tmp_path / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert_same(prepared(avazu(tmp_path / "train.jsonl")), prepared_avazu)


@pytest.mark.parametrize("write", [as_text, as_parquet])
def test_many_files_are_one(criteo_lines, prepared_lines, tmp_path, write):
    """As a list, a pattern and a folder; row numbers go on from file to file."""
    suffix = ".parquet" if write is as_parquet else ".txt"
    paths = halves(criteo_lines, tmp_path / "days", suffix, write)
    folders = set()
    for path in ([*map(str, paths)], str(tmp_path / f"days/*{suffix}"), str(tmp_path / "days")):
        data = Criteo(path, prepared=str(tmp_path / "prepared"))
        assert_same(prepared(data), prepared_lines)
        folders.add(data.folder)
    assert len(folders) == 1  # the same files are prepared once, however they are named


def test_text_and_parquet_beside_each_other(criteo, criteo_lines, prepared_lines, tmp_path):
    (tmp_path / "days").mkdir()
    as_text(criteo_lines[:400], tmp_path / "days" / "a.txt")
    as_parquet(criteo_lines[400:], tmp_path / "days" / "b.parquet")
    assert_same(prepared(criteo(tmp_path / "days")), prepared_lines)


def test_avazu_in_many_files_with_a_header_each(avazu_lines, prepared_avazu, tmp_path):
    def write(lines, path):
        as_text([avazu_lines[0], *lines], path)

    halves(avazu_lines[1:], tmp_path / "days", ".csv", write)
    assert_same(
        prepared(Avazu(str(tmp_path / "days"), prepared=str(tmp_path / "p"))), prepared_avazu
    )


@pytest.mark.parametrize("write", [as_text, as_parquet])
def test_many_files_are_scored_as_one(criteo, criteo_lines, tmp_path, write):
    suffix = ".parquet" if write is as_parquet else ".txt"
    halves(criteo_lines, tmp_path / "days", suffix, write)
    fitted = ready(criteo(criteo_lines))
    known = {"encoder": str(fitted.encoder_folder), "predict_columns": ["C1"]}
    for path in (tmp_path / "days", tmp_path / "days" / "part-?.*"):
        data = criteo(criteo_lines, predict_path=str(path), **known)
        found = predicted(data)
        assert found.row.tolist() == list(range(1000))
        assert (found.categorical == together(prepared(fitted)).categorical).all()
        carried = pd.read_parquet(data.carried)["C1"].fillna("").tolist()
        assert carried == [line.split("\t")[14] for line in criteo_lines]


def test_a_malformed_row_is_named_by_its_own_file(criteo, criteo_lines, tmp_path):
    lines = [*criteo_lines[:500], "1\t2", *criteo_lines[500:]]
    halves(lines, tmp_path / "days", ".txt", as_text)
    with pytest.raises(ZooError, match=r"line 168 of .*part-1.txt: it has 2 columns, not 40"):
        prepared(criteo(tmp_path / "days", max_bad_rows=0))


# What is refused, in one sentence


def message(work):
    with pytest.raises(ZooError) as error:
        work()
    assert "\n" not in str(error.value)
    return str(error.value)


BAD = {
    "a column is missing": (
        lambda frame: frame.drop(columns="C7"),
        r"part-1.parquet has no column 'C7' \(field C7\): it has label, I1,",
    ),
    "no label": (
        lambda frame: frame.drop(columns="label"),
        r"part-1.parquet has no column 'label' \(data.label\): it has I1,",
    ),
    "another type": (
        lambda frame: frame.assign(C7=1),
        r"part-1.parquet: its column 'C7' holds whole numbers, that of .*part-0.parquet text",
    ),
    "times as numbers": (
        lambda frame: frame.assign(I2=pd.Timestamp("2024-01-01")),
        r"part-1.parquet: its column 'I2' \(field I2\) holds times, not numbers",
    ),
    "lists": (
        lambda frame: frame.assign(C7=[["a"]] * len(frame)),
        r"part-1.parquet: its column 'C7' \(field C7\) holds lists, where one value is needed",
    ),
    "three labels": (
        lambda frame: frame.assign(label=range(len(frame))),
        r"line 3 of .*part-1.parquet: its label \(label\) is not 0 or 1",
    ),
    "no rows": (lambda frame: frame[:0], r"part-1.parquet is empty: it holds no rows"),
}


@pytest.mark.parametrize("case", BAD)
def test_message_of_a_partition_that_does_not_fit(criteo, criteo_lines, tmp_path, case):
    change, expected = BAD[case]
    (tmp_path / "days").mkdir()
    as_parquet(criteo_lines[:100], tmp_path / "days" / "part-0.parquet")
    change(criteo_frame(criteo_lines[100:])).to_parquet(tmp_path / "days" / "part-1.parquet")
    found = message(lambda: prepared(criteo(tmp_path / "days")))
    assert re.search(expected, found), found


def test_a_partition_of_missing_values_alone(criteo, criteo_lines, tmp_path):
    """Its column has no type in Parquet."""
    (tmp_path / "days").mkdir()
    criteo_frame(criteo_lines[:100]).assign(C7=None).to_parquet(tmp_path / "days" / "a.parquet")
    as_parquet(criteo_lines[100:], tmp_path / "days" / "b.parquet")
    found = together(prepared(criteo(tmp_path / "days")))
    assert (found.categorical[:100, 6] == 1).all()
    assert (found.categorical[100:, 6] != 1).any()


def test_files_that_are_not_there(criteo, avazu, tmp_path):
    (tmp_path / "none").mkdir()
    assert "no file matches: " in message(lambda: prepared(criteo(tmp_path / "day-*.txt")))
    assert "the folder holds no files: " in message(lambda: prepared(avazu(tmp_path / "none")))
    assert "no such file: " in message(lambda: prepared(avazu(tmp_path / "no.parquet")))


def test_a_file_that_vanishes_while_others_are_read(criteo, criteo_lines, tmp_path, monkeypatch):
    paths = halves(criteo_lines, tmp_path / "days", ".txt", as_text)
    data = criteo(tmp_path / "days")
    file = data.training_file()
    monkeypatch.setattr(data, "training_file", lambda: paths[1].unlink() or file)
    assert message(data.prepare_data) == f"no such file: {paths[1]}"
    assert not [path for path in tmp_path.glob("prepared/*") if path.is_dir()]
