"""Cross fields: ids, bins, thresholds, what is prepared when, prediction, mistakes.

Ids are compared with a slow re-implementation by pandas and dictionaries.
"""

import errno
import json
import math
import os
import shutil
import signal
import warnings
from fractions import Fraction
from functools import partial
from pathlib import Path
from unittest import mock

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from interruption import killed, killed_in_the_manifest, limit_files, run_process
from preparation import flip, with_cell

import train
from datamodules import Avazu, Criteo
from datamodules.crosses import Cross, fit_cross, prepare_cross
from datamodules.encoder import load_vocabulary
from datamodules.engine import Engine
from datamodules.interactions import Crossing
from datamodules.loader import BatchLoader
from datamodules.prepare import row_hash
from datamodules.store import SPLITS, Arrays, Manifest
from zoo import DeepFM
from zoo.schema import Field, Schema, ZooError

ROOT = Path(train.__file__).parent
CRITEO = [["C6", "C14"], ["C17", "I2"], ["I8", "C9", "C22"], ["C1", "C20"], ["I1", "I5"]]
DATASETS = {"criteo": partial(Criteo, scaling="log"), "avazu": Avazu}  # as the configs
AVAZU = [["hour", "site_id"], ["C14", "device_type", "app_id"]]
SHARE = 1e-3  # of the 16,000 training rows of `criteo_file`: more than 16
CPU = torch.device("cpu")


@pytest.fixture
def file(tmp_path):
    """Writes lists of fields, or any content, to interactions.json and gives its path."""

    def make(content, name="interactions.json"):
        if isinstance(content, list):
            interactions = [{"fields": fields, "count": 9} for fields in content]
            content = {"format": 1, "interactions": interactions}
        text = content if isinstance(content, bytes) else json.dumps(content).encode()
        (tmp_path / name).write_bytes(text)
        return str(tmp_path / name)

    return make


@pytest.fixture
def crossed(criteo, criteo_file, file):
    """A `Criteo` of 20,000 rows with crosses."""

    def make(fields=CRITEO, **options):
        options = {"crosses": file(fields), "cross_min_share": SHARE, **options}
        return criteo(criteo_file, **options)

    return make


def opened(datamodule):
    """{split: Arrays} of a datamodule."""
    datamodule.setup("fit")
    return datamodule._arrays


def folders(tmp_path):
    """The folders of cross fields."""
    return {p for p in (tmp_path / "prepared").iterdir() if p.is_dir() and "-cross-" in p.name}


def files_of(folder):
    """{relative path: content} of all files."""
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def times_of(folder):
    """{path: time of the last change} of all files."""
    return {p: p.stat().st_mtime_ns for p in folder.rglob("*") if p.is_file()}


# The slow way


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


# Ids


@pytest.mark.parametrize(("share", "bins"), [(SHARE, 100), (1e-4, 10), (0, 2)])
def test_ids_are_those_of_the_slow_way(crossed, share, bins):
    datamodule = crossed(cross_min_share=share, cross_bins=bins)
    assert_slow(datamodule, CRITEO, share, bins)


def test_ids_of_avazu_are_those_of_the_slow_way(avazu, avazu_file, file):
    datamodule = avazu(avazu_file, crosses=file(AVAZU), cross_min_share=0.002, split="time")
    assert_slow(datamodule, AVAZU, 0.002)


def test_the_fixture_has_all_kinds_of_rows(crossed):
    """Else the comparison shows little: frequent and rare combinations, many and few ids."""
    ids = opened(crossed())["test"].crosses
    assert all((0 < (column == 0).mean() < 1) for column in ids[1:3])
    assert all(len(np.unique(column)) > 10 for column in ids)


@st.composite
def tables(draw):
    """(training rows, other rows) of two categories and a number, with few distinct values."""
    number = st.sampled_from(draw(st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=9)))
    rows = st.lists(
        st.tuples(st.integers(0, 2), st.integers(0, 4), number), min_size=1, max_size=40
    )
    return draw(rows), draw(rows)


SCHEMA = Schema(
    (
        Field("id", "categorical", 3),  # a name that is also one of the vocabulary's columns
        Field("x", "numerical"),
        Field("b", "categorical", 5),
    )
)


def arrays_of(rows):
    a, b, x = (np.array(column) for column in zip(*rows, strict=True))
    ids = np.stack([a, b], 1).astype(np.int32)
    n = np.arange(len(rows))
    return Arrays(x.astype(np.float32)[:, None], ids, n.astype(np.float32), n)


@settings(max_examples=60, deadline=None)
@given(
    tables(),
    st.sampled_from([("id", "b"), ("id", "x"), ("x", "b"), ("id", "x", "b")]),
    st.integers(1, 6),
    st.integers(2, 12),
)
def test_any_table_is_crossed_as_in_the_slow_way(
    engine, tmp_path_factory, rows, members, min_count, bins
):
    splits = {"train": arrays_of(rows[0]), "val": arrays_of(rows[1])}
    folder = tmp_path_factory.mktemp("table")
    with mock.patch("datamodules.crosses.CHUNK", 7):  # several chunks, the last one shorter
        cross = fit_cross(engine, splits["train"], SCHEMA, members, bins=bins, min_count=min_count)
        for split, arrays in splits.items():
            cross.write(engine, arrays, SCHEMA, folder / split)
    share = (min_count - 0.5) / len(rows[0])
    expected = slow_ids(splits, SCHEMA, members, share, bins)
    assert {s: np.load(folder / s / "ids.npy").tolist() for s in splits} == expected


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1, max_size=60)
    | st.lists(st.sampled_from([0.0, 1.0, 2.5]), min_size=1, max_size=60),
    st.integers(2, 12),
)
def test_edges_are_quantiles(engine, values, bins):
    rows = [(0, 0, value) for value in values]
    cross = fit_cross(engine, arrays_of(rows), SCHEMA, ("id", "x"), bins=bins, min_count=1)
    assert cross.edges == {"x": slow_edges(values, bins)}
    assert cross.cardinality - 2 <= bins  # each bin holds rows, so each is a combination
    assert cross.cardinality - 2 == len(cross.edges["x"]) + 1


def test_bins_of_distinct_values_are_even(engine):
    rows = [(0, 0, value) for value in np.random.default_rng(0).normal(size=1000)]
    fit_cross(engine, arrays_of(rows), SCHEMA, ("id", "x"), bins=100, min_count=1)
    assert engine.run("SELECT DISTINCT count FROM vocabulary") == [(10,)]


def test_a_combination_must_come_more_than_100_times_in_a_million():
    assert Crossing(None, None, 100, 1e-4).min_count(1_000_000) == 101


@given(st.integers(1, 50_000_000), st.integers(0, 9999))
def test_the_threshold_is_a_share_of_all_training_rows(rows, parts):
    least = Crossing(None, None, 100, parts / 10_000).min_count(rows)
    assert least - 1 <= Fraction(parts * rows, 10_000) < least


def test_the_most_frequent_combination_is_2(crossed):
    ids = opened(crossed([["C6", "C14"]]))["train"].crosses[0]
    counts = np.bincount(ids)[2:]
    assert (np.diff(counts) <= 0).all()
    assert counts[-1] > SHARE * len(ids)


def test_ids_are_stored_in_few_bytes_and_delivered_as_int32(crossed):
    datamodule = crossed([["C6", "C14"], ["C1", "C20"]], cross_min_share=0)
    assert [c.dtype for c in opened(datamodule)["val"].crosses] == [np.uint16, np.uint16]
    assert next(iter(datamodule.val_dataloader())).categorical.dtype == torch.int32


# The training split alone


def test_held_out_rows_have_no_influence(criteo, criteo_lines, file):
    held_out = np.flatnonzero(row_hash(np.arange(1000), 0) % 10 >= 8)
    changed = list(criteo_lines)
    for row in held_out:
        for column in (2, 14, 33):  # I2, C1 and C20
            changed[row] = with_cell(changed[row], column, str(row % 7))
    options = {"crosses": file([["C1", "C20"], ["C1", "I2"]]), "min_count": 1}
    encoders = []
    for lines in (criteo_lines, changed):
        datamodule = criteo(lines, **options)
        datamodule.prepare_data()
        encoders.append([files_of(folder) for folder in datamodule._cross_encoders])
        shutil.rmtree(datamodule.prepared)
    assert encoders[0] == encoders[1]


def test_unseen_combinations_of_known_values_are_unknown(crossed, criteo_file, make_file):
    lines = np.array(criteo_file.read_text().splitlines())
    cells = [line.split("\t") for line in lines[row_hash(np.arange(len(lines)), 0) % 10 < 8]]
    seen = {(row[19], row[27]) for row in cells}  # C6 and C14
    c6, c14 = next((a[19], b[27]) for a in cells for b in cells if (a[19], b[27]) not in seen)
    new = ["\t".join(row) for row in cells[:3]]
    new[1] = with_cell(with_cell(new[1], 19, c6), 27, c14)
    options = {"min_count": 1, "cross_min_share": 0, "predict_path": str(make_file(new, "n.txt"))}
    datamodule = crossed([["C6", "C14"]], **options)
    datamodule.prepare_data()
    datamodule.setup("predict")
    (batch,) = list(datamodule.predict_dataloader())
    assert (batch.categorical[:, -1] >= 2).tolist() == [True, False, True]
    assert (batch.categorical[1, [5, 13]] >= 1).all()


# Schema and batches


def test_cross_fields_stand_behind_the_categorical_ones(crossed, criteo, criteo_file):
    fields, plain = crossed().schema.fields, criteo(criteo_file).schema.fields
    assert fields[: len(plain)] == plain
    names = ["C6 x C14", "I2 x C17", "I8 x C9 x C22", "C1 x C20", "I1 x I5"]
    assert [field.name for field in fields[len(plain) :]] == names
    assert {(field.kind, field.group) for field in fields[len(plain) :]} == {
        ("categorical", "cross")
    }


@pytest.mark.parametrize("resident", [True, False])
def test_batches_hold_categories_and_crosses(crossed, resident):
    datamodule = crossed(resident=resident, batch_size=1000)
    arrays = opened(datamodule)["val"]
    found = torch.cat([batch.categorical for batch in datamodule.val_dataloader()]).numpy()
    np.testing.assert_array_equal(found[:, :26], arrays.categorical)
    np.testing.assert_array_equal(found[:, 26:], np.stack(arrays.crosses, 1))


def numbered(n):
    """n rows that hold their number in every column."""
    row = np.arange(n)
    ids = np.stack([row, row + 1], 1).astype(np.int32)
    crosses = ((row % 200).astype(np.uint8), (row + 3).astype(np.uint32))
    return Arrays(row[:, None].astype(np.float32), ids, row.astype(np.float32), row, crosses)


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("device", [None, CPU], ids=["mapped", "resident"])
@pytest.mark.parametrize("world_size", [1, 3])
def test_crosses_stay_with_their_rows(shuffle, device, world_size):
    rows = []
    for rank in range(world_size):
        options = {"shuffle": shuffle, "device": device, "rank": rank, "world_size": world_size}
        for batch in BatchLoader(numbered(2000), 64, **options):
            row = batch.label.int()
            expected = torch.stack([row, row + 1, row % 200, row + 3], 1)
            assert torch.equal(batch.categorical, expected)
            rows += row.tolist()
    assert sorted(rows) == list(range(2000))


def test_the_order_of_rows_does_not_depend_on_crosses():
    arrays = numbered(2000)
    plain = Arrays(arrays.numerical, arrays.categorical, arrays.label, arrays.row)
    one, other = (
        torch.cat([b.label for b in BatchLoader(a, 64, shuffle=True, seed=3)])
        for a in (arrays, plain)
    )
    assert torch.equal(one, other)


def test_crosses_count_where_memory_is_asked_for():
    assert numbered(100).nbytes == 100 * 4 * (1 + 2 + 1 + 2)


# What is prepared when


@pytest.fixture
def made():
    """The members of the crosses that are prepared during a test."""
    with mock.patch("datamodules.crosses.prepare_cross", wraps=prepare_cross) as work:
        yield lambda: [call.kwargs["members"] for call in work.call_args_list]


def test_another_top_k_prepares_only_what_is_new(crossed, made, tmp_path):
    crossed(top_k=2).setup("fit")
    before = times_of(tmp_path / "prepared")
    datamodule = crossed(top_k=3)
    assert len(opened(datamodule)["train"].crosses) == 3
    crossed(top_k=1).setup("fit")
    assert made() == [("C6", "C14"), ("I2", "C17"), ("I8", "C9", "C22")]
    after = times_of(tmp_path / "prepared")
    assert {path: after[path] for path in before} == before


def test_no_crosses_are_prepared_in_a_folder_without_them(criteo, criteo_file, made, tmp_path):
    datamodule = criteo(criteo_file)
    datamodule.setup("fit")
    assert (made(), folders(tmp_path)) == ([], set())


def test_another_file_shares_interactions(crossed, made):
    crossed().prepare_data()
    n = len(made())
    assert opened(crossed([["C14", "C6"], ["C17", "I2"]]))["train"].crosses
    assert len(made()) == n


@pytest.mark.parametrize("options", [{"cross_bins": 7}, {"cross_min_share": 0.2}, {"min_count": 3}])
def test_other_options_are_other_crosses(crossed, made, options):
    crossed([["C17", "I2"]]).prepare_data()
    crossed([["C17", "I2"]], **options).prepare_data()
    assert len(made()) == 2


def test_the_prepared_data_are_never_rewritten(crossed, criteo, criteo_file):
    base = criteo(criteo_file)
    base.prepare_data()
    before = files_of(base.folder), times_of(base.folder)
    crossed().setup("fit")
    assert (files_of(base.folder), times_of(base.folder)) == before


def test_checksums_cover_every_file(crossed, tmp_path):
    crossed().prepare_data()
    for folder in folders(tmp_path):
        files = {path.as_posix() for path in files_of(folder)}
        assert set(Manifest.load(folder).checksums) == files - {"manifest.json"}


@pytest.mark.slow
def test_more_combinations_than_fit_in_memory(tmp_path):
    """10 million distinct numbers and combinations, 160 MB of counts, within 128 MB."""
    n = 10_000_000
    random = np.random.default_rng(0)
    ids = np.stack([np.arange(n), random.permutation(n)], 1).astype(np.int32)
    x = random.normal(size=(n, 1)).astype(np.float32)
    train = Arrays(x, ids, x[:, 0], ids[:, 0])
    with Engine(tmp_path / "work", "128MB") as engine:
        cross = fit_cross(engine, train, SCHEMA, ("id", "x", "b"), bins=100, min_count=2)
    ascending = np.sort(x[:, 0])
    assert cross.cardinality == 2
    assert cross.edges["x"] == ascending[np.arange(1, 100) * (n // 100) - 1].tolist()


# Damage and interruptions

DAMAGE = {
    "flipped bit": (lambda f: flip(f / "train" / "ids.npy"), "ids.npy does not match its checksum"),
    "missing ids": (lambda f: (f / "val" / "ids.npy").unlink(), "val/ids.npy is missing"),
    "vocabulary": (lambda f: flip(f / "encoder" / "vocabulary.parquet"), "parquet does not match"),
    "description": (lambda f: flip(f / "encoder" / "cross.json"), "cross.json does not match"),
    "missing manifest": (lambda f: (f / "manifest.json").unlink(), "manifest.json is damaged"),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_damage_is_found_before_use(crossed, tmp_path, case):
    crossed([["C6", "C14"]]).prepare_data()
    damage, message = DAMAGE[case]
    (folder,) = folders(tmp_path)
    damage(folder)
    with pytest.raises(ZooError, match=rf"{message}.*; delete {folder} to prepare the data again"):
        crossed([["C6", "C14"]]).setup("fit")


def test_cut_ids_are_found_without_checksums(crossed, tmp_path):
    crossed([["C6", "C14"]]).prepare_data()
    (folder,) = folders(tmp_path)
    os.truncate(folder / "test" / "ids.npy", 200)
    with pytest.raises(ZooError, match=rf"{folder}/test is damaged: .*; delete {folder}"):
        crossed([["C6", "C14"]], verify=False).setup("fit")


def test_no_cross_is_made_of_damaged_data(crossed, criteo, criteo_file, tmp_path):
    base = criteo(criteo_file)
    base.prepare_data()
    flip(base.folder / "train" / "categorical.npy")
    with pytest.raises(ZooError, match=rf"categorical.npy does not.*; delete {base.folder} to"):
        crossed().prepare_data()
    assert folders(tmp_path) == set()


def cross_of(path, prepared, interactions):
    return Criteo(path, prepared=prepared, crosses=interactions)


def cross_and_die(path, prepared, interactions, step, death):
    Criteo(path, prepared=prepared).prepare_data()
    with mock.patch(step, death):
        cross_of(path, prepared, interactions).prepare_data()


def cross_with_small_files(path, prepared, interactions, size, messages):
    """Crosses on a disk that has become full."""
    Criteo(path, prepared=prepared).prepare_data()
    limit_files(size)
    try:
        cross_of(path, prepared, interactions).prepare_data()
    except ZooError as error:
        Path(messages).write_text(str(error)[:size])


STEPS = {
    "before counting": ("datamodules.crosses.fit_cross", killed),
    "after counting": ("datamodules.crosses.Cross.save", killed),
    "before the ids": ("datamodules.crosses.Cross.write", killed),
    "in the ids": ("datamodules.crosses._ids", killed),
    "after the ids": ("datamodules.crosses.checksums", killed),
    "in the manifest": ("datamodules.store.Manifest.save", killed_in_the_manifest),
    "before the name": ("datamodules.store.os.replace", killed),
}


@pytest.fixture
def small(make_file, criteo_lines, tmp_path, file):
    """(raw file, prepared folder, interactions) as text."""
    return str(make_file(criteo_lines)), str(tmp_path / "prepared"), file([["C6", "C14"]])


@pytest.mark.parametrize("moment", STEPS)
def test_a_killed_cross_is_not_taken_for_whole(small, tmp_path, moment):
    assert run_process(cross_and_die, *small, *STEPS[moment]) == -signal.SIGKILL
    assert {p for p in folders(tmp_path) if not p.name.startswith(".")} == set()
    assert_slow(cross_of(*small), [["C6", "C14"]], 1e-4)
    assert [p for p in folders(tmp_path) if p.name.endswith(".partial")] == []


@pytest.mark.parametrize("step", ["datamodules.crosses._ids", "datamodules.crosses._count"])
def test_ctrl_c_leaves_no_cross(small, tmp_path, step):
    with mock.patch(step, side_effect=KeyboardInterrupt), pytest.raises(KeyboardInterrupt):
        cross_of(*small).prepare_data()
    assert folders(tmp_path) == set()


def test_crosses_made_before_an_interruption_stay(crossed, made, tmp_path):
    whole = prepare_cross
    with (
        mock.patch(
            "datamodules.crosses.prepare_cross",
            side_effect=lambda *a, **k: whole(*a, **k) if "C6" in k["members"] else 1 / 0,
        ),
        pytest.raises(ZeroDivisionError),
    ):
        crossed().prepare_data()
    assert len(folders(tmp_path)) == 1
    crossed().prepare_data()
    assert ("C6", "C14") not in made()


def test_a_full_disk_is_told_in_words(small, tmp_path):
    full = OSError(errno.ENOSPC, "No space left on device")
    with (
        mock.patch("datamodules.crosses.array_file", side_effect=full),
        pytest.raises(ZooError, match=r"cannot write .*criteo-.*-cross-.*: No space left"),
    ):
        cross_of(*small).prepare_data()
    assert folders(tmp_path) == set()


@pytest.mark.parametrize("size", [200, 500])
def test_writes_that_fail_are_told_in_words(small, tmp_path, size):
    messages = str(tmp_path / "messages")
    assert run_process(cross_with_small_files, *small, size, messages) == 0
    assert Path(messages).read_text().startswith(("cannot write", "reading or writing failed"))
    assert folders(tmp_path) == set()


# Prediction and the run directory


def command(*args):
    with mock.patch("sys.argv", ["train.py", *map(str, args)]), warnings.catch_warnings():
        train.main()


SMALL = ["--model.hidden_units=[16]", "--model.embedding_dim=4", "--trainer.accelerator=cpu"]
QUIET = ["--trainer.enable_progress_bar=false", "--trainer.enable_model_summary=false"]


def configured(subcommand, path, interactions, dataset="criteo"):
    config = ROOT / f"configs/{dataset}/deepfm.yaml"
    crosses = ["--data.crosses", interactions, "--data.top_k=2", "--data.cross_min_share=0.002"]
    return [subcommand, "--config", config, "--data.path", path, *crosses, *SMALL]


def fit(*args):
    command(*configured("fit", *args), *QUIET, "--name=t", "--trainer.max_epochs=1")
    return sorted(Path("runs/t").iterdir())[-1]


def scored_test_split(make, path, run):
    """Numbers of the test rows, and the probabilities that the best checkpoint gives them."""
    data = make(str(path), crosses="interactions.json", top_k=2, cross_min_share=0.002)
    data.setup("test")
    model = DeepFM.load_from_checkpoint(run / "checkpoints/best.ckpt", weights_only=True).eval()
    with torch.no_grad():
        logits = torch.cat([model(batch) for batch in data.test_dataloader()])
    return data._arrays["test"].row, logits.sigmoid().numpy()


@pytest.fixture
def workplace(tmp_path, monkeypatch):
    """A folder of its own to run in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_model_trains_on_crosses(workplace, criteo_file, file):
    run = fit(criteo_file, file(CRITEO))
    model = DeepFM.load_from_checkpoint(run / "checkpoints/best.ckpt", weights_only=True)
    assert [field.name for field in model.schema.fields[-2:]] == ["C6 x C14", "I2 x C17"]
    assert json.loads((run / "metrics.json").read_text())["test/auc"] > 0.5
    config = yaml.safe_load((run / "config.yaml").read_text())["data"]["init_args"]
    assert (config["top_k"], config["cross_bins"]) == (2, 100)


@pytest.mark.parametrize("dataset", ["criteo", "avazu"])
def test_a_run_alone_scores_as_its_data(workplace, dataset, request, file):
    """Neither the raw file, nor the prepared data, nor the interactions are left."""
    rows = request.getfixturevalue(f"{dataset}_file")
    path = Path(shutil.copy(rows, workplace / "train.txt"))
    run = fit(path, file(CRITEO if dataset == "criteo" else AVAZU), dataset)
    row, expected = scored_test_split(DATASETS[dataset], path, run)
    path.unlink()
    shutil.rmtree("prepared")
    Path("interactions.json").unlink()
    checkpoint = run / "checkpoints/best.ckpt"
    given = ["--ckpt_path", checkpoint, "--data.predict_path", rows]
    command("predict", "--config", run / "config.yaml", *given)
    found = pq.read_table(run / f"predictions/{rows.stem}.parquet").to_pandas()
    np.testing.assert_allclose(found.probability[row], expected, atol=1e-6)


def test_the_encoder_of_a_run_gives_the_same_ids(crossed, criteo, criteo_file, tmp_path):
    datamodule = crossed()
    splits, schema = opened(datamodule), datamodule.schema
    datamodule.save_encoder(tmp_path / "encoder")
    shutil.rmtree(tmp_path / "prepared")
    (tmp_path / "interactions.json").unlink()
    alone = criteo(
        tmp_path / "gone.txt",
        encoder=str(tmp_path / "encoder"),
        predict_path=str(criteo_file),
        crosses=str(tmp_path / "interactions.json"),
    )
    alone.setup("predict")
    arrays = alone._arrays["predict"]
    for split in SPLITS:
        for i, ids in enumerate(splits[split].crosses):
            np.testing.assert_array_equal(arrays.crosses[i][splits[split].row], ids)
    assert alone.schema == schema


def test_a_fit_is_repeated_from_its_run(workplace, criteo_file, file):
    run = fit(criteo_file, file(CRITEO))
    command("fit", "--config", run / "config.yaml")
    again = run.with_name("version_1")
    one, other = (torch.load(r / "checkpoints/last.ckpt")["state_dict"] for r in (run, again))
    torch.testing.assert_close(one, other, rtol=0, atol=0)


def test_prepare_prints_the_crosses(workplace, criteo_file, file, capsys):
    config = ROOT / "configs/criteo/deepfm.yaml"
    given = ["--data.path", criteo_file, "--data.crosses", file([["C14", "C6"]])]
    command("prepare", "--config", config, *given, "--data.cross_min_share=0.01")
    line = next(line for line in capsys.readouterr().out.splitlines() if "C6 x C14" in line)
    ids = opened(Criteo(str(criteo_file), crosses="interactions.json", cross_min_share=0.01))
    assert line.split()[-2:] == [str(1 + ids["train"].crosses[0].max()), "│"]


@pytest.fixture
def encoder(crossed, tmp_path):
    """The folder of a fitted cross."""
    crossed([["C17", "I2"]]).prepare_data()
    (folder,) = folders(tmp_path)
    return folder / "encoder"


def test_a_cross_is_read_as_it_was_saved(encoder, engine):
    cross = Cross.load(encoder)
    load_vocabulary(engine, encoder, "m0, m1, id")
    assert cross.members == ("I2", "C17")
    assert engine.run("SELECT count(*) + 2 FROM vocabulary") == [(cross.cardinality,)]


@pytest.mark.parametrize("content", [b"{", b"[]", b'{"format": 1}', b'{"format": 9}'])
def test_a_damaged_description_of_a_cross(encoder, content):
    (encoder / "cross.json").write_bytes(content)
    with pytest.raises(ZooError, match=r"cross.json (is damaged|has format 9)"):
        Cross.load(encoder)


def test_a_cross_that_lacks_its_vocabulary(encoder):
    (encoder / "vocabulary.parquet").unlink()
    with pytest.raises(ZooError, match=r"cross.json or vocabulary.parquet is missing"):
        Cross.load(encoder)


# Mistakes


def entry(*interactions):
    return {"format": 1, "interactions": list(interactions)}


GOOD = {"fields": ["C1", "C2"]}
MISTAKES = {
    "not JSON": (b"{", r"interactions.json is not JSON \(data.crosses\)"),
    "not text": (b"\xff\xfe\xfa", r"interactions.json is not JSON"),
    "empty": (b"", r"is not JSON"),
    "another kind of JSON": (["C1"], "is not a file of interactions"),
    "no format": ({"interactions": []}, 'is not a file of interactions: it lacks "format"'),
    "another format": ({"format": 2, "interactions": []}, "has format 2, this version reads 1"),
    "no interactions": ({"format": 1}, '"interactions" is not a list'),
    "no fields": (entry(GOOD, {"count": 3}), 'interaction 2 lacks its "fields"'),
    "no object": (entry(["C1", "C2"]), 'interaction 1 lacks its "fields"'),
    "a text": (entry({"fields": "C1"}), 'interaction 1 lacks its "fields", a list of names'),
    "numbers": (entry({"fields": [1, 2]}), 'interaction 1 lacks its "fields", a list of names'),
    "unknown field": (entry(GOOD, {"fields": ["C1", "C99"]}), "interaction 2 .*unknown.*: C99"),
    "label": (entry({"fields": ["label", "C1"]}), "interaction 1 names an unknown field: label"),
    "one field": (entry({"fields": ["C1"]}), "interaction 1 has fewer than two fields: C1"),
    "no field": (entry({"fields": []}), "interaction 1 has fewer than two fields: none"),
    "twice": (entry({"fields": ["C1", "C2", "C1"]}), "interaction 1 names a field twice: C1"),
    "duplicate": (
        entry(GOOD, {"fields": ["C3", "C4"]}, {"fields": ["C2", "C1"]}),
        "interaction 3 makes the field 'C1 x C2', which interaction 1 has already",
    ),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_message_of_a_wrong_file(criteo, criteo_file, file, case):
    content, message = MISTAKES[case]
    content = json.dumps(content).encode() if isinstance(content, list) else content
    with (
        mock.patch("datamodules.base.prepare", side_effect=AssertionError),  # told before the work
        pytest.raises(ZooError, match=message) as error,
    ):
        criteo(criteo_file, crosses=file(content), top_k=1).prepare_data()
    assert "\n" not in str(error.value)
    assert "interactions.json" in str(error.value)


def test_message_of_a_missing_file(criteo, criteo_file, tmp_path):
    with pytest.raises(ZooError, match=r"cannot read .*gone.json \(data.crosses\): No such file"):
        criteo(criteo_file, crosses=str(tmp_path / "gone.json")).prepare_data()


def test_a_name_that_is_taken():
    fields = ["a", "b", "a x b"]
    interactions = mock.patch(
        "datamodules.interactions._read", return_value=[{"fields": fields[:2]}]
    )
    with interactions, pytest.raises(ZooError, match="makes the field 'a x b', which the dataset"):
        Crossing(Path("i.json"), None, 100, 0).interactions(fields)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"top_k": 0}, "data.top_k must be at least 1, got 0"),
        ({"cross_bins": 1}, "data.cross_bins must be at least 2, got 1"),
        ({"cross_min_share": 1}, "data.cross_min_share is a share from 0 to below 1, got 1"),
        ({"cross_min_share": -0.1}, "data.cross_min_share is a share from 0 to below 1"),
        ({"cross_min_share": math.nan}, "data.cross_min_share is a share from 0 to below 1"),
    ],
)
def test_message_of_a_wrong_option(options, message):
    with pytest.raises(ZooError, match=message):
        Criteo("train.txt", **options)


def test_fewer_interactions_than_top_k_are_all_taken(crossed, capsys):
    datamodule = crossed(CRITEO[:2], top_k=40)
    assert len(opened(datamodule)["val"].crosses) == 2
    said = "interactions.json: interactions found: 2 of the 40 that data.top_k asks for"
    assert capsys.readouterr().err.count(said) == 1


def test_no_interactions_are_no_crosses(crossed, capsys):
    datamodule = crossed([])
    assert opened(datamodule)["val"].crosses == ()
    assert "interactions found: 0" in capsys.readouterr().err
