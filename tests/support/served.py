"""Folders of exported models, read in a process that has neither torch nor this project."""

import json
import subprocess
import sys

import numpy as np

SCRIPT = """
import importlib.util, json, sys

REFUSED = {*sys.argv[2:]}

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in REFUSED:
            raise ImportError(f"{name} is not here")

sys.meta_path.insert(0, Refuse())
import numpy as np

for job in json.load(open(sys.argv[1])):
    spec = importlib.util.spec_from_file_location("reader", job["folder"] + "/reader.py")
    reader = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(reader)
    found = reader.Model()(json.load(open(job["rows"])))
    found["problem"] = np.array([reason or "" for reason in found["problem"]])
    np.savez(job["output"], **found)
assert not REFUSED & {name.partition(".")[0] for name in sys.modules}
"""


PROJECT = ("zoo", "datamodules", "pytorch_lightning")
WITHOUT = (*PROJECT, "torch", "pandas", "pyarrow", "duckdb")


def served(folders, rows, tmp_path, without=WITHOUT):
    """What the models of folders say of the same raw rows; see `each_served`."""
    return each_served([(folder, rows) for folder in folders], tmp_path, without)


def each_served(jobs, tmp_path, without=WITHOUT):
    """What the models of folders say of raw rows, each as a dict of arrays; `problem` is text.

    Args:
        jobs: (folder, rows) each, the rows as JSON has them.
        tmp_path: Folder of what is exchanged.
        without: Packages that cannot be imported.
    """
    texts = {id(rows): (tmp_path / f"rows{i}.json", rows) for i, (_, rows) in enumerate(jobs)}
    for file, rows in texts.values():
        file.write_text(json.dumps(rows))
    named = [
        {
            "folder": str(folder),
            "rows": str(texts[id(rows)][0]),
            "output": str(tmp_path / f"{i}.npz"),
        }
        for i, (folder, rows) in enumerate(jobs)
    ]
    (tmp_path / "jobs.json").write_text(json.dumps(named))
    line = [sys.executable, "-I", "-c", SCRIPT, str(tmp_path / "jobs.json"), *without]
    done = subprocess.run(line, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    return [dict(np.load(job["output"])) for job in named]
