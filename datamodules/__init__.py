"""Raw files -> prepared arrays -> batches."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from datamodules.implicit.movielens import MovieLens
    from datamodules.sessions.skip_sessions import SkipSessions
    from datamodules.synthetic.clusters import GaussianClusters
    from datamodules.synthetic.criteo import SyntheticCriteo
    from datamodules.synthetic.movielens import SyntheticMovieLens
    from datamodules.synthetic.skip_sessions import SyntheticSkipSessions
    from datamodules.tabular.avazu import Avazu
    from datamodules.tabular.criteo import Criteo
    from datamodules.tabular.declared import TableField as TableField
    from datamodules.tabular.label import Label as Label
    from datamodules.tabular.table import Table

# Imported when first asked for: `python -m datamodules.synthetic.clicks` runs a module that this
# package has not imported before, and needs no Lightning
HOMES = {
    "Avazu": "datamodules.tabular.avazu",
    "Criteo": "datamodules.tabular.criteo",
    "GaussianClusters": "datamodules.synthetic.clusters",
    "Label": "datamodules.tabular.label",
    "MovieLens": "datamodules.implicit.movielens",
    "SkipSessions": "datamodules.sessions.skip_sessions",
    "SyntheticCriteo": "datamodules.synthetic.criteo",
    "SyntheticMovieLens": "datamodules.synthetic.movielens",
    "SyntheticSkipSessions": "datamodules.synthetic.skip_sessions",
    "Table": "datamodules.tabular.table",
    "TableField": "datamodules.tabular.declared",
}
__all__ = [  # the datamodules
    "Avazu",
    "Criteo",
    "GaussianClusters",
    "MovieLens",
    "SkipSessions",
    "SyntheticCriteo",
    "SyntheticMovieLens",
    "SyntheticSkipSessions",
    "Table",
]


def __getattr__(name: str) -> Any:
    if name not in HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(HOMES[name]), name)
