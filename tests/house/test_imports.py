"""Imports run one way and never in a circle, those inside functions and for type checks counted."""

import ast
import os
from pathlib import Path

import pytest

import zoo

ROOT = Path(zoo.__file__).parents[1]
ROOMS = {  # what each room may import; `zoo` is the root's lazy exports
    "zoo": {"zoo.data"},
    "zoo.data": {"zoo.data"},
    "zoo.nn": {"zoo.data", "zoo.nn"},
    "zoo.models": {"zoo", "zoo.data", "zoo.nn", "zoo.models"},
    "zoo.ctr": {"zoo.data", "zoo.nn", "zoo.models", "zoo.ctr"},
    "zoo.experts": {"zoo.data", "zoo.nn", "zoo.models", "zoo.experts"},
    "zoo.additive": {"zoo.data", "zoo.nn", "zoo.models", "zoo.ctr", "zoo.additive"},
    "zoo.glider": {"zoo.data", "zoo.nn", "zoo.glider"},
    "zoo.inspect": {"zoo.data", "zoo.nn", "zoo.models", "zoo.inspect"},
    "zoo.export": {"zoo.data", "zoo.nn", "zoo.models", "zoo.export"},
    "zoo.run": {
        *("zoo", "zoo.data", "zoo.nn", "zoo.models", "zoo.ctr", "zoo.experts", "zoo.additive"),
        *("zoo.glider", "zoo.inspect", "zoo.export", "zoo.run"),
    },
    "datamodules.prepared": {"zoo.data", "datamodules.prepared"},
    "datamodules.tabular": {"zoo.data", "datamodules.prepared", "datamodules.tabular"},
    "datamodules.implicit": {"zoo.data", "datamodules.prepared", "datamodules.implicit"},
    "datamodules.sessions": {"zoo.data", "datamodules.prepared", "datamodules.sessions"},
    "datamodules.synthetic": {
        *("zoo.data", "datamodules.prepared", "datamodules.tabular"),
        *("datamodules.implicit", "datamodules.sessions", "datamodules.synthetic"),
    },
    "datamodules.examples": {"zoo.data", "datamodules.prepared", "datamodules.examples"},
    "datamodules": {
        *("zoo.data", "datamodules.tabular", "datamodules.implicit"),
        *("datamodules.sessions", "datamodules.synthetic"),
    },
    "zoo.__main__": {"zoo.run"},
    "train": {"zoo.run"},
}


def module_name(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {
    module_name(path): path
    for folder in ("zoo", "datamodules")
    for path in sorted(ROOT.glob(f"{folder}/**/*.py"))
} | {"train": ROOT / "train.py"}


def imported(module):
    """The files of this project that a file imports, wherever in it the import stands."""
    package = module if FILES[module].name == "__init__.py" else module.rpartition(".")[0]
    found = set()
    for node in ast.walk(ast.parse(FILES[module].read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1]
            home = ".".join(filter(None, [*(above if node.level else []), node.module]))
            names = {f"{home}.{alias.name}" for alias in node.names}
            found |= {name if name in FILES else home for name in names}
    # `import a.b.c` may mean a name in a.b
    while missing := {n for n in found if n not in FILES and n.split(".")[0] in ROOMS and "." in n}:
        found = (found - missing) | {name.rpartition(".")[0] for name in missing}
    return {name for name in found if name in FILES and name != module}


GRAPH = {module: imported(module) for module in FILES}


def room_of(module):
    """The longest name of a room that the module lies in."""
    return max((room for room in ROOMS if f"{module}.".startswith(f"{room}.")), key=len)


def circle(graph):
    """Some nodes of a graph that lead back to the first, or none."""
    state = {}

    def visit(node, path):
        state[node] = "open"
        for other in sorted(graph[node]):
            if state.get(other) == "open":
                return [*path[path.index(other) :], other]
            if other not in state and (found := visit(other, [*path, other])):
                return found
        state[node] = "done"
        return None

    for node in sorted(graph):
        if node not in state and (found := visit(node, [node])):
            return found
    return None


def test_the_walk_sees_every_kind_of_import(tmp_path, monkeypatch):
    text = (
        "import zoo.data.batch\nfrom typing import TYPE_CHECKING\n"
        "if TYPE_CHECKING:\n    from zoo.models.base import ZooModule\n"
        "def late():\n    from zoo.data import errors\n    from . import schema\n"
    )
    (tmp_path / "module.py").write_text(text)
    monkeypatch.setitem(FILES, "zoo.data.module", tmp_path / "module.py")
    assert imported("zoo.data.module") == {
        *("zoo.data.batch", "zoo.models.base", "zoo.data.errors", "zoo.data.schema")
    }
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": set()}) == ["b", "c", "b"]
    assert circle({"a": {"b", "c"}, "b": {"c"}, "c": set()}) is None


def test_every_file_is_walked():
    python = [
        Path(folder, name)
        for top in ("zoo", "datamodules")
        for folder, _, names in os.walk(ROOT / top)
        for name in names
        if name[-3:] == ".py"
    ]
    assert sorted(python) == sorted(set(FILES.values()) - {ROOT / "train.py"})
    assert len(python) > 60


def test_no_file_imports_itself_by_way_of_others():
    assert circle(GRAPH) is None


def test_no_room_imports_itself_by_way_of_others():
    rooms = {room: set() for room in ROOMS}
    for module, others in GRAPH.items():
        if module not in ("zoo", "datamodules"):  # whose exports are lazy, or on top
            rooms[room_of(module)] |= {room_of(o) for o in others if o != "zoo"}
    assert circle({room: others - {room} for room, others in rooms.items()}) is None


@pytest.mark.parametrize("module", FILES)
def test_imports_run_one_way(module):
    """The directions of docs/house.md."""
    wrong = sorted(o for o in GRAPH[module] if room_of(o) not in ROOMS[room_of(module)])
    assert wrong == [], f"{FILES[module].relative_to(ROOT)} must not import {', '.join(wrong)}"
