"""The house rules, as tests."""

import subprocess
import sys
from pathlib import Path

import pytest

import datamodules
import zoo

ROOT = Path(zoo.__file__).parents[1]

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


@pytest.mark.parametrize("package", [zoo, datamodules], ids=["zoo", "datamodules"])
def test_exports_exist_and_are_documented(package):
    for name in package.__all__:
        assert getattr(package, name).__doc__, f"{package.__name__}.{name} lacks a docstring"
