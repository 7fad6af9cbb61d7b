"""Raw files -> prepared arrays -> batches."""

from datamodules.implicit.movielens import MovieLens
from datamodules.sessions.skip_sessions import SkipSessions
from datamodules.synthetic.clusters import GaussianClusters
from datamodules.tabular.avazu import Avazu
from datamodules.tabular.criteo import Criteo

__all__ = ["Avazu", "Criteo", "GaussianClusters", "MovieLens", "SkipSessions"]
