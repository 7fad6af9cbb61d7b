"""Runs notebooks and keeps what they print: `python docs/hooks/run_notebooks.py [NOTEBOOK ..]`."""

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import nbclient
import nbformat

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"


def run(path: Path) -> None:
    """Runs one in a folder of its own; nothing of this machine is kept in the file."""
    notebook = nbformat.read(path, as_version=4)
    with TemporaryDirectory() as folder:
        places = {"metadata": {"path": folder}}
        nbclient.NotebookClient(
            notebook, timeout=600, record_timing=False, resources=places
        ).execute()
    notebook.metadata["language_info"] = {"name": "python"}
    nbformat.write(notebook, path)


if __name__ == "__main__":
    for path in map(Path, sys.argv[1:] or sorted(NOTEBOOKS.glob("*.ipynb"))):
        print(path)
        run(path)
