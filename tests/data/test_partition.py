"""Each row of a table belongs to one process, wherever it is looked for."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from zoo.data.partition import ROWS_PER_BLOCK, Partition


@given(st.integers(1, 3000), st.integers(1, 9))
def test_each_row_has_one_position_of_one_process(rows, parts):
    partition = Partition(rows, parts)
    positions = partition.positions(torch.arange(rows))
    assert len(positions.unique()) == rows
    assert torch.equal(partition.ids(positions), torch.arange(rows))
    bounds = [partition.bounds(part) for part in range(parts)]
    assert [start for start, _ in bounds[1:]] == [stop for _, stop in bounds[:-1]]
    assert (bounds[0][0], bounds[-1][1]) == (0, partition.size)
    assert positions.min() >= 0
    assert positions.max() < partition.size < rows + ROWS_PER_BLOCK
    empty = torch.ones(partition.size, dtype=torch.bool)
    empty[positions] = False
    assert (partition.ids(torch.arange(partition.size)[empty]) >= rows).all()


@given(st.integers(1, 3000), st.integers(1, 9))
def test_positions_do_not_depend_on_the_number_of_processes(rows, parts):
    ids = torch.arange(rows)
    assert torch.equal(Partition(rows, parts).positions(ids), Partition(rows).positions(ids))


def test_frequent_ids_belong_to_different_processes():
    partition = Partition(10_000_000, 8)
    first = partition.positions(torch.arange(64 * 800)) // partition.rows_per_part
    counts = torch.bincount(first, minlength=8)
    assert counts.min() > 0.8 * 64 * 100
    assert counts.max() < 1.2 * 64 * 100


def test_positions_of_a_billion_rows_do_not_overflow():
    partition = Partition(4_000_000_000, 32)
    ids = torch.tensor([0, 1, 63, 64, 3_999_999_999])
    assert torch.equal(partition.ids(partition.positions(ids)), ids)


@pytest.mark.parametrize(("rows", "parts"), [(0, 1), (1, 0)])
def test_nothing_is_shared_by_nobody(rows, parts):
    with pytest.raises(ValueError, match="cannot be dealt"):
        Partition(rows, parts)
