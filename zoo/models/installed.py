"""Which modules a file may name: a checkpoint, a run directory or a config that somebody sent.

Those of installed packages, and those in a folder that the user names in PYTHONPATH. Not what
merely lies in the current folder or beside the script, which Python finds too: it may have come
with the file. Nothing is imported to find that out.
"""

import json
import os
import site
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from functools import lru_cache
from importlib.metadata import Distribution, distributions
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import unquote, urlparse

OURS = ("zoo", "datamodules")
HOME = Path(__file__).resolve().parents[2]  # the folder that this project is imported from


def is_installed(module: str, beside: Iterable[Path] = ()) -> bool:
    """Whether a file may name a module.

    Args:
        module: Such as `my_package.models`.
        beside: Folders of the file; what lies below them is never meant, unless it is installed
            as a copy.
    """
    beside = [*beside]
    hidden = below(beside)
    parts = module.split(".")
    if any(".".join(parts[: n + 1]) in hidden for n in range(len(parts))):
        return False
    return _is_package(parts[0], beside)


def installed_packages(beside: Iterable[Path] = ()) -> set[str]:
    """The top-level names of all modules that a file in some folders may name."""
    names = {*OURS, *_claims(tuple(sys.path))}  # an editable installation lists no modules
    for folder in _python_path():
        names |= {path.stem for path in folder.iterdir() if path.stem.isidentifier()}
    beside = [*beside]
    return {name for name in names if _is_package(name, beside)}


def folders_of(file: Path) -> list[Path]:
    """The folder with which a file may have been sent; of a checkpoint, its run directory."""
    folder = file.resolve().parent
    return [folder.parent if folder.name == "checkpoints" else folder]


def below(folders: Iterable[Path]) -> set[str]:
    """What modules below some folders are called, where Python's path holds these.

    Of a run directory `runs/<name>/version_<n>`, all of `runs` is meant.
    """
    found = set()
    for folder in map(Path.resolve, folders):
        roots = [folder.parent.parent, folder.parent, folder] if _is_run(folder) else [folder]
        for place in _places():
            inside = [root for root in roots if root != place and root.is_relative_to(place)]
            if inside:
                found.add(".".join(inside[0].relative_to(place).parts))
    return found


def _is_run(folder: Path) -> bool:
    return folder.name.startswith("version_") or (folder / "checkpoints").is_dir()


def _is_package(name: str, beside: Iterable[Path]) -> bool:
    """Whether a top-level module is installed, or lies in PYTHONPATH outside of run directories."""
    if name in sys.stdlib_module_names:
        return False
    try:
        spec = find_spec(name)
    except (ImportError, ValueError):
        return False
    if spec is None:
        return False
    found = spec.submodule_search_locations or [spec.origin or ""]
    homes = {Path(place).resolve().parent for place in found if place}
    runs = [folder.resolve() for folder in beside if _is_run(folder)]
    if any(home.is_relative_to(run) for home in homes for run in runs):
        return False
    if name in OURS and homes == {HOME}:
        return True  # of the checkout that runs, installed or not
    copies, editable = _claims(tuple(sys.path)).get(name, (set(), set()))
    known = {*copies, *_python_path()}
    return bool(homes) and all(
        home in known or any(home.is_relative_to(root) for root in editable) for home in homes
    )


def _python_path() -> list[Path]:
    """The folders that the user names in PYTHONPATH."""
    entries = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    return [Path(entry).resolve() for entry in entries if entry and Path(entry).is_dir()]


def _places() -> set[Path]:
    """The folders in which Python finds modules, but those into which packages are copied."""
    editable = {folder for _, folders in _claims(tuple(sys.path)).values() for folder in folders}
    installers = [sysconfig.get_path(kind) for kind in ("purelib", "platlib")]
    copies = {Path(place).resolve() for place in (*installers, *site.getsitepackages())}
    return {Path(entry).resolve() for entry in sys.path} - copies | editable


@lru_cache(maxsize=1)
def _claims(path: tuple[str, ...]) -> dict[str, tuple[set[Path], set[Path]]]:
    """The top-level modules that are installed: where as copies, and where to be edited.

    Args:
        path: Python's path, on which the answer depends.
    """
    found: dict[str, tuple[set[Path], set[Path]]] = {}
    named = _python_path()
    for distribution in distributions(path=[*path]):
        home = Path(str(distribution.locate_file(""))).resolve()
        if home == Path.cwd().resolve() and home not in named:
            continue  # it may have come with the file
        for name in _modules(distribution):
            copies, editable = found.setdefault(name, (set(), set()))
            copies.add(home)
            editable |= _edited(distribution)
    return found


def _modules(distribution: Distribution) -> Iterator[str]:
    """The top-level modules of a distribution, as far as it says, and the one of its own name."""
    named = (distribution.read_text("top_level.txt") or "").split()
    yield from named or {file.parts[0].partition(".")[0] for file in distribution.files or ()}
    for point in distribution.entry_points:
        yield point.module.partition(".")[0]
    yield (distribution.name or "").replace("-", "_").lower()


def _edited(distribution: Distribution) -> set[Path]:
    """The folder from which a distribution was installed with `pip install -e`."""
    try:
        origin = json.loads(distribution.read_text("direct_url.json") or "{}")
        if origin.get("dir_info", {}).get("editable"):
            return {Path(unquote(urlparse(origin["url"]).path)).resolve()}
    except (AttributeError, KeyError, TypeError, ValueError):
        pass  # a damaged note of an installer
    return set()
