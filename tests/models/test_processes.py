"""What does not depend on how many processes train, nor on how many batches make a step."""

import subprocess
import sys

import pytest
import torch
from support.resuming import Diary, SmallRows, WeightedRows, fit, state_of
from support.running import ROOT

pytestmark = pytest.mark.filterwarnings("ignore:.*does not have many workers")


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """What two processes made of batches of 8 rows."""
    folder = tmp_path_factory.mktemp("two")
    (folder / "checkpoints").mkdir()
    script = ROOT / "tests/support/two_processes.py"
    line = [sys.executable, str(script), str(folder)]
    environment = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "PATH": ""}
    done = subprocess.run(line, capture_output=True, text=True, timeout=300, env=environment)
    assert done.returncode == 0, done.stderr
    edges = [torch.load(folder / f"edges of {rank}.pt", weights_only=True) for rank in range(2)]
    return {**torch.load(folder / "result.pt", weights_only=True), "edges": edges}


def test_checkpoints_of_two_processes_go_on_as_the_unbroken_fit(two):
    assert len(two["equal"]) == 3
    assert all(two["equal"].values()), two["equal"]


def test_two_processes_make_the_steps_of_one_with_batches_twice_as_large(two):
    alone = fit(Diary(), data=SmallRows(16), max_epochs=2)
    weights = state_of(alone)[0]
    assert alone.global_step == 10
    torch.testing.assert_close(two["weights"], weights, rtol=1e-4, atol=1e-6)
    # of rows on disk, other rows make a step
    assert not torch.allclose(two["weights from disk"]["bias"], weights["bias"], rtol=1e-3)


def test_processes_exchange_the_rows_of_their_batches_and_no_tables(two):
    """Of ten steps of 8 rows and one field: sizes, at most 6 distinct ids, 3 columns of each."""
    assert 10 * (1 + 1 + 3) <= two["exchanged"][100] <= 10 * (1 + 6 + 6 * 3)
    accumulated = two["exchanged"].pop("accumulated")  # other processes have the same rows
    assert 10 * (1 + 1 + 3) <= accumulated <= 10 * (1 + 6 + 6 * 3)
    assert {*two["exchanged"].values()} == {two["exchanged"][100]}  # whatever the options


@pytest.mark.parametrize("of", ["of weighted rows", "accumulated"])
def test_two_processes_weigh_rows_as_one(two, of):
    weights = state_of(fit(Diary(), data=WeightedRows(16), max_epochs=2))[0]
    torch.testing.assert_close(two[of], weights, rtol=1e-4, atol=1e-6)


def test_two_processes_cut_numbers_at_the_same_edges(two):
    first, second = two["edges"]
    assert torch.equal(first, second)
    assert (first.diff() > 0).any()


@pytest.mark.parametrize("resident", [True, False])
@pytest.mark.parametrize("rows", [80, 70])  # steps of 16 rows, or of 14
def test_batches_whose_gradients_are_accumulated_are_one_batch(resident, rows):
    large = fit(Diary(), data=SmallRows(16, resident, rows), max_epochs=2)
    small = fit(Diary(), data=SmallRows(8, resident, rows), max_epochs=2, accumulate_grad_batches=2)
    assert small.global_step == large.global_step == 10
    found, expected = state_of(small)[0], state_of(large)[0]
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)
