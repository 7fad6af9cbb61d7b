"""Which class a model's name means: shipped ones, those of installed packages, any class path.

A package joins by an entry point, after which `--model Mine` finds its model:

    [project.entry-points."interpretable_zoo.models"]
    Mine = "my_package.models:Mine"

Without one, the class path does: `--model my_package.models.Mine`.
"""

import sys
from collections.abc import Iterable
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any

import zoo
from zoo.data.errors import ZooError
from zoo.models.installed import is_installed

if TYPE_CHECKING:  # which needs Lightning
    from zoo.models.base import ZooModule

ENTRY_POINTS = "interpretable_zoo.models"


def installed_models() -> dict[str, EntryPoint]:
    """The models of installed packages, by name; nothing is imported."""
    return {point.name: point for point in entry_points(group=ENTRY_POINTS)}


def is_registered(name: str) -> bool:
    """Whether a name is that of a shipped model, or of one that its package has registered."""
    return name in zoo.MODELS or name in installed_models()


def model_class(name: str, beside: Iterable[Path] = ()) -> "type[ZooModule]":
    """The class that a checkpoint or a command line names.

    Only what is installed is imported (see `zoo.models.installed`), and what is loaded already.

    Args:
        name: Such as `DeepFM` or `my_package.models.Mine`.
        beside: Folders of the checkpoint, from which no code is taken.

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
    target = installed[name].module if name in installed else module
    if target not in sys.modules and not is_installed(target, beside):
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
