"""Which rows train, validate and test."""

import math

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from support.preparation import assert_same, prepared, together

from datamodules.prepared.folder import SPLITS
from datamodules.tabular.splitting import row_hash


def in_sql(seed):
    mixed = "((row * 1103515245 + 1) % 2147483647)"
    mixed = f"(xor({mixed}, {mixed} >> 15) * 1597334677 % 2147483629)"
    bits = (seed + 1) * 2_654_435_761 % 2_147_483_647
    mixed = f"xor(xor({mixed}, {mixed} >> 13), {bits})"
    mixed = f"({mixed} * 2246822519 % 4294967291)"
    return f"(xor({mixed}, {mixed} >> 16) * 1812433253 % 2147483587)"


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**31), st.lists(st.integers(0, 5 * 10**9), min_size=1, max_size=20))
@example(0, [0, 1, 2**31 - 2, 2**31 - 1, 2**31])
def test_row_hash_is_the_same_in_sql_and_numpy(engine, seed, rows):
    values = ", ".join(f"({row}::BIGINT)" for row in rows)
    found = engine.run(f"SELECT {in_sql(seed)} FROM (VALUES {values}) AS rows(row)")
    np.testing.assert_array_equal(row_hash(np.array(rows), seed), [h for (h,) in found])


@pytest.mark.parametrize("seed", [0, 1, 12_345])
@pytest.mark.parametrize("start", [0, 40_000_000])
def test_the_hash_deals_rows_evenly(seed, start):
    n = 1_000_000
    buckets = np.bincount(row_hash(np.arange(start, start + n), seed) % 10, minlength=10)
    assert np.all(np.abs(buckets - n / 10) < 4.5 * math.sqrt(n * 0.09))


def test_the_hashes_of_neighbours_are_independent():
    n = 1_000_000
    bucket = row_hash(np.arange(n + 1), 0) % 10
    pairs = np.bincount(bucket[:-1] * 10 + bucket[1:], minlength=100)
    assert np.all(np.abs(pairs - n / 100) < 5 * math.sqrt(n * 0.01))


@pytest.mark.parametrize("seed", [1, 2, 3, 7, 42])
def test_two_seeds_share_about_a_tenth_of_their_test_rows(seed):
    mine, theirs = (row_hash(np.arange(1_000_000), s) % 10 == 9 for s in (0, seed))
    assert (mine & theirs).sum() / mine.sum() == pytest.approx(0.1, rel=0.2)


def test_rows_are_split_8_1_1_by_their_hash(prepared_criteo):
    _, splits, _ = prepared_criteo
    bucket = row_hash(together(splits).row, 0) % 10
    expected = [np.flatnonzero(bucket < 8), np.flatnonzero(bucket == 8), np.flatnonzero(bucket > 8)]
    assert [splits[s].row.tolist() for s in SPLITS] == [rows.tolist() for rows in expected]


def test_the_split_is_the_same_in_another_copy_of_the_file(
    prepared_criteo, criteo_file, make_file, criteo
):
    copy = make_file([criteo_file.read_bytes()], "copy.txt")
    assert_same(prepared(criteo(copy)), prepared_criteo[1])


def test_another_seed_splits_otherwise(criteo, criteo_lines, prepared_lines):
    other = prepared(criteo(criteo_lines, split_seed=1))["test"].row
    assert prepared_lines["test"].row.tolist() != other.tolist()


def test_the_ratio_is_an_option(criteo, criteo_lines):
    splits = prepared(criteo(criteo_lines, split_ratio=(1, 1, 2)))
    assert len(splits["test"]) == pytest.approx(500, abs=4.5 * math.sqrt(1000 / 4))


def hours_of(avazu_lines, arrays):
    return {avazu_lines[1 + row].split(",")[2] for row in arrays.row}


def test_split_by_time(avazu, avazu_file, avazu_lines):
    """Hours hold 30, 30, 20, 10 and 10 % of the rows: whole hours, 8:1:1."""
    splits = prepared(avazu(avazu_file, split="time"))
    assert [hours_of(avazu_lines, splits[s]) for s in SPLITS] == [
        {"14102100", "14102113", "14102207"},
        {"14102512"},
        {"14102623"},
    ]


def test_split_by_time_of_shuffled_rows(avazu, avazu_lines):
    rows = np.random.default_rng(0).permutation(avazu_lines[1:]).tolist()
    lines = [avazu_lines[0], *rows]
    splits = prepared(avazu(lines, split="time"))
    assert hours_of(lines, splits["test"]) == {"14102623"}
