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
import socket, sys, threading, warnings
warnings.simplefilter("error", UserWarning)
def refuse(*args, **kwargs):
    raise AssertionError("import zoo touched the network")
socket.socket.connect = socket.getaddrinfo = socket.create_connection = refuse
before = threading.active_count()
from zoo import *
assert threading.active_count() == before, threading.enumerate()
assert "deepctr_torch" not in sys.modules
"""


# The same process then imports the package whose layers zoo has imported.
AFTER = """
print("zoo"), print("zoo", file=sys.stderr)
warnings.resetwarnings()
import requests
requests.get = lambda *a, **k: 1 / 0
from deepctr_torch.models import DeepFM
import deepctr_torch, zoo.nn.deepctr
assert deepctr_torch.__version__
assert deepctr_torch.layers.FM is zoo.nn.deepctr.layers.FM
"""


@pytest.fixture(scope="module")
def imported():
    """A process that imports zoo, then deepctr-torch."""
    line = [sys.executable, "-c", IMPORT + AFTER]
    return subprocess.run(line, capture_output=True, text=True, cwd=ROOT)


def test_import_zoo_is_silent_and_starts_nothing(imported):
    assert imported.stdout.startswith("zoo\n"), imported.stderr
    assert imported.stderr.startswith("zoo\n")


def test_deepctr_torch_can_still_be_imported_after_zoo(imported):
    assert imported.returncode == 0, imported.stderr


@pytest.mark.parametrize("package", [zoo, datamodules], ids=["zoo", "datamodules"])
def test_exports_exist_and_are_documented(package):
    for name in package.__all__:
        assert getattr(package, name).__doc__, f"{package.__name__}.{name} lacks a docstring"
