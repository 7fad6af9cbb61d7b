"""Processes that exchange the rows of their batches, against one process and against counts."""

import os
import subprocess
import sys

import pytest
import torch
from support.parity import CASES, differences
from support.running import ROOT


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    """What the fits of one start of four processes came to."""
    folder = tmp_path_factory.mktemp("parity")
    line = [sys.executable, str(ROOT / "tests/support/parity.py"), str(folder)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(line, capture_output=True, text=True, timeout=500, env=environment)
    assert done.returncode == 0, done.stderr
    return folder


def test_processes_come_to_the_weights_of_one(start):
    """In double precision, after 25 steps; also the logits of rows some of whose ids are off."""
    found = differences(start, CASES)
    assert {case: x for case, x in found.items() if not x < 1e-12} == {}


def test_bytes_do_not_depend_on_the_number_of_ids(start):
    """Of 26 fields, D = 16, first-order weights and 1,024 rows on each of two processes.

    Ids are drawn as fields of clicks have them, a few of them often.
    """
    for rank in range(2):
        found = torch.load(start / f"bytes of {rank}.pt", weights_only=True)
        assert [*found] == [10**5, 10**6, 10**8]
        for received, distinct in found.values():
            # ids, rows of 16 + 1 numbers, and the number of them; a table of 1e8 has 6.8 GB
            assert received == distinct * (4 + 17 * 4) + 4
            assert distinct <= 1024 * 26
        assert found[10**6][0] <= 1.5e6  # at a million ids 3 MB a step, of both
