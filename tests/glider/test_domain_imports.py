"""What explains tables imports nothing of texts, images, graphs, sequences, nor their packages."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import zoo

ROOT = Path(zoo.__file__).parents[1]
EXTRA = {"skimage", "sklearn", "pooch", "pyjaspar", "Bio", "ai_edge_litert", "captum"}
DOMAINS = ("zoo.glider.domains", "zoo.inspect.domains")

# A process that imports what explains tables and asks the command line for its help, and then,
# without the packages of the extra, imports all of the domains and explains.
PROCESS = """
import contextlib, importlib, io, sys
import zoo.glider.walsh, zoo.glider.mixed, zoo.glider.contexts, zoo.glider.command
import zoo.glider.explained, zoo.glider.surrogates.madex, zoo.inspect.report
from zoo.run.main import main
for line in (["--help"], ["detect", "--help"]):
    sys.argv = ["interpretable-zoo", *line]
    with contextlib.redirect_stdout(io.StringIO()) as said, contextlib.suppress(SystemExit):
        main()
    assert "usage" in said.getvalue().lower(), line
print(*sys.modules)

for name in {extra}:
    sys.modules[name] = None  # importing it fails
for name in {modules}:
    importlib.import_module(name)
import torch
from zoo.glider.domains.graphs import Nodes
from zoo.glider.domains.images import Superpixels
from zoo.glider.domains.sequences import Replaced
from zoo.glider.walsh import WalshConfig, walsh
small = WalshConfig(masks=50, held_out=20)
for own, switches in (
    (torch.ones(3), Replaced()),
    (torch.ones(3, 2), Nodes(range(3))),
    (torch.ones(3, 1, 1), Superpixels(torch.arange(3).reshape(3, 1))),
):
    walsh(lambda rows: rows.flatten(1).sum(1), [own], switches, small)
print("explained")
"""


def files():
    return [f for name in DOMAINS for f in (ROOT / name.replace(".", "/")).glob("*.py")]


def test_the_core_imports_nothing_of_a_domain_and_domains_no_package():
    modules = [".".join(f.relative_to(ROOT).with_suffix("").parts) for f in files()]
    assert len(modules) > 8
    line = [sys.executable, "-c", PROCESS.format(extra=EXTRA, modules=modules)]
    found = subprocess.run(line, capture_output=True, text=True, cwd=ROOT)
    assert not found.returncode, found.stderr
    *core, said = found.stdout.split()
    assert "zoo.glider.walsh" in core
    assert [name for name in core if name.startswith(DOMAINS)] == []
    assert {name.split(".")[0] for name in core} & EXTRA == set()
    assert said == "explained"


@pytest.mark.parametrize("file", files(), ids=lambda file: "/".join(file.parts[-3:]))
def test_packages_of_the_extra_are_imported_inside_functions(file):
    tree = ast.parse(file.read_text())
    inside = {n for f in ast.walk(tree) if isinstance(f, ast.FunctionDef) for n in ast.walk(f)}
    for node in {*ast.walk(tree)} - inside:
        names = [alias.name for alias in getattr(node, "names", []) if isinstance(node, ast.Import)]
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        assert not {name.split(".")[0] for name in names} & EXTRA, ast.unparse(node)
