"""Splits in parts: read as one, bit for bit, and opened where rows are read."""

import json
import os
from dataclasses import fields
from unittest import mock

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from datamodules.prepared import share
from datamodules.prepared.arrays import Arrays, ArraysWriter, column_means, weighted_mean
from datamodules.prepared.engine import Engine
from datamodules.prepared.parts import PARTS, PartedArray, Parts, cut, part_folder
from datamodules.tabular.cross_rows import spread
from datamodules.tabular.crosses import fit_cross
from datamodules.tabular.loader import BatchLoader
from zoo.data.checksums import checksums
from zoo.data.errors import ZooError
from zoo.data.lists import Lists
from zoo.data.schema import Field, Schema

ROWS = 300
OPTIONAL = ("weight", "group")
SCHEMA = Schema(
    (
        Field("n0", "numerical"),
        Field("n1", "numerical"),
        Field("c0", "categorical", 9),
        Field("l0", "multi", 5),
        Field("l1", "multi", 5),
    )
)


def write(folder, bounds):
    """The same rows in one part for each two bounds; None is a split of before, without parts."""
    random = np.random.default_rng(0)
    lengths = torch.from_numpy(random.integers(0, 4, (ROWS, 2)))
    flat = lengths.flatten()
    lists = Lists(
        torch.from_numpy(random.integers(0, 5, int(flat.sum()))),
        (flat.cumsum(0) - flat).view_as(lengths),
        lengths,
    )
    rows = {
        "numerical": random.normal(size=(ROWS, 2)),
        "categorical": random.integers(0, 9, (ROWS, 1)),
        "label": random.integers(0, 2, ROWS),
        "row": np.arange(ROWS) + 10**10,
        "weight": random.random(ROWS),
        "group": random.integers(0, 9, ROWS),
    }
    pieces = [
        slice(*pair) for pair in zip(bounds or [0], bounds[1:] if bounds else [ROWS], strict=False)
    ]
    values = [int(lengths[piece].sum()) for piece in pieces]
    for number, piece in enumerate(pieces):
        size = piece.stop - piece.start
        place = part_folder(folder, number) if bounds else folder
        with ArraysWriter(place, size, SCHEMA, values[number], OPTIONAL) as writer:
            arrays = {name: array[piece] for name, array in rows.items()}
            writer.write(lists=lists.take(piece), **arrays)
    if bounds:
        sizes = [piece.stop - piece.start for piece in pieces]
        Parts.of(sizes, SCHEMA, values, OPTIONAL).save(folder)
    return Arrays.open(folder)


@pytest.fixture(scope="module")
def whole_split(tmp_path_factory):
    split = tmp_path_factory.mktemp("whole") / "train"
    write(split, None)
    return split


def tensors(batch):
    rows = batch.numerical, batch.categorical, batch.label, batch.row, batch.weight, batch.group
    return [part for part in (*rows, *batch.lists) if part is not None]


def equal(first, second):
    return len(first) == len(second) and all(
        a.dtype == b.dtype and torch.equal(a, b)
        for x, y in zip(first, second, strict=True)
        for a, b in zip(tensors(x), tensors(y), strict=True)
    )


def batches(arrays, ranks, **options):
    common = {"seed": 3, "world_size": ranks, "with_row": True, **options}
    with mock.patch.multiple(share, ROWS_PER_BLOCK=8, ROWS_PER_WINDOW=60):
        return [batch for r in range(ranks) for batch in BatchLoader(arrays, 32, rank=r, **common)]


cuts = st.lists(st.integers(0, ROWS), max_size=6).map(lambda found: [0, *sorted(found), ROWS])


@given(cuts, st.integers(1, 2))
@settings(max_examples=8, deadline=None)
def test_batches_do_not_depend_on_the_parts(whole_split, tmp_path_factory, bounds, ranks):
    whole = Arrays.open(whole_split)
    parted = write(tmp_path_factory.mktemp("parts") / "train", bounds)
    assert (len(parted), parted.nbytes) == (len(whole), whole.nbytes)
    for options in ({}, {"shuffle": True}):
        for device in (None, torch.device("cpu")):
            given = {"device": device, **options}
            assert equal(batches(parted, ranks, **given), batches(whole, ranks, **given))
    assert np.array_equal(column_means(parted.numerical), column_means(whole.numerical))
    assert np.array_equal(parted.numerical[::7], whole.numerical[::7])
    assert np.array_equal(np.asarray(parted.label), whole.label)
    means = (weighted_mean(a.label, a.weight) for a in (parted, whole))
    assert next(means) == next(means)
    with mock.patch("datamodules.tabular.cross_rows.PIECE", 10):
        assert equal(batches(spread(parted, 40), 1), batches(spread(whole, 40), 1))


@given(cuts, st.integers(0, ROWS), st.integers(0, ROWS), st.integers(1, 50))
def test_every_slice_of_the_parts_is_that_of_the_whole(bounds, start, stop, step):
    rows = np.arange(ROWS)
    sizes = np.diff(bounds)
    parted = PartedArray(sizes, lambda n: rows[bounds[n] : bounds[n + 1]], (), rows.dtype)
    assert np.array_equal(parted[start:stop:step], rows[start:stop:step])
    assert all(sizes[n] for n, _ in cut(parted.starts, slice(start, stop, step)))


@pytest.mark.parametrize("members", [("n0", "c0"), ("c0", "l0"), ("n1", "l0", "l1")])
def test_crosses_of_rows_in_parts(whole_split, tmp_path, members):
    whole = Arrays.open(whole_split)
    parted = write(tmp_path / "train", [0, 100, 100, 223, ROWS])
    found = []
    for i, arrays in enumerate((whole, parted)):
        with Engine(tmp_path / "work", "200MB") as engine:
            cross = fit_cross(engine, arrays, SCHEMA, members, bins=4, min_count=3)
            cross.write(engine, arrays, SCHEMA, tmp_path / f"cross{i}")
            found.append(cross)
    assert found[0] == found[1]
    assert found[0].cardinality > 4
    assert checksums(tmp_path / "cross0") == checksums(tmp_path / "cross1")
    crossed = [write(tmp_path / f"c{i}", b) for i, b in enumerate((None, [0, 70, ROWS]))]
    crossed = [Arrays.open(tmp_path / f"c{i}", [tmp_path / f"cross{i}"]) for i in range(2)]
    assert equal(batches(crossed[0], 2, shuffle=True), batches(crossed[1], 2, shuffle=True))


def test_a_part_is_opened_when_a_row_of_it_is_first_read(tmp_path):
    write(tmp_path / "train", [0, 100, 200, ROWS])
    files = len(os.listdir("/proc/self/fd"))
    arrays = Arrays.open(tmp_path / "train")
    read = [getattr(arrays, f.name) for f in fields(arrays) if f.name not in ("crosses", "lists")]
    opened = [array.read.cache_info for array in read] + [arrays.lists.read.cache_info]
    assert [info().currsize for info in opened] == [0] * 7
    batch = next(iter(BatchLoader(arrays, 32, rank=1, world_size=2, with_row=True)))
    assert batch.row[0] == 10**10 + ROWS // 2
    assert [info().currsize for info in opened] == [1] * 7
    assert len([*BatchLoader(arrays, 32, shuffle=True, with_row=True)]) == 10
    assert [info().misses for info in opened] == [3] * 7
    assert len(os.listdir("/proc/self/fd")) == files  # none is kept open for a map


def damage_header(split):
    np.save(split / "part-00001/numerical.npy", np.zeros((100, 3), np.float32))


def damage_lists(split):
    np.save(split / "part-00001/values.npy", np.zeros(7, np.int32))


def change(**content):
    def damage(split):
        parts = json.loads((split / PARTS).read_text())
        (split / PARTS).write_text(json.dumps(parts | content))

    return damage


DAMAGE = {
    "missing": (lambda s: (s / "part-00001/label.npy").unlink(), "part-00001/label.npy is damaged"),
    "columns": (damage_header, r"numerical.npy is damaged: it holds float32 of shape \(100, 3\)"),
    "rows": (change(rows=[100, 90, 110]), r"part-00001/.*.npy is damaged: it holds"),
    "lists": (damage_lists, "part-00001 is damaged"),
    "sizes": (change(rows=[100, 100]), "parts.json is damaged: its parts have no sizes"),
    "keys": (change(widths=[1]), "parts.json is damaged"),
    "text": (lambda s: (s / PARTS).write_text("{"), "parts.json is damaged"),
}


@pytest.mark.parametrize(("damage", "said"), DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_part_is_named(tmp_path, damage, said):
    write(tmp_path / "train", [0, 100, 200, ROWS])
    damage(tmp_path / "train")
    with pytest.raises(ZooError, match=said) as caught:
        [*BatchLoader(Arrays.open(tmp_path / "train"), 32)]
    assert str(caught.value).endswith(f"delete {tmp_path} to prepare the data again")
