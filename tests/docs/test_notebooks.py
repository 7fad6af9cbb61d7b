"""The notebooks run, and what is committed of them is whole."""

import os
import sys

import nbclient
import nbformat
import pytest
from support.running import ROOT

NOTEBOOKS = sorted(path.stem for path in ROOT.glob("docs/notebooks/*.ipynb"))


def read(name):
    return nbformat.read(ROOT / "docs/notebooks" / f"{name}.ipynb", as_version=4)


def code_of(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def kinds(cell):
    """Of what kinds its outputs are, each once."""
    return {kind for output in cell.outputs for kind in output.get("data", [output.output_type])}


def test_the_four_are_there():
    assert NOTEBOOKS == ["deploying", "experts", "interactions", "own_data"]


@pytest.mark.slow
@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_notebook_runs(name, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), *sys.path]))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    notebook = read(name)
    folder = {"metadata": {"path": str(tmp_path)}}
    nbclient.NotebookClient(notebook, timeout=600, resources=folder).execute()
    for now, committed in zip(code_of(notebook), code_of(read(name)), strict=True):
        assert kinds(now) == kinds(committed), now.source


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_what_is_committed_is_a_run_from_first_to_last_cell(name):
    cells = code_of(read(name))
    assert [cell.execution_count for cell in cells] == [*range(1, len(cells) + 1)]
    text = (ROOT / "docs/notebooks" / f"{name}.ipynb").read_text()
    for told in ("Traceback", "Warning", "/tmp/", "/home/", "/root/"):
        assert told not in text.replace("tempfile.mkdtemp()", ""), told
