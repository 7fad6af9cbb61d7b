"""`benchmarks/gpu.py` at toy sizes: a line for each figure, whatever fails."""

import argparse
import importlib
import json
import time

import pytest
import torch
from support.running import ROOT

NAMES = {"figure", "model", "contestant", "batch_size", "precision"}


@pytest.fixture
def lines_of(monkeypatch, capsys):
    """What a run prints, by options."""
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    gpu = importlib.import_module("gpu")
    before = torch.get_float32_matmul_precision()

    def lines(**options):
        given = {"device": "cpu", "quick": True, "seconds": 100, "repeats": 1, "only": []}
        gpu.run(argparse.Namespace(**given | options, tracebacks=False), time.perf_counter())
        return [json.loads(line) for line in capsys.readouterr().out.splitlines()]

    yield lines
    torch.set_float32_matmul_precision(before)


@pytest.mark.filterwarnings("ignore")
def test_every_figure_has_a_line(lines_of):
    rates, *lines, end = lines_of(only=["WideDeep", "InterpretableMLP", "walsh", "host"])
    assert rates["copy_gb_per_second"] > 0
    assert end["left_out"] == []
    assert all(line["device"] == "CPU" and line["torch"] == torch.__version__ for line in lines)
    trained = [line for line in lines if line["figure"] in ("training", "mixture")]
    assert all(line.keys() >= NAMES for line in trained)
    failed = {line["contestant"] for line in lines if "error" in line}
    assert failed <= {"FuxiCTR"}  # where it is not installed
    who = {line["contestant"] for line in trained if line.get("samples_per_second", 0) > 0}
    assert who >= {"zoo", "plain loop", "plain loop, sparse", "deepctr-torch", "limit"}
    (host,) = (line for line in lines if line["figure"] == "host")
    assert host["samples_per_second_at_16384"] == pytest.approx(
        4 * host["samples_per_second_at_4096"], rel=1e-4
    )
    assert [line["seconds"] > 0 for line in lines if line["figure"] == "detection"] == [True]


@pytest.mark.filterwarnings("ignore")
def test_what_is_not_reached_is_said(lines_of):
    (end,) = lines_of(seconds=0)
    assert {"rates", "training DeepFM zoo 128 tf32", "host DeepFM zoo"} <= set(end["left_out"])
