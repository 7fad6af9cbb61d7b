"""The house rules, as tests."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import datamodules
import zoo

ROOT = Path(zoo.__file__).parents[1]
SOURCES = sorted([*ROOT.glob("zoo/**/*.py"), *ROOT.glob("datamodules/*.py")])

# A process that cannot reach the network, and says what the import did.
IMPORT = """
import socket, sys, threading
def refuse(*args, **kwargs):
    raise AssertionError("import zoo touched the network")
socket.socket.connect = socket.getaddrinfo = socket.create_connection = refuse
before = threading.active_count()
from zoo import *
assert threading.active_count() == before, threading.enumerate()
assert "deepctr_torch" not in sys.modules
"""


def imports(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""


def test_import_zoo_is_silent_and_starts_nothing():
    done = subprocess.run(
        [sys.executable, "-W", "error::UserWarning", "-c", IMPORT],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_deepctr_torch_can_still_be_imported_after_zoo():
    code = (
        "import requests; requests.get = lambda *a, **k: 1 / 0\n"
        "from zoo import DeepFM\n"
        "import zoo, deepctr_torch\n"
        "from deepctr_torch.models import DeepFM\n"
        "assert deepctr_torch.__version__\n"
        "assert deepctr_torch.layers.FM is zoo.nn.deepctr.layers.FM\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_imports_run_one_way(path):
    """zoo never imports datamodules; datamodules import zoo.data.schema alone."""
    mine = [name for name in imports(path) if name.split(".")[0] in ("zoo", "datamodules")]
    if path.is_relative_to(ROOT / "zoo"):
        forbidden = [name for name in mine if name.startswith("datamodules")]
    else:
        forbidden = [name for name in mine if name.startswith("zoo") and name != "zoo.data.schema"]
    assert forbidden == [], f"{path.name} must not import {forbidden}"


@pytest.mark.parametrize("package", [zoo, datamodules], ids=["zoo", "datamodules"])
def test_exports_exist_and_are_documented(package):
    for name in package.__all__:
        assert getattr(package, name).__doc__, f"{package.__name__}.{name} lacks a docstring"
