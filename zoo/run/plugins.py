"""The classes that `--model` and `--data` find by a bare name."""

from importlib import import_module
from importlib.metadata import entry_points

from rich.console import Console

import zoo
from zoo.models.installed import is_installed
from zoo.models.registry import ENTRY_POINTS
from zoo.run.trust import foreign_folders


def import_plugins() -> None:
    """Imports all that `--model` and `--data` find by a bare name, and that the help lists.

    These are the shipped models and datasets, and what installed packages register by the entry
    points `interpretable_zoo.models` and `interpretable_zoo.datamodules`.
    """
    for module in zoo.MODELS.values():
        import_module(module)
    shipped = import_module("datamodules")  # by its name: no room of zoo knows a dataset
    for dataset in shipped.__all__:
        getattr(shipped, dataset)
    for group in (ENTRY_POINTS, "interpretable_zoo.datamodules"):
        for point in entry_points(group=group):
            if not is_installed(point.module, foreign_folders()):
                continue  # what lies in the current folder can call itself installed
            try:
                point.load()
            except Exception as error:  # of somebody else's package, which may not be needed
                message = f"{point.name} of {group} cannot be loaded: {error}"
                Console(stderr=True, markup=False).print(message, soft_wrap=True)
