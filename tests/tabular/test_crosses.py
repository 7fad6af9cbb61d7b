"""Cross fields: ids, schema, batches, and what is prepared when.

Ids are compared with a slow re-implementation by pandas and dictionaries.
"""

import shutil
from fractions import Fraction
from unittest import mock

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.crossing import (
    AVAZU,
    CRITEO,
    SHARE,
    assert_slow,
    folders,
    opened,
    slow_edges,
    slow_ids,
)
from support.preparation import ready, with_cell

from datamodules.prepared.arrays import Arrays
from datamodules.prepared.engine import Engine
from datamodules.prepared.folder import Manifest
from datamodules.tabular.cross_options import CrossOptions
from datamodules.tabular.crosses import fit_cross
from datamodules.tabular.loader import BatchLoader
from datamodules.tabular.splitting import row_hash
from zoo.data.schema import Field, Schema

CPU = torch.device("cpu")


def files_of(folder):
    """{relative path: content} of all files."""
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def times_of(folder):
    """{path: time of the last change} of all files but the locks, which are taken again, and the
    records of what has been verified: files that are new are compared once more."""
    others = (".lock", ".verified")
    files = [p for p in folder.rglob("*") if p.is_file() and p.suffix not in others]
    return {path: path.stat().st_mtime_ns for path in files}


# Ids


@pytest.mark.parametrize(("share", "bins"), [(SHARE, 100), (1e-4, 10), (0, 2)])
def test_ids_are_those_of_the_slow_way(crossed, share, bins):
    datamodule = crossed(cross_min_share=share, cross_bins=bins)
    assert_slow(datamodule, CRITEO, share, bins)


def test_ids_of_avazu_are_those_of_the_slow_way(avazu, avazu_file, crosses_file):
    datamodule = avazu(avazu_file, crosses=crosses_file(AVAZU), cross_min_share=0.002, split="time")
    assert_slow(datamodule, AVAZU, 0.002)


def test_the_fixture_has_all_kinds_of_rows(shared_crossed):
    """Else the comparison shows little: frequent and rare combinations, many and few ids."""
    ids = opened(shared_crossed)["test"].crosses
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
    with mock.patch(
        "datamodules.tabular.crosses.ROWS_PER_CHUNK", 7
    ):  # several chunks, the last one shorter
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
    assert CrossOptions(None, None, 100, 1e-4).min_count(1_000_000) == 101


@given(st.integers(1, 50_000_000), st.integers(0, 9999))
def test_the_threshold_is_a_share_of_all_training_rows(rows, parts):
    least = CrossOptions(None, None, 100, parts / 10_000).min_count(rows)
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


def test_held_out_rows_have_no_influence(criteo, criteo_lines, crosses_file):
    held_out = np.flatnonzero(row_hash(np.arange(1000), 0) % 10 >= 8)
    changed = list(criteo_lines)
    for row in held_out:
        for column in (2, 14, 33):  # I2, C1 and C20
            changed[row] = with_cell(changed[row], column, str(row % 7))
    options = {"crosses": crosses_file([["C1", "C20"], ["C1", "I2"]]), "min_count": 1}
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


def test_cross_fields_stand_behind_the_categorical_ones(shared_crossed, shared_criteo):
    fields, plain = (data.schema.fields for data in (shared_crossed, shared_criteo()))
    assert fields[: len(plain)] == plain
    names = ["C6 x C14", "I2 x C17", "I8 x C9 x C22", "C1 x C20", "I1 x I5"]
    assert [field.name for field in fields[len(plain) :]] == names
    assert {(field.kind, field.group) for field in fields[len(plain) :]} == {
        ("categorical", "cross")
    }


@pytest.mark.parametrize("resident", [True, False])
def test_batches_hold_categories_and_crosses(shared_crossed, resident, monkeypatch):
    monkeypatch.setattr(shared_crossed, "resident", resident)
    arrays = opened(shared_crossed)["val"]
    found = torch.cat([batch.categorical for batch in shared_crossed.val_dataloader()]).numpy()
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


def test_another_top_k_prepares_only_what_is_new(crossed, made_crosses, tmp_path):
    ready(crossed(top_k=2)).setup("fit")
    before = times_of(tmp_path / "prepared")
    datamodule = crossed(top_k=3)
    assert len(opened(datamodule)["train"].crosses) == 3
    ready(crossed(top_k=1)).setup("fit")
    assert made_crosses() == [("C6", "C14"), ("I2", "C17"), ("I8", "C9", "C22")]
    after = times_of(tmp_path / "prepared")
    assert {path: after[path] for path in before} == before


def test_no_crosses_are_prepared_in_a_folder_without_them(
    criteo, criteo_file, made_crosses, tmp_path
):
    ready(criteo(criteo_file)).setup("fit")
    assert (made_crosses(), folders(tmp_path)) == ([], set())


def test_another_file_shares_interactions(crossed, made_crosses):
    crossed().prepare_data()
    n = len(made_crosses())
    assert opened(crossed([["C14", "C6"], ["C17", "I2"]]))["train"].crosses
    assert len(made_crosses()) == n


@pytest.mark.parametrize("options", [{"cross_bins": 7}, {"cross_min_share": 0.2}, {"min_count": 3}])
def test_other_options_are_other_crosses(crossed, made_crosses, options):
    crossed([["C17", "I2"]]).prepare_data()
    crossed([["C17", "I2"]], **options).prepare_data()
    assert len(made_crosses()) == 2


def test_the_prepared_data_are_never_rewritten(crossed, criteo, criteo_file):
    base = criteo(criteo_file)
    base.prepare_data()
    before = files_of(base.folder), times_of(base.folder)
    ready(crossed()).setup("fit")
    assert (files_of(base.folder), times_of(base.folder)) == before


def test_checksums_cover_every_file(shared_crossed):
    for folder in shared_crossed.folders[1:]:
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
