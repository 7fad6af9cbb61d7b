"""Files that several workers prepare: all is as of one file that one process prepares."""

import gzip
import signal
from unittest import mock

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.interruption import killed, run_process
from support.preparation import assert_same, prepared, ready
from support.tasks import Here, NotedCriteo
from test_many_files import as_parquet, as_text, message

from datamodules import Criteo, Table, TableField
from datamodules.prepared import work
from datamodules.prepared.arrays import Arrays
from datamodules.prepared.folder import SPLITS, Manifest
from zoo.data.errors import ZooError

ROWS = 60
OPTIONS = {
    "hash": {"split": "hash", "negative_sampling_rate": 0.6, "split_seed": 3},
    "group": {"split": "group"},
    "time": {"split": "time"},
}
FIELDS = [
    TableField("price", "numerical", transform="standardise"),
    TableField("amount", "numerical", transform="quantile", bins=4),
    TableField("plain", "numerical", column="price", missing_indicator=True),
    TableField("item", "categorical", min_count=2),
    TableField("tags", "multi", separator="|", max_size=3),
    TableField("history", "sequence", separator="|", vocabulary="item"),
]


@pytest.fixture
def here(monkeypatch):
    """Tasks of workers are done in this process."""
    monkeypatch.setattr(work, "Processes", Here)


def lines_of_table():
    """Lines of CSV: some cannot be read, or have no label; some are equal."""
    random = np.random.default_rng(5)
    price = random.lognormal(2, 1, ROWS)
    frame = pd.DataFrame(
        {
            "click": np.where(
                random.random(ROWS) < 0.07, "?", random.integers(0, 2, ROWS).astype(str)
            ),
            "ts": np.datetime64("2024-03-01") + np.sort(random.integers(0, 20, ROWS)),
            "price": np.where(random.random(ROWS) < 0.2, np.nan, price),
            "amount": random.choice([0.0, -0.0, 1.5, 2.5, 7.0, np.nan], ROWS),
            "item": random.choice(["a", "b", "c", "d", "e", None], ROWS),
            "tags": random.choice(["x|y", "y", "z|x|w", None], ROWS),
            "history": random.choice(["a|b|a", "q", None], ROWS),
            "user": random.choice(["u", "v", "w", "x", "y", None], ROWS),
            "weight": random.integers(0, 3, ROWS) + 0.5,
        }
    )
    frame.iloc[[20, 40]] = frame.iloc[10].to_numpy()  # copies
    header, *lines = frame.to_csv(index=False).splitlines()
    lines[7], lines[33] = "1,2", "1,2,3"
    return header, lines


HEADER, LINES = lines_of_table()


def table_of(folder, cuts, by, **options):
    """A table whose files end at the cuts; every other one is compressed."""
    (folder / "in").mkdir()
    for i, (start, stop) in enumerate(zip([0, *cuts], [*cuts, ROWS], strict=True)):
        text = "".join(f"{line}\n" for line in (HEADER, *LINES[start:stop])).encode()
        if i % 2:
            (folder / f"in/{i:02}.csv.gz").write_bytes(gzip.compress(text))
        else:
            (folder / f"in/{i:02}.csv").write_bytes(text)
    declared = {"time": "ts", "group": "user", "weight": "weight", "max_bad_rows": 0.9}
    given = {**declared, **OPTIONS[by], **options, "prepared": str(folder / "prepared")}
    with (  # many chunks, and many pieces of sums
        mock.patch("datamodules.tabular.rows.ROWS_PER_CHUNK", 9),
        mock.patch("datamodules.prepared.arrays.ROWS_PER_SUM", 5),
        mock.patch.object(work, "Processes", Here),
    ):
        return ready(Table(str(folder / "in"), "click", FIELDS, **given))


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    """The table in one file, by one process, by the name of its split."""
    return {by: table_of(tmp_path_factory.mktemp(by), [], by) for by in OPTIONS}


def contents(data):
    """All that is prepared but names of files: arrays, lists, encoder, counts."""
    found = {}
    for split in SPLITS:
        arrays = Arrays.open(data.folder / split)
        for name in ("numerical", "categorical", "label", "row", "weight", "group"):
            found[split, name] = np.asarray(getattr(arrays, name)).tobytes()
        lists = arrays.lists.rows([slice(None)])
        found[split, "lists"] = [part.tolist() for part in lists]
    for name in ("encoder.json", "vocabulary.parquet"):
        found[name] = (data.folder / "encoder" / name).read_bytes()
    manifest = Manifest.load(data.folder)
    found["counts"] = [*manifest.rejected.items()], manifest.splits, manifest.notes, manifest.schema
    return found


@settings(max_examples=9, deadline=None)
@given(st.sampled_from([*OPTIONS]), st.lists(st.integers(1, ROWS - 1), max_size=3, unique=True))
def test_wherever_files_are_cut_all_is_equal(one, tmp_path_factory, by, cuts):
    cuts = sorted(cuts)
    data = table_of(tmp_path_factory.mktemp("cut"), cuts, by, workers=2)
    assert contents(data) == contents(one[by])
    examples = Manifest.load(one[by].folder).rejected_examples
    rows = [line - 2 for line, _ in examples]
    starts = [max(start for start in (0, *cuts) if start <= row) for row in rows]
    expected = [
        [r - s + 2, reason] for r, s, (_, reason) in zip(rows, starts, examples, strict=True)
    ]
    assert Manifest.load(data.folder).rejected_examples == expected
    Manifest.load(data.folder).verify(data.folder)
    assert not [*data.prepared.glob(".*")]


def test_formats_of_a_table_beside_each_other(tmp_path, here):
    """In one list: CSV, JSON lines as .gz, Parquet."""
    random = np.random.default_rng(1)
    frame = pd.DataFrame({"click": random.integers(0, 2, 90), "price": random.random(90)})
    frame["item"] = random.choice(["a", "b", None], 90)
    frame.to_csv(tmp_path / "all.csv", index=False)
    frame[:30].to_csv(tmp_path / "z.csv", index=False)
    frame[30:50].to_json(tmp_path / "y.jsonl.gz", orient="records", lines=True)
    frame[50:].to_parquet(tmp_path / "x.parquet")
    fields = [TableField("price", "numerical"), TableField("item", "categorical")]
    many = [str(tmp_path / name) for name in ("z.csv", "y.jsonl.gz", "x.parquet")]
    given = {"prepared": str(tmp_path / "prepared")}
    one = prepared(Table(str(tmp_path / "all.csv"), "click", fields, **given))
    assert_same(prepared(Table(many, "click", fields, workers=2, **given)), one)


def days(lines, folder):
    """Four files: text, .gz, Parquet, text."""
    (folder / "days").mkdir()
    as_text(lines[:300], folder / "days/0.txt")
    (folder / "days/1.txt.gz").write_bytes(gzip.compress("\n".join(lines[300:500]).encode()))
    as_parquet(lines[500:700], folder / "days/2.parquet")
    as_text(lines[700:], folder / "days/3.txt")
    return folder / "days"


def test_two_processes_one_of_which_is_killed(criteo_lines, prepared_lines, tmp_path):
    """What was read before is not read again."""
    path = days(criteo_lines, tmp_path)
    data = NotedCriteo(str(path), prepared=str(tmp_path / "prepared"), workers=2)
    (tmp_path / "3.txt.deadly").touch()
    found = message(data.prepare_data)
    assert found.startswith("a process of data.workers=2 was killed: what is finished is kept"), (
        found
    )
    left = {p.name for p in (tmp_path / "prepared").glob(".*.work/read-*")}
    assert left
    (tmp_path / "read").write_text("")
    assert_same(prepared(data), prepared_lines)
    again = {line.split(".")[0] for line in (tmp_path / "read").read_text().splitlines()}
    assert "3" in again
    assert not {int(name[-1]) for name in left} & {*map(int, again)}
    assert [p.name for p in (tmp_path / "prepared").iterdir() if p.is_dir()] == [data.folder.name]
    Manifest.load(data.folder).verify(data.folder)


def test_ctrl_c_loses_no_finished_task(criteo_lines, prepared_lines, tmp_path, monkeypatch):
    """Wherever it comes; of folders nothing but the work is left."""
    path = days(criteo_lines, tmp_path)
    data = NotedCriteo(str(path), prepared=str(tmp_path / "prepared"), workers=2)
    done = set()
    for tasks in (3, 2, 9, 20):
        monkeypatch.setattr(work, "Processes", lambda workers, n=tasks: Here(workers, n))
        with pytest.raises(KeyboardInterrupt):
            data.prepare_data()
        (folder,) = (p for p in (tmp_path / "prepared").iterdir() if p.is_dir())
        now = {p.name for p in folder.iterdir()}
        assert len(now) == len(done) + tasks
        assert now > done
        done = now
    assert {name.partition("-")[0] for name in done} == {"read", "count", "fit"}
    monkeypatch.setattr(work, "Processes", Here)
    assert_same(prepared(data), prepared_lines)
    assert len((tmp_path / "read").read_text().splitlines()) == 3  # each file of text once


def killed_at_the_end(folder):
    """Prepares, and dies when the arrays are there."""
    place = mock.patch("datamodules.tabular.prepare.Manifest.save", killed)
    with place, mock.patch.object(work, "Processes", Here):
        Criteo(f"{folder}/days", prepared=f"{folder}/prepared", workers=2).prepare_data()


def test_a_killed_command_goes_on(criteo_lines, prepared_lines, tmp_path, here):
    data = Criteo(str(days(criteo_lines, tmp_path)), prepared=str(tmp_path / "prepared"), workers=2)
    assert run_process(killed_at_the_end, str(tmp_path)) == -signal.SIGKILL
    assert not data.folder.exists()
    with mock.patch("datamodules.tabular.tasks.read_rows", side_effect=AssertionError):
        assert_same(prepared(data), prepared_lines)
    assert [p.name for p in data.prepared.iterdir() if p.is_dir()] == [data.folder.name]


# What is refused, in one sentence


def test_malformed_rows_count_over_all_files(criteo_lines, tmp_path, here):
    """Half of the last file's rows are few of all; the first is named by its file and line."""
    lines = [*criteo_lines[:400], *["1\t2"] * 4, *criteo_lines[400:406]]
    path = tmp_path / "days"
    path.mkdir()
    as_text(lines[:399], path / "a.txt")
    as_text(lines[399:], path / "b.txt")
    given = {"prepared": str(tmp_path / "prepared"), "workers": 2}
    found = message(lambda: prepared(Criteo(str(path), max_bad_rows=0.005, **given)))
    assert "4 of 410 rows are malformed, more than data.max_bad_rows allows (0.500%)" in found
    assert found.endswith(f"line 2 of {path / 'b.txt'}: it has 2 columns, not 40")
    data = Criteo(str(path), max_bad_rows=0.01, **given)
    rows = np.concatenate([np.asarray(a.row) for a in prepared(data).values()])
    assert sorted(rows) == [*range(400), *range(404, 410)]
    assert data.summary().rejected == {"it has 2 columns, not 40": 4}


BAD = {
    "b.txt": (b"", r"b.txt is empty, or begins with an empty line"),
    "b.parquet": (b"PAR1 it is none", r"b.parquet cannot be read as Parquet"),
    "b.txt.gz": (b"\x1f\x8b\x08 it is none", r"cannot read .*b.txt.gz: .* damaged .gz, or none"),
    "b.tsv": (b"\x89PNG\0\0\0\0\0\n", r"no usable row|b.tsv"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_is_named(criteo_lines, tmp_path, here, name):
    content, expected = BAD[name]
    as_text(criteo_lines[:50], tmp_path / "a.txt")
    (tmp_path / name).write_bytes(content)
    paths = [str(tmp_path / "a.txt"), str(tmp_path / name)]
    data = Criteo(paths, prepared=str(tmp_path / "prepared"), workers=2)
    with pytest.raises(ZooError, match=expected):
        data.prepare_data()


def test_files_that_do_not_fit_each_other(criteo_lines, tmp_path, here):
    as_parquet(criteo_lines[:100], tmp_path / "a.parquet")
    as_parquet(criteo_lines[100:], tmp_path / "b.parquet")
    frame = pd.read_parquet(tmp_path / "b.parquet")
    frame.drop(columns="C7").to_parquet(tmp_path / "b.parquet")
    data = Criteo(str(tmp_path / "*.parquet"), prepared=str(tmp_path / "prepared"), workers=2)
    assert "b.parquet has no column 'C7' (field C7)" in message(data.prepare_data)
    frame.assign(C7=1).to_parquet(tmp_path / "b.parquet")
    assert "b.parquet: its column 'C7' holds whole numbers" in message(data.prepare_data)
    frame[:0].to_parquet(tmp_path / "b.parquet")
    expected = "b.parquet is empty: it holds no rows: leave it out"
    assert message(data.prepare_data).endswith(expected)


def test_a_file_that_changes_while_it_is_read(criteo_lines, tmp_path, here):
    data = Criteo(str(days(criteo_lines, tmp_path)), prepared=str(tmp_path / "p"), workers=2)
    file = data.training_file()
    path = file.files[3].path
    reads = type(file.files[3]).relation

    def relation(self, engine, columns):
        if self.path == path:
            as_text(criteo_lines[800:], path)
        return reads(self, engine, columns)

    with mock.patch.object(type(file.files[3]), "relation", relation):
        found = message(data.prepare_data)
    assert found == f"{path} was changed while it was read: repeat the command"


def test_workers_must_be_a_number(tmp_path):
    with pytest.raises(ZooError, match=r"data\.workers must be at least 1, got 0"):
        Criteo(str(tmp_path), workers=0)


def test_memory_too_small_for_its_workers(criteo_lines, tmp_path, here):
    path = days(criteo_lines, tmp_path)
    data = Criteo(str(path), prepared=str(tmp_path / "p"), workers=2, memory_limit="1KB")
    assert "data.memory_limit 1KB" in message(data.prepare_data)


# What is made of parts


def test_the_encoder_of_a_run_encodes_parts(criteo, criteo_lines, tmp_path, here):
    fitted = ready(criteo(criteo_lines[:600]))
    path = days(criteo_lines[::-1], tmp_path)
    given = {"prepared": str(tmp_path / "prepared"), "encoder": str(fitted.encoder_folder)}
    splits = []
    for workers in (1, 2):
        data = Criteo(str(path), workers=workers, **given)
        data.setup("fit")
        splits.append({s: Arrays.open(data.folder / s) for s in SPLITS})
        assert (data.folder / "train/part-00000").exists() == (workers == 2)
        given["prepared"] += "-2"
    assert_same(*splits)


def test_crosses_of_parts(criteo_lines, crosses_file, tmp_path, here):
    path = days(criteo_lines, tmp_path)
    crosses = {"crosses": crosses_file([["C6", "C14"], ["C17", "I2"]]), "cross_min_share": 0.01}
    found = []
    for workers in (1, 2):
        data = Criteo(str(path), workers=workers, prepared=str(tmp_path / f"p{workers}"), **crosses)
        ready(data).setup("fit")
        batches = [batch.categorical for batch in data.val_dataloader()]
        found.append(
            (data.schema, data.numerical_means().tolist(), np.concatenate(batches).tolist())
        )
    assert found[0] == found[1]
