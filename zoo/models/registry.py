"""Which class a model's name means: shipped ones, those of installed packages, any class path.

A package joins by an entry point, after which `--model Mine` finds its model:

    [project.entry-points."interpretable_zoo.models"]
    Mine = "my_package.models:Mine"

Without one, the class path does: `--model my_package.models.Mine`.
"""

import os
import sys
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import zoo
from zoo.data.errors import ZooError

if TYPE_CHECKING:  # which needs Lightning
    from zoo.models.base import ZooModule

ENTRY_POINTS = "interpretable_zoo.models"


def installed_models() -> dict[str, EntryPoint]:
    """The models of installed packages, by name; nothing is imported."""
    return {point.name: point for point in entry_points(group=ENTRY_POINTS)}


def model_class(name: str) -> "type[ZooModule]":
    """The class that a checkpoint or a command line names.

    Only what is installed is imported: shipped models, entry points, and modules on Python's
    path outside of the current folder, from which a checkpoint that somebody sent must not take
    code.

    Args:
        name: Such as `DeepFM` or `my_package.models.Mine`.

    Raises:
        ZooError: where there is no such class, or its module is not installed.
    """
    if name in zoo.MODELS:
        return getattr(zoo, name)
    installed = installed_models()
    module, _, attribute = name.rpartition(".")
    if name not in installed and not module:
        known = ", ".join([*zoo.MODELS, *installed])
        raise ZooError(
            f"holds a model {name!r}, which this version of interpretable-zoo does not know; "
            f"it knows {known}"
        )
    if module and module not in sys.modules and not _is_installed(module):
        raise ZooError(
            f"holds a model {name!r}, whose module is not installed: install its package, or name "
            "a folder that you trust in PYTHONPATH"
        )
    try:
        if name in installed:
            return _checked(name, installed[name].load())
        return _checked(name, getattr(import_module(module), attribute, None))
    except ImportError as error:
        raise ZooError(f"holds a model {name!r}, which cannot be imported: {error}") from error


def _checked(name: str, found: Any) -> "type[ZooModule]":
    from zoo.models.base import ZooModule

    if not isinstance(found, type) or not issubclass(found, ZooModule):
        raise ZooError(f"holds a model {name!r}, which is not a subclass of zoo.ZooModule")
    return found


def _is_installed(module: str) -> bool:
    """Whether a module's package is on Python's path, and not merely in the current folder."""
    package = module.partition(".")[0]
    if package in sys.stdlib_module_names:
        return False
    try:
        spec = find_spec(package)
    except (ImportError, ValueError):
        return False
    if spec is None:
        return False
    here = Path.cwd().resolve()
    paths = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    named = [Path(entry).resolve() for entry in filter(None, paths)]
    places = filter(None, [spec.origin, *(spec.submodule_search_locations or ())])
    return here in named or here not in [Path(place).resolve().parent for place in places]
